//! Model families: one file each, one line in [`FAMILIES`].

mod decoder;
mod gemma3_text;
mod llama;
mod olmo2;
mod phi3;
mod qwen2;
mod qwen3;

use serde_json::Value;
use tch::Tensor;

use crate::attention::Attention;
use crate::parameters::{Builder, Linear};
use crate::rotary::Rotary;
use crate::{Config, LoadError};

/// A decoder-only transformer, cut into pieces so that the trainer can recompute layers and the
/// engine can run its own attention.
pub trait Family: Send {
    /// Rows of the embedding for token ids `[n]` (i64): `[n, hidden]`.
    fn embed(&self, tokens: &Tensor) -> Tensor;

    /// The rotary angles of some positions, in one table or more: a layer takes its own.
    fn rotary(&self, positions: &[i64]) -> Rotary;

    /// Layer `index` applied to the residual stream `[n, hidden]`.
    fn layer(&self, index: usize, x: &Tensor, rotary: &Rotary, attention: &mut dyn Attention) -> Tensor;

    /// The final norm: `[n, hidden]`, what the output matrix is applied to.
    fn finish(&self, x: &Tensor) -> Tensor;

    /// The output matrix, `[vocab, hidden]`.
    fn head(&self) -> &Linear;

    /// Layers.
    fn layers(&self) -> usize;

    /// The whole trunk: hidden states `[n, hidden]` after the final norm.
    fn forward(&self, tokens: &Tensor, positions: &[i64], attention: &mut dyn Attention) -> Tensor {
        let rotary = self.rotary(positions);
        let mut x = self.embed(tokens);
        for index in 0..self.layers() {
            x = self.layer(index, &x, &rotary, attention);
        }
        self.finish(&x)
    }
}

/// One line of [`FAMILIES`].
pub struct FamilyEntry {
    /// `model_type` in config.json.
    pub name: &'static str,
    /// `architectures` in config.json.
    pub architecture: &'static str,
    /// What it covers.
    pub summary: &'static str,
    /// What transformers takes for words that a config.json leaves out, where that is not what most
    /// families take.
    pub defaults: fn() -> Value,
    /// Builds the family over parameters.
    pub build: fn(&Config, &mut Builder<'_>) -> Result<Box<dyn Family>, LoadError>,
}

impl FamilyEntry {
    /// What transformers takes for a word that a config.json leaves out.
    pub(crate) fn defaults_of(&self, key: &str) -> Option<Value> {
        (self.defaults)().get(key).cloned()
    }
}

/// All families.
pub const FAMILIES: &[FamilyEntry] =
    &[llama::ENTRY, llama::MISTRAL, qwen2::ENTRY, qwen3::ENTRY, gemma3_text::ENTRY, phi3::ENTRY, olmo2::ENTRY];
