//! The judgements, each a pure function with carried state: input and memo in, decision with its reason out.
//!
//! Here stand the built-in policies, which decide when no script does. Nothing here reads a clock, does I/O or knows
//! a session: `now_ms` is an argument, and the same input and memo always give the same decision. Start reading at
//! [`engine`], what every policy is
//! to its host, then [`slot::Slot`], where one decides, and `builtin`, the reference rules.
#![forbid(unsafe_code)]

pub mod auth;
pub mod breaker;
pub mod builtin;
pub mod column;
pub mod conformance;
pub mod decision;
pub mod engine;
pub mod host;
mod kind;
pub mod manifest;
pub mod project;
pub mod schema;
pub mod slot;

pub use builtin::Builtin;
pub use engine::{Answer, Artifact, Batch, Fault, Limits, LoadError, Policy, Refusal, Spent, Tick};
pub use host::Services;
pub use kind::Kind;
pub use manifest::Manifest;
