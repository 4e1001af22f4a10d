//! What can go wrong with a server.

use std::time::Duration;

use relign_core::secrets;

/// Why a server gave no answer that can be used. Every message names the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The address is none.
    #[error("server address: {0}")]
    Address(String),
    /// No connection, or one that broke.
    #[error("{url}: {what}{}", times(*.tries))]
    Unreachable {
        /// What was asked.
        url: String,
        /// What happened.
        what: String,
        /// How often it was tried.
        tries: u32,
    },
    /// A time limit passed.
    #[error("{url}: expected {what} within {limit:?}, got nothing")]
    Late {
        /// What was asked.
        url: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        limit: Duration,
    },
    /// The server refuses.
    #[error("{url}: expected status 200, got {status}{said}{}", times(*.tries))]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// How often it was tried.
        tries: u32,
        /// The server's words, with what leads to them; empty without any.
        said: String,
    },
    /// An answer that makes no sense.
    #[error("{url}: {what}")]
    Malformed {
        /// What was asked.
        url: String,
        /// Thing, expected, got.
        what: String,
    },
}

impl Error {
    /// The same error with neither `secrets` nor what a URL shows of some.
    #[must_use]
    pub(crate) fn without(mut self, secrets: &[String]) -> Self {
        let hide = |text: &mut String| {
            *text = secrets::without_secrets(text);
            for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
                *text = text.replace(secret, secrets::HIDDEN);
            }
        };
        match &mut self {
            Self::Address(what) => hide(what),
            Self::Unreachable { url, what, .. } | Self::Malformed { url, what } => {
                [url, what].into_iter().for_each(hide)
            }
            Self::Late { url, .. } => hide(url),
            Self::Status { url, said, .. } => [url, said].into_iter().for_each(hide),
        }
        self
    }
}

fn times(tries: u32) -> String {
    if tries > 1 { format!(" ({tries} tries)") } else { String::new() }
}
