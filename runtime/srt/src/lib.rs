//! SRT publishers on one UDP port (draft-sharabayko-srt-01, live mode): their MPEG-TS leaves here in order.
//!
//! Only what a receiver of live streams needs is here: the listener's handshake, acknowledgements, requests for what was
//! lost, and decryption. [`Receiver`] and the packets are values that read no clock and no socket, and neither panic nor
//! grow without bound on whatever comes. Start reading at [`server`], then [`receive`](Receiver).
#![forbid(unsafe_code)]

mod crypto;
mod handshake;
mod packet;
mod publisher;
mod receive;
pub mod server;
mod stream_id;

pub use receive::Receiver;
pub use server::{Config, Listener};

#[cfg(test)]
mod fuzz;
