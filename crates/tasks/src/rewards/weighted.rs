//! Several rewards in one.

use std::collections::BTreeMap;

use relign_core::{ConfigError, Reward, Score, Task, Transcript, Verdict};

/// The weighted sum of named rewards.
///
/// The verdict is the first part's, so the reward that decides what is correct stands first. A part
/// that fails, or a sum that is not finite, fails the whole.
#[derive(Default)]
pub struct Weighted {
    parts: Vec<(String, f64, Box<dyn Reward>)>,
}

impl Weighted {
    /// Adds a part. A name that is taken gets a number: `format`, `format#2`.
    ///
    /// # Errors
    /// If the weight is not finite.
    pub fn add(&mut self, name: &str, weight: f64, reward: Box<dyn Reward>) -> Result<(), ConfigError> {
        if !weight.is_finite() {
            return Err(ConfigError::at("weight", format!("expected a finite number, got {weight}")));
        }
        let taken = |name: &str| self.parts.iter().any(|(other, ..)| other == name);
        let mut unique = name.to_owned();
        let mut number = 1;
        while taken(&unique) {
            number += 1;
            unique = format!("{name}#{number}");
        }
        self.parts.push((unique, weight, reward));
        Ok(())
    }
}

impl Reward for Weighted {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let mut verdict = None;
        let mut value = 0.0;
        let mut parts = BTreeMap::new();
        let mut reasons = Vec::new();
        for (name, weight, reward) in &self.parts {
            let score = reward.score(task, transcript);
            if score.verdict == Verdict::Failed || !score.value.is_finite() {
                let why = if score.value.is_finite() { score.reason } else { format!("its value is {}", score.value) };
                return Score::failed(format!("reward `{name}`: {why}"));
            }
            value += weight * score.value;
            parts.insert(name.clone(), weight * score.value);
            if !score.reason.is_empty() {
                reasons.push(format!("{name}: {}", score.reason));
            }
            verdict.get_or_insert(score.verdict);
        }
        match verdict {
            None => Score::failed("expected at least one reward, got none"),
            Some(_) if !value.is_finite() => Score::failed(format!("expected a finite sum of rewards, got {value}")),
            Some(verdict) => Score { verdict, value, parts, reason: reasons.join("; ") },
        }
    }
}
