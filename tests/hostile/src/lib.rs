//! Policies that mean ill or are merely wrong, each with the outcome it must have.
//!
//! One corpus for the hosts' own tests and for the end-to-end test that plays each of them while somebody watches:
//!
//! - `greedy.toml`, `wrong.toml`   scripts of `abr` that take too much, and that are wrong
//! - `cunning.toml`                scripts that keep every rule while they are tried, and break it later
//! - `auth.toml`                   scripts of `auth`, each of which must mean no
//! - `modules.toml`                Wasm guests in parts of WAT
//! - [`bombs`]                     scripts made for the compiler, written by a program
//!
//! A policy of the first kinds shows itself when it is first tried, and is refused. [`Script::asleep`] and
//! [`Guest::asleep`] put the same policy behind a face that answers well until it is asked in earnest.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "for tests, which fail by panicking"
)]

mod bombs;
mod guest;
mod script;

pub use bombs::{Bomb, bombs};
pub use guest::{ANSWER, Guest, MODULE, Module, describe, manifest, modules};
pub use script::{Script, cunning, doors, scripts};

use serde::Deserialize;

/// How a policy ends.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Ends {
    /// It is no policy: it is not even loaded.
    Load,
    /// It is loaded and fails to start, with this fault.
    Start(String),
    /// It answers, and then fails with this fault: the next in the chain decides.
    Fault(String),
    /// It does not answer a row, or what it answers makes no sense, with this fault: the built-in answers that row.
    Row(String),
    /// It does no harm.
    Fine,
}

impl TryFrom<String> for Ends {
    type Error = String;

    fn try_from(word: String) -> Result<Self, String> {
        let fault = |word: &str| {
            let known = [
                "trap",
                "budget",
                "memory",
                "bad_output",
                "configuration",
                "late",
                "host",
            ];
            known
                .contains(&word)
                .then(|| word.to_owned())
                .ok_or_else(|| format!("{word:?} is no end"))
        };
        match word.split_once(' ') {
            Some(("start", rest)) => Ok(Self::Start(fault(rest)?)),
            Some(("row", rest)) => Ok(Self::Row(fault(rest)?)),
            _ if word == "load" => Ok(Self::Load),
            _ if word == "fine" => Ok(Self::Fine),
            _ => Ok(Self::Fault(fault(&word)?)),
        }
    }
}

/// In milliseconds on the desk's clock: no test serves longer, and what policies are tried with is nearly always later.
pub const AWAKE_BEFORE_MS: u64 = 600_000;
