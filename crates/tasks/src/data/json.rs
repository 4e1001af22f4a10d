//! JSON to the values of templates and back: whole numbers keep all their digits.
//!
//! `serde_json` makes a float of a whole number that 64 bits do not hold. Its feature `arbitrary_precision` would keep the
//! digits, but turns numbers into maps for everything else that reads them in the same program.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use minijinja::Value;
use minijinja::value::{DynObject, Object, ObjectRepr, ValueKind};
use num_bigint::BigInt;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Row;

/// The shortest run of digits, a point among them or none, that may be a whole number beyond 64 bits or no float's.
const LONG: usize = 19;
/// How deep lists and objects may be nested, as in `serde_json`.
const DEEPEST: usize = 127;

/// How numbers with a point are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Decimals {
    /// As floats: what everybody makes of JSON.
    Floats,
    /// With all their digits: what this crate has written itself.
    Exact,
}

/// The row that a JSON text is.
///
/// # Errors
/// What it is instead.
pub(super) fn row(text: &[u8], decimals: Decimals) -> Result<Row, String> {
    if let Some(what) = other_than_object(text) {
        serde_json::from_slice::<serde::de::IgnoredAny>(text).map_err(|error| not_json(&error))?;
        return Err(format!("expected an object, got {what}"));
    }
    let pairs: Pairs<'_> = serde_json::from_slice(text).map_err(|error| not_json(&error))?;
    pairs
        .0
        .into_iter()
        .map(|(name, raw)| Ok((name, value(raw.get(), decimals, 1)?)))
        .collect::<serde_json::Result<_>>()
        .map_err(|error| not_json(&error))
}

fn not_json(error: &serde_json::Error) -> String {
    // Its own line number is always 1.
    format!("expected an object, got: {}", error.to_string().replace(" at line 1", " at"))
}

/// What begins like something other than an object.
fn other_than_object(text: &[u8]) -> Option<&'static str> {
    match text.trim_ascii_start().first()? {
        b'n' => Some("null"),
        b't' | b'f' => Some("true or false"),
        b'-' | b'0'..=b'9' => Some("a number"),
        b'"' => Some("a text"),
        b'[' => Some("a list"),
        _ => None,
    }
}

/// The value of a JSON text.
///
/// # Errors
/// If it is none.
pub(crate) fn parse(text: &str) -> serde_json::Result<Value> {
    value(text, Decimals::Floats, 0)
}

fn value(text: &str, decimals: Decimals, depth: usize) -> serde_json::Result<Value> {
    if text.trim_ascii_start().starts_with('"') {
        return serde_json::from_str::<String>(text).map(Value::from);
    }
    if !has_long_number(text) {
        return serde_json::from_str::<serde_json::Value>(text).map(Value::from_serialize);
    }
    if depth > DEEPEST {
        return Err(serde_json::Error::custom("recursion limit exceeded"));
    }
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => {
            let Pairs(pairs) = serde_json::from_str(text)?;
            pairs.into_iter().map(|(name, raw)| Ok((name, value(raw.get(), decimals, depth + 1)?))).collect()
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text)?;
            items.into_iter().map(|raw| value(raw.get(), decimals, depth + 1)).collect()
        }
        Some(b'-' | b'0'..=b'9') => {
            // Reads it as a number first: what comes next relies on that.
            let float: f64 = serde_json::from_str(text)?;
            let text = text.trim_ascii();
            let exact = decimals == Decimals::Exact && text.contains('.') && !text.contains(['e', 'E']);
            Ok(whole(text).unwrap_or_else(|| if exact { decimal(text) } else { Value::from(float) }))
        }
        _ => serde_json::from_str::<serde_json::Value>(text).map(Value::from_serialize),
    }
}

/// Whether a number in `text`, or in a text within it, may have more digits than 64 bits hold.
fn has_long_number(text: &str) -> bool {
    let mut run = 0;
    text.bytes().any(|byte| {
        run = if byte.is_ascii_digit() || byte == b'.' { run + 1 } else { 0 };
        run >= LONG
    })
}

/// The whole number of these decimal digits, a minus sign before them or none; `None` for anything else.
pub(super) fn whole(text: &str) -> Option<Value> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let narrow = text.parse::<i64>().map(Value::from);
    let wide = || text.parse::<i128>().map(Value::from).ok();
    Some(narrow.ok().or_else(wide).unwrap_or_else(|| Value::from_object(Digits(text.to_owned()))))
}

/// The number that a decimal with a point is: a float where a float's shortest decimal is the same, else all its digits.
pub(super) fn decimal(text: &str) -> Value {
    let same = |float: &f64| float.is_finite() && trimmed(&float.to_string()) == trimmed(text);
    text.parse().ok().filter(same).map_or_else(|| Value::from_object(Digits(trimmed(text).to_owned())), Value::from)
}

/// A decimal without the zeros at its end.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// A number that no type of the template engine holds, as its decimal digits. It is shown and compared with its like;
/// arithmetic is refused.
struct Digits(String);

