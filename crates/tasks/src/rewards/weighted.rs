//! Several rewards in one.

use std::collections::BTreeMap;

use relign_core::{ConfigError, Reward, Score, Task, Transcript, Verdict, When};

/// The weighted sum of named rewards, some of them behind gates.
///
/// The verdict is the first part's, so the reward that decides what is correct stands first. A part
/// that fails, or a sum that is not finite, fails the whole. A part behind a closed gate is not asked and
/// adds nothing.
#[derive(Default)]
pub struct Weighted {
    parts: Vec<Part>,
}

struct Part {
    name: String,
    weight: f64,
    /// The place of the part that must allow it, and the least that part must be worth; none: it must
    /// be right.
    gate: Option<(usize, Option<f64>)>,
    reward: Box<dyn Reward>,
}

impl Weighted {
    /// Adds a part. A name that is taken gets a number: `format`, `format#2`.
    ///
    /// # Errors
    /// If the weight is not finite, or `when` names no part that was added before or expects a worth that
    /// is not finite.
    pub fn add(
        &mut self,
        name: &str,
        weight: f64,
        when: Option<&When>,
        reward: Box<dyn Reward>,
    ) -> Result<(), ConfigError> {
        if !weight.is_finite() {
            return Err(ConfigError::at("weight", format!("expected a finite number, got {weight}")));
        }
        let gate = when.map(|when| self.gate(when)).transpose()?;
        let taken = |name: &str| self.parts.iter().any(|other| other.name == name);
        let mut unique = name.to_owned();
        let mut number = 1;
        while taken(&unique) {
            number += 1;
            unique = format!("{name}#{number}");
        }
        self.parts.push(Part { name: unique, weight, gate, reward });
        Ok(())
    }

    fn gate(&self, When { reward, at_least }: &When) -> Result<(usize, Option<f64>), ConfigError> {
        if let Some(least) = at_least.filter(|least| !least.is_finite()) {
            return Err(ConfigError::at("when.at_least", format!("expected a finite number, got {least}")));
        }
        let place = self.parts.iter().position(|part| part.name == *reward).ok_or_else(|| {
            let before: Vec<&str> = self.parts.iter().map(|part| part.name.as_str()).collect();
            let before = if before.is_empty() { "there is none".to_owned() } else { before.join(", ") };
            ConfigError::at("when.reward", format!("expected an earlier part ({before}), got `{reward}`"))
        })?;
        Ok((place, *at_least))
    }
}

impl Reward for Weighted {
    fn score(&self, task: &Task, transcript: &Transcript) -> Score {
        let mut verdict = None;
        let mut value = 0.0;
        let mut parts = BTreeMap::new();
        let mut reasons = Vec::new();
        // What each part said; none behind a closed gate.
        let mut said: Vec<Option<(Verdict, f64)>> = Vec::with_capacity(self.parts.len());
        for Part { name, weight, gate, reward } in &self.parts {
            let open = gate.is_none_or(|(place, least)| {
                said[place].is_some_and(|(verdict, worth)| match least {
                    Some(least) => worth >= least,
                    None => verdict == Verdict::Correct,
                })
            });
            if !open {
                said.push(None);
                parts.insert(name.clone(), 0.0);
                continue;
            }
            let score = reward.score(task, transcript);
            if score.verdict == Verdict::Failed || !score.value.is_finite() {
                let why = if score.value.is_finite() { score.reason } else { format!("its value is {}", score.value) };
                return Score::failed(format!("reward `{name}`: {why}"));
            }
            said.push(Some((score.verdict, score.value)));
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
