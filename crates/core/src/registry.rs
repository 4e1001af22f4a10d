//! One line per algorithm, reward, environment or strategy.

use serde_json::Value;

use crate::bounds;

/// One line of a folder's table: a name, the settings' schema (their documentation too) and how to
/// build the thing from settings.
///
/// ```
/// use relign_core::{Entry, Reward, Score, Task, Transcript, parse, schema_of};
///
/// /// Pays for brevity.
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(default, deny_unknown_fields)]
/// struct Brief { limit: usize }
/// impl Default for Brief { fn default() -> Self { Self { limit: 100 } } }
/// impl Reward for Brief {
///     fn score(&self, _: &Task, t: &Transcript) -> Score {
///         if t.last().len() <= self.limit { Score::correct("brief") } else { Score::wrong("long") }
///     }
/// }
/// const ENTRY: Entry<dyn Reward> = Entry {
///     name: "brief",
///     schema: schema_of::<Brief>,
///     build: |settings| Ok(Box::new(parse::<Brief>(settings)?)),
/// };
/// assert!((ENTRY.build)(serde_json::json!({"limits": 3})).is_err());
/// ```
pub struct Entry<T: ?Sized> {
    /// The registry name, equal to the file's.
    pub name: &'static str,
    /// The JSON schema of the settings; its description is the thing's manual.
    pub schema: fn() -> Value,
    /// Builds the thing from its settings.
    pub build: fn(Value) -> Result<Box<T>, ConfigError>,
}

impl<T: ?Sized> Entry<T> {
    /// The manual: the doc comment of the thing's struct.
    #[must_use]
    pub fn doc(&self) -> String {
        (self.schema)().get("description").and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// The manual's first line.
    #[must_use]
    pub fn summary(&self) -> String {
        self.doc().lines().next().unwrap_or_default().to_owned()
    }
}

/// Settings that do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct ConfigError {
    /// Where, as a dotted path within the settings; empty for the whole.
    pub path: String,
    /// What is wrong: thing, expected, got.
    pub message: String,
}

impl ConfigError {
    /// An error about the setting at `path`.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: crate::without_secrets(&crate::settings::brief_numbers(&message.into())) }
    }

    /// The same error, seen from the table `section` that holds the settings.
    #[must_use]
    pub fn within(mut self, section: &str) -> Self {
        self.path = if self.path.is_empty() { section.to_owned() } else { format!("{section}.{}", self.path) };
        self
    }
}

/// The JSON schema of `C`, with the [bounds](crate::bounds) of its counts.
#[must_use]
pub fn schema_of<C: schemars::JsonSchema>() -> Value {
    let mut schema = schemars::schema_for!(C).to_value();
    bounds::write(&mut schema);
    schema
}

/// The entry called `name`, or an error that lists what there is and suggests the nearest.
///
/// # Errors
/// If no entry has that name.
pub fn find<'a, T: ?Sized>(kind: &str, table: &'a [Entry<T>], name: &str) -> Result<&'a Entry<T>, ConfigError> {
    table.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let names: Vec<_> = table.iter().map(|entry| entry.name).collect();
        ConfigError::at("name", format!("unknown {kind} `{name}`, expected one of: {}", names.join(", ")))
    })
}
