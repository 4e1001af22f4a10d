//! What can go wrong with a server.

/// Why a server gave no answer that can be used. Every message names the server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// It cannot be asked, refuses or answers nonsense.
    #[error(transparent)]
    Http(#[from] relign_http::Error),
    /// The model cannot be told from the address.
    #[error("{url}: {what}")]
    Model {
        /// What was asked.
        url: String,
        /// What is there, and what to write.
        what: String,
    },
    /// The system gives no thread to ask from.
    #[error("threads for requests: {0}")]
    Threads(String),
}
