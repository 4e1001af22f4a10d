//! How large a count may be.
//!
//! A count that costs memory, threads or endless time for every one of it is refused beyond its bound before a model is
//! loaded. All bounds stand here, by the name of the setting; a command's flags take them from here, too. Counts without
//! a bound cost nothing: what only cuts off (`limit`), seeds, steps between events.

use serde_json::Value;

use crate::ConfigError;

/// The most nodes of the trees that grow at once: samples of a step of training, of a measurement, of a search.
pub const MOST_NODES: u64 = 1 << 20;

/// The most tokens of a text or a batch.
const TOKENS: u64 = 1 << 24;
/// The most alternatives at one place, of which each is a sequence of its own.
const ALTERNATIVES: u64 = 1 << 16;
/// The most samples of an item.
pub const MOST_SAMPLES: u64 = 100_000;
/// The most threads or processes.
const WORKERS: u64 = 1 << 10;

/// The bound of every count that has one, by the name that it has in settings.
const BOUNDS: &[(&str, u64)] = &[
    // Of a run.
    ("steps", 10_000_000),
    ("tasks", ALTERNATIVES),
    ("minibatches", ALTERNATIVES),
    ("epochs", 1000),
    ("batch_tokens", TOKENS),
    ("sequences", ALTERNATIVES),
    ("context", TOKENS),
    ("items", 1_000_000),
    ("samples", MOST_SAMPLES),
    ("examples", 1000),
    ("max_tokens", TOKENS),
    // Of strategies and scorers.
    ("n", MOST_SAMPLES),
    ("width", ALTERNATIVES),
    ("breadth", ALTERNATIVES),
    ("k", ALTERNATIVES),
    ("expand", ALTERNATIVES),
    ("rollouts", ALTERNATIVES),
    ("look_ahead", ALTERNATIVES),
    ("waits", ALTERNATIVES),
    ("rounds", ALTERNATIVES),
    ("times", ALTERNATIVES),
    ("at_once", ALTERNATIVES),
    ("most", ALTERNATIVES),
    ("simulations", 1 << 18),
    ("iterations", 1 << 18),
    ("thinking", TOKENS),
    ("answer_tokens", TOKENS),
    // Tokens of a tree, which stays in memory.
    ("budget", TOKENS),
    // Of rewards and environments.
    ("workers", WORKERS),
    ("concurrency", WORKERS),
    ("retries", 1000),
    ("digits", 1000),
    ("memory_mb", 1 << 24),
    ("disk_mb", 1 << 24),
    ("output_kb", 1 << 20),
    ("processes", ALTERNATIVES),
    // Of commands.
    ("seconds", 31_536_000),
];

/// The bound of the count called `name`, if it has one.
#[must_use]
pub fn most(name: &str) -> Option<u64> {
    BOUNDS.iter().find_map(|(bounded, most)| (*bounded == name).then_some(*most))
}

/// Writes the bounds into a schema, as `maximum` of the whole numbers that have one.
pub(crate) fn write(schema: &mut Value) {
    if let Some(Value::Object(properties)) = schema.get_mut("properties") {
        for (name, property) in properties {
            if let (true, Some(most), Value::Object(property)) = (is_count(property), most(name), property) {
                property.entry("maximum").or_insert_with(|| most.into());
            }
        }
    }
    match schema {
        Value::Object(map) => map.values_mut().for_each(write),
        Value::Array(list) => list.iter_mut().for_each(write),
        _ => {}
    }
}

fn is_count(schema: &Value) -> bool {
    let is = |name: &Value| name == "integer";
    schema.get("type").is_some_and(|kind| is(kind) || kind.as_array().is_some_and(|kinds| kinds.iter().any(is)))
}

/// Every whole number in `value` that is beyond the `maximum` that `schema` states.
#[must_use]
pub fn beyond(schema: &Value, value: &Value) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    look(schema, schema, value, "", &mut errors);
    errors
}

