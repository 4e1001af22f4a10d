//! What must not be read by whoever reads logs, cards and errors: passwords and keys in URLs and settings.

use serde_json::{Map, Value};

/// What stands in a secret's place.
pub const HIDDEN: &str = "***";

/// How the names of settings end whose values are secrets.
const NAMES: &[&str] = &[
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "accesstoken",
    "authtoken",
    "apitoken",
    "hftoken",
    "bearertoken",
    "refreshtoken",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "authorization",
    "credentials",
    "cookie",
];

/// What the names of a URL's parameters hold whose values are secrets.
const PARAMETERS: &[&str] = &["key", "token", "secret", "pass", "pwd", "auth", "sig", "credential", "session", "code"];

fn is_secret(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    name == "token" || NAMES.iter().any(|end| name.ends_with(end))
}

fn is_secret_parameter(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    PARAMETERS.iter().any(|part| name.contains(part))
}

/// `text` without secrets: users and passwords in URLs, their parameters that are called like keys, and the values of
/// settings that are (`api_key = "..."`, `password: ...`).
#[must_use]
pub fn without_secrets(text: &str) -> String {
    let mut text = text.to_owned();
    hide_where(&mut text, &mut |_| {});
    text
}

/// The secrets that [`without_secrets`] takes out of a text.
#[must_use]
pub fn secrets_in(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    hide_where(&mut text.to_owned(), &mut |secret| all.push(secret.to_owned()));
    all
}

/// Takes the secrets out of settings, by their names and out of every text.
pub fn hide(settings: &mut Value) {
    match settings {
        Value::String(text) => *text = without_secrets(text),
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Object(map) => {
            for (name, value) in map {
                match value {
                    Value::String(secret) if is_secret(name) && !secret.is_empty() => HIDDEN.clone_into(secret),
                    value => hide(value),
                }
            }
        }
        _ => {}
    }
}

/// Settings without their secrets, as they stand in results.
#[must_use]
pub fn public(settings: &Map<String, Value>) -> Value {
    let mut settings = Value::Object(settings.clone());
    hide(&mut settings);
    settings
}

/// Where a secret stood that [`hide`] took out, as a dotted path.
#[must_use]
pub fn hidden_in(settings: &Value) -> Option<String> {
    let within = |key: &str, value: &Value| {
        hidden_in(value).map(|path| if path.is_empty() { key.to_owned() } else { format!("{key}.{path}") })
    };
    match settings {
        Value::String(text) => {
            let hidden = text == HIDDEN || [":***@", "//***@", "=***"].iter().any(|mark| text.contains(mark));
            hidden.then(String::new)
        }
        Value::Array(items) => items.iter().enumerate().find_map(|(place, value)| within(&place.to_string(), value)),
        Value::Object(map) => map.iter().find_map(|(key, value)| within(key, value)),
        _ => None,
    }
}

/// Puts [`HIDDEN`] in the place of every secret, which `found` gets.
fn hide_where(text: &mut String, found: &mut dyn FnMut(&str)) {
    let mut ranges = in_urls(text);
    ranges.extend(in_settings(text));
    ranges.retain(|range| !range.is_empty());
    ranges.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut end = 0;
    ranges.retain(|range| {
        range.start >= end && {
            end = range.end;
            true
        }
    });
    for range in ranges.into_iter().rev() {
        if &text[range.clone()] != HIDDEN {
            found(&text[range.clone()]);
            text.replace_range(range, HIDDEN);
        }
    }
}

fn in_urls(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    for (at, _) in text.match_indices("://") {
        let start = at + 3;
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '`' | '{' | '}' | '|' | '\\');
        let end = text[start..].find(ends).map_or(text.len(), |length| start + length);
        let authority = text[start..end].find(['/', '?', '#']).map_or(end, |length| start + length);
        if let Some(user) = text[start..authority].rfind('@') {
            ranges.push(start..start + user);
        }
        let Some(parameters) = text[authority..end].find(['?', '#']).map(|place| authority + place + 1) else {
            continue;
        };
        let mut from = parameters;
        for pair in text[parameters..end].split(['&', ';', '?', '#']) {
            if let Some((name, value)) = pair.split_once('=')
                && is_secret_parameter(name)
            {
                let value_from = from + name.len() + 1;
                // What ends a sentence is no part of a URL in it.
                ranges.push(value_from..value_from + value.trim_end_matches([',', '.', ':', ')']).len());
            }
            from += pair.len() + 1;
        }
    }
    ranges
}

