//! Why somebody was not let in.

use std::time::Duration;

/// Why somebody was not let in. What is said to them is no more than this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// They showed nothing, where something is needed.
    #[error("a token is needed")]
    Wanted,
    /// What they showed is not good.
    #[error("the token or the password is not valid")]
    BadCredentials,
    /// What they showed is good, but not for this.
    #[error("this needs a token with the scope {0}")]
    Scope(String),
    /// The operator's service or policy said no.
    #[error("the server does not allow this")]
    Denied,
    /// The operator's service or policy said nothing, which is no.
    #[error("the server does not allow this now")]
    Silent,
    /// They were sent out a while ago.
    #[error("the session was ended by an administrator; come again later")]
    Kicked,
    /// What they showed was wrong too often.
    #[error("too many wrong tokens or passwords came from this address; wait {} s", .0.as_secs())]
    TooMany(Duration),
    /// The server is going down and takes nobody in.
    #[error("the server is shutting down")]
    Closing,
}
