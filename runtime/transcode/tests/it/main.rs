//! The transcoder through the hub, with real worker processes.
//!
//! - `demo`: the generated source, the ladder's promises, demand
//! - `files`: files and URLs: loops, passthrough, odd and broken ones
//! - `peers`: units of a live peer
//! - `faults`: workers that die
#![expect(
    clippy::unwrap_used,
    reason = "a test that panics has failed, which is what it is for"
)]

mod demo;
mod faults;
mod files;
mod peers;
mod reach;
mod support;
