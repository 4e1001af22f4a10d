//! Python's methods of strings, lists and dicts.

use minijinja::value::{Kwargs, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State, Value};

fn wrong(what: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, what)
}

/// What minijinja calls for a method that its values do not have.
pub(super) fn call(state: &State<'_, '_>, value: &Value, method: &str, values: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        if let Some(result) = of_string(text, method, values)? {
            return Ok(result);
        }
    } else if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) && method == "index" {
        let (what,): (&Value,) = from_args(values)?;
        let place = value.try_iter()?.position(|item| item == *what);
        return place.map(Value::from).ok_or_else(|| wrong(format!("{what} is not in list")));
    } else if value.kind() == ValueKind::Map && method == "copy" {
        let () = from_args(values)?;
        return Ok(value.clone());
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, method, values)
}

/// Whether `str.strip` without an argument takes a character away.
fn is_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

fn of_string(text: &str, method: &str, values: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match method {
        "strip" | "lstrip" | "rstrip" => {
            let (chars,): (Option<&str>,) = from_args(values)?;
            Value::from(strip(text, chars, method != "rstrip", method != "lstrip"))
        }
        "split" | "rsplit" => return split(text, method == "rsplit", values).map(Some),
        "splitlines" => {
            let (keep, named): (Option<bool>, Kwargs) = from_args(values)?;
            let keep = keep.or(named.get("keepends")?).unwrap_or(false);
            named.assert_all_used()?;
            lines(text, keep).into_iter().map(Value::from).collect()
        }
        "partition" | "rpartition" => {
            let (by,): (&str,) = from_args(values)?;
            if by.is_empty() {
                return Err(wrong("empty separator".to_owned()));
            }
            let right = method == "rpartition";
            let found = if right { text.rsplit_once(by) } else { text.split_once(by) };
            let parts = match found {
                Some((before, after)) => [before, by, after],
                None if right => ["", "", text],
                None => [text, "", ""],
            };
            parts.into_iter().map(Value::from).collect()
        }
        "removeprefix" | "removesuffix" => {
            let (part,): (&str,) = from_args(values)?;
            let rest = if method == "removeprefix" { text.strip_prefix(part) } else { text.strip_suffix(part) };
            Value::from(rest.unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" => {
            let (what, first, last): (&str, Option<i64>, Option<i64>) = from_args(values)?;
            let place = find(text, what, (first, last), method.starts_with('r'));
            if place.is_none() && method.ends_with("index") {
                return Err(wrong("substring not found".to_owned()));
            }
            place.map_or(Value::from(-1), Value::from)
        }
        "count" => {
            let (what,): (&str,) = from_args(values)?;
            // The library would count the places of nothing for ever.
            Value::from(if what.is_empty() { text.chars().count() + 1 } else { text.matches(what).count() })
        }
        "islower" | "isupper" => {
            let () = from_args(values)?;
            let (own, other): (fn(char) -> bool, fn(char) -> bool) = match method {
                "islower" => (char::is_lowercase, char::is_uppercase),
                _ => (char::is_uppercase, char::is_lowercase),
            };
            Value::from(text.chars().any(own) && !text.chars().any(other))
        }
        "isspace" | "isdigit" | "isnumeric" | "isdecimal" | "isalnum" | "isalpha" => {
            let () = from_args(values)?;
            let fits: fn(char) -> bool = match method {
                "isspace" => is_blank,
                "isalnum" => char::is_alphanumeric,
                "isalpha" => char::is_alphabetic,
                _ => char::is_numeric,
            };
            Value::from(!text.is_empty() && text.chars().all(fits))
        }
        "title" => {
            let () = from_args(values)?;
            Value::from(title(text))
        }
        "capitalize" => {
            let () = from_args(values)?;
            let mut chars = text.chars();
            let first: String = chars.next().map(|c| c.to_uppercase().collect()).unwrap_or_default();
            Value::from(first + &chars.as_str().to_lowercase())
        }
        "swapcase" => {
            let () = from_args(values)?;
            let swap =
                |c: char| if c.is_uppercase() { c.to_lowercase().to_string() } else { c.to_uppercase().to_string() };
            Value::from(text.chars().map(swap).collect::<String>())
        }
        "casefold" => {
            let () = from_args(values)?;
            Value::from(text.to_lowercase().replace('ß', "ss"))
        }
        "ljust" | "rjust" | "center" | "zfill" => {
            let (width, fill): (usize, Option<char>) = from_args(values)?;
            Value::from(pad(text, method, width, fill)?)
        }
        "join" => {
            let (items,): (&Value,) = from_args(values)?;
            let mut out = String::new();
            for (index, item) in items.try_iter()?.enumerate() {
                let item = item.as_str().ok_or_else(|| {
                    wrong(format!("sequence item {index}: expected str instance, {} found", item.kind()))
                })?;
                out.push_str(if index > 0 { text } else { "" });
                out.push_str(item);
            }
            Value::from(out)
        }
        _ => return Ok(None),
    }))
}

