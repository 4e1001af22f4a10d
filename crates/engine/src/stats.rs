//! What an engine has done.

/// Counts since the engine was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Prompt tokens of all requests that entered. A sequence that was given up and entered again
    /// counts once.
    pub prompt_tokens: u64,
    /// Those whose keys and values were there already.
    pub cached_tokens: u64,
    /// Tokens sampled.
    pub generated_tokens: u64,
    /// Tokens that went through the model, prompts and what was computed again included.
    pub computed_tokens: u64,
    /// Forward passes.
    pub forward_passes: u64,
    /// Sequences that gave their blocks up to older ones.
    pub preemptions: u64,
    /// The most blocks held by sequences at one time.
    pub peak_blocks: u64,
}
