//! The words of a `config.json`, with what the family takes for those that are left out.

use serde_json::Value;

use super::ConfigInvalid;
use crate::families::FAMILIES;

/// A `config.json` over its family's own values.
pub(super) struct Words<'a> {
    pub(super) model_type: &'a str,
    raw: &'a Value,
    defaults: Value,
}

impl<'a> Words<'a> {
    pub(super) fn new(raw: &'a Value) -> Result<Self, ConfigInvalid> {
        let model_type = raw
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| ConfigInvalid("`model_type` is missing".to_owned()))?;
        let family = FAMILIES.iter().find(|family| family.name == model_type);
        let defaults = family.map_or(Value::Null, |family| (family.defaults)());
        Ok(Self { model_type, raw, defaults })
    }

    /// A value that is not null. A null in the file stands for "none": the family's own is not taken.
    pub(super) fn value(&self, key: &str) -> Option<&Value> {
        self.raw.get(key).or_else(|| self.defaults.get(key)).filter(|value| !value.is_null())
    }

    /// Whether the family has its own value for a word, and so knows what to do with it.
    pub(super) fn family_has(&self, key: &str) -> bool {
        self.defaults.get(key).is_some()
    }

    fn typed<'v, T>(
        &'v self,
        key: &str,
        expected: &str,
        read: impl Fn(&'v Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigInvalid> {
        let wrong = |value: &Value| ConfigInvalid(format!("`{key}`: expected {expected}, got {value}"));
        self.value(key).map(|value| read(value).ok_or_else(|| wrong(value))).transpose()
    }

    /// A whole number of at least 0.
    pub(super) fn whole(&self, key: &str) -> Result<Option<usize>, ConfigInvalid> {
        let small = |value: &Value| value.as_u64().filter(|&n| n < 1 << 32).map(|n| n as usize);
        self.typed(key, "a whole number", small)
    }

    /// A positive whole number that must be there.
    pub(super) fn count(&self, key: &str) -> Result<usize, ConfigInvalid> {
        let positive = |value: &Value| value.as_u64().filter(|&n| n > 0 && n < 1 << 32).map(|n| n as usize);
        let count = self.typed(key, "a positive whole number", positive)?;
        count.ok_or_else(|| ConfigInvalid(format!("`{key}` is missing")))
    }

    pub(super) fn count_or(&self, key: &str, other: usize) -> Result<usize, ConfigInvalid> {
        if self.value(key).is_some() { self.count(key) } else { Ok(other) }
    }

    pub(super) fn number(&self, key: &str) -> Result<Option<f64>, ConfigInvalid> {
        self.typed(key, "a number", |value| value.as_f64().filter(|x| x.is_finite()))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, ConfigInvalid> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, ConfigInvalid> {
        self.typed(key, "a string", Value::as_str)
    }

    /// Refuses settings that no family here implements, unless they are off.
    pub(super) fn refuse(&self, keys: &[&str]) -> Result<(), ConfigInvalid> {
        match keys.iter().find_map(|key| self.value(key).filter(|v| **v != Value::Bool(false)).map(|v| (key, v))) {
            None => Ok(()),
            Some((key, value)) => Err(ConfigInvalid(format!("`{key}`: expected none, got {value}"))),
        }
    }
}
