//! Viewers: values that shards own, one shard a core.
//!
//! A viewer has no task, no timer and no connection of the library. [`Viewer`] is its life: DTLS, then the supply of
//! media (`egress`) from one broadcast, or from one for each of its [`Places`], which goes through [`Wire`] into runs of
//! packets that one system call sends. A shard (`shard.rs`) gives each of its viewers a turn when a unit of a track it
//! reads was written, a datagram came for it, something was decided about it, or a time has come.

mod bell;
mod channel;
mod life;
mod place;
mod shard;
mod srtp;
mod uplink;
mod wire;

pub(crate) use life::{Arrival, Shown};
pub(crate) use place::Places;
pub(crate) use shard::Shards;
pub(crate) use srtp::Order;
pub(crate) use uplink::{Ends, Uplink};
pub(crate) use wire::{Extensions, Head, Wire};
