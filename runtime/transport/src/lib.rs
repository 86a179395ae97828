//! WebRTC for the house: WHIP publishers in, WHEP viewers out, over one port.
//!
//! This crate implements [`lockgate_ports::Signaller`] and [`lockgate_ports::Conference`] on the `webrtc` crate and is the
//! only one that names it; no type of that crate leaves here. A publisher's RTP becomes access units in the hub
//! ([`ingest`]), and what a viewer selected in the hub becomes RTP again ([`egress`]), from one broadcast or from one for
//! each of its places. It never speaks HTTP, never decides what a viewer should get, and never waits for one peer on
//! behalf of another.
//!
//! Start reading at [`Transport`], then `peer.rs` for the life of a publisher and `viewer` for that of a viewer. What
//! decides is a value that takes `now` as an argument (`ingest::Assembler`, `ingest::Sync`, `egress::Supply`,
//! `egress::Estimate`); the tasks around them only carry packets. Publishers are connections of the library; viewers,
//! of which there are many more, are values of our own over the library's DTLS.
#![forbid(unsafe_code)]

mod accept;
mod config;
mod connection;
mod egress;
mod feedback;
mod ingest;
mod net;
mod peer;
mod sdp;
mod talk;
mod transport;
mod viewer;

pub use config::{BindError, Config, Listen, Wire};
pub use net::{Counters, advertised};
pub use transport::Transport;
