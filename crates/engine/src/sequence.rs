//! A request at work.

use std::mem::take;

use relign_core::{Completion, Finish, Request, Sampling, Seed};

use crate::Vocabulary;
use crate::text::Text;

/// A request at work: what was said, and how much of it lies in blocks.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: u64,
    pub(crate) seed: Seed,
    pub(crate) sampling: Sampling,
    /// The prompt and what was sampled.
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt: usize,
    /// Keys and values of the first `computed` tokens, in order.
    pub(crate) blocks: Vec<u32>,
    pub(crate) computed: usize,
    /// Whether its prompt was counted.
    pub(crate) entered: bool,
    logprobs: Vec<f32>,
    text: Text,
    /// The version that sampled the first token.
    version: Option<u64>,
}

impl Sequence {
    pub(crate) fn new(request: Request) -> Self {
        let Request { id, prompt, sampling, seed } = request;
        Self {
            id,
            seed,
            sampling,
            prompt: prompt.len(),
            tokens: prompt,
            blocks: Vec::new(),
            computed: 0,
            entered: false,
            logprobs: Vec::new(),
            text: Text::default(),
            version: None,
        }
    }

    /// Tokens that are not computed yet; at least the last.
    pub(crate) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Tokens sampled so far.
    pub(crate) fn sampled(&self) -> usize {
        self.tokens.len() - self.prompt
    }

    /// Takes a sampled token; why it was the last one, if it was.
    pub(crate) fn push(
        &mut self,
        token: u32,
        logprob: f32,
        version: u64,
        context: usize,
        vocabulary: &dyn Vocabulary,
    ) -> Option<Finish> {
        self.version.get_or_insert(version);
        self.tokens.push(token);
        self.logprobs.push(logprob);
        let sampling = &self.sampling;
        let stopped = !vocabulary.is_special(token) && self.text.push(vocabulary.token_bytes(token), &sampling.stop);
        if sampling.stop_tokens.contains(&token) || (!sampling.ignore_eos && vocabulary.eos_ids().contains(&token)) {
            Some(Finish::Stop)
        } else if stopped {
            Some(Finish::StopString)
        } else if self.tokens.len() - self.prompt >= sampling.max_tokens || self.tokens.len() >= context {
            Some(Finish::Length)
        } else {
            None
        }
    }

    /// What came of it.
    pub(crate) fn complete(&mut self, finish: Finish, version: u64) -> Completion {
        Completion {
            id: self.id,
            tokens: self.tokens.split_off(self.prompt),
            logprobs: take(&mut self.logprobs),
            text: take(&mut self.text).finish(),
            finish,
            version: self.version.unwrap_or(version),
        }
    }
}
