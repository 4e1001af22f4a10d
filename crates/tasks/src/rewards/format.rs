//! The form of an answer.

use regex::{Regex, RegexBuilder};
use relign_core::{
    ConfigError, Entry, Reward, Score, Task, ThoughtMarkers, Transcript, opens_thought, parse, schema_of,
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{said, without_question};

/// Pays for the form of an answer, whatever it says.
///
/// Up to five demands: a marker that stands exactly once with something behind it on its line, tags
/// that each enclose something exactly once and in order (`<think>...</think>`), a regular expression,
/// a least and a largest length. They are on the answer; thoughts are left out unless `thoughts` says otherwise. All of them met pay 1; some of them pay their share of `partial`. The
/// language of an answer is the `language` reward's. Give it a small
/// weight beside the reward that knows the answer.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Format {
    /// A marker; empty for none.
    pub marker: String,
    /// Names of tags in order, for example `["think", "answer"]`.
    pub tags: Vec<String>,
    /// A regular expression (Rust's syntax; `.` matches newlines too) to be found in the answer; empty
    /// for none.
    pub pattern: String,
    /// Characters that the answer must have; 0 for any.
    pub min_chars: usize,
    /// Characters that it may have; 0 for any number.
    pub max_chars: usize,
    /// What meeting the demands in part is worth at most, 0 to 1.
    pub partial: f64,
    /// The demands are on the whole text, thoughts included; also where `tags` name a thought (`think`, `reasoning`, ...).
    pub thoughts: bool,
}

