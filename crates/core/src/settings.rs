//! Reading settings, and what does not fit in words that need no knowledge of Rust.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{ConfigError, bounds, schema_of};

/// Reads settings strictly; the error names the path of what does not fit.
///
/// # Errors
/// On an unknown key, a value of the wrong type or a count beyond its [bound](crate::bounds).
pub fn parse<C: DeserializeOwned + JsonSchema>(settings: Value) -> Result<C, ConfigError> {
    let beyond = bounds::beyond(&schema_of::<C>(), &settings).into_iter().next();
    let read = read(settings)?;
    beyond.map_or(Ok(read), Err)
}

/// Like [`parse`], for whoever looks at the [`bounds`](mod@crate::bounds) apart.
///
/// # Errors
/// On an unknown key or a value of the wrong type.
pub fn read<C: DeserializeOwned + JsonSchema>(settings: Value) -> Result<C, ConfigError> {
    // Looked at first, for serde takes a list for a table and names Rust's types.
    if let Some(error) = misfit(&schema_of::<C>(), &settings) {
        return Err(error);
    }
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        ConfigError::at(path, plain(&error.into_inner().to_string()))
    })
}

/// The first value that is no table, no list or none of a few names where `schema` has one.
#[must_use]
pub fn misfit(schema: &Value, value: &Value) -> Option<ConfigError> {
    within(schema, schema, value, &mut Vec::new())
}

fn within(root: &Value, schema: &Value, value: &Value, path: &mut Vec<String>) -> Option<ConfigError> {
    let wrong = |path: &[String], expected: &str| {
        Some(ConfigError::at(path.join("."), format!("expected {expected}, got {}", named(value))))
    };
    if let Some(place) = schema.get("$ref").and_then(Value::as_str) {
        return within(root, root.pointer(place.strip_prefix('#')?)?, value, path);
    }
    if let Some(all) = schema.get("anyOf").and_then(Value::as_array) {
        let some: Vec<&Value> = all.iter().filter(|one| one.get("type") != Some(&Value::from("null"))).collect();
        return match some[..] {
            [one] if !value.is_null() => within(root, one, value, path),
            _ => None,
        };
    }
    if let Some(names) = names(schema).filter(|_| !value.is_string()) {
        return wrong(path, &format!("one of {}", names.join(", ")));
    }
    let mut deeper = |key: String, schema: &Value, value: &Value| {
        path.push(key);
        let found = within(root, schema, value, path);
        path.pop();
        found
    };
    match (schema.get("type").and_then(Value::as_str), value) {
        (Some("object"), Value::Object(settings)) => settings.iter().find_map(|(key, value)| {
            let known = schema.get("properties").and_then(|known| known.get(key));
            deeper(key.clone(), known.or_else(|| schema.get("additionalProperties"))?, value)
        }),
        (Some("array"), Value::Array(items)) => {
            let each = schema.get("prefixItems").and_then(Value::as_array);
            if let Some(each) = each.filter(|each| each.len() != items.len()) {
                return wrong(path, &format!("a list of {}", each.len()));
            }
            items.iter().enumerate().find_map(|(place, item)| {
                let schema = each.map_or_else(|| schema.get("items"), |each| each.get(place))?;
                deeper(place.to_string(), schema, item)
            })
        }
        (Some("object"), _) => wrong(path, "a table of settings"),
        (Some("array"), _) => wrong(path, "a list"),
        _ => None,
    }
}

/// The names that a setting can have, where it can have nothing else.
fn names(schema: &Value) -> Option<Vec<String>> {
    let quoted = |name: &Value| name.as_str().map(|name| format!("`{name}`"));
    if let Some(all) = schema.get("enum").and_then(Value::as_array) {
        return all.iter().map(quoted).collect();
    }
    let all = schema.get("oneOf").and_then(Value::as_array)?;
    let each = all.iter().map(|one| names(one).or_else(|| Some(vec![quoted(one.get("const")?)?])));
    each.collect::<Option<Vec<_>>>().map(|names| names.concat())
}

/// A value as an error names it.
fn named(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Object(_) => "a table".to_owned(),
        Value::Array(items) => format!("a list of {}", items.len()),
        other => {
            let text = other.to_string();
            if text.chars().count() > 60 { text.chars().take(59).chain(['…']).collect() } else { text }
        }
    }
}