fn in_settings(text: &str) -> Vec<std::ops::Range<usize>> {
    let mut ranges = Vec::new();
    for (at, sign) in text.match_indices(['=', ':']) {
        let before = text[..at].trim_end_matches([' ', '\t']);
        let before = before.strip_suffix(['"', '\'']).unwrap_or(before);
        let name = before
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
            .map_or(0, |place| place + before[place..].chars().next().map_or(1, char::len_utf8));
        // `api_key: unknown key` is an error's words; `"api_key": ...` and a header are not.
        let (named, quoted) = (&before[name..], before.len() < text[..at].trim_end_matches([' ', '\t']).len());
        let header = ["authorization", "cookie", "x-api-key"].contains(&named.to_ascii_lowercase().as_str());
        if !is_secret(named) || (sign == ":" && !quoted && !header) {
            continue;
        }
        let rest = &text[at + sign.len()..];
        let start = at + sign.len() + (rest.len() - rest.trim_start_matches([' ', '\t']).len());
        let value = &text[start..];
        let (skip, length) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => (1, value[1..].find(quote).unwrap_or(value.len() - 1)),
            // A header's value has a word before the secret.
            _ => {
                let word = ["Bearer ", "Basic ", "bearer ", "basic "].iter().find(|word| value.starts_with(**word));
                let skip = word.map_or(0, |word| word.len());
                let ends = |c: char| c.is_whitespace() || ",;}])&#?`\"'<>".contains(c);
                (skip, value[skip..].find(ends).unwrap_or(value.len() - skip))
            }
        };
        ranges.push(start + skip..start + skip + length);
    }
    ranges
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_taken_out_and_nothing_else() {
        for (text, expected) in [
            ("http://me:pw@host:80/v1#m", "http://***@host:80/v1#m"),
            ("http://tok@host", "http://***@host"),
            (
                "see https://h/x?api_key=abc&n=3&access_token=d#m.",
                "see https://h/x?api_key=***&n=3&access_token=***#m.",
            ),
            ("`http://h/score?token=SECRET`: refused", "`http://h/score?token=***`: refused"),
            ("url = \"http://h/?a=1&X-Amz-Signature=ff\"", "url = \"http://h/?a=1&X-Amz-Signature=***\""),
            ("--set rewards.0.api_key=sk-1: unknown key", "--set rewards.0.api_key=*** unknown key"),
            ("api_key = \"sk 1\" # x", "api_key = \"***\" # x"),
            ("{\"Authorization\": \"Bearer x\", \"n\": 1}", "{\"Authorization\": \"***\", \"n\": 1}"),
            ("authorization: Bearer abc", "authorization: Bearer ***"),
            ("password='a b'", "password='***'"),
            (
                "api_key_env = \"NAME\", max_tokens = 5, stop_tokens = [1]",
                "api_key_env = \"NAME\", max_tokens = 5, stop_tokens = [1]",
            ),
            (
                "a plain text: https://host/path?n=5#model and me@host",
                "a plain text: https://host/path?n=5#model and me@host",
            ),
            ("http://***@host?token=***", "http://***@host?token=***"),
            ("é: \u{2028}token= é", "é: \u{2028}token= ***"),
            ("rewards.0.api_key: unknown key `api_key`", "rewards.0.api_key: unknown key `api_key`"),
            ("unexpected token: `x`", "unexpected token: `x`"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
        assert_eq!(secrets_in("http://me:pw@h/?key=k1&n=2"), ["k1", "me:pw"]);
        let mut settings = json!({"url": "http://h/?token=t", "args": {"api_key": "k", "max_tokens": 5, "headers": {"X-Api-Key": "y"}}, "n": ["http://u@h"]});
        assert_eq!(hidden_in(&settings), None);
        hide(&mut settings);
        assert_eq!(
            settings,
            json!({"url": "http://h/?token=***", "args": {"api_key": "***", "max_tokens": 5, "headers": {"X-Api-Key": "***"}}, "n": ["http://***@h"]})
        );
        // Which of them comes first depends on how JSON objects are kept.
        assert!(hidden_in(&settings).is_some());
        assert_eq!(hidden_in(&json!({"n": 1, "args": {"api_key": "***"}})).as_deref(), Some("args.api_key"));
    }
}
