//! Saying too much.

use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::shaped;

/// DAPO's soft overlong punishment (2503.14476, equation 13), times `penalty`.
///
/// With n sampled tokens, L = `limit` and C = `buffer`:
///
/// - 0 for n up to L - C,
/// - (L - C - n) / C, falling from 0 to -1, for n up to L,
/// - -1 beyond.
///
/// To be added to a reward for being right. `limit` is `sampling.max_tokens`, or less. Where a server
/// does not tell tokens, the reward fails; count characters then.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Overlong {
    /// The length from which on all of the penalty is due.
    pub limit: usize,
    /// The length before it over which the penalty grows; 1 to `limit`.
    pub buffer: usize,
    /// What an answer beyond the limit loses; at least 0.
    pub penalty: f64,
    /// What is counted.
    pub unit: Unit,
}

/// What a length is counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Tokens that the model sampled, of all its turns.
    #[default]
    Tokens,
    /// Characters of the model's last turn.
    Characters,
}

impl Default for Overlong {
    fn default() -> Self {
        Self { limit: 20_480, buffer: 4_096, penalty: 1.0, unit: Unit::Tokens }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "overlong",
    schema: schema_of::<Overlong>,
    build: |settings| {
        let overlong: Overlong = parse(settings)?;
        if !(1..=overlong.limit).contains(&overlong.buffer) {
            return Err(ConfigError::at(
                "buffer",
                format!("expected 1 to {} (`limit`), got {}", overlong.limit, overlong.buffer),
            ));
        }
        if !(overlong.penalty.is_finite() && overlong.penalty >= 0.0) {
            return Err(ConfigError::at("penalty", format!("expected a number from 0 up, got {}", overlong.penalty)));
        }
        Ok(Box::new(overlong))
    },
};

impl Reward for Overlong {
    fn score(&self, _task: &Task, transcript: &Transcript) -> Score {
        let (length, unit) = match self.unit {
            Unit::Characters => (transcript.last().chars().count(), "characters"),
            Unit::Tokens => match &transcript.ids {
                Some(ids) => (ids.len(), "tokens"),
                None => {
                    return Score::failed(
                        "expected the number of sampled tokens, which nobody told; set unit = \"characters\"",
                    );
                }
            },
        };
        let free = self.limit - self.buffer;
        let over = length.saturating_sub(free).min(self.buffer);
        let value = if over == 0 { 0.0 } else { -self.penalty * over as f64 / self.buffer as f64 };
        shaped(value, format!("{length} of {} {unit}", self.limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use relign_core::Verdict;

    #[test]
    fn the_papers_formula() {
        let reward = Overlong::default();
        let score = |tokens: Option<usize>| {
            let ids = tokens.map(|count| vec![0; count]);
            reward.score(&Task::default(), &Transcript { ids, ..Transcript::of("", true) })
        };
        // Their setting: 16,384 tokens are free, 20,480 the most.
        for (tokens, value) in
            [(0, 0.0), (16_384, 0.0), (17_408, -0.25), (18_432, -0.5), (20_480, -1.0), (30_000, -1.0)]
        {
            assert_eq!(score(Some(tokens)).value, value, "{tokens}");
        }
        assert_eq!(score(None).verdict, Verdict::Failed);
        let characters =
            (ENTRY.build)(serde_json::json!({"limit": 8, "buffer": 4, "penalty": 2, "unit": "characters"}));
        assert_eq!(characters.unwrap().score(&Task::default(), &Transcript::of("éééééé", true)).value, -1.0);
        assert!((ENTRY.build)(serde_json::json!({"limit": 8, "buffer": 9})).is_err());
        assert!((ENTRY.build)(serde_json::json!({"limit": 8, "buffer": 0})).is_err());
    }
}
