//! Recipes that are wrong, given to the real binary: what is said, and that nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test may stop")]

mod binary;

use std::fs;
use std::path::Path;

use binary::{relign, stderr, tiny};

/// A recipe that is right, each section as text of its own.
fn sections() -> Vec<(&'static str, String)> {
    vec![
        ("name", "name = \"quick\"\n".to_owned()),
        ("seed", "seed = 7\n".to_owned()),
        ("model", format!("[model]\npath = \"{}\"\n", tiny())),
        ("environment", "[environment]\nname = \"arithmetic\"\n".to_owned()),
        ("rewards", "[[rewards]]\nname = \"length\"\nlimit = 60\n".to_owned()),
        ("strategy", "[strategy]\nname = \"sample\"\nn = 2\n".to_owned()),
        ("sampling", "[sampling]\nmax_tokens = 4\n".to_owned()),
        ("algorithm", "[algorithm]\nname = \"grpo\"\n".to_owned()),
        ("optimizer", "[optimizer]\nlr = 1e-6\n".to_owned()),
        ("run", "[run]\nsteps = 1\ntasks = 2\n".to_owned()),
        ("eval", "[eval]\nitems = 2\n".to_owned()),
        ("checkpoint", "[checkpoint]\nevery = 0\n".to_owned()),
    ]
}

fn good() -> String {
    sections().into_iter().map(|(_, text)| text).collect()
}

/// What `relign train --dry-run` says about a recipe; its exit status is 2 and nothing was made.
fn refusal(text: &str, sets: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.toml");
    fs::write(&file, text).unwrap();
    let out = folder.path().join("run");
    let mut all = vec!["train", file.to_str().unwrap(), "--out", out.to_str().unwrap(), "--dry-run"];
    all.extend(sets.iter().flat_map(|set| ["--set", set]));
    let output = relign(&all);
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{sets:?}\n{text}\n{said}");
    assert!(!out.exists(), "{said}");
    for word in
        ["struct", "enum", "variant", "tuple", "usize", "u64", "f64", "a sequence", "a map", "unit", "Section", "``"]
    {
        assert!(!said.contains(word), "`{word}` in {sets:?}\n{text}\n{said}");
    }
    let longest = said.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    assert!(longest.is_none_or(|digits| digits <= 20), "{said}");
    said
}

#[test]
fn the_recipe_that_all_others_here_are_made_of_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("r.toml");
    fs::write(&file, good()).unwrap();
    let output = relign(&["train", file.to_str().unwrap(), "--dry-run"]);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn every_section_is_a_table() {
    for (name, _) in sections() {
        let others = || sections().into_iter().filter(|(other, _)| *other != name).map(|(_, text)| text);
        for value in ["5", "1.5", "true", "\"x\"", "[]", "[1]", "[[1]]", "{ nothing = 1 }"] {
            let (simple, list) = (["name", "seed"].contains(&name), name == "rewards");
            let right = match name {
                "name" => value == "\"x\"",
                "seed" => value == "5",
                _ => list && value == "[]",
            };
            if right {
                continue;
            }
            let said = refusal(&(format!("{name} = {value}\n") + &others().collect::<String>()), &[]);
            assert!(said.contains("r.toml:1:"), "{said}");
            let expected = match value {
                _ if simple => "expected a",
                "{ nothing = 1 }" if list => "rewards: expected a list, got a table",
                "{ nothing = 1 }" => "nothing",
                _ if list && value.starts_with('[') => "rewards.0: expected a table of settings, got",
                _ if list => "rewards: expected a list, got",
                _ => "expected a table of settings, got",
            };
            assert!(said.contains(expected) || said.contains("missing field `name`"), "{name} = {value}: {said}");
            assert!(said.contains(name), "{said}");
        }
    }
}

