//! A process reward model.

use relign_core::{ConfigError, Dtype, Entry, Scorer, parse, schema_of};
use schemars::JsonSchema;
use serde::Deserialize;

use super::needs_model;
use crate::growth::Aggregate;

/// A process reward model: a number for every step, and for an answer what its steps' numbers amount to (2305.20050).
///
/// Steps are the nodes of the answer, cut once more at blank lines, so that whole answers have steps, too. After each
/// stands `separator`, and there the model is read:
///
/// - a model with a head of one label or two, as Hugging Face's `ForTokenClassification` has: `sigmoid(x)` of one logit,
///   `softmax(x)_2` of two. Its separator is `<extra_0>` where the vocabulary has it (Qwen2.5-Math-PRM, 2501.07301, whose
///   head has two layers), else a line break, as in TRL.
/// - a model without a head: the share of the token `good` of it and `bad`, `softmax(x_good, x_bad)_1`. Its separator is
///   ` ки` and a line break (Math-Shepherd, 2312.08935).
///
/// A separator that is a token of the vocabulary, blanks around it aside, is looked for in the tokens of the whole text; any other is
/// tokenised by itself, and the model is read at its last token. Numbers are from 0 to 1. All nodes that wait for a value,
/// of all tasks at work, are read together, and what they have in common is computed once.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Process {
    /// The reward model: a Hugging Face folder, a GGUF file (of a model without a head), a hub id or a run's folder.
    pub model: String,
    /// What the numbers of an answer's steps amount to.
    pub aggregate: Aggregate,
    /// What stands after each step; by default what the model's kind has.
    pub separator: Option<String>,
    /// The token for a good step, of a model without a head.
    pub good: String,
    /// The token for a bad step, of a model without a head.
    pub bad: String,
    /// Whether the model reads a conversation in its chat template, instead of question and steps one after the other; by
    /// default a model with a head does where it has one.
    pub chat: Option<bool>,
    /// What the model is told as the system, in a conversation; by default what the task says.
    pub system: Option<String>,
    /// What products are computed in.
    pub dtype: Dtype,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            model: String::new(),
            aggregate: Aggregate::Last,
            separator: None,
            good: "+".to_owned(),
            bad: "-".to_owned(),
            chat: None,
            system: None,
            dtype: Dtype::Auto,
        }
    }
}

/// The line in the table.
pub const ENTRY: Entry<dyn Scorer> =
    Entry { name: "process", schema: schema_of::<Process>, build: |settings| Ok(Box::new(Process::of(settings)?)) };

impl Process {
    /// The scorer that settings ask for.
    ///
    /// # Errors
    /// If one does not fit.
    pub fn of(settings: serde_json::Value) -> Result<Self, ConfigError> {
        let own: Self = parse(settings)?;
        needs_model(&own.model)?;
        for (name, words) in
            [("separator", own.separator.as_deref().unwrap_or("x")), ("good", &own.good), ("bad", &own.bad)]
        {
            if words.is_empty() {
                return Err(ConfigError::at(name, "expected text, got none"));
            }
        }
        Ok(own)
    }
}

impl Scorer for Process {
    fn outside(&self) -> bool {
        true
    }
}
