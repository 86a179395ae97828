//! The host of Luau policies, tested from outside: what a script sees and may say, what the reference scripts answer,
//! and what becomes of scripts that mean harm.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;
mod contract;
mod host;
mod hostile;
mod reference;
mod rows;
