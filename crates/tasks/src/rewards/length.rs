//! Brevity.

use relign_core::{ConfigError, Entry, Reward, Score, Task, Transcript, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

/// Pays for brevity: nearly 1 for a very short answer, falling in a straight line to 0 at `limit`
/// characters. Saying nothing is worth 0.
///
/// To be added with a small weight to a reward for being right, so that of two right answers the
/// shorter one is preferred (compare the soft punishment of DAPO, 2503.14476).
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Length {
    /// Characters from which on nothing is paid; at least 1.
    pub limit: usize,
}

impl Default for Length {
    fn default() -> Self {
        Self { limit: 2000 }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Reward> = Entry {
    name: "length",
    schema: schema_of::<Length>,
    build: |settings| {
        let length: Length = parse(settings)?;
        if length.limit == 0 {
            return Err(ConfigError::at("limit", "expected at least 1 character, got 0"));
        }
        Ok(Box::new(length))
    },
};

impl Reward for Length {
    fn score(&self, _task: &Task, transcript: &Transcript) -> Score {
        let characters = transcript.last().chars().count();
        if characters == 0 {
            return Score::unparsed("nothing was said");
        }
        let value = 1.0 - characters.min(self.limit) as f64 / self.limit as f64;
        // Brevity says nothing about being right: the verdict is the other parts' to give.
        let score = if value > 0.0 { Score::correct("") } else { Score::wrong("") };
        Score { value, reason: format!("{characters} of {} characters", self.limit), ..score }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_is_worth_more() {
        let reward = Length { limit: 10 };
        let value = |text: &str| reward.score(&Task::default(), &Transcript::of(text, true)).value;
        assert_eq!(
            [value(""), value("éé"), value("0123456789"), value("far too long an answer")],
            [0.0, 0.8, 0.0, 0.0]
        );
    }
}
