//! In what two recipes differ.

use relign_core::Recipe;
use serde_json::Value;

/// The first setting in which the recipe `before` differs from `after`: its path and both values; none where they are the
/// same.
pub(crate) fn difference(before: &Recipe, after: &Recipe) -> Option<(String, String, String)> {
    let values = |recipe| serde_json::to_value(super::public(recipe)).unwrap_or_default();
    between(&values(before), &values(after), &mut Vec::new())
}

fn between(before: &Value, after: &Value, path: &mut Vec<String>) -> Option<(String, String, String)> {
    let keys: Vec<String> = match (before, after) {
        _ if before == after => return None,
        (Value::Object(a), Value::Object(b)) => {
            a.keys().chain(b.keys().filter(|key| !a.contains_key(*key))).cloned().collect()
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).map(|place| place.to_string()).collect()
        }
        _ => return Some((path.join("."), before.to_string(), after.to_string())),
    };
    let inside = |value: &Value, key: &str| match value {
        Value::Object(map) => map.get(key).cloned(),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?).cloned(),
        _ => None,
    };
    keys.into_iter().find_map(|key| {
        let (ours, theirs) = (inside(before, &key), inside(after, &key));
        path.push(key);
        let found = match (ours, theirs) {
            (Some(ours), Some(theirs)) => between(&ours, &theirs, path),
            (ours, theirs) => {
                let word = |value: Option<Value>| value.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
                Some((path.join("."), word(ours), word(theirs)))
            }
        };
        path.pop();
        found
    })
}