#[test]
fn every_fault_is_named_with_what_was_expected_and_what_was_got() {
    for (set, expected) in [
        ("model.path=5", "model.path: invalid type: integer `5`, expected a string"),
        ("model.path=nope", "no model `nope`"),
        ("model.dtype=5", "model.dtype: expected one of `auto`, `f32`, `bf16`, got 5"),
        ("model.kv_cache={}", "model.kv_cache: expected one of `full`, `bf16`, `int8`, got a table"),
        ("model.chat_template_kwargs=5", "model.chat_template_kwargs: expected a table of settings, got 5"),
        (
            "environment.level=1e300",
            "environment.level: invalid type: the number `1e+300`, expected a whole number from 0 up",
        ),
        ("rewards.0.when=5", "rewards.0.when: expected a table of settings, got 5"),
        ("rewards.0.weight=1e308", "rewards.0.weight: expected a number from -1e9 to 1e9, got 1e308"),
        ("rewards.0.weight=1.7976931348623157e308", "got 1.7976931348623157e308"),
        ("strategy={name=\"mcts\",scorer=5}", "strategy.scorer: expected a table of settings, got 5"),
        ("sampling.stop=5", "sampling.stop: expected a list, got 5"),
        ("sampling.stop_tokens=[99999999]", "sampling.stop_tokens: expected ids below 128, got 99999999"),
        ("sampling.temperature=1e300", "sampling.temperature: expected 0 or more, got inf"),
        (
            "sampling.constraint=5",
            "sampling.constraint: invalid type: integer `5`, expected a name in quotes or a table",
        ),
        ("optimizer.betas=5", "optimizer.betas: expected a list, got 5"),
        ("optimizer.betas=[1]", "optimizer.betas: expected a list of 2, got a list of 1"),
        ("optimizer.betas=[1,2,3]", "optimizer.betas: expected a list of 2, got a list of 3"),
        ("optimizer.lr=-1e308", "optimizer.lr: expected a number from 0 up, got -1e308"),
        ("optimizer.eps=-1e-308", "optimizer.eps: expected a number above 0, got -1e-308"),
        ("optimizer.schedule=5", "optimizer.schedule: expected one of `constant`, `linear`, `cosine`, got 5"),
        ("run.steps=1e308", "run.steps: invalid type: the number `1e+308`, expected a whole number"),
        (
            "run.reward_seconds=1e308",
            "run.reward_seconds: expected a number of seconds above 0, at most a day, got 1e308",
        ),
        ("eval.against=5", "eval.against: expected a list, got 5"),
        ("eval.items=1000000", "eval.items: expected at most 438, the held-out tasks that there are, got 1000000"),
        ("eval.temperature=-3e38", "eval.temperature: expected a number from 0 up, got -3e38"),
        ("algorithm.clip_low=-1e308", "algorithm.clip_low: expected a number from 0 to 1, got -1e308"),
        ("algorithm.clip_high=-1", "algorithm.clip_high: expected a number from 0 to 1e6, got -1"),
        ("algorithm.kl=1e300", "algorithm.kl: expected a number from 0 to 1e6, got 1e300"),
        ("strategy.n=1", "strategy.n: expected at least 2, for grpo compares samples of a task, got 1"),
        ("strategy={name=\"mcts\"}", "strategy.name: grpo compares independent samples of a prompt"),
        (
            "name=../x",
            "name: expected a name of at most 200 bytes without slashes and control characters, got \"../x\"",
        ),
        ("name=..", "name: expected a name"),
        ("name=/etc", "name: expected a name"),
        ("name=a\\b", "name: expected a name"),
        ("name=\"a\\u001b]52;c;eA\\u0007b\"", "got \"a\\u{1b}]52;c;eA\\u{7}b\""),
        ("name=\"a\\nb\"", "got \"a\\nb\""),
        ("name=\"a\\u202eb\"", "got \"a\\u{202e}b\""),
    ] {
        let said = refusal(&good(), &[set]);
        assert!(said.contains(expected), "{set}: expected {expected}, got {said}");
        let (key, value) = set.split_once('=').unwrap();
        if !value.contains("\\u") && !expected.starts_with("no model") {
            assert!(said.starts_with(&format!("error: --set {key}=")), "{set}: {said}");
        }
        assert!(!said.contains('\u{1b}'), "{said}");
    }
    // A strategy without a name is what the setting made.
    let bare: String = sections().into_iter().filter(|(name, _)| *name != "strategy").map(|(_, text)| text).collect();
    let said = refusal(&bare, &["strategy.n=4"]);
    assert!(said.starts_with("error: --set strategy.n=4: strategy: missing field `name`"), "{said}");
}

