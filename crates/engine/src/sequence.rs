//! A request at work.

use std::mem::take;

use relign_core::{Completion, Finish, Odds, Request, Sampling, Seed};
use relign_model::logits::{Draw, Drawn, Seen, Shape};

use crate::Vocabulary;
use crate::constraint::Bound;
use crate::text::Text;

/// A request at work: what was said, and how much of it lies in blocks.
#[derive(Debug)]
pub(crate) struct Sequence {
    pub(crate) id: u64,
    pub(crate) sampling: Sampling,
    /// The prompt and what was sampled.
    pub(crate) tokens: Vec<u32>,
    pub(crate) prompt: usize,
    /// Keys and values of the first `computed` tokens, in order.
    pub(crate) blocks: Vec<u32>,
    pub(crate) computed: usize,
    /// Whether its prompt was counted.
    pub(crate) entered: bool,
    /// Whether its text is asked for as it comes.
    pub(crate) watched: bool,
    seed: Seed,
    /// Whether anything but the temperature makes its distribution.
    shaped: bool,
    /// Its tokens, where they are weakened.
    seen: Option<Seen>,
    bound: Option<Bound>,
    logprobs: Vec<f32>,
    odds: Vec<Odds>,
    prompt_odds: Vec<Odds>,
    certainty: Vec<f32>,
    text: Text,
    /// Bytes of the text that were told.
    told: usize,
    /// The version that sampled the first token.
    version: Option<u64>,
}

impl Sequence {
    /// A request; `bound` where it has a constraint.
    pub(crate) fn new(request: Request, bound: Option<Bound>) -> Self {
        let Request { id, prompt, sampling, seed } = request;
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = sampling;
        let weakens = repetition_penalty != 1.0 || presence_penalty != 0.0 || frequency_penalty != 0.0;
        Self {
            id,
            seed,
            shaped: !sampling.is_plain(),
            seen: weakens.then(|| Seen::new(&prompt)),
            bound,
            sampling,
            prompt: prompt.len(),
            tokens: prompt,
            blocks: Vec::new(),
            computed: 0,
            entered: false,
            watched: false,
            logprobs: Vec::new(),
            odds: Vec::new(),
            prompt_odds: Vec::new(),
            certainty: Vec::new(),
            text: Text::default(),
            told: 0,
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

    /// The first prompt token whose odds are still to be told.
    pub(crate) fn unscored(&self) -> Option<usize> {
        let next = self.sampling.score_from?.max(1) + self.prompt_odds.len();
        (next < self.prompt).then_some(next)
    }

    /// The tokens that need not be computed if they were already. The last one must be, for what follows it, and so
    /// must those before tokens whose odds are asked for.
    pub(crate) fn reach(&self) -> &[u32] {
        let end = self.tokens.len() - 1;
        &self.tokens[..self.unscored().map_or(end, |next| end.min(next - 1))]
    }

    /// How its next token is drawn.
    pub(crate) fn draw(&self) -> Draw<'_> {
        let Self { sampling, seen, bound, .. } = self;
        let allowed = bound.as_ref().map(Bound::allowed);
        Draw {
            temperature: sampling.temperature,
            uniform: self.seed.uniform(self.sampled() as u64),
            shape: self.shaped.then_some(Shape { sampling, seen: seen.as_ref(), allowed }),
            odds: sampling.top_logprobs,
        }
    }

    /// Takes the odds of the prompt's next token.
    pub(crate) fn score(&mut self, odds: Odds) {
        self.prompt_odds.push(odds);
    }

    /// Takes how certain the model is of what is drawn next.
    pub(crate) fn note_certainty(&mut self, certainty: f32) {
        self.certainty.push(certainty);
    }

    /// The weights changed: what was said of the prompt alone is said again by the new ones.
    pub(crate) fn outdate(&mut self) {
        if self.version.is_none() {
            self.prompt_odds.clear();
        }
    }

    /// Takes a sampled token; why it was the last one, if it was.
    ///
    /// # Errors
    /// If its constraint leaves nothing to go on with.
    pub(crate) fn push(
        &mut self,
        drawn: Drawn,
        version: u64,
        context: usize,
        vocabulary: &dyn Vocabulary,
    ) -> Result<Option<Finish>, String> {
        let Drawn { token, logprob, odds } = drawn;
        self.version.get_or_insert(version);
        self.tokens.push(token);
        self.logprobs.push(logprob);
        self.odds.extend(odds);
        let sampling = &self.sampling;
        let stopped = !vocabulary.is_special(token) && self.text.push(vocabulary.token_bytes(token), &sampling.stop);
        if sampling.stop_tokens.contains(&token) || (!sampling.ignore_eos && vocabulary.eos_ids().contains(&token)) {
            return Ok(Some(Finish::Stop));
        }
        if stopped {
            return Ok(Some(Finish::StopString));
        }
        if self.tokens.len() - self.prompt >= sampling.max_tokens || self.tokens.len() >= context {
            return Ok(Some(Finish::Length));
        }
        if let Some(seen) = &mut self.seen {
            seen.push(token);
        }
        if let Some(bound) = &mut self.bound {
            bound.push(token)?;
        }
        Ok(None)
    }

    /// The text that has come since it was last asked for, as far as it is certain.
    pub(crate) fn hear(&mut self) -> String {
        let (new, told) = self.text.settled(self.told, &self.sampling.stop);
        self.told = told;
        new
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
            odds: take(&mut self.odds),
            prompt_odds: take(&mut self.prompt_odds),
            certainty: take(&mut self.certainty),
        }
    }
}
