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

/// Everything a policy of kind `abr` needs: which rung a viewer gets.
///
/// ```
/// use lockgate_sdk::abr::*;
///
/// // #[policy(abr)]
/// fn recommend(_: &(), tick: &Tick, ladder: &Ladder, viewer: &Viewer, memo: &mut Memo) -> Pick {
///     let fits = ladder.highest_within(viewer.bandwidth_kbps().unwrap_or(0.0)).unwrap_or(0);
///     // Carried to the next call about this viewer.
///     memo.set(0, Some(tick.now_ms as f64));
///     Pick::rung(fits).because(0)
/// }
/// # use lockgate_sdk::Layout;
/// # static LAYOUT: Layout = Layout::viewers(&[], &["need_kbps"], 1);
/// # let ladder = Ladder::over(&[500.0, 2000.0], &LAYOUT);
///
/// let viewer = Viewer::with(&[("bandwidth_kbps", 1500.0)]);
/// let pick = recommend(&(), &Tick::default(), &ladder, &viewer, &mut Memo::over(&mut [f64::NAN]));
/// assert_eq!(pick.rung, Some(0));
/// ```
pub mod abr {
    pub use crate::{Ladder, Memo, Pick, Rung, Tick, Viewer, from_zero, policy};
    pub use serde::Deserialize;
}

/// Everything a policy of kind `optimize` needs: what is saved for a viewer.
///
/// ```
/// use lockgate_sdk::optimize::*;
///
/// // #[policy(optimize)]
/// fn optimize(_: &(), _: &Tick, _: &Ladder, viewer: &Viewer, _: &mut Memo) -> Saving {
///     let is_asked = viewer.data_saver() == Some(1.0);
///     Saving {
///         level: if is_asked { 2 } else { 0 },
///         cap_kbps: is_asked.then_some(400.0),
///         ..Saving::default()
///     }
/// }
/// # use lockgate_sdk::Layout;
/// # static LAYOUT: Layout = Layout::viewers(&[], &["need_kbps"], 1);
/// # let ladder = Ladder::over(&[500.0, 2000.0], &LAYOUT);
///
/// let viewer = Viewer::with(&[("data_saver", 1.0)]);
/// let saving = optimize(&(), &Tick::default(), &ladder, &viewer, &mut Memo::over(&mut []));
/// assert_eq!((saving.level, saving.cap_kbps), (2, Some(400.0)));
/// ```
pub mod optimize {
    pub use crate::{Ladder, Memo, Rung, Saving, Tick, Viewer, from_zero, policy};
    pub use serde::Deserialize;
}

/// Everything a policy of kind `score` needs: how good a viewer's network is.
///
/// ```
/// use lockgate_sdk::score::*;
///
/// // #[policy(score)]
/// fn score(_: &(), _: &Tick, _: &Ladder, viewer: &Viewer, _: &mut Memo) -> Grade {
///     let loss_part = viewer.loss_pct().unwrap_or(0.0).clamp(0.0, 100.0);
///     Grade { score: 100.0 - loss_part, loss_part, ..Grade::default() }
/// }
/// # use lockgate_sdk::Layout;
/// # static LAYOUT: Layout = Layout::viewers(&[], &["need_kbps"], 1);
/// # let ladder = Ladder::over(&[500.0, 2000.0], &LAYOUT);
///
/// let viewer = Viewer::with(&[("loss_pct", 10.0)]);
/// let grade = score(&(), &Tick::default(), &ladder, &viewer, &mut Memo::over(&mut []));
/// assert_eq!(grade.score, 90.0);
/// ```
pub mod score {
    pub use crate::{Grade, Ladder, Memo, Rung, Tick, Viewer, from_zero, policy};
    pub use serde::Deserialize;
}

/// Everything a policy of kind `ladder` needs: what of a ladder is worth encoding.
///
/// ```
/// use lockgate_sdk::ladder::*;
///
/// // #[policy(ladder)]
/// fn plan(_: &(), _: &Tick, ladder: &Ladder, source: &Source, _: &mut Memo) -> Plan {
///     let kbps = source.kbps().unwrap_or(f64::INFINITY);
///     let worth = |rung: Rung| rung.need_kbps().is_none_or(|need| need <= kbps);
///     Plan { encode: ladder.iter().map(worth).collect(), ..Plan::default() }
/// }
/// # use lockgate_sdk::Layout;
/// # static LAYOUT: Layout = Layout::viewers(&[], &["need_kbps"], 1);
/// # let ladder = Ladder::over(&[500.0, 2000.0], &LAYOUT);
///
/// let source = Source::with(&[("kbps", 900.0)]);
/// let plan = plan(&(), &Tick::default(), &ladder, &source, &mut Memo::over(&mut []));
/// assert_eq!(plan.encode, [true, false]);
/// ```
pub mod ladder {
    pub use crate::{Ladder, Memo, Plan, Rung, Source, Tick, from_zero, policy};
    pub use serde::Deserialize;
}
