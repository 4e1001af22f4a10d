//! The card's first lines: what the hub reads of it (YAML, as its model card specification has it).

use std::fmt::Write;

use relign_core::{Estimate, find};
use relign_tasks::ENVIRONMENTS;

use super::facts::Facts;
use crate::console::json_line;

/// The YAML between the two lines of dashes.
pub(super) fn front(facts: &Facts) -> String {
    let mut out = "---\n".to_owned();
    if let Some(base) = &facts.base {
        let _ = writeln!(out, "base_model: {}\nbase_model_relation: finetune", scalar(base));
    }
    if let Some(licence) = &facts.licence {
        let _ = writeln!(out, "license: {}", scalar(licence));
    }
    out += "library_name: transformers\npipeline_tag: text-generation\n";
    let algorithm = &facts.recipe.algorithm.name;
    let task = &facts.recipe.environment.name;
    out += "tags:\n";
    for tag in ["relign", "reinforcement-learning", "reasoning", algorithm, task] {
        let _ = writeln!(out, "- {}", scalar(tag));
    }
    if let Some(hub) = &facts.data.hub {
        let _ = writeln!(out, "datasets:\n- {}", scalar(hub));
    }
    let figures = figures(facts);
    if figures.is_empty() {
        return out + "---\n";
    }
    let _ = writeln!(out, "model-index:\n- name: {}\n  results:", scalar(&facts.name));
    figures.iter().for_each(|figure| result(&mut out, figure));
    out + "---\n"
}

/// A figure of the model on some items, with the base model's where there is one.
struct Figure<'a> {
    /// What the items are called.
    name: String,
    /// Their data set's id on the hub, or a word of our own.
    data: String,
    metric: &'a str,
    value: Estimate,
    base: Option<Estimate>,
}

fn figures(facts: &Facts) -> Vec<Figure<'_>> {
    let mut all = Vec::new();
    let task = &facts.recipe.environment.name;
    all.extend(facts.summary.end.map(|value| Figure {
        name: format!("{task}, held-out items"),
        data: facts.data.hub.clone().unwrap_or_else(|| word(task)),
        metric: "accuracy",
        value,
        base: facts.before(),
    }));
    for (report, place) in &facts.reports {
        all.extend(report.comparisons[*place].rows.iter().map(|row| Figure {
            name: row.benchmark.clone(),
            data: hub_of(&row.benchmark).unwrap_or_else(|| word(&row.benchmark)),
            metric: &row.metric,
            value: row.tuned,
            base: Some(row.base),
        }));
    }
    all
}

fn result(out: &mut String, figure: &Figure<'_>) {
    let percent = |share: f64| (share * 10_000.0).round() / 100.0;
    let Figure { value, metric, .. } = figure;
    let _ = writeln!(out, "  - task:\n      type: text-generation\n      name: Text generation");
    let _ = writeln!(out, "    dataset:\n      name: {}\n      type: {}", scalar(&figure.name), scalar(&figure.data));
    let _ = writeln!(out, "    metrics:\n    - type: {}\n      value: {}", scalar(metric), percent(value.accuracy));
    let _ = writeln!(out, "      name: {}\n      verified: false\n      args:", scalar(&format!("{metric} (%)")));
    let _ = writeln!(out, "        items: {}", value.n);
    let _ = writeln!(out, "        low_95: {}\n        high_95: {}", percent(value.low), percent(value.high));
    if let Some(base) = figure.base {
        let _ = writeln!(out, "        base_model_value: {}", percent(base.accuracy));
    }
}

/// The id on the hub of a built-in benchmark's data: a benchmark is called as its environment, or that and a variant.
fn hub_of(benchmark: &str) -> Option<String> {
    let entry = find("environment", ENVIRONMENTS, benchmark.split('/').next()?).ok()?;
    Some((entry.schema)().get("x-data-set")?.get("hub")?.as_str()?.to_owned())
}

/// A name as the hub takes it for a data set's: without spaces and marks.
fn word(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/') { c } else { '-' };
    name.chars().map(plain).collect()
}

/// Text as YAML: as it is where nothing in it means anything to YAML, else quoted as JSON, which YAML reads.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let sound = text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain);
    let said = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_lowercase().as_str());
    if sound && !said { text.to_owned() } else { json_line(&text).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_yaml_is_quoted() {
        for (text, expected) in [
            ("apache-2.0", "apache-2.0"),
            ("openai/gsm8k", "openai/gsm8k"),
            ("", "\"\""),
            ("no", "\"no\""),
            ("1.5", "\"1.5\""),
            ("pass@8", "\"pass@8\""),
            ("a: b", "\"a: b\""),
            ("- x", "\"- x\""),
            ("say \"hi\"\n# no", "\"say \\\"hi\\\"\\n# no\""),
        ] {
            assert_eq!(scalar(text), expected);
        }
    }

    #[test]
    fn benchmarks_know_where_their_data_lies() {
        assert_eq!(hub_of("gsm8k").as_deref(), Some("openai/gsm8k"));
        assert_eq!(hub_of("bbh/snarks").as_deref(), Some("lukaemon/bbh"));
        assert_eq!(hub_of("arithmetic/1"), None);
        assert_eq!(hub_of("mine"), None);
        assert_eq!(word("my own: one"), "my-own--one");
    }
}
