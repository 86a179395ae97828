//! Conformance of any WHIP, WHEP or HLS server, ours or not, seen from outside by HTTP alone.
//!
//! A rule is a value ([`Rule`]): its name, its clause, what it says, and how to look. Rules are independent; each
//! makes the sessions it needs, and what it made is deleted after it. Nothing here knows the server, sends media or
//! prints. Start reading at [`rules`], then [`run`]; HLS
//! is watched rather than asked ([`watch_hls`]).
#![forbid(unsafe_code)]

mod hls;
mod http;
mod offer;
mod probe;
mod report;
mod rules;
mod sdp;
mod whep;
mod whip;

pub use hls::watch as watch_hls;
pub use probe::{Target, UrlError};
pub use report::{Finding, Report};
pub use rules::{Kind, Outcome, Rule, rules, run};
