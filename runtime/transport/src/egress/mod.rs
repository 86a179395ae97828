//! The hub towards a viewer: access units into RTP.
//!
//! Units are packetised once for all viewers (`packetise.rs`); [`Stream`] then decides the header fields of one
//! viewer's packets, the task in `task.rs` carries them from the hub to the library, and [`Outlet`] lets them out:
//! paced, numbered, and sent again where asked for. [`Link`] keeps what the viewer reports, [`Estimate`] how much its
//! link carries.

mod estimate;
mod feed;
#[cfg(test)]
mod fuzz;
mod gate;
mod history;
mod link;
mod outlet;
mod pacer;
mod packetise;
mod playout;
mod probe;
mod redundancy;
mod sound;
mod stream;
mod task;
mod thin;
mod trend;

pub(crate) use estimate::{Arrival, Estimate};
pub(crate) use link::Link;
pub(crate) use outlet::{Outflow, Outlet};
pub(crate) use playout::PLAYOUT_DELAY;
pub(crate) use stream::Stream;
pub(crate) use task::{Egress, Leg, run};
