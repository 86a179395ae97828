//! Policies written in Luau: a text file that decides, and that the host can stop, measure and run again.
//!
//! A script gets the tight set of libraries: no `string`, `os`, `debug` or `coroutine`, no way to compile, no clock and
//! no chance. Its steps are counted in a way that `pcall` cannot swallow ([`steps`], the only unsafe code), its memory
//! is bounded, and numbers cross in buffers that only the prelude (`sdk/luau/prelude.luau`) sees. What a policy is to
//! carry stands in `viewer.memo`: its own variables may be lost between any two calls. Start reading at [`Luau::load`].
#![deny(unsafe_code)]

mod artifact;
mod fault;
mod fill;
mod helpers;
mod host;
mod instance;
mod request;
mod seat;
mod source;
mod state;
mod steps;

pub use artifact::{Luau, LuauArtifact, SOURCE_MAX};
