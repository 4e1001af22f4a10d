//! The card: README.md as the hub shows it.

use std::fmt::Write;
use std::path::Path;

use relign_bench::compare::uplift;
use relign_bench::markdown::{address, cell, code, code_cell, fenced, text};
use relign_core::{Device, Estimate, Recipe};
use serde_json::Value;

use super::CURVE;
use super::facts::{Contamination, Facts};
use super::front::front;
use crate::console::json_line;
use crate::sinks::terminal::duration;

/// All of the card.
pub(super) fn card(facts: &Facts) -> String {
    let mut out = front(facts);
    head(&mut out, facts);
    results(&mut out, facts);
    usage(&mut out, facts);
    training(&mut out, facts);
    data(&mut out, facts);
    contamination(&mut out, facts.contamination.as_ref());
    limits(&mut out, facts);
    out
}

fn head(out: &mut String, facts: &Facts) {
    let Facts { recipe, progress, .. } = facts;
    let base = match &facts.base {
        Some(base) => format!("[{}](https://huggingface.co/{})", cell(base), address(base)),
        None => code(&place(&recipe.model.path)),
    };
    let _ = write!(
        out,
        "\n# {}\n\n{base} after {} steps of {} on the task {}, trained by [RELIGN](#training) on {}.",
        text(&facts.name),
        progress.step,
        recipe.algorithm.name.to_uppercase(),
        code(&recipe.environment.name),
        rewarded(recipe),
    );
    if facts.unfinished() {
        let _ = write!(
            out,
            "\n\n> **Not finished:** exported after step {} of {}; what is measured at the end was not.",
            progress.step, recipe.run.steps
        );
    }
    out.push_str("\n\n");
}

/// What the rewards were, as far as the recipe says: only what RELIGN's own rules compute is called computed.
fn rewarded(recipe: &Recipe) -> String {
    let environment = &recipe.environment;
    let own = environment.settings.get("reward").and_then(|reward| reward.get("name")).and_then(Value::as_str);
    let own = own.unwrap_or(&environment.name);
    let mut names: Vec<&str> = recipe.rewards.iter().map(|part| part.name.as_str()).collect();
    if names.is_empty() {
        names.push("environment");
    }
    // `python:FILE:NAME` is `python`.
    let kind = |name| if name == "environment" { own } else { name };
    let kinds: Vec<&str> = names.into_iter().map(|name| kind(name).split(':').next().unwrap_or_default()).collect();
    let foreign = FOREIGN.iter().filter(|(name, _)| kinds.contains(name)).map(|(_, what)| *what).collect::<Vec<_>>();
    let rules = kinds.iter().any(|kind| FOREIGN.iter().all(|(name, _)| name != kind));
    let foreign = foreign.join(", and on ");
    match (foreign.is_empty(), rules) {
        (true, _) => "rewards that rules compute from the answers, not learned from preferences".to_owned(),
        (false, false) => foreign,
        (false, true) => format!("rewards that rules compute from the answers, and on {foreign}"),
    }
}

/// Rewards and tasks whose judgement is not RELIGN's own, and what it is.
const FOREIGN: [(&str, &str); 4] = [
    ("judge", "the judgement of a language model (`judge`)"),
    ("http", "the judgement of a program behind an address (`http`) that is not recorded here"),
    ("python", "functions of the run's owner (`python`) that are not recorded here"),
    ("verifiers", "the rubric of a Python package (`verifiers`) that is not recorded here"),
];

