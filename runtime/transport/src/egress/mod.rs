//! The hub towards a viewer: access units into RTP.
//!
//! Units are packetised once for all viewers (`packetise.rs`). [`Supply`] is what one viewer is sent. It has a leg for
//! each section that was negotiated: one for video and one for audio where a broadcast is watched, one for each place
//! where many are, each place fed from a broadcast of its own or from none. A leg reads the tracks that are selected,
//! [`Stream`] decides the header fields of its packets, and the outlet, one for all legs, lets them out: paced, numbered,
//! and sent again where asked for. [`Link`] keeps what the viewer reports of a leg, [`Estimate`] how much its link
//! carries. All of it are values; whose turn it is, `viewer` decides.

mod bound;
mod estimate;
mod feed;
#[cfg(test)]
mod fuzz;
mod gate;
mod history;
mod leg;
mod link;
mod outlet;
mod pacer;
mod packetise;
mod playout;
mod probe;
mod redundancy;
mod report;
mod sound;
mod stream;
mod supply;
mod terms;
mod thin;
mod trend;

pub(crate) use estimate::{Arrival, Estimate};
pub(crate) use link::Link;
pub(crate) use playout::PLAYOUT_DELAY;
pub(crate) use report::compound;
pub(crate) use stream::Stream;
pub(crate) use supply::Supply;
pub(crate) use terms::{Coding, Contract, Draft, Listeners, Terms, VideoType};
