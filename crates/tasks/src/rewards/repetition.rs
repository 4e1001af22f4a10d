//! Saying the same again.

use std::collections::HashSet;

use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::shaped;

/// Takes away for repeating oneself: `-penalty * r`, where r is the share of the answer's runs of `ngram`
/// words that stood in it before.
///
/// `r = 1 - distinct runs / runs`, compared in small letters. An answer of fewer words loses nothing.
/// To be added to a reward for being right ("Demystifying Long Chain-of-Thought Reasoning", 2502.03373,
/// punishes repeated n-grams so that long thoughts are not padded; here as a share of the whole answer
/// instead of token by token).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Repetition {
    /// Words in a run, at least 1.
    pub ngram: usize,
    /// What an answer loses in which everything is repeated; at least 0.
    pub penalty: f64,
}

impl Default for Repetition {
    fn default() -> Self {
        Self { ngram: 4, penalty: 1.0 }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "repetition",
    schema: schema_of::<Repetition>,
    build: |settings| {
        let repetition: Repetition = parse(settings)?;
        if repetition.ngram == 0 {
            return Err(ConfigError::at("ngram", "expected at least 1 word, got 0"));
        }
        if !(repetition.penalty.is_finite() && repetition.penalty >= 0.0) {
            return Err(ConfigError::at("penalty", format!("expected a number from 0 up, got {}", repetition.penalty)));
        }
        Ok(Box::new(repetition))
    },
};

impl Reward for Repetition {
    fn score(&self, _task: &Task, transcript: &Transcript) -> Score {
        let text = transcript.last().to_lowercase();
        let words: Vec<&str> = text.split_whitespace().collect();
        let runs = words.windows(self.ngram);
        let total = runs.len();
        let distinct = runs.collect::<HashSet<_>>().len();
        let repeated = total - distinct;
        let value = if total == 0 { 0.0 } else { -self.penalty * repeated as f64 / total as f64 };
        shaped(value, format!("{repeated} of {total} runs of {} words are repeated", self.ngram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_repeated_costs() {
        let value = |ngram, penalty, text: &str| {
            Repetition { ngram, penalty }.score(&Task::default(), &Transcript::of(text, true)).value
        };
        assert_eq!(value(2, 1.0, ""), 0.0);
        assert_eq!(value(2, 1.0, "one"), 0.0);
        assert_eq!(value(2, 1.0, "one two three"), 0.0);
        // Runs: one two, two one, one two, two one, one two; two of them distinct.
        assert_eq!(value(2, 1.0, "one two One TWO one two"), -0.6);
        assert_eq!(value(1, 0.5, "so so so so"), -0.375);
        assert!((ENTRY.build)(serde_json::json!({"ngram": 0})).is_err());
        assert!((ENTRY.build)(serde_json::json!({"penalty": -1})).is_err());
    }
}