fn results(out: &mut String, facts: &Facts) {
    let Facts { recipe, summary, .. } = facts;
    out.push_str("## Results\n\n");
    match (facts.before(), summary.end) {
        (Some(before), Some(after)) => {
            let eval = &recipe.eval;
            let samples = if eval.samples == 1 { "one answer each" } else { "several answers each" };
            let how = if eval.temperature == 0.0 {
                "greedily".to_owned()
            } else {
                format!("at temperature {}", eval.temperature)
            };
            let _ = writeln!(
                out,
                "| {}, held out | before | after |\n|---|---|---|\n| accuracy | {} | {} |\n",
                code_cell(&recipe.environment.name),
                estimate(&before),
                estimate(&after)
            );
            let _ = write!(
                out,
                "{} items that were not trained on, the same before and after, {samples}, decoded {how}; 95 % intervals.",
                after.n
            );
            match summary.p_value {
                Some(p) if p < 0.001 => out.push_str(" McNemar's exact test of no change: p < 0.001."),
                Some(p) => drop(write!(out, " McNemar's exact test of no change: p = {p:.3}.")),
                None => {}
            }
            out.push_str("\n\n");
        }
        _ => out.push_str("The run measured no held-out accuracy before and after.\n\n"),
    }
    if facts.curve {
        let _ = writeln!(out, "![Accuracy and reward over the run's steps]({CURVE})\n");
    }
    for (report, place) in &facts.reports {
        let _ = writeln!(out, "### Against {} on benchmarks\n", cell(&self::place(&report.base)));
        if !facts.summary.model_sha256.is_empty() && report.base_sha256 != facts.summary.model_sha256 {
            out.push_str("> The model compared with is not the one that training began from.\n\n");
        }
        for warning in &report.warnings {
            let _ = writeln!(out, "> **Not comparable:** {}\n", cell(warning));
        }
        out.push_str(&uplift(&report.comparisons[*place]));
        let _ = writeln!(
            out,
            "\nDifferences are paired by item; intervals are 95 %, p-values corrected over all tests of the report (Holm; \
             Benjamini and Hochberg). `not shown` means that these items could not tell the models apart, not that they \
             are the same. By `relign compare` {}.\n",
            cell(&report.relign)
        );
    }
}

fn usage(out: &mut String, facts: &Facts) {
    let asked = if facts.asked.is_empty() {
        "[{\"role\": \"user\", \"content\": \"...\"}]".to_owned()
    } else {
        // What JSON writes of texts, Python reads.
        json_line(&facts.asked).unwrap_or_default()
    };
    let name = json_line(&facts.name).unwrap_or_default();
    let tokens = facts.recipe.sampling.max_tokens;
    let code = format!(
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\nfolder = {name}  # this folder, or its id on the hub\n\
         tokenizer = AutoTokenizer.from_pretrained(folder)\nmodel = AutoModelForCausalLM.from_pretrained(folder)\n\
         messages = {asked}\ninputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, \
         return_tensors=\"pt\")\noutput = model.generate(**inputs, max_new_tokens={tokens}, do_sample=False)\n\
         print(tokenizer.decode(output[0, inputs[\"input_ids\"].shape[1]:], skip_special_tokens=True))"
    );
    let _ = writeln!(
        out,
        "## Use\n\n{}\nIt was trained on questions of this form; others it may answer no better than its base model.\n",
        fenced("python", &code)
    );
}

fn training(out: &mut String, facts: &Facts) {
    let Facts { recipe, summary, progress, .. } = facts;
    out.push_str("## Training\n\n| | |\n|---|---|\n");
    let mut row = |what: &str, value: String| {
        let _ = writeln!(out, "| {what} | {value} |");
    };
    let version = if summary.relign.is_empty() { env!("CARGO_PKG_VERSION") } else { &summary.relign };
    row("algorithm", format!("{}, full weights, f32 masters", cell(&recipe.algorithm.name)));
    let seed = recipe.seed.0;
    row("steps", format!("{} of {} groups of prompts, seed {seed}", progress.step, recipe.run.tasks));
    row("tokens generated", progress.tokens.to_string());
    let rewards: Vec<String> =
        recipe.rewards.iter().map(|reward| format!("{} x {}", cell(&place(&reward.name)), reward.weight)).collect();
    row("reward", if rewards.is_empty() { "the task's own verdict".to_owned() } else { rewards.join(", ") });
    if summary.seconds > 0.0 {
        let took = duration(summary.seconds);
        row(
            "took",
            format!(
                "{took} on {}{} threads of {}, computed in {}",
                if summary.device == Device::Cpu { String::new() } else { format!("{} beside ", summary.device) },
                summary.threads,
                cell(&summary.cpu),
                cell(&summary.dtype)
            ),
        );
    }
    let from = if summary.model_sha256.is_empty() {
        String::new()
    } else {
        format!(", SHA-256 {}", code_cell(&summary.model_sha256))
    };
    let file =
        summary.model.file_name().map_or_else(|| place(&recipe.model.path), |name| name.to_string_lossy().into_owned());
    row("began from", format!("{}{from}", code_cell(&file)));
    row("weights", format!("SHA-256 {} as trained (f32); stored here as {}", code_cell(&facts.sha256), facts.stored));
    let torch =
        if summary.libtorch.is_empty() { String::new() } else { format!(", libtorch {}", cell(&summary.libtorch)) };
    row("by", format!("RELIGN {}{torch}", cell(version)));
    let _ = writeln!(
        out,
        "\nThe recipe, with every default; once its paths are set, `relign train recipe.toml` runs it again{}.\n\n\
         <details><summary>recipe.toml</summary>\n\n{}\n</details>\n",
        if summary.device == Device::Cpu { ", to the same bytes on the same machine" } else { "" },
        fenced("toml", &without_places(&without_home(facts.text.trim_end())))
    );
}