#[test]
fn gates_and_counts_are_shown_with_their_lines() {
    for (from, to, expected) in [
        (
            "limit = 60\n",
            "limit = 60\nwhen = { reward = \"nope\" }\n",
            "rewards.0.when.reward: expected an earlier part (there is none), got `nope`",
        ),
        (
            "limit = 60\n",
            "limit = 60\n[[rewards]]\nname = \"length\"\nlimit = 9\nwhen = { reward = \"lenght\" }\n",
            "expected an earlier part (length), got `lenght`",
        ),
        (
            "name = \"length\"\nlimit = 60\n",
            "name = \"environment\"\nlimit = 60\n",
            "rewards.0.limit: the environment's own score has no settings here",
        ),
        ("items = 2", "items = 100000", "eval.items: expected at most 438"),
        (
            "max_tokens = 4",
            "max_tokens = 4\nstop_tokens = [7, 300]",
            "sampling.stop_tokens: expected ids below 128, got 300",
        ),
        ("n = 2", "n = 1", "strategy.n: expected at least 2"),
        ("lr = 1e-6", "lr = 1e-6\n[optimiser]\nlr = 1", "unknown key `optimiser`"),
    ] {
        let text = good();
        assert!(text.contains(from), "{from}");
        let said = refusal(&text.replace(from, to), &[]);
        assert!(said.contains(expected) && said.contains("r.toml:"), "expected {expected}, got {said}");
    }
    let said = refusal("", &[]);
    assert!(said.contains("missing field `model`"), "{said}");
}

fn train(folder: &Path, sets: &[&str], resume: bool) -> std::process::Output {
    let (file, out) = (folder.join("r.toml"), folder.join("run"));
    let mut all = vec!["train", file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    all.extend(sets.iter().flat_map(|set| ["--set", set]));
    all.extend(resume.then_some("--resume"));
    relign(&all)
}

#[test]
fn a_call_that_is_refused_leaves_nothing_that_refuses_the_next() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("r.toml"), good()).unwrap();
    let broken = folder.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("config.json"), "{}").unwrap();
    let broken = format!("model.path={}", broken.display());
    for set in ["model.path=typo", &broken, "run.context=100000000", "sampling.stop_tokens=[300]", "eval.items=99999"] {
        let output = train(folder.path(), &[set], false);
        assert!(!output.status.success() && !folder.path().join("run").exists(), "{set}: {}", stderr(&output));
    }
    let output = train(folder.path(), &[], false);
    assert!(output.status.success(), "{}", stderr(&output));
    let again = train(folder.path(), &[], false);
    assert!(stderr(&again).contains("holds a run already"), "{}", stderr(&again));
}

#[test]
fn a_resume_names_the_setting_that_differs() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("r.toml"), good()).unwrap();
    assert!(train(folder.path(), &[], false).status.success());
    let own = folder.path().join("run/recipe.toml");
    let text = fs::read_to_string(&own).unwrap();
    for (before, sets, expected) in [
        (String::new(), &[][..], "the run's own recipe cannot be read"),
        ("\u{0}\u{1b}[2J".to_owned(), &[], "the run's own recipe cannot be read"),
        (text.clone(), &["run.tasks=3"], "run.tasks: expected 2, got 3"),
        (text.clone(), &["optimizer.lr=2e-6"], "optimizer.lr: expected 1e-6, got 2e-6"),
        (text.clone(), &["sampling.stop=[\"x\"]"], "sampling.stop: expected [], got [\"x\"]"),
        (text.clone(), &["algorithm.kl=0.5"], "algorithm.kl: expected nothing, got 0.5"),
        (text.clone(), &["rewards.0.limit=61"], "rewards.0.limit: expected 60, got 61"),
    ] {
        fs::write(&own, &before).unwrap();
        let output = train(folder.path(), sets, true);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected) && !said.contains("``") && !said.contains('\u{1b}'), "{sets:?}: {said}");
    }
    // Written otherwise, it is the same recipe.
    fs::write(&own, format!("# a remark\n{text}")).unwrap();
    let output = train(folder.path(), &[], true);
    assert!(output.status.success(), "{}", stderr(&output));
}

#[test]
fn held_out_tasks_that_there_are_not_are_blamed_on_whoever_asked() {
    for call in [
        &["eval", "MODEL", "--task", "arithmetic", "--limit", "99999"][..],
        &["search", "--task", "arithmetic", "--strategy", "greedy", "--model", "MODEL", "--limit", "99999"],
    ] {
        let call: Vec<String> = call.iter().map(|word| word.replace("MODEL", &tiny())).collect();
        let output = relign(&call.iter().map(String::as_str).collect::<Vec<_>>());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{call:?}: {said}");
        assert!(said.contains("--limit: expected at most 438, the held-out tasks that there are, got 99999"), "{said}");
    }
}
