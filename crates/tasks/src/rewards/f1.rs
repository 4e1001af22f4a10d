//! The words in common.

use std::collections::HashMap;

use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::said;
use super::stated::Stated;

/// Pays the F1 of the words that the answer and the task's answer have in common (SQuAD, 1606.05250).
///
/// Words are compared as SQuAD's script does: small letters, without ASCII punctuation and the articles
/// a, an and the. `F1 = 2 P R / (P + R)`, where P is the share of the answer's words that the reference
/// has and R the share of the reference's that the answer has. With several references (the fact
/// `answers`, a JSON list) the best counts. Two empty texts are equal, one empty text earns nothing. The
/// verdict is right where the words are the same in the same order.
///
/// Read is what the answer says it comes to: within `<answer>...</answer>`, in `\boxed{}`, behind `####`,
/// behind "answer is", else the whole text. Unlike the script, what is worth less than `least` is worth
/// nothing, so that saying every word there is does not pay.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct F1 {
    /// The least F1 that is paid for, 0 to 1.
    pub least: f64,
    /// Only answers that the model ended by itself count.
    pub finished: bool,
}

impl Default for F1 {
    fn default() -> Self {
        Self { least: 0.2, finished: false }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "f1",
    schema: schema_of::<F1>,
    build: |settings| {
        let f1: F1 = parse(settings)?;
        if !(0.0..=1.0).contains(&f1.least) {
            return Err(ConfigError::at("least", format!("expected 0 to 1, got {}", f1.least)));
        }
        Ok(Box::new(f1))
    },
};

impl Reward for F1 {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let references = match task.facts.get("answers").map(|answers| serde_json::from_str::<Vec<String>>(answers)) {
            None => vec![task.answer.clone()],
            Some(Ok(answers)) if !answers.is_empty() => answers,
            Some(_) => {
                let got = task.facts.get("answers").map_or("", String::as_str);
                return Score::failed(format!(
                    "task {}: expected `answers` to be a JSON list of texts, got `{got}`",
                    task.id
                ));
            }
        };
        if self.finished && !transcript.finished {
            return Score::unparsed("cut off before its end");
        }
        let text = said(task, transcript);
        let stated = Stated::of(&text, transcript.finished);
        let answer = stated.parts.last().filter(|_| stated.marked).map_or(&*text, |part| *part);
        if answer.trim().is_empty() {
            return Score::unparsed("nothing was said");
        }
        let got = normal(answer);
        if references.iter().any(|reference| normal(reference) == got) {
            return Score::correct("the same words");
        }
        let best = references.iter().map(|reference| f1(answer, reference)).fold(0.0, f64::max);
        let value = if best < self.least { 0.0 } else { best };
        Score { value, ..Score::wrong(format!("F1 {best:.3}")) }
    }
}

/// The F1 of two texts' words.
#[must_use]
pub fn f1(answer: &str, reference: &str) -> f64 {
    let (answer, reference) = (normal(answer), normal(reference));
    if answer.is_empty() || reference.is_empty() {
        return if answer == reference { 1.0 } else { 0.0 };
    }
    let mut left: HashMap<&str, usize> = HashMap::new();
    for word in &reference {
        *left.entry(word).or_default() += 1;
    }
    let mut same = 0_usize;
    for word in &answer {
        if let Some(count) = left.get_mut(word.as_str()).filter(|count| **count > 0) {
            *count -= 1;
            same += 1;
        }
    }
    if same == 0 {
        return 0.0;
    }
    let precision = same as f64 / answer.len() as f64;
    let recall = same as f64 / reference.len() as f64;
    2.0 * precision * recall / (precision + recall)
}

/// A text's words as SQuAD compares them. Punctuation goes before articles do: `a-b` is the word `ab`.
fn normal(text: &str) -> Vec<String> {
    let bare: String = text.to_lowercase().chars().filter(|c| !c.is_ascii_punctuation()).collect();
    // An article ends where a word ends, which is not only at spaces: `the–end` begins with one.
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut words = String::with_capacity(bare.len());
    let mut rest = bare.as_str();
    while let Some(first) = rest.chars().next() {
        let inside = word(first);
        let end = rest.find(|c| word(c) != inside).unwrap_or(rest.len());
        let part = &rest[..end];
        words.push_str(if matches!(part, "a" | "an" | "the") { " " } else { part });
        rest = &rest[end..];
    }
    words.split_whitespace().map(str::to_owned).collect()
}
