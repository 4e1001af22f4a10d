//! Where in the text a setting stands.

use std::ops::Range;

use serde_json::{Map, Number, Value};
use toml::de::{DeTable, DeValue};

/// The document's value, or what in it a recipe cannot hold and where.
pub(super) fn to_json(table: &DeTable<'_>) -> Result<Value, (Range<usize>, String)> {
    let mut map = Map::new();
    for (key, value) in table {
        map.insert(key.get_ref().to_string(), value_to_json(value.get_ref(), value.span())?);
    }
    Ok(Value::Object(map))
}

fn value_to_json(value: &DeValue<'_>, span: Range<usize>) -> Result<Value, (Range<usize>, String)> {
    let no = |what: String| (span.clone(), what);
    Ok(match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            let parsed = i128::from_str_radix(&digits, number.radix()).ok().and_then(Number::from_i128);
            Value::Number(parsed.ok_or_else(|| no(format!("the number {digits} does not fit 64 bits")))?)
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().replace('_', "").parse().ok().and_then(Number::from_f64);
            Value::Number(parsed.ok_or_else(|| no(format!("expected a finite number, got {}", number.as_str())))?)
        }
        DeValue::Datetime(date) => {
            return Err(no(format!("a recipe has no dates, got {date}; quote it to make it text")));
        }
        DeValue::Array(items) => {
            Value::Array(items.iter().map(|item| value_to_json(item.get_ref(), item.span())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => to_json(table)?,
    })
}

/// `rewards[0].weight` as `rewards.0.weight`; the whole as an empty path.
pub(super) fn normal(path: &str) -> String {
    if path == "." { String::new() } else { path.replace('[', ".").replace(']', "") }
}

/// The text of the setting at `path`: its value, or its key where the value is a table of its own; of
/// a setting that is missing, the nearest table around it.
pub(super) fn find(table: &DeTable<'_>, path: &str) -> Option<Range<usize>> {
    let mut parts = path.split('.').filter(|part| !part.is_empty());
    let first = parts.next()?;
    let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
    let parts: Vec<&str> = parts.collect();
    Some(if parts.is_empty() {
        of_entry(key.span(), value.get_ref(), value.span())
    } else {
        within(value.get_ref(), value.span(), &parts).unwrap_or_else(|| key.span())
    })
}

fn within(value: &DeValue<'_>, span: Range<usize>, path: &[&str]) -> Option<Range<usize>> {
    let Some((first, rest)) = path.split_first() else { return Some(span) };
    match value {
        DeValue::Table(table) => {
            let (key, value) = table.iter().find(|(key, _)| key.get_ref() == first)?;
            if rest.is_empty() {
                return Some(of_entry(key.span(), value.get_ref(), value.span()));
            }
            Some(within(value.get_ref(), value.span(), rest).unwrap_or_else(|| key.span()))
        }
        DeValue::Array(items) => {
            let item = items.get(first.parse::<usize>().ok()?)?;
            Some(within(item.get_ref(), item.span(), rest).unwrap_or_else(|| item.span()))
        }
        _ => None,
    }
}

fn of_entry(key: Range<usize>, value: &DeValue<'_>, span: Range<usize>) -> Range<usize> {
    match value {
        DeValue::Table(_) => key,
        // Key and value: an unknown key and a wrong value are both seen at once.
        _ if span.start >= key.end => key.start..span.end,
        _ => span,
    }
}