/// Python's `strip` with its characters, from the left, the right or both.
pub(super) fn strip<'a>(text: &'a str, chars: Option<&str>, left: bool, right: bool) -> &'a str {
    let gone = |c: char| chars.map_or_else(|| is_blank(c), |chars| chars.contains(c));
    let text = if left { text.trim_start_matches(gone) } else { text };
    if right { text.trim_end_matches(gone) } else { text }
}

fn split(text: &str, right: bool, values: &[Value]) -> Result<Value, Error> {
    let (by, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(values)?;
    let by: Option<Value> = by.or(named.get("sep")?).filter(|by| !by.is_none());
    let most = most.or(named.get("maxsplit")?).and_then(|most| usize::try_from(most).ok());
    named.assert_all_used()?;
    let Some(by) = by else { return Ok(words(text, right, most).into_iter().map(Value::from).collect()) };
    let by = by.as_str().ok_or_else(|| wrong(format!("must be str or None, not {}", by.kind())))?;
    if by.is_empty() {
        return Err(wrong("empty separator".to_owned()));
    }
    let parts = most.map_or(usize::MAX, |most| most.saturating_add(1));
    if right {
        let mut parts: Vec<&str> = text.rsplitn(parts, by).collect();
        parts.reverse();
        return Ok(parts.into_iter().map(Value::from).collect());
    }
    Ok(text.splitn(parts, by).map(Value::from).collect())
}

/// `split()` without a separator: by runs of blanks, none at the ends.
fn words(text: &str, right: bool, most: Option<usize>) -> Vec<&str> {
    let mut rest = strip(text, None, !right, right);
    let mut out = Vec::new();
    while !rest.is_empty() {
        let place = if most.is_some_and(|most| out.len() >= most) {
            None
        } else if right {
            rest.rfind(is_blank)
        } else {
            rest.find(is_blank)
        };
        let Some(place) = place else {
            out.push(rest);
            break;
        };
        let after = place + rest[place..].chars().next().map_or(1, char::len_utf8);
        if right {
            out.push(&rest[after..]);
            rest = rest[..place].trim_end_matches(is_blank);
        } else {
            out.push(&rest[..place]);
            rest = rest[after..].trim_start_matches(is_blank);
        }
    }
    if right {
        out.reverse();
    }
    out
}

fn lines(text: &str, keep: bool) -> Vec<&str> {
    let ends = |c: char| {
        matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{1c}'..='\u{1e}' | '\u{85}' | '\u{2028}' | '\u{2029}')
    };
    let (mut out, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let place = rest.find(ends).unwrap_or(rest.len());
        let len =
            if rest[place..].starts_with("\r\n") { 2 } else { rest[place..].chars().next().map_or(0, char::len_utf8) };
        out.push(if keep { &rest[..place + len] } else { &rest[..place] });
        rest = &rest[place + len..];
    }
    out
}

/// The place of `what` in characters, within a slice.
fn find(text: &str, what: &str, (first, last): (Option<i64>, Option<i64>), right: bool) -> Option<usize> {
    let len = text.chars().count();
    let at = |place: i64| if place < 0 { len.saturating_sub(place.unsigned_abs() as usize) } else { place as usize };
    let (first, last) = (first.map_or(0, at), last.map_or(len, at).min(len));
    if first > last {
        return None;
    }
    let byte = |place: usize| text.char_indices().nth(place).map_or(text.len(), |(byte, _)| byte);
    let (from, to) = (byte(first), byte(last));
    let part = &text[from..to];
    let place = if right { part.rfind(what) } else { part.find(what) }?;
    Some(first + part[..place].chars().count())
}

/// Upper case after whatever is no letter, lower case after letters.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut within = false;
    for c in text.chars() {
        if within {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        within = c.is_alphabetic();
    }
    out
}

fn pad(text: &str, method: &str, width: usize, fill: Option<char>) -> Result<String, Error> {
    if width > 10_000 {
        return Err(wrong(format!("{method}: expected sizes of at most 10000, got {width}")));
    }
    let missing = width.saturating_sub(text.chars().count());
    let by = |n: usize| String::from(fill.unwrap_or(' ')).repeat(n);
    Ok(match method {
        "ljust" => text.to_owned() + &by(missing),
        "rjust" => by(missing) + text,
        "center" => {
            // CPython's own rounding.
            let left = missing / 2 + (missing & width & 1);
            by(left) + text + &by(missing - left)
        }
        _ => {
            let sign = text.chars().next().filter(|c| matches!(c, '+' | '-')).map_or(0, char::len_utf8);
            format!("{}{}{}", &text[..sign], "0".repeat(missing), &text[sign..])
        }
    })
}
