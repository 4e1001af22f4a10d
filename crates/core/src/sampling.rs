//! How tokens are drawn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ConfigError, bounds};

/// How to sample one completion.
///
/// A model's logits become the distribution that a token is drawn from in this order, as in transformers:
///
/// 1. `constraint` takes away what cannot go on,
/// 2. `logit_bias` is added,
/// 3. `repetition_penalty`, then `frequency_penalty` and `presence_penalty` weaken what was said,
/// 4. all is divided by `temperature`,
/// 5. `top_k`, 6. `top_p`, 7. `min_p` take away what is unlikely, each seeing what the one before it left.
///
/// At temperature 0 the most likely token after step 3 is taken. All but the temperature make the distribution another
/// than the one that training differentiates; see [`departures`](Self::departures).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Logits are divided by this; 0 takes the most likely token.
    pub temperature: f32,
    /// Only the so many most likely tokens may be drawn, and those as likely as the last of them; 0 allows all.
    pub top_k: usize,
    /// Only the most likely tokens that make up this share of the probability may be drawn (the nucleus, 1904.09751),
    /// the one that completes it included; 1 allows all.
    pub top_p: f32,
    /// Only tokens at least this share as likely as the most likely one may be drawn (2407.01082); 0 allows all.
    pub min_p: f32,
    /// Positive logits of tokens that stand in the prompt or the answer are divided by this, negative ones
    /// multiplied (CTRL, 1909.05858); 1 leaves them.
    pub repetition_penalty: f32,
    /// Taken from the logit of every token that the answer holds already.
    pub presence_penalty: f32,
    /// Taken from a token's logit for each time that the answer holds it already.
    pub frequency_penalty: f32,
    /// Added to the logits of tokens, by id; -100 all but forbids one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub logit_bias: BTreeMap<u32, f32>,
    /// What the answer must be: nothing else can be drawn, and it can end only where it is complete.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<Constraint>,
    /// At most this many tokens, the stop token included. 0 samples nothing, which is for `score_from`.
    pub max_tokens: usize,
    /// Generation ends once the text contains one of these; the text is cut before it.
    pub stop: Vec<String>,
    /// Generation ends after one of these tokens, besides the model's own end tokens.
    pub stop_tokens: Vec<u32>,
    /// Go on past the model's own end tokens (for measurements of speed).
    pub ignore_eos: bool,
    /// Tell the [`Odds`](crate::Odds) at every token, with this many alternatives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<usize>,
    /// Tell the [`Odds`](crate::Odds) of the prompt's tokens from this place on, the first token of all having none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_from: Option<usize>,
    /// Tell how certain the model was at every token, see [`Completion::certainty`](crate::Completion::certainty).
    #[serde(skip_serializing_if = "is_false")]
    pub certainty: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature.
fn is_false(b: &bool) -> bool {
    !b
}

/// What an answer must be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Constraint {
    /// JSON that a schema describes; `{}` allows any JSON.
    JsonSchema(Value),
    /// Text that a regular expression matches from its beginning to its end, in the syntax of Rust's `regex`.
    Regex(String),
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: BTreeMap::new(),
            constraint: None,
            max_tokens: 256,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_eos: false,
            top_logprobs: None,
            score_from: None,
            certainty: false,
        }
    }
}

