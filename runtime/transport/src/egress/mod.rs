//! The hub towards a viewer: access units into RTP.
//!
//! Units are packetised once for all viewers (`packetise.rs`); [`Stream`] then decides the header fields of one
//! viewer's packets, [`Link`] keeps what the viewer reports, [`Estimate`] how much its link carries, and the task in
//! `task.rs` carries units from the hub to the library.

mod estimate;
mod feed;
mod link;
mod packetise;
mod stream;
mod task;

pub(crate) use estimate::{Arrival, Estimate};
pub(crate) use link::Link;
pub(crate) use stream::Stream;
pub(crate) use task::{Egress, Leg, run};
