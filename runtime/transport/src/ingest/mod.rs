//! A publisher's RTP into the hub.
//!
//! [`Assembler`] makes access units of packets, [`Sync`] puts them on the broadcast's timeline, [`Layers`] chooses
//! among simulcast layers, and the task in `task.rs` carries packets between them and the hub.

mod assembler;
mod av1;
#[cfg(test)]
mod fuzz;
mod h264;
mod incoming;
mod keyframes;
mod layers;
mod level;
#[cfg(test)]
mod payload_tests;
mod reorder;
mod sync;
mod task;
#[cfg(test)]
mod tests;
mod track;
mod vp8;
mod vp9;

pub(crate) use assembler::{Assembler, Coding, Event, Packet, Unit};
pub(crate) use incoming::{Incoming, OfLibrary};
pub(crate) use keyframes::KeyframeGate;
pub(crate) use layers::Layers;
pub(crate) use level::Level;
pub(crate) use sync::{Place, StreamId, Sync};
pub(crate) use task::{Floor, Ingest, run};