impl Sampling {
    /// The most alternatives that [`top_logprobs`](Self::top_logprobs) may ask for.
    pub const MOST_TOP_LOGPROBS: usize = 1000;

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// The first that does not: its name, what was expected, what was got.
    pub fn check(&self) -> Result<(), ConfigError> {
        let want = |holds: bool, name: &str, expected: &str, got: &dyn std::fmt::Display| {
            if holds { Ok(()) } else { Err(ConfigError::at(name, format!("expected {expected}, got {got}"))) }
        };
        let from_zero = |x: f32| x.is_finite() && x >= 0.0;
        want(from_zero(self.temperature), "temperature", "0 or more", &self.temperature)?;
        want(self.top_p > 0.0 && self.top_p <= 1.0, "top_p", "a share above 0, at most 1", &self.top_p)?;
        want((0.0..=1.0).contains(&self.min_p), "min_p", "a share from 0 to 1", &self.min_p)?;
        let repetition = self.repetition_penalty;
        want(repetition.is_finite() && repetition > 0.0, "repetition_penalty", "a number above 0", &repetition)?;
        for (name, penalty) in
            [("presence_penalty", self.presence_penalty), ("frequency_penalty", self.frequency_penalty)]
        {
            want(penalty.is_finite(), name, "a finite number", &penalty)?;
        }
        for (token, bias) in &self.logit_bias {
            want(bias.is_finite(), &format!("logit_bias.{token}"), "a finite number", bias)?;
        }
        let longest = bounds::most("max_tokens").unwrap_or(u64::MAX);
        want(self.max_tokens as u64 <= longest, "max_tokens", &format!("at most {longest}"), &self.max_tokens)?;
        want(self.max_tokens > 0 || self.score_from.is_some(), "max_tokens", "at least 1", &self.max_tokens)?;
        let empty = self.stop.iter().any(String::is_empty);
        want(!empty, "stop", "strings with text in them", &"an empty one")?;
        let both = self.ignore_eos && self.constraint.is_some();
        want(!both, "ignore_eos", "false beside a constraint, which says where the answer ends", &"true")?;
        let (top, most) = (self.top_logprobs.unwrap_or(0), Self::MOST_TOP_LOGPROBS);
        want(top <= most, "top_logprobs", &format!("at most {most}"), &top)
    }

    /// Whether the tokens that the settings name stand in a vocabulary of `vocab` tokens.
    ///
    /// # Errors
    /// The first that does not.
    pub fn check_ids(&self, vocab: usize) -> Result<(), ConfigError> {
        for (name, id) in
            [("logit_bias", self.logit_bias.keys().next_back()), ("stop_tokens", self.stop_tokens.iter().max())]
        {
            if let Some(id) = id.filter(|id| **id as usize >= vocab) {
                return Err(ConfigError::at(name, format!("expected ids below {vocab}, got {id}")));
            }
        }
        Ok(())
    }

    /// Every setting that makes the tokens come from another distribution than `softmax(logits / temperature)`, with
    /// the value that would not. A loss that knows the temperature alone differentiates another distribution than was
    /// sampled from wherever this is not empty.
    #[must_use]
    pub fn departures(&self) -> Vec<ConfigError> {
        let plain = Self::default();
        let mut departures = Vec::new();
        let mut note = |departs: bool, name: &str, expected: &dyn std::fmt::Display, got: &dyn std::fmt::Display| {
            if departs {
                departures.push(ConfigError::at(name, format!("expected {expected}, got {got}")));
            }
        };
        note(self.top_k != 0, "top_k", &0, &self.top_k);
        for (name, got, expected) in [
            ("top_p", self.top_p, plain.top_p),
            ("min_p", self.min_p, plain.min_p),
            ("repetition_penalty", self.repetition_penalty, plain.repetition_penalty),
            ("presence_penalty", self.presence_penalty, plain.presence_penalty),
            ("frequency_penalty", self.frequency_penalty, plain.frequency_penalty),
        ] {
            note(got != expected, name, &expected, &got);
        }
        let biased = self.logit_bias.len();
        note(biased > 0, "logit_bias", &"none", &format_args!("that of {biased} tokens"));
        note(self.constraint.is_some(), "constraint", &"none", &"one");
        departures
    }

