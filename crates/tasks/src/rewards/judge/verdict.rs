//! What a judge says, taken at its word.

use serde::Deserialize;
use serde_json::{Value, json};

/// The object a judge must answer with, and nothing else.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) reason: String,
    pub(super) score: f64,
}

impl Said {
    /// Reads a judge's answer. What a reasoning model thought before it (`<think>...</think>` at the beginning) and one
    /// fence of Markdown around the whole are taken off; anything else beside the object is an error.
    ///
    /// # Errors
    /// What was expected, and the beginning of what was got.
    pub(super) fn read(text: &str, min: f64, max: f64) -> Result<Self, String> {
        let wrong = |error: &str| {
            let got: String = text.trim().chars().take(120).collect();
            format!("expected {{\"reason\": TEXT, \"score\": NUMBER}} and nothing else, got {got:?} ({error})")
        };
        let bare = bare(text);
        // serde would take a list of the fields, too.
        if bare.starts_with('[') {
            return Err(wrong("a list"));
        }
        let said: Self = serde_json::from_str(bare).map_err(|error| wrong(&error.to_string()))?;
        if !(min..=max).contains(&said.score) {
            return Err(format!("score: expected a number from {min} to {max}, got {}", said.score));
        }
        Ok(said)
    }
}

fn bare(text: &str) -> &str {
    let text = text.trim();
    let text = match text.strip_prefix("<think>") {
        Some(thought) => thought.split_once("</think>").map_or(text, |(_, rest)| rest.trim()),
        None => text,
    };
    let inner = text.strip_prefix("```").and_then(|text| text.strip_suffix("```"));
    inner.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}

/// The object's JSON schema, for servers that hold a model to one. The reason comes first, so that it is given before
/// the score is.
pub(super) fn schema(min: f64, max: f64) -> Value {
    json!({
        "type": "object",
        "properties": {
            "reason": {"type": "string"},
            "score": {"type": "number", "minimum": min, "maximum": max},
        },
        "required": ["reason", "score"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_and_nothing_else() {
        let read = |text: &str| Said::read(text, 0.0, 10.0);
        let said = |reason: &str, score| Ok(Said { reason: reason.to_owned(), score });
        for text in [
            r#"{"reason": "so", "score": 7}"#,
            " {\"score\": 7.0, \"reason\": \"so\"}\n",
            "```json\n{\"reason\": \"so\", \"score\": 7}\n```",
            "```\n{\"reason\": \"so\", \"score\": 7}```",
            "<think>\n{\"score\": 1}\n</think>\n\n{\"reason\": \"so\", \"score\": 7}",
        ] {
            assert_eq!(read(text), said("so", 7.0), "{text}");
        }
        assert_eq!(read(r#"{"score": 0}"#), said("", 0.0));
        for (text, why) in [
            ("", "got \"\""),
            ("7", "expected {"),
            ("Score: 7", "got \"Score: 7\""),
            (r#"{"reason": "so"}"#, "missing field `score`"),
            (r#"{"score": "7"}"#, "invalid type: string"),
            (r#"{"score": true}"#, "invalid type: boolean"),
            (r#"{"score": null}"#, "invalid type: null"),
            (r#"{"score": 7, "score": 10}"#, "duplicate field `score`"),
            (r#"{"score": 7, "bonus": 1}"#, "unknown field `bonus`"),
            (r#"{"score": 7} {"score": 10}"#, "trailing characters"),
            (r#"I would say {"score": 7}"#, "expected value"),
            (r#"<think>{"score": 7}"#, "expected value"),
            (r#"{"score": 11}"#, "score: expected a number from 0 to 10, got 11"),
            (r#"{"score": -1}"#, "got -1"),
            (r#"{"score": 1e999}"#, "number out of range"),
            (r#"{"score": NaN}"#, "expected value"),
            (r#"["so", 7]"#, "a list"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
