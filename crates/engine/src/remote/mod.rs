//! Tokens from a server: [`Generate`](relign_core::Generate) over any OpenAI-compatible one (vLLM,
//! SGLang, llama.cpp, llama-cpp-python, hosted services).
//!
//! Each request is one HTTP call, as a rule without streaming, on a thread of a small pool. What may go wrong on
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
//! | the same, to a server that takes text alone ([`Remote::spelled_by`]) | ids, sent as the text that they stand for | none |
//! | [`Prompts::Conversations`] | unknown: the server renders (`/chat/completions`) | likewise |
//!
//! vLLM (`return_token_ids`) and SGLang tell an answer's ids; llama.cpp tells them beside its
//! log-probabilities, which leave out a token that ends within a character, so they count only if there
//! are as many as the server says it made. Any other server's completions hold no tokens.
//!
//! A search must be able to go on from what was said: with [`Remote::read_answers`] an answer whose tokens are not told
//! gets those that the tokenizer here reads in its text, an exception to the rule above that training cannot use, since
//! there are no log-probabilities of them. Where such a request has stop strings and the server does not say whether one
//! of them ended the answer (all but vLLM and SGLang), the answer is streamed and cut here. llama-cpp-python's server is
//! then asked one thing at a time, for it ends a stream when something else is asked.
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
//! Parameters that a server refuses can be left out of every request ([`Remote::with_changes`]); where one of them shapes the
//! distribution, log-probabilities stay unknown.
//!
//! # Seeds
//! A request's seed goes along in 31 bits. How far equal seeds give equal answers is the server's affair.

mod answer;
mod ask;
mod dialect;
mod engine;
mod error;
mod odds;
mod pool;
mod settings;
mod spelled;

pub use engine::{Prompts, Remote, RemoteStats};
pub use error::RemoteError;
pub use relign_http::{Address, ApiKey, Options as RemoteOptions};
pub use spelled::Spelling;
