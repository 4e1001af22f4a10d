//! Tokens from a server: [`Generate`](relign_core::Generate) over any OpenAI-compatible one (vLLM,
//! SGLang, llama.cpp, llama-cpp-python, hosted services).
//!
//! Each request is one HTTP call without streaming, on a thread of a small pool. What may go wrong on
//! the way goes wrong for one request: it is tried again where that can help (408, 429, 5xx, a broken
//! connection), with waits that double and never undercut what the server asks for in `Retry-After`;
//! then it comes back as [`GenerateError::Failed`](relign_core::GenerateError::Failed). Time limits are
//! not tried again: the answer would take as long once more.
//!
//! # When tokens are known
//! No token is ever re-tokenised, so what a server does not tell stays unknown.
//!
//! | | prompt | answer |
//! |---|---|---|
//! | [`Prompts::Tokens`] | ids, rendered here and sent as ids (`/completions`) | ids where the server tells them all, else none |
//! | [`Prompts::Conversations`] | unknown: the server renders (`/chat/completions`) | likewise |
//!
//! vLLM (`return_token_ids`) and SGLang tell an answer's ids; llama.cpp tells them beside its
//! log-probabilities, which leave out a token that ends within a character, so they count only if there
//! are as many as the server says it made. Any other server's completions hold no tokens.
//!
//! # When log-probabilities are known
//! Only where every token has one, ids are known, and the numbers are those of the distribution sampled
//! from: servers report the model's own distribution, so a temperature other than 0 or 1, a cut, a penalty, a bias or a
//! constraint leaves none. The alternatives that `top_logprobs` asks for are known where a server tells their ids: vLLM
//! and llama.cpp.
//! Where a server is known, its own defaults for cutting the distribution (top-k, top-p, min-p, penalties) are
//! overruled, so that the distribution is the one asked for.
//!
//! # Settings
//! All of [`Sampling`](relign_core::Sampling) is said in the server's own words, or refused where it has none; in what
//! order a server applies them is its own affair, and so is which tokens it weakens: llama.cpp's count those of the
//! prompt in all penalties, llama-cpp-python's the last 64 alone. An answer that does not keep to its constraint is a
//! failure, for servers pass over words they do not know.
//!
//! # Seeds
//! A request's seed goes along in 31 bits. How far equal seeds give equal answers is the server's affair.

mod address;
mod answer;
mod ask;
mod dialect;
mod engine;
mod error;
mod http;
mod odds;
mod pool;
mod retry;
mod settings;

pub use address::Address;
pub use engine::{Prompts, Remote, RemoteStats};
pub use error::RemoteError;
pub use http::ApiKey;

use std::time::Duration;

/// The bounds within which a server is asked.
#[derive(Clone, Debug)]
pub struct RemoteOptions {
    /// Requests on their way at once.
    pub concurrency: usize,
    /// To connect, name lookup and TLS included.
    pub connect: Duration,
    /// From the request to the first byte of the answer. Servers answer once all is generated, so this
    /// is normally the time that takes, and the wait for a place.
    pub first_byte: Duration,
    /// One try from beginning to end.
    pub whole: Duration,
    /// Further tries of a request after the first.
    pub retries: u32,
    /// The first wait before another try, doubled each time.
    pub backoff: Duration,
    /// The longest wait; a server that asks for a longer one is given up on.
    pub longest_wait: Duration,
    /// The longest answer in bytes.
    pub answer_bytes: u64,
    /// What the server wants to see before it answers.
    pub key: Option<ApiKey>,
}

impl Default for RemoteOptions {
    fn default() -> Self {
        Self {
            concurrency: 16,
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            whole: Duration::from_secs(600),
            retries: 5,
            backoff: Duration::from_millis(500),
            longest_wait: Duration::from_secs(60),
            answer_bytes: 64 << 20,
            key: None,
        }
    }
}