fn look(root: &Value, schema: &Value, value: &Value, path: &str, errors: &mut Vec<ConfigError>) {
    let below = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    let most = schema.get("maximum").and_then(Value::as_u64);
    if let Some((most, got)) = most.zip(value.as_u64()).filter(|(most, got)| got > most) {
        errors.push(ConfigError::at(path, format!("expected at most {most}, got {got}")));
    }
    let target = schema.get("$ref").and_then(Value::as_str).map(|target| target.trim_start_matches('#'));
    if let Some(target) = target.and_then(|target| root.pointer(target)) {
        look(root, target, value, path, errors);
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for option in schema.get(key).and_then(Value::as_array).into_iter().flatten() {
            look(root, option, value, path, errors);
        }
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let property = schema.get("properties").and_then(|properties| properties.get(name));
                if let Some(property) = property.or_else(|| schema.get("additionalProperties")) {
                    look(root, property, value, &below(name), errors);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                for (at, value) in list.iter().enumerate() {
                    look(root, items, value, &below(&at.to_string()), errors);
                }
            }
        }
        _ => {}
    }
}

/// Refuses counts whose product is more nodes than may grow at once.
///
/// # Errors
/// About the first of the counts, with all of them.
pub fn together(counts: &[(&str, u64)]) -> Result<(), ConfigError> {
    let product = counts.iter().try_fold(1_u64, |product, (_, count)| product.checked_mul(*count));
    if product.is_some_and(|product| product <= MOST_NODES) {
        return Ok(());
    }
    let names: Vec<&str> = counts.iter().map(|(name, _)| *name).collect();
    let given: Vec<String> = counts.iter().map(|(_, count)| count.to_string()).collect();
    let what = format!("expected {} to be at most {MOST_NODES}, got {}", names.join(" x "), given.join(" x "));
    Err(ConfigError::at(names.first().copied().unwrap_or_default(), what))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Settings with tables in them.
    #[derive(serde::Deserialize, schemars::JsonSchema)]
    #[serde(default)]
    #[allow(dead_code)]
    #[derive(Default)]
    struct Outer {
        n: usize,
        limit: u64,
        seed: u64,
        inner: Option<Inner>,
        all: Vec<Inner>,
        free: std::collections::BTreeMap<String, u64>,
    }

    #[derive(serde::Deserialize, schemars::JsonSchema, Default)]
    #[serde(default)]
    #[allow(dead_code)]
    struct Inner {
        max_tokens: Option<u64>,
    }

    #[test]
    fn a_count_beyond_its_bound_is_refused_wherever_it_stands() {
        let many = u64::MAX;
        for (settings, error) in [
            (json!({"n": 100_000, "limit": many, "seed": many, "free": {"n": many}}), None),
            (json!({"n": 100_001}), Some("n: expected at most 100000, got 100001")),
            (json!({"n": many}), Some("n: expected at most 100000, got 18446744073709551615")),
            (
                json!({"inner": {"max_tokens": 1_000_000_000}}),
                Some("inner.max_tokens: expected at most 16777216, got 1000000000"),
            ),
            (json!({"inner": {"max_tokens": null}, "all": [{}]}), None),
            (
                json!({"all": [{}, {"max_tokens": 1_000_000_000}]}),
                Some("all.1.max_tokens: expected at most 16777216, got 1000000000"),
            ),
        ] {
            let got = crate::parse::<Outer>(settings.clone()).err().map(|error| error.to_string());
            assert_eq!(got.as_deref(), error, "{settings}");
        }
    }

    #[test]
    fn a_product_is_bounded_without_overflow() {
        assert!(together(&[("a", 1 << 10), ("b", 1 << 10)]).is_ok());
        for counts in [[("a", (1 << 10) + 1), ("b", 1 << 10)], [("a", u64::MAX), ("b", u64::MAX)]] {
            let error = together(&counts).unwrap_err().to_string();
            let given = format!("got {} x {}", counts[0].1, counts[1].1);
            assert!(
                error.starts_with("a: expected a x b to be at most 1048576, ") && error.ends_with(&given),
                "{error}"
            );
        }
    }
}
