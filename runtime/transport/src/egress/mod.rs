//! The hub towards a viewer: access units into RTP.
//!
//! Units are packetised once for all viewers (`packetise.rs`). [`Supply`] is what one viewer is sent: it reads the
//! tracks that are selected, [`Stream`] decides the header fields of its packets, and the outlet lets them out: paced,
//! numbered, and sent again where asked for. [`Link`] keeps what the viewer reports, [`Estimate`] how much its link
//! carries. All of it are values; whose turn it is, `viewer` decides.

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
mod supply;
mod thin;
mod trend;

pub(crate) use estimate::{Arrival, Estimate};
pub(crate) use link::Link;
pub(crate) use outlet::Terms;
pub(crate) use playout::PLAYOUT_DELAY;
pub(crate) use stream::Stream;
pub(crate) use supply::{Contract, Leg, Listeners, Supply};