/// What serde says, in the words of recipes.
#[must_use]
pub fn plain(message: &str) -> String {
    let mut message = message.to_owned();
    for (theirs, ours) in [
        ("unknown field", "unknown key"),
        ("unknown variant", "unknown name"),
        ("floating point", "the number"),
        ("type: sequence", "type: a list"),
        ("type: map", "type: a table"),
        ("value: map", "value: a table"),
        ("type: unit value", "type: nothing"),
        ("type: null", "type: nothing"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected a table"),
        ("expected string or map", "expected a name in quotes or a table"),
        ("expected map with a single key", "expected a table with a single key"),
        ("expected a tuple of size ", "expected a list of "),
        ("expected unit variant", "expected a name alone"),
        ("expected newtype variant", "expected a table with that key"),
        ("expected a borrowed string", "expected a string"),
    ] {
        message = message.replace(theirs, ours);
    }
    for (types, ours) in [
        (&["u64", "usize", "u32", "u16", "u8"][..], "a whole number from 0 up"),
        (&["a nonzero u64", "a nonzero usize", "a nonzero u32"], "a whole number above 0"),
        (&["i64", "i32"], "a whole number"),
        (&["f64", "f32"], "a number"),
    ] {
        for name in types {
            message = message.replace(&format!("expected {name}"), &format!("expected {ours}"));
        }
    }
    // `expected struct Name`, with whatever follows.
    for kind in ["struct", "tuple struct", "internally tagged enum", "enum", "variant of enum"] {
        let start = format!("expected {kind} ");
        while let Some(at) = message.find(&start) {
            let name = at + start.len();
            let end = message[name..]
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .map_or(message.len(), |len| name + len);
            message.replace_range(at..end, "expected a table of settings");
        }
    }
    message
}

/// `text` with numbers of more digits than any whole number of 64 bits in scientific notation.
pub(crate) fn brief_numbers(text: &str) -> String {
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_part) {
        let end = rest[start..].find(|c| !is_part(c)).map_or(rest.len(), |len| start + len);
        let (number, full) = (&rest[start..end], rest[start..end].trim_end_matches('.'));
        out += &rest[..start];
        let digits = number.bytes().filter(u8::is_ascii_digit).count();
        match full.parse::<f64>() {
            Ok(value) if digits > 20 => {
                out += &if value.is_finite() { format!("{value:e}") } else { format!("a number of {digits} digits") };
                out += &number[full.len()..];
            }
            _ => out += number,
        }
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    #[allow(dead_code)]
    struct Outer {
        inner: Option<Inner>,
        list: Vec<Inner>,
        kind: Kind,
        pair: (f64, f64),
        map: BTreeMap<String, Inner>,
        many: u64,
    }

    impl Default for Outer {
        fn default() -> Self {
            let (inner, list, kind) = (None, Vec::new(), Kind::One);
            Self { inner, list, kind, pair: (0.0, 0.0), map: BTreeMap::new(), many: 0 }
        }
    }

    #[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
    #[serde(default, deny_unknown_fields)]
    #[allow(dead_code)]
    struct Inner {
        number: f64,
        deep: Option<Box<Inner>>,
    }

    #[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        /// The first.
        One,
        /// The second.
        Two,
    }

    #[test]
    fn no_list_passes_for_a_table_and_no_type_is_rusts() {
        for (settings, path, message) in [
            (json!([1]), "", "expected a table of settings, got a list of 1"),
            (json!(5), "", "expected a table of settings, got 5"),
            (json!({"inner": 5}), "inner", "expected a table of settings, got 5"),
            (json!({"inner": [1.0]}), "inner", "expected a table of settings, got a list of 1"),
            (json!({"inner": {"deep": "x"}}), "inner.deep", "expected a table of settings, got \"x\""),
            (json!({"list": {}}), "list", "expected a list, got a table"),
            (json!({"list": [{}, true]}), "list.1", "expected a table of settings, got true"),
            (json!({"kind": 5}), "kind", "expected one of `one`, `two`, got 5"),
            (json!({"kind": {"one": 5}}), "kind", "expected one of `one`, `two`, got a table"),
            (json!({"kind": "three"}), "kind", "unknown name `three`, expected `one` or `two`"),
            (json!({"pair": [1]}), "pair", "expected a list of 2, got a list of 1"),
            (json!({"pair": [1, 2, 3]}), "pair", "expected a list of 2, got a list of 3"),
            (json!({"pair": 1}), "pair", "expected a list, got 1"),
            (json!({"map": {"a": 1}}), "map.a", "expected a table of settings, got 1"),
            (json!({"many": []}), "many", "invalid type: a list, expected a whole number from 0 up"),
            (json!({"many": {}}), "many", "invalid type: a table, expected a whole number from 0 up"),
            (json!({"many": null}), "many", "invalid type: nothing, expected a whole number from 0 up"),
        ] {
            let error = parse::<Outer>(settings.clone()).unwrap_err();
            assert_eq!((error.path.as_str(), error.message.as_str()), (path, message), "{settings}");
        }
        assert!(parse::<Outer>(json!({"inner": null, "list": [{"deep": {}}], "pair": [1, 2]})).is_ok());
    }

    #[test]
    fn numbers_in_errors_are_brief() {
        for (text, expected) in [
            (format!("got {}", f64::MAX), "got 1.7976931348623157e308"),
            (format!("from -{} to 1.", 1e30), "from -1e30 to 1."),
            (format!("got {}.", 1e30), "got 1e30."),
            (format!("got {}", 1e-300), "got 1e-300"),
            (
                "18446744073709551615 and 1.2.3 ... and 0.30000000000000004".to_owned(),
                "18446744073709551615 and 1.2.3 ... and 0.30000000000000004",
            ),
            ("9".repeat(400), "a number of 400 digits"),
        ] {
            assert_eq!(brief_numbers(&text), expected);
        }
    }
}