fn data(out: &mut String, facts: &Facts) {
    let environment = &facts.recipe.environment;
    let _ = write!(out, "## Data\n\nTasks of {}", code(&environment.name));
    if let Some(hub) = &facts.data.hub {
        let _ = write!(out, ", from [{}](https://huggingface.co/datasets/{})", cell(hub), address(hub));
    }
    match (&facts.data.licence, facts.summary.data.is_empty()) {
        (Some(licence), _) => drop(write!(out, " ({})", cell(licence))),
        (None, true) => out.push_str(", made by the environment itself"),
        (None, false) => {}
    }
    out.push_str(". Held-out items are none of those that are trained on.\n\n");
    if !facts.summary.data.is_empty() {
        out.push_str("| file | rows | of them unusable | SHA-256 |\n|---|---|---|---|\n");
        for file in &facts.summary.data {
            let (name, hash) = (code_cell(&place(&file.name)), code_cell(&file.sha256));
            let _ = writeln!(out, "| {name} | {} | {} | {hash} |", file.rows, file.bad_rows);
        }
        out.push('\n');
    }
}

fn contamination(out: &mut String, found: Option<&Contamination>) {
    out.push_str("## Contamination\n\n");
    let Some(Contamination { texts, tasks, words, run, benchmarks }) = found else {
        out.push_str("Nobody recorded whether benchmark items stand in the training data (`relign contamination` looks for them).\n\n");
        return;
    };
    let of = if tasks > texts { format!(" (of {tasks}, spread evenly)") } else { String::new() };
    let _ = writeln!(
        out,
        "{texts} training texts{of} of {words} words were searched for benchmark items.\n\n\
         | benchmark | items | the same words | nearly | a run of {run} words | too short to tell |\n|---|---|---|---|---|---|"
    );
    for (name, counts) in benchmarks {
        let (name, relign_bench::contamination::Counts { items, short, exact, near, shared }) = (cell(name), counts);
        let _ = writeln!(out, "| {name} | {items} | {exact} | {near} | {shared} | {short} |");
    }
    out.push('\n');
}

fn limits(out: &mut String, facts: &Facts) {
    let recipe = &facts.recipe;
    out.push_str("## Limits\n\n");
    let mut say = |what: String| {
        let _ = writeln!(out, "- {what}");
    };
    say(format!(
        "One run with one seed ({}) on one kind of task. {}",
        recipe.seed.0,
        if facts.reports.is_empty() {
            "Nothing else was measured: other abilities may be better or worse than the base model's."
        } else {
            "Abilities that the tables above do not name were not measured and may be better or worse."
        }
    ));
    let all = facts.reports.iter().flat_map(|(report, place)| &report.comparisons[*place].rows);
    let (mut worse, mut open) = (Vec::new(), Vec::new());
    for row in all {
        match row.verdict() {
            "worse" => worse.push(cell(&row.benchmark)),
            "not shown" => open.push(cell(&row.benchmark)),
            _ => {}
        }
    }
    if !worse.is_empty() {
        say(format!("Worse than its base model on {}.", worse.join(", ")));
    }
    if !open.is_empty() {
        say(format!("No difference from its base model was shown on {}.", open.join(", ")));
    }
    say(format!(
        "Answers were trained and measured up to {} tokens; longer ones were cut off.",
        recipe.sampling.max_tokens
    ));
    if let Some(last) = &facts.last {
        let rollouts = &last.rollouts;
        say(format!(
            "In the last step of training {} of the answers were cut off and in {} no answer could be read.",
            percent(rollouts.truncated),
            percent(rollouts.unparsed)
        ));
    }
    if facts.failed > 0 {
        say(format!("{} samples could not be judged while training; they were left out.", facts.failed));
    }
    if facts.stored != "f32" {
        say(format!(
            "Figures are of the f32 weights that were trained; the {} here are rounded and may differ.",
            facts.stored
        ));
    }
    say("No evaluation of safety was made; whatever limits the base model has, this one has as well.".to_owned());
    if facts.licence.is_none() {
        say("The licence of the base model is not recorded here. Look it up before you use or publish this one."
            .to_owned());
    }
}