impl Default for Format {
    fn default() -> Self {
        Self {
            marker: "####".to_owned(),
            tags: Vec::new(),
            pattern: String::new(),
            min_chars: 0,
            max_chars: 0,
            partial: 0.0,
            thoughts: false,
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "format",
    schema: schema_of::<Format>,
    build: |settings| Ok(Box::new(parse::<Format>(settings)?.form()?)),
};

/// A [`Format`] with its expression compiled.
struct Form {
    format: Format,
    pattern: Option<Regex>,
}

impl Format {
    fn reads_thoughts(&self) -> bool {
        self.thoughts || self.tags.iter().any(|tag| opens_thought(&format!("<{tag}>"), &ThoughtMarkers::default()))
    }

    fn form(self) -> Result<Form, ConfigError> {
        if !(0.0..=1.0).contains(&self.partial) {
            return Err(ConfigError::at("partial", format!("expected 0 to 1, got {}", self.partial)));
        }
        let none = self.marker.is_empty() && self.tags.is_empty() && self.pattern.is_empty();
        if none && self.min_chars == 0 && self.max_chars == 0 {
            return Err(ConfigError::at("marker", "expected a marker, tags, a pattern or a length, got none of them"));
        }
        if self.max_chars > 0 && self.max_chars < self.min_chars {
            let message = format!("expected at least {} (`min_chars`), got {}", self.min_chars, self.max_chars);
            return Err(ConfigError::at("max_chars", message));
        }
        let pattern = match self.pattern.as_str() {
            "" => None,
            pattern => Some(
                RegexBuilder::new(pattern).dot_matches_new_line(true).size_limit(1 << 22).build().map_err(|error| {
                    ConfigError::at("pattern", format!("expected a regular expression, got `{pattern}`: {error}"))
                })?,
            ),
        };
        Ok(Form { format: self, pattern })
    }
}

impl Reward for Form {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let text = if self.format.reads_thoughts() {
            without_question(task, transcript.last().into())
        } else {
            said(task, transcript)
        };
        let mut demands = 0;
        let mut unmet = Vec::new();
        let mut demand = |met: bool, what: &dyn Fn() -> String| {
            demands += 1;
            if !met {
                unmet.push(what());
            }
        };
        let marker = self.format.marker.as_str();
        if !marker.is_empty() {
            let mut parts = text.split(marker).skip(1);
            let behind = parts.next().and_then(|behind| behind.lines().next()).unwrap_or_default();
            let once = parts.next().is_none() && !behind.trim().is_empty();
            demand(once, &|| format!("`{marker}` once with something behind it"));
        }
        let mut from = Some(0);
        for tag in &self.format.tags {
            let end = from.and_then(|from| enclosed(&text, tag, from));
            demand(end.is_some(), &|| format!("<{tag}>...</{tag}> once and in order"));
            from = end.or(from);
        }
        if let Some(pattern) = &self.pattern {
            demand(pattern.is_match(&text), &|| format!("a match of `{pattern}`"));
        }
        let Format { min_chars: least, max_chars: most, .. } = self.format;
        let length = text.trim().chars().count();
        if least > 0 {
            demand(length >= least, &|| format!("at least {least} characters"));
        }
        if most > 0 {
            demand(length > 0 && length <= most, &|| format!("1 to {most} characters"));
        }
        if unmet.is_empty() {
            return Score::correct("");
        }
        let share = (demands - unmet.len()) as f64 / demands as f64;
        Score { value: self.format.partial * share, ..Score::wrong(format!("expected {}", unmet.join(", "))) }
    }
}

/// The end of the only element `tag`, if it begins at or after `from` and holds something.
fn enclosed(text: &str, tag: &str, from: usize) -> Option<usize> {
    let (open, close) = (format!("<{tag}>"), format!("</{tag}>"));
    let only = |what: &str| text.find(what).filter(|&at| text.rfind(what) == Some(at));
    let (start, end) = (only(&open)?, only(&close)?);
    let inner = text.get(start + open.len()..end)?;
    (start >= from && !inner.trim().is_empty()).then_some(end + close.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(settings: serde_json::Value, answer: &str) -> f64 {
        (ENTRY.build)(settings).unwrap().score(&Task::default(), &Transcript::of(answer, true)).value
    }

    #[test]
    fn demands() {
        let marker = serde_json::json!({});
        assert_eq!(value(marker.clone(), "so\n#### 5"), 1.0);
        for bad in ["", "5", "####", "####\n5", "#### 5\n#### 6"] {
            assert_eq!(value(marker.clone(), bad), 0.0, "{bad}");
        }
        let tags = serde_json::json!({"marker": "", "tags": ["think", "answer"], "partial": 0.5});
        assert_eq!(value(tags.clone(), "<think>so</think> <answer>5</answer>"), 1.0);
        assert_eq!(value(tags.clone(), "<think>so</think> 5"), 0.25);
        assert_eq!(value(tags.clone(), "<answer>5</answer><think>so</think>"), 0.25);
        assert_eq!(value(tags.clone(), "<think></think><answer>5</answer>"), 0.25);
        assert_eq!(value(tags.clone(), "</think>so<think>"), 0.0);
        assert_eq!(value(tags, ""), 0.0);
        let pattern = serde_json::json!({"marker": "", "pattern": "^a.*z$"});
        assert_eq!(value(pattern.clone(), "a\nz"), 1.0);
        assert_eq!(value(pattern, "az."), 0.0);
        let length = serde_json::json!({"marker": "", "min_chars": 2, "max_chars": 4, "partial": 0.5});
        assert_eq!(["a", "ab", "abcd ", "abcde"].map(|text| value(length.clone(), text)), [0.25, 1.0, 1.0, 0.25]);
    }

    #[test]
    fn settings_are_checked() {
        let error = |settings| (ENTRY.build)(settings).err().unwrap().to_string();
        assert!(error(serde_json::json!({"partial": 2})).starts_with("partial: expected 0 to 1, got 2"));
        assert!(error(serde_json::json!({"pattern": "("})).starts_with("pattern: "));
        assert!(error(serde_json::json!({"marker": ""})).starts_with("marker: "));
        assert!(error(serde_json::json!({"min_chars": 5, "max_chars": 4})).starts_with("max_chars: "));
    }
}
