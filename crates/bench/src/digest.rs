//! Hashes of definitions, data and results.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// SHA-256 of `parts` one after another, as hexadecimal digits.
pub(crate) fn sha256<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    parts.into_iter().for_each(|part| hasher.update(part));
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of a value's canonical JSON: keys sorted at every depth, no spaces.
pub(crate) fn of(value: &impl Serialize) -> String {
    // What is hashed here are tables and lists with strings for keys, which JSON always holds.
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    let mut text = String::new();
    canonical(&value, &mut text);
    sha256([text.as_bytes()])
}

fn canonical(value: &Value, into: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort();
            into.push('{');
            for (place, key) in keys.into_iter().enumerate() {
                into.push_str(if place == 0 { "" } else { "," });
                into.push_str(&Value::from(key.as_str()).to_string());
                into.push(':');
                canonical(&map[key], into);
            }
            into.push('}');
        }
        Value::Array(list) => {
            into.push('[');
            for (place, value) in list.iter().enumerate() {
                into.push_str(if place == 0 { "" } else { "," });
                canonical(value, into);
            }
            into.push(']');
        }
        plain => into.push_str(&plain.to_string()),
    }
}
