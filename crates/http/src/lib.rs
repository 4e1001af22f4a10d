//! Servers that speak JSON over HTTP, asked within bounds.
//!
//! One [`Http::ask`] is one question. What may go wrong on the way is tried again where that can help (408, 429, 5xx,
//! a broken connection), with waits that double and never undercut what the server asks for in `Retry-After`. Time
//! limits are not tried again: the answer would take as long once more. Every error names the server, and a key is
//! never part of one.

mod address;
pub mod chat;
mod client;
mod error;
mod retry;
mod stream;

pub use address::Address;
pub use client::{ApiKey, Http, short};
pub use error::Error;

use std::time::Duration;

/// The bounds within which a server is asked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Requests on their way at once: what whoever asks keeps to, and the connections kept open.
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

impl Default for Options {
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
