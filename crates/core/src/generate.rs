//! How tokens are asked for.

use serde::{Deserialize, Serialize};

use crate::{Message, Sampling, Seed};

/// A request to continue a sequence of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Chosen by the caller; comes back with the [`Completion`]. Unique among requests in flight.
    pub id: u64,
    /// All tokens so far. Requests with an equal beginning share its KV cache. Empty only for an engine
    /// that renders conversations itself, see [`Generate::submit_conversation`].
    pub prompt: Vec<u32>,
    /// How to sample.
    pub sampling: Sampling,
    /// The randomness of this request alone: the same seed and prompt give the same tokens, whatever
    /// else is in flight.
    pub seed: Seed,
}

/// What came of a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// The request's id.
    pub id: u64,
    /// The sampled tokens, the stop token included: it is an action the policy took. Empty where they
    /// are not known, because a server tells the text alone; they are never made up from the text.
    pub tokens: Vec<u32>,
    /// The log-probability of each token under the distribution it was sampled from (nats): after the constraint,
    /// bias, penalties, temperature and cuts of its [`Sampling`]. At temperature 0, under the distribution before the
    /// temperature, which without bias and penalties is the model's own. Either one for each token, or none at all
    /// where they are not known: what needs them (training) must refuse, not assume a number.
    pub logprobs: Vec<f32>,
    /// The tokens as text, without special tokens and cut before a stop string.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// The version of the policy that wrote it.
    pub version: u64,
    /// What could have been said at each token's place, if [`Sampling::top_logprobs`] asked for it and it is known.
    pub odds: Vec<Odds>,
    /// The same for the prompt's tokens from [`Sampling::score_from`] on, at the earliest the second of them.
    pub prompt_odds: Vec<Odds>,
    /// How certain the model was at each token's place, if [`Sampling::certainty`] asked for it: the divergence of its
    /// own distribution, at temperature 1 and with nothing taken away, from the uniform one (nats). One for each token
    /// or none at all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certainty: Vec<f32>,
}

/// What the distributions said at the place of one token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Odds {
    /// The token's log-probability under the model's own distribution, at temperature 1 and with nothing taken away.
    pub logprob: f32,
    /// Its rank there, from 1: one more than there are tokens that are more likely; none where a server does not tell.
    pub rank: Option<usize>,
    /// The most likely tokens under the model's own distribution and their log-probabilities, most likely first.
    pub model: Vec<(u32, f32)>,
    /// The same under the distribution sampled from, of which [`Completion::logprobs`] are. Fewer than asked for where
    /// no more can be drawn. Empty for the prompt's tokens, which nobody drew, and where it is not known.
    pub sampler: Vec<(u32, f32)>,
}

/// Why generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model's end token or one of the request's stop tokens.
    Stop,
    /// A stop string appeared.
    StopString,
    /// `max_tokens` or the context's end.
    Length,
    /// The request was cancelled.
    Cancelled,
    /// The request was given up on ([`GenerateError::Failed`]); there is no answer.
    Failed,
}

impl Finish {
    /// Whether the model ended by itself.
    #[must_use]
    pub const fn is_natural(self) -> bool {
        matches!(self, Self::Stop | Self::StopString)
    }
}

/// Why a request cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The prompt leaves no room for an answer.
    #[error(
        "prompt of request {id} has {tokens} tokens; the context holds {context}, of which at least one must be left"
    )]
    TooLong {
        /// The request.
        id: u64,
        /// The prompt's length.
        tokens: usize,
        /// The longest sequence the model or the memory allows.
        context: usize,
    },
    /// The request makes no sense.
    #[error("request {id}: {what}")]
    Invalid {
        /// The request.
        id: u64,
        /// What is wrong: thing, expected, got.
        what: String,
    },
    /// One request failed for good: it is no longer in flight, and the others go on.
    #[error("request {id}: {what}")]
    Failed {
        /// The request.
        id: u64,
        /// Who failed at what: thing, expected, got.
        what: String,
    },
    /// The engine broke.
    #[error("engine: {0}")]
    Engine(String),
}

/// Makes tokens, many requests at once, none waiting for another (continuous batching).
pub trait Generate {
    /// Takes a request.
    ///
    /// # Errors
    /// If it can never be served; the engine goes on with the others.
    fn submit(&mut self, request: Request) -> Result<(), GenerateError>;

    /// Takes a request together with the conversation that its prompt was rendered from.
    ///
    /// An engine that renders conversations itself, such as a server behind its chat endpoint, takes an
    /// empty prompt and reads `messages`; every other engine reads the prompt alone.
    ///
    /// # Errors
    /// As [`submit`](Generate::submit).
    fn submit_conversation(&mut self, request: Request, messages: &[Message]) -> Result<(), GenerateError> {
        let _ = messages;
        self.submit(request)
    }

    /// Advances every request in flight by some work and returns those that ended. An empty answer
    /// with nothing in flight means there is nothing to do.
    ///
    /// # Errors
    /// [`GenerateError::Failed`] if one request failed, after which the others go on; anything else if
    /// the engine itself broke.
    fn poll(&mut self) -> Result<Vec<Completion>, GenerateError>;

    /// The requests taken and not yet returned.
    fn in_flight(&self) -> usize;

    /// Asks for a request's text as it comes, see [`heard`](Generate::heard). Whether it can be told: if not, the text
    /// comes with the [`Completion`] alone.
    fn watch(&mut self, id: u64) -> bool {
        let _ = id;
        false
    }

    /// The text that watched requests in flight said since it was last asked for. Whole characters, and nothing that
    /// may turn out to belong to a stop string: what was heard of a request is the beginning of its completion's text.
    fn heard(&mut self) -> Vec<(u64, String)> {
        Vec::new()
    }

    /// Drops a request; it comes back from the next [`poll`](Generate::poll) as [`Finish::Cancelled`].
    fn cancel(&mut self, id: u64);
}

/// Turns conversations into tokens and tokens into text.
pub trait Tokenize: Sync {
    /// The tokens of a conversation in the checkpoint's chat template, ready for the model's answer;
    /// none where the engine renders conversations itself.
    ///
    /// # Errors
    /// If the template rejects the conversation; the message says why.
    fn render(&self, messages: &[Message]) -> Result<Vec<u32>, String>;

    /// The tokens of `text` alone, special tokens not looked for.
    ///
    /// # Errors
    /// If tokens are made elsewhere.
    fn encode(&self, text: &str) -> Result<Vec<u32>, String> {
        Err(format!("expected a tokenizer that is here, for the tokens of {text:?}; use --tokenizer"))
    }

    /// The text of `tokens`, special tokens left out, invalid UTF-8 replaced.
    fn decode(&self, tokens: &[u32]) -> String;
}