fn estimate(value: &Estimate) -> String {
    let Estimate { accuracy, low, high, .. } = *value;
    format!("{} ({:.1} to {:.1})", percent(accuracy), 100.0 * low, 100.0 * high)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// A path without what is nobody's business: of an absolute one, its last two parts.
fn place(name: &str) -> String {
    let path = Path::new(name);
    if !path.is_absolute() {
        return name.to_owned();
    }
    let parts: Vec<_> = path.components().rev().take(2).map(|part| part.as_os_str().to_string_lossy()).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
}

/// A recipe whose absolute paths are cut to what [`place`] leaves of them.
fn without_places(recipe: &str) -> String {
    let line = |line: &str| match line.split_once("= \"") {
        Some((key, value)) if value.starts_with('/') => {
            let (path, rest) = value.split_once('"').unwrap_or((value, ""));
            format!("{key}= \"{}\"{rest}", place(path))
        }
        _ => line.to_owned(),
    };
    recipe.lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Text with `~` for the home folder.
fn without_home(text: &str) -> String {
    match std::env::home_dir().map(|home| home.display().to_string()).filter(|home| home.len() > 1) {
        Some(home) => text.replace(&format!("{home}/"), "~/"),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_claims_no_more_of_rewards_than_the_recipe_says() {
        let rules = "rewards that rules compute from the answers";
        for (environment, rewards, expected) in [
            ("name = 'arithmetic'", "", vec![rules, "not learned from preferences"]),
            (
                "name = 'arithmetic'",
                "[[rewards]]\nname = 'environment'\n[[rewards]]\nname = 'length'\nlimit = 9",
                vec![rules, "not learned from preferences"],
            ),
            (
                "name = 'arithmetic'",
                "[[rewards]]\nname = 'judge'\nendpoint = 'http://h/v1#m'",
                vec!["a language model (`judge`)"],
            ),
            (
                "name = 'arithmetic'",
                "[[rewards]]\nname = 'length'\nlimit = 9\n[[rewards]]\nname = 'http'\nurl = 'http://h/x'",
                vec![rules, "behind an address (`http`)"],
            ),
            ("name = 'arithmetic'", "[[rewards]]\nname = 'python:a.py:f'", vec!["functions of the run's owner"]),
            (
                "name = 'arithmetic'",
                "[[rewards]]\nname = 'python'\nfunction = 'a.py:f'\n[[rewards]]\nname = 'judge'\nendpoint = 'http://h/v1#m'",
                vec!["functions of the run's owner", "a language model"],
            ),
        ] {
            let text = format!(
                "model = {{ path = 'm' }}\nalgorithm = {{ name = 'grpo' }}\nenvironment = {{ {environment} }}\n{rewards}"
            );
            let recipe = crate::recipe_file::read("r.toml", &text, &[]).unwrap();
            let said = rewarded(&recipe);
            let foreign = expected.iter().any(|part| !part.starts_with("rewards") && !part.starts_with("not"));
            assert!(expected.iter().all(|part| said.contains(part)), "{rewards}: {said}");
            assert_eq!(said.contains("not learned from preferences"), !foreign, "{rewards}: {said}");
            assert_eq!(said.contains("rules compute"), expected.contains(&rules), "{rewards}: {said}");
        }
    }
}