impl Digits {
    /// The numbers as whole ones of one unit.
    fn scaled(&self, fraction: usize) -> Option<BigInt> {
        let (whole, behind) = self.parts();
        format!("{whole}{behind:0<fraction$}").parse().ok()
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('.').unwrap_or((&self.0, ""))
    }
}

impl fmt::Debug for Digits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Object for Digits {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn custom_cmp(self: &Arc<Self>, other: &DynObject) -> Option<Ordering> {
        let other = other.downcast_ref::<Self>()?;
        let fraction = self.parts().1.len().max(other.parts().1.len());
        Some(self.scaled(fraction)?.cmp(&other.scaled(fraction)?))
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a value is, or holds, a number that templates cannot calculate with.
pub(super) fn holds_digits(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Plain => value.downcast_object_ref::<Digits>().is_some(),
        ValueKind::Seq | ValueKind::Iterable => value.try_iter().is_ok_and(|mut items| items.any(|v| holds_digits(&v))),
        ValueKind::Map => entries(value).any(|(_, value)| holds_digits(&value)),
        _ => false,
    }
}

/// The entries of a map.
pub(super) fn entries(map: &Value) -> impl Iterator<Item = (Value, Value)> + '_ {
    map.try_iter().into_iter().flatten().map(|key| {
        let value = map.get_item(&key).unwrap_or_default();
        (key, value)
    })
}

/// A value as JSON text. What JSON has no word for (an infinite number, something undefined) is null.
pub(crate) fn write(value: &Value) -> String {
    let mut out = String::new();
    push(value, &mut out);
    out
}

fn push(value: &Value, out: &mut String) {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => out.push_str("null"),
        ValueKind::Bool | ValueKind::Number => {
            out.push_str(&serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()));
        }
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (place, item) in value.try_iter().into_iter().flatten().enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                push(&item, out);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (place, (key, item)) in entries(value).enumerate() {
                out.push_str(if place > 0 { "," } else { "" });
                push_text(key.as_str().unwrap_or(&key.to_string()), out);
                out.push(':');
                push(&item, out);
            }
            out.push('}');
        }
        _ if value.downcast_object_ref::<Digits>().is_some() => out.push_str(&value.to_string()),
        _ => push_text(value.as_str().unwrap_or(&value.to_string()), out),
    }
}

fn push_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// An object's entries in their order, unread.
pub(super) struct Pairs<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::super::seen;
    use super::*;

    #[test]
    fn numbers_keep_their_digits_there_and_back() {
        let long = "9".repeat(60);
        for (text, shown) in [
            ("0", "0"),
            ("9223372036854775807", "9223372036854775807"),
            ("-9223372036854775809", "-9223372036854775809"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "18446744073709551616"),
            ("1180591620717411303424", "1180591620717411303424"),
            ("-170141183460469231731687303715884105729", "-170141183460469231731687303715884105729"),
            ("340282366920938463463374607431768211455", "340282366920938463463374607431768211455"),
            (long.as_str(), long.as_str()),
            ("0.1", "0.1"),
            ("5.0", "5.0"),
            ("true", "True"),
            ("null", "None"),
        ] {
            let value = parse(text).unwrap();
            assert_eq!((value.to_string().as_str(), write(&value).as_str()), (shown, text));
            let nested = format!("{{\"b\":[{text},\"{text}\"],\"a\":{{\"c\":{text}}}}}");
            assert_eq!(write(&parse(&nested).unwrap()), nested);
            assert_eq!(
                write(row(nested.as_bytes(), Decimals::Floats).unwrap().get("b").unwrap()),
                format!("[{text},\"{text}\"]")
            );
        }
        let deep = "[".repeat(5000) + &long + &"]".repeat(5000);
        assert!(parse(&deep).unwrap_err().to_string().contains("recursion"));
    }

    #[test]
    fn decimals_are_floats_where_those_are_the_same() {
        for (text, expected) in [("1.50", "1.5"), ("5.00", "5.0"), ("0.1", "0.1"), ("-0.25", "-0.25")] {
            let value = decimal(text);
            assert_eq!((value.kind(), value.to_string().as_str()), (ValueKind::Number, expected), "{text}");
        }
        for (text, expected) in [
            ("0.12345678901234567890123", "0.12345678901234567890123"),
            ("12345678901234567890.10", "12345678901234567890.1"),
        ] {
            assert_eq!((decimal(text).to_string().as_str(), write(&decimal(text)).as_str()), (expected, expected));
        }
        let written = b"{\"a\":0.12345678901234567890123,\"b\":12345678901234567.25,\"c\":1e300}";
        let shown = |decimals| seen(&row(written, decimals).unwrap()).to_string();
        assert!(shown(Decimals::Exact).starts_with(r#"{"a": 0.12345678901234567890123, "b": 12345678901234567.25,"#));
        assert!(shown(Decimals::Floats).starts_with(r#"{"a": 0.12345678901234568, "b": 1"#));
        assert!(decimal("0.12345678901234567890123") < decimal("12345678901234567890.1"));
        assert!(whole(&"9".repeat(60)).unwrap() > whole(&"9".repeat(59)).unwrap());
        assert!(whole(&format!("-{}", "9".repeat(60))).unwrap() < whole(&format!("-{}", "9".repeat(59))).unwrap());
    }
}
