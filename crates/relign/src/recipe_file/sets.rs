//! `--set a.b=c`.

use serde_json::{Map, Value};

/// Changes `value` as each of `sets` (`a.b=c`) says. Tables on the way are made; whether the setting
/// exists is found out when the recipe is read.
///
/// # Errors
/// If one has no `=`, names nothing, or goes through something that is not a table.
pub(crate) fn apply(value: &mut Value, sets: &[String]) -> Result<(), String> {
    for set in sets {
        let Some((path, text)) = set.split_once('=') else {
            return Err(format!("--set {set}: expected KEY=VALUE, for example run.steps=50"));
        };
        let path = path.trim();
        let parts: Vec<&str> = path.split('.').map(str::trim).collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(format!("--set {set}: expected a dotted key, for example run.steps, got `{path}`"));
        }
        let new = parse(text.trim()).map_err(|what| format!("--set {set}: {what}"))?;
        put(value, &parts, new).map_err(|what| format!("--set {set}: {what}"))?;
    }
    Ok(())
}

/// The `--set` that gave the setting at `path`, a table around it or, where `inside` is looked at too, something in it;
/// the last one wins.
pub(super) fn origin<'a>(sets: &'a [String], path: &str, inside: bool) -> Option<&'a str> {
    let under = |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.starts_with('.'));
    sets.iter().rev().map(String::as_str).find(|set| {
        let key = set.split('=').next().unwrap_or_default().trim();
        path == key || under(path, key) || (inside && under(key, path))
    })
}

/// `text` as a TOML value, or else as the string it is.
fn parse(text: &str) -> Result<Value, String> {
    let document = format!("v = {text}");
    let Ok(document) = toml::de::DeTable::parse(&document) else {
        return Ok(Value::String(text.to_owned()));
    };
    let value = super::place::to_json(document.get_ref()).map_err(|(_, what)| what)?;
    Ok(value.get("v").cloned().unwrap_or(Value::Null))
}

fn put(value: &mut Value, path: &[&str], new: Value) -> Result<(), String> {
    let (first, rest) = path.split_first().expect("a path has at least one part");
    let slot = match value {
        Value::Object(map) => map.entry((*first).to_owned()).or_insert(Value::Null),
        Value::Array(items) => {
            let count = items.len();
            let index = first.parse::<usize>().ok().filter(|&index| index < count);
            let index = index.ok_or_else(|| {
                format!("expected a place from 0 to {} in the list, got `{first}`", count.saturating_sub(1))
            })?;
            &mut items[index]
        }
        other => return Err(format!("`{first}` is looked for inside {other}, which is not a table")),
    };
    if rest.is_empty() {
        *slot = new;
        return Ok(());
    }
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    put(slot, rest, new)
}
