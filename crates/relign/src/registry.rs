//! All tables, seen alike: what `list`, `explain` and the check of recipes read.

use relign_core::{ConfigError, Entry, Environment, Reward, Scorer, find};
use relign_search::{SCORERS, STRATEGIES, StrategyFactory};
use relign_tasks::{ENVIRONMENTS, REWARDS};
use relign_train::{ALGORITHMS, Algorithm};
use serde_json::Value;

/// A kind of thing that a recipe names.
pub(crate) struct Kind {
    /// What it is called.
    pub(crate) name: &'static str,
    /// Several of them.
    pub(crate) plural: &'static str,
    /// Where it stands in a recipe.
    pub(crate) section: &'static str,
    /// The names of all there are.
    pub(crate) names: fn() -> Vec<&'static str>,
    /// The schema of one.
    pub(crate) schema: fn(&str) -> Option<Value>,
    /// Builds one, for its errors alone.
    pub(crate) build: fn(&str, Value) -> Result<(), ConfigError>,
}

macro_rules! kind {
    ($name:literal, $plural:literal, $section:literal, $table:expr, $of:ty) => {
        Kind {
            name: $name,
            plural: $plural,
            section: $section,
            names: || names::<$of>($table),
            schema: |name| find::<$of>($name, $table, name).ok().map(|entry| (entry.schema)()),
            build: |name, settings| {
                let entry: &Entry<$of> = find($name, $table, name)?;
                (entry.build)(settings).map(drop)
            },
        }
    };
}

/// Every kind, in the order of a recipe's sections.
pub(crate) const KINDS: &[Kind] = &[
    kind!("algorithm", "algorithms", "[algorithm]", ALGORITHMS, dyn Algorithm),
    kind!("environment", "environments", "[environment]", ENVIRONMENTS, dyn Environment),
    kind!("reward", "rewards", "[[rewards]]", REWARDS, dyn Reward),
    kind!("strategy", "strategies", "[strategy]", STRATEGIES, dyn StrategyFactory),
    kind!("scorer", "scorers", "[strategy.scorer]", SCORERS, dyn Scorer),
];

fn names<T: ?Sized>(table: &[Entry<T>]) -> Vec<&'static str> {
    table.iter().map(|entry| entry.name).collect()
}

/// The manual in a schema: the doc comment of the thing's struct.
pub(crate) fn manual(schema: &Value) -> &str {
    schema.get("description").and_then(Value::as_str).unwrap_or_default()
}

/// The first line of a manual.
pub(crate) fn summary(schema: &Value) -> String {
    manual(schema).split("\n\n").next().unwrap_or_default().replace('\n', " ")
}

#[cfg(test)]
mod tests;
