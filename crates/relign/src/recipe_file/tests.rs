use super::*;

const GOOD: &str = r#"
name = "quick"
seed = 7

[model]
path = "smollm2"

[environment]
name = "arithmetic"

[algorithm]
name = "grpo"

[run]
steps = 60
tasks = 8
"#;

fn says(from: &str, to: &str, sets: &[&str]) -> String {
    assert!(GOOD.contains(from), "{from}");
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    read("r.toml", &GOOD.replace(from, to), &sets).expect_err("this recipe is wrong")
}

#[test]
fn a_good_recipe_is_read_and_written_back_unchanged() {
    let recipe = read("r.toml", GOOD, &[]).unwrap();
    assert_eq!((recipe.run.steps, recipe.seed.0, recipe.strategy.name.as_str()), (60, 7, "sample"));
    let text = write(&recipe).unwrap();
    assert_eq!(read("again.toml", &text, &[]).unwrap(), recipe, "{text}");
}

#[test]
fn an_unknown_key_is_shown_with_its_line_and_the_nearest() {
    assert_eq!(
        says("steps = 60", "stpes = 60", &[]),
        "run.stpes: unknown key `stpes`, expected one of `steps`, `tasks`, `minibatches`, `epochs`, `batch_tokens`, \
         `recompute`, `sequences`, `context`, `reward_seconds`\n   --> r.toml:15:1\n   |\n15 | stpes = 60\n   | ^^^^^^^^^^\n  \
         help: did you mean `steps`?"
    );
}

#[test]
fn unknown_sections_and_names_are_errors_with_suggestions() {
    let said = says("[run]", "[rnu]", &[]);
    assert!(
        said.contains("unknown key `rnu`") && said.contains("r.toml:14:2") && said.contains("did you mean `run`?"),
        "{said}"
    );
    let said = says("arithmetic", "arithmatic", &[]);
    assert!(said.contains("environment.name: unknown environment `arithmatic`"), "{said}");
    assert!(said.contains("r.toml:9:1") && said.contains("did you mean `arithmetic`?"), "{said}");
}

#[test]
fn a_setting_of_a_named_thing_is_checked_by_that_thing() {
    let said = says("name = \"arithmetic\"", "name = \"arithmetic\"\nlevle = 2", &[]);
    assert!(said.contains("environment.levle: unknown key `levle`") && said.contains("r.toml:10:1"), "{said}");
    let said = says("[run]", "[strategy]\nname = \"sample\"\nn = \"many\"\n[run]", &[]);
    assert!(said.contains("strategy.n: invalid type: string \"many\"") && said.contains("r.toml:16:1"), "{said}");
}

#[test]
fn wrong_types_are_named_in_plain_words() {
    let said = says("steps = 60", "steps = 1.5", &[]);
    assert!(said.contains("run.steps: invalid type: the number `1.5`, expected a whole number from 0 up"), "{said}");
    let said = says("steps = 60", "steps = -1", &[]);
    assert!(said.contains("run.steps: ") && said.contains("expected a whole number from 0 up"), "{said}");
    let said = says("[run]", "[run]\nrecompute = \"no\"", &[]);
    assert!(said.contains("run.recompute: invalid type: string \"no\", expected a boolean"), "{said}");
}

#[test]
fn numbers_that_make_no_sense_are_all_named_at_once() {
    let said = says(
        "steps = 60\ntasks = 8",
        "steps = 0\ntasks = 0\n[optimizer]\nlr = -1e-6\n[sampling]\ntemperature = 0",
        &[],
    );
    for part in [
        "run.steps: expected at least 1, got 0",
        "run.tasks: expected",
        "optimizer.lr: expected a number from 0 up, got -0.000001",
        "sampling.temperature: ",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let said = says("steps = 60", "steps = 60\n[optimizer]\nlr = nan", &[]);
    assert!(said.contains("expected a finite number, got nan") && said.contains("lr = nan"), "{said}");
    assert!(says("steps = 60", "steps = 99999999999999999999", &[]).contains("does not fit 64 bits"));
}

#[test]
fn a_distribution_that_training_does_not_know_is_refused_where_it_stands() {
    for (setting, name, expected) in [
        ("top_k = 50", "top_k", "expected 0, got 50"),
        ("top_p = 0.9", "top_p", "expected 1, got 0.9"),
        ("min_p = 0.05", "min_p", "expected 0, got 0.05"),
        ("repetition_penalty = 1.1", "repetition_penalty", "expected 1, got 1.1"),
        ("presence_penalty = 0.5", "presence_penalty", "expected 0, got 0.5"),
        ("frequency_penalty = 0.5", "frequency_penalty", "expected 0, got 0.5"),
        ("logit_bias = {\"7\" = 2.0}", "logit_bias", "expected none, got that of 1 tokens"),
        ("constraint = {regex = \"[0-9]+\"}", "constraint", "expected none, got one"),
    ] {
        let said = says("[run]", &format!("[sampling]\n{setting}\n[run]"), &[]);
        let message = format!("sampling.{name}: {expected}: training differentiates the distribution");
        assert!(said.contains(&message) && said.contains("r.toml:15:1"), "{said}");
    }
    let said = says("[run]", "[sampling]\ntop_k = 50\ntop_p = 0.5\ntop_logprobs = 3\n[run]", &[]);
    for name in ["sampling.top_k", "sampling.top_p", "sampling.top_logprobs: expected none, for nothing in a run"] {
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn what_is_not_toml_is_shown_where_it_breaks() {
    let said = says("steps = 60", "steps = ", &[]);
    assert!(said.starts_with("not TOML: ") && said.contains("--> r.toml:15:"), "{said}");
    assert!(says("steps = 60", "steps = 2026-01-01", &[]).contains("a recipe has no dates"));
}

#[test]
fn a_missing_section_is_named() {
    let said = says("[algorithm]\nname = \"grpo\"", "", &[]);
    assert!(said.contains("r.toml: missing field `algorithm`"), "{said}");
}

#[test]
fn sets_change_settings_and_are_blamed_for_their_own_faults() {
    let sets =
        ["run.steps=5", "model.path=some/where", "sampling.stop=[\"x\"]", "optimizer.lr = 2e-6"].map(str::to_owned);
    let recipe = read("r.toml", GOOD, &sets).unwrap();
    assert_eq!((recipe.run.steps, recipe.model.path.as_str(), recipe.optimizer.lr), (5, "some/where", 2e-6));
    assert_eq!(recipe.sampling.stop, ["x"]);
    let said = says("", "", &["run.steps=0"]);
    assert_eq!(said, "--set run.steps=0: run.steps: expected at least 1, got 0");
    let said = says("", "", &["rnu.steps=5"]);
    assert!(
        said.starts_with("--set rnu.steps=5: rnu: unknown key `rnu`") && said.ends_with("did you mean `run`?"),
        "{said}"
    );
    assert!(says("", "", &["run.steps"]).contains("--set run.steps: expected KEY=VALUE"));
    assert!(says("", "", &["name.x=1"]).contains("not a table"));
}

#[test]
fn a_recipe_that_is_not_there_is_a_wrong_call() {
    let error = load(Path::new("/nowhere/r.toml"), &[]).unwrap_err();
    assert!(error.is::<Usage>() && error.to_string().starts_with("recipe /nowhere/r.toml: "), "{error}");
}