    /// Whether the model's own distribution, at this temperature, is the one sampled from.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.departures().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_that_moves_the_distribution_is_named_and_no_other() {
        let plain = Sampling::default();
        for harmless in [
            Sampling { temperature: 0.3, max_tokens: 9, ignore_eos: true, ..plain.clone() },
            Sampling { stop: vec!["x".into()], stop_tokens: vec![1], top_logprobs: Some(3), ..plain.clone() },
            Sampling { certainty: true, ..plain.clone() },
        ] {
            assert!(harmless.is_plain());
        }
        // Whatever is not in the list above is in this one: a new setting must choose.
        let Sampling {
            temperature: _,
            top_k: _,
            top_p: _,
            min_p: _,
            repetition_penalty: _,
            presence_penalty: _,
            frequency_penalty: _,
            logit_bias: _,
            constraint: _,
            max_tokens: _,
            stop: _,
            stop_tokens: _,
            ignore_eos: _,
            top_logprobs: _,
            score_from: _,
            certainty: _,
        } = plain.clone();
        for (name, sampling) in [
            ("top_k", Sampling { top_k: 5, ..plain.clone() }),
            ("top_p", Sampling { top_p: 0.9, ..plain.clone() }),
            ("min_p", Sampling { min_p: 0.1, ..plain.clone() }),
            ("repetition_penalty", Sampling { repetition_penalty: 1.1, ..plain.clone() }),
            ("presence_penalty", Sampling { presence_penalty: -0.5, ..plain.clone() }),
            ("frequency_penalty", Sampling { frequency_penalty: 0.5, ..plain.clone() }),
            ("logit_bias", Sampling { logit_bias: [(3, 1.0)].into(), ..plain.clone() }),
            ("constraint", Sampling { constraint: Some(Constraint::Regex("a".into())), ..plain.clone() }),
        ] {
            let departures = sampling.departures();
            assert_eq!(departures.iter().map(|d| d.path.as_str()).collect::<Vec<_>>(), [name]);
            assert!(departures[0].message.starts_with("expected "), "{}", departures[0]);
            sampling.check().unwrap_or_else(|e| panic!("{e}"));
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let plain = Sampling::default();
        let both = Sampling { ignore_eos: true, constraint: Some(Constraint::Regex("a".into())), ..plain.clone() };
        for (sampling, said) in [
            (Sampling { temperature: f32::NAN, ..plain.clone() }, "temperature: expected 0 or more, got NaN"),
            (Sampling { top_p: 0.0, ..plain.clone() }, "top_p: expected a share above 0, at most 1, got 0"),
            (Sampling { min_p: 1.5, ..plain.clone() }, "min_p: expected a share from 0 to 1, got 1.5"),
            (Sampling { repetition_penalty: 0.0, ..plain.clone() }, "repetition_penalty: expected a number above 0"),
            (Sampling { presence_penalty: f32::INFINITY, ..plain.clone() }, "presence_penalty: expected a finite"),
            (Sampling { logit_bias: [(7, f32::NAN)].into(), ..plain.clone() }, "logit_bias.7: expected a finite"),
            (Sampling { max_tokens: 0, ..plain.clone() }, "max_tokens: expected at least 1, got 0"),
            (Sampling { top_logprobs: Some(5000), ..plain.clone() }, "top_logprobs: expected at most 1000, got 5000"),
            (both, "ignore_eos: expected false beside a constraint"),
        ] {
            let error = sampling.check().unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
        assert!(Sampling { max_tokens: 0, score_from: Some(1), ..plain }.check().is_ok());
    }

    #[test]
    fn settings_are_read_back_as_they_were_written() {
        let sampling = Sampling {
            logit_bias: [(3, -2.5), (70, 1.0)].into(),
            constraint: Some(Constraint::JsonSchema(serde_json::json!({"type": "object"}))),
            top_logprobs: Some(2),
            ..Sampling::default()
        };
        let written = serde_json::to_value(&sampling).unwrap();
        assert_eq!(written["logit_bias"], serde_json::json!({"3": -2.5, "70": 1.0}));
        assert_eq!(crate::parse::<Sampling>(written).unwrap(), sampling);
    }
}
