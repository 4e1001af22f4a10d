use relign_core::{Recipe, schema_of};
use serde_json::{Value, json};

use super::*;

/// Counts without a bound: what only cuts off, seeds, lengths to compare with, bounds that a check of their own states.
const FREE: &[&str] = &[
    "seed",
    "shuffle",
    "limit",
    "bad_rows",
    "warmup",
    "every",
    "top_k",
    "score_from",
    "top_logprobs",
    "buffer",
    "min_chars",
    "max_chars",
    "shortest",
    "ngram", // stated by the environments that have them
    "level",
    "terms",
    "min",
    "max",
    "numbers",
    "target",
];

/// Every whole number in a schema with the path to it, tables within tables included.
fn counts(root: &Value, schema: &Value, path: &[String], found: &mut Vec<Vec<String>>) {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(target) => root.pointer(target.trim_start_matches('#')).unwrap_or(schema),
        None => schema,
    };
    let kinds = schema.get("type").map(|kind| kind.to_string()).unwrap_or_default();
    if kinds.contains("integer") {
        found.push(path.to_vec());
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        counts(root, property, &[path, std::slice::from_ref(name)].concat(), found);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for option in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            counts(root, option, path, found);
        }
    }
}

/// A table that holds `value` at `path`.
fn at(path: &[String], value: u64) -> Value {
    path.iter().rev().fold(json!(value), |inner, name| json!({name: inner}))
}

#[test]
fn every_count_of_everything_registered_is_bounded() {
    for kind in KINDS {
        for name in (kind.names)() {
            let schema = (kind.schema)(name).unwrap();
            let mut found = Vec::new();
            counts(&schema, &schema, &[], &mut found);
            for path in found {
                let last = path.last().unwrap().as_str();
                if FREE.contains(&last) {
                    continue;
                }
                for given in [1_000_000_000, 1 << 40, u64::MAX] {
                    let error = (kind.build)(name, at(&path, given)).expect_err(&format!("{name} {path:?} {given}"));
                    let error = error.to_string();
                    let place = path.join(".");
                    assert!(
                        error.contains(&place) && error.contains(&given.to_string()) || error.contains("expected u32"),
                        "{name}: {place} = {given}: {error}"
                    );
                }
            }
        }
    }
}

#[test]
fn every_count_of_a_recipe_is_bounded() {
    let schema = schema_of::<Recipe>();
    let mut found = Vec::new();
    counts(&schema, &schema, &[], &mut found);
    let plain = "[model]\npath = 'm'\n[environment]\nname = 'arithmetic'\n[algorithm]\nname = 'grpo'\n";
    let bounded: Vec<_> =
        found.iter().filter(|path| path.len() == 2 && !FREE.contains(&path[1].as_str())).map(|p| p.join(".")).collect();
    for count in ["run.steps", "run.tasks", "run.epochs", "eval.items", "eval.samples", "sampling.max_tokens"] {
        assert!(bounded.iter().any(|path| path == count), "{count}: {bounded:?}");
    }
    for path in bounded {
        for given in [1_000_000_000, i64::MAX] {
            let sets = [format!("{path}={given}"), "eval.temperature=1".to_owned()];
            let error = crate::recipe_file::read("recipe", plain, &sets).expect_err(&format!("{path} = {given}"));
            assert!(error.contains(&format!("{path}: expected at most")), "{path} = {given}: {error}");
            assert!(error.contains(&format!("got {given}")), "{path} = {given}: {error}");
        }
    }
}

#[test]
fn what_grows_at_once_is_bounded_as_a_whole() {
    let plain = "[model]\npath = 'm'\n[environment]\nname = 'arithmetic'\n[algorithm]\nname = 'grpo'\n";
    for (sets, expected) in [
        (
            &["run.tasks=60000", "strategy.name='sample'", "strategy.n=60000"][..],
            "run.tasks: expected run.tasks x nodes of a task (sample)",
        ),
        (
            &["eval.items=1000000", "eval.samples=5", "eval.temperature=1"],
            "eval.items: expected eval.items x eval.samples",
        ),
        (&["strategy.name='mcts'", "strategy.simulations=262144", "strategy.expand=5"], "simulations x expand"),
    ] {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let error = crate::recipe_file::read("recipe", plain, &sets).unwrap_err();
        assert!(error.contains(expected) && error.contains("at most 1048576"), "{sets:?}: {error}");
    }
}
