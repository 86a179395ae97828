//! RTMP publishers on one TCP port (Adobe's RTMP specification 1.0): their media leaves here as the tags of FLV.
//!
//! The protocol is a value ([`Connection`]) that takes bytes and gives events and bytes; it never reads a clock or a
//! socket, and never panics or grows without bound on whatever comes. Media itself is never looked into further than
//! its first two bytes: demuxing is FFmpeg's. Start reading at [`server`], then [`Connection`].
#![forbid(unsafe_code)]

mod amf;
mod chunk;
mod connection;
mod flv;
mod key;
pub mod server;

pub use connection::{Connection, Event, Fault};
pub use server::{Config, Listener};

#[cfg(test)]
mod fuzz;
