//! Policies for Lockgate, written in Rust.
//!
//! A policy is a plain function from what is known to what is to be done, so that `cargo test` can call it. `#[policy]`
//! exports it, and puts the manifest of `plugin.toml` into the component:
//!
//! ```ignore
//! use lockgate_sdk::abr::*;
//!
//! #[derive(Default, Deserialize)]
//! #[serde(default)]
//! struct Config { reserve_kbps: f64 }
//!
//! #[policy(abr, config = Config)]
//! fn recommend(config: &Config, tick: &Tick, ladder: &Ladder, viewer: &Viewer, memo: &mut Memo) -> Pick {
//!     let budget = viewer.bandwidth_kbps().unwrap_or(0.0) - config.reserve_kbps;
//!     Pick::rung(ladder.highest_within(budget).unwrap_or(0))
//! }
//! ```
//!
//! Build it for `wasm32-unknown-unknown`. There is no clock, no randomness and no I/O: the tick has a time and a seed.
//! What is unknown is `None`, never zero. Panics are faults: the host goes on with another policy.

mod answers;
pub mod auth;
#[doc(hidden)]
pub mod bindings;
mod columns;
mod glue;
pub mod host;
mod json;
mod rows;

pub use answers::{Grade, Pick, Plan, Saving};
pub use columns::{Rung, Source, Viewer};
#[doc(hidden)]
pub use glue::{Layout, batch, configuration, configure, with_config};
pub use lockgate_sdk_macros::{policies, policy};
pub use rows::{Ladder, Memo, Tick, from_zero};
#[doc(hidden)]
pub use wit_bindgen;

/// Everything a policy of kind `abr` needs.
pub mod abr {
    pub use crate::{Ladder, Memo, Pick, Rung, Tick, Viewer, from_zero, policy};
    pub use serde::Deserialize;
}

/// Everything a policy of kind `optimize` needs.
pub mod optimize {
    pub use crate::{Ladder, Memo, Rung, Saving, Tick, Viewer, from_zero, policy};
    pub use serde::Deserialize;
}

/// Everything a policy of kind `score` needs.
pub mod score {
    pub use crate::{Grade, Ladder, Memo, Rung, Tick, Viewer, from_zero, policy};
    pub use serde::Deserialize;
}

/// Everything a policy of kind `ladder` needs.
pub mod ladder {
    pub use crate::{Ladder, Memo, Plan, Rung, Source, Tick, from_zero, policy};
    pub use serde::Deserialize;
}
