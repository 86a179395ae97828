//! WebRTC for the house: WHIP publishers in, WHEP viewers out, over one port.
//!
//! This crate implements [`lockgate_ports::Signaller`] on the `webrtc` crate and is the only one that names it; no
//! type of that crate leaves here. A publisher's RTP becomes access units in the hub ([`ingest`]), and what a viewer
//! selected in the hub becomes RTP again ([`egress`]). It never speaks HTTP, never decides what a viewer should get,
//! and never waits for one peer on behalf of another.
//!
//! Start reading at [`Transport`], then `peer.rs` for the life of one peer. What decides is a value that takes `now`
//! as an argument (`ingest::Assembler`, `ingest::Sync`, `egress::Stream`, `egress::Estimate`); the tasks around them
//! only carry packets.
#![forbid(unsafe_code)]

mod config;
mod connection;
mod egress;
mod feedback;
mod ingest;
mod net;
mod peer;
mod sdp;
mod transport;

pub use config::{BindError, Config, Listen, Wire};
pub use net::Counters;
pub use transport::Transport;
