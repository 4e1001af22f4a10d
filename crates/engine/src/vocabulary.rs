//! What the engine must know about tokens.

use relign_model::Tokenizer;

/// The bytes of tokens and which of them end an answer.
pub trait Vocabulary: Send + Sync {
    /// The bytes a token stands for; a character may begin in one token and end in another. Empty for an id that is no
    /// token's.
    fn token_bytes(&self, token: u32) -> &[u8];

    /// Whether a token steers the model and is no text.
    fn is_special(&self, token: u32) -> bool;

    /// The tokens that end an answer.
    fn eos_ids(&self) -> &[u32];
}

impl Vocabulary for Tokenizer {
    fn token_bytes(&self, token: u32) -> &[u8] {
        Self::token_bytes(self, token)
    }

    fn is_special(&self, token: u32) -> bool {
        Self::is_special(self, token)
    }

    fn eos_ids(&self) -> &[u32] {
        Self::eos_ids(self)
    }
}
