//! An outcome reward model.

use relign_core::{ConfigError, Dtype, Entry, Scorer, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::needs_model;

/// An outcome reward model: one number for all that was said (2110.14168).
///
/// The model has a head of one label or two, as Hugging Face's `ForSequenceClassification` has (`score.weight`, or
/// `score.0` and `score.2`), and reads the conversation in its own chat template; without one, the messages with an empty
/// line between them. Its head is read after the last token that is no padding. The value is `sigmoid(x)` for the logit `x`
/// of one label, and the second label's share, `softmax(x)_2`, of two: from 0 to 1. All nodes that wait for a value, of
/// all tasks at work, are read together, and what they have in common is computed once.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Outcome {
    /// The reward model: a Hugging Face folder, a hub id or a run's folder.
    pub model: String,
    /// The logit itself instead of a number from 0 to 1; for a head of one label.
    pub raw: bool,
    /// What the model is told as the system; by default what the task says.
    pub system: Option<String>,
    /// What products are computed in.
    pub dtype: Dtype,
}

/// The line in the table.
pub const ENTRY: Entry<dyn Scorer> =
    Entry { name: "outcome", schema: schema_of::<Outcome>, build: |settings| Ok(Box::new(Outcome::of(settings)?)) };

impl Outcome {
    /// The scorer that settings ask for.
    ///
    /// # Errors
    /// If one does not fit.
    pub fn of(settings: serde_json::Value) -> Result<Self, ConfigError> {
        let own: Self = parse(settings)?;
        needs_model(&own.model)?;
        Ok(own)
    }
}

impl Scorer for Outcome {
    fn outside(&self) -> bool {
        true
    }
}
