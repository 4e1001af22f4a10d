//! The same words.

use relign_core::{Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::said;
use super::stated::Stated;

/// Pays 1 if the answer says the task's answer, word for word.
///
/// Read is what the answer says it comes to: within `<answer>...</answer>`, in `\boxed{}`, behind `####`,
/// behind "answer is" (of several the last), else the last line; or the whole text, if that is equal.
/// Spaces count as one; quotation marks, stars and a full stop around the words mean nothing.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExactMatch {
    /// Whether capital and small letters differ.
    pub case: bool,
    /// Characters that mean nothing wherever they stand, a space too: `", "`.
    pub ignore: String,
    /// Only answers that the model ended by itself count.
    pub finished: bool,
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "exact_match",
    schema: schema_of::<ExactMatch>,
    build: |settings| Ok(Box::new(parse::<ExactMatch>(settings)?)),
};

impl Reward for ExactMatch {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let expected = self.bare(&task.answer);
        if expected.is_empty() {
            return Score::failed(format!("task {}: expected an answer to compare with, got none", task.id));
        }
        if self.finished && !transcript.finished {
            return Score::unparsed("cut off before its end");
        }
        let text = said(task, transcript);
        if transcript.finished && self.bare(&text) == expected {
            return Score::correct("the whole text").answering(expected);
        }
        let stated = Stated::of(&text, transcript.finished);
        let Some(last) = stated.parts.last().filter(|last| !self.bare(last).is_empty()) else {
            return Score::unparsed("nothing was said");
        };
        if stated.open {
            return Score::unparsed("cut off where its answer may go on");
        }
        let short: String = last.chars().take(100).collect();
        let given = self.bare(last);
        let score = if given == expected { Score::correct(short) } else { Score::wrong(format!("got `{short}`")) };
        score.answering(given)
    }
}

impl ExactMatch {
    /// A text without what means nothing.
    fn bare(&self, text: &str) -> String {
        let text: String = text.chars().map(|c| if self.ignore.contains(c) { ' ' } else { c }).collect();
        let around = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '*' | '$');
        let text = text.trim_matches(around);
        let text = text.strip_suffix('.').unwrap_or(text).trim_matches(around);
        let between = if self.ignore.contains(' ') { "" } else { " " };
        let text = text.split_whitespace().collect::<Vec<_>>().join(between);
        if self.case { text } else { text.to_lowercase() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::Verdict;

    fn judge(settings: serde_json::Value, gold: &str, answer: &str) -> Verdict {
        let task = Task { answer: gold.to_owned(), ..Task::default() };
        (ENTRY.build)(settings).unwrap().score(&task, &Transcript::of(answer, true)).verdict
    }

    #[test]
    fn words() {
        let plain = serde_json::json!({});
        for right in [
            "Monsters, Inc",
            "monsters,  inc.",
            "The answer is \"Monsters, Inc\".",
            "#### Monsters, Inc",
            "So:\nMonsters, Inc",
        ] {
            assert_eq!(judge(plain.clone(), "Monsters, Inc", right), Verdict::Correct, "{right}");
        }
        for wrong in ["Monsters", "Monsters Inc", "Monsters, Inc and more", "#### Monsters, Inc\n#### none"] {
            assert_eq!(judge(plain.clone(), "Monsters, Inc", wrong), Verdict::Wrong, "{wrong}");
        }
        assert_eq!(judge(plain.clone(), "x", ""), Verdict::Unparsed);
        assert_eq!(judge(plain, "", "x"), Verdict::Failed);
        assert_eq!(judge(serde_json::json!({"ignore": " "}), "] ] >", "The answer is ]]>"), Verdict::Correct);
        assert_eq!(judge(serde_json::json!({"ignore": ","}), "a b c", "a, b, c"), Verdict::Correct);
        assert_eq!(judge(serde_json::json!({"case": true}), "Yes", "yes"), Verdict::Wrong);
    }
}
