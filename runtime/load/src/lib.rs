//! Load for any WHIP, WHEP or HLS server, ours or not: many light clients in one process, and what they saw; and peers
//! of rooms, whose signalling is somebody else's.
//!
//! A client is a value that datagrams go into and come out of with the time ([`whep::Client`]); a few threads carry
//! them between sockets and clients (`engine`). Nothing here knows our server. Traffic goes to the server that is named
//! and to the addresses that its answers name, and nowhere else; every run has an end. Start reading at
//! [`whep::Viewers`].
#![forbid(unsafe_code)]

mod crowd;
mod engine;
mod histogram;
pub mod hls;
mod media;
mod peer;
mod process;
mod report;
pub mod room;
mod sdp;
mod synthetic;
mod tally;
mod target;
pub mod whep;
pub mod whip;

use std::net::IpAddr;

pub use self::{
    histogram::Spread,
    media::mark::Clock,
    report::{Clients, Cost},
    tally::Tally,
    target::{Error, Target},
};

/// Whoever answers offers: a server by HTTP ([`Target`]), or a transport in the same process.
#[async_trait::async_trait]
pub trait Signal: Send + Sync {
    /// Has the offer of a client answered: the answer, and what names the session to [`Signal::end`].
    async fn offer(&self, number: usize, sdp: String) -> Result<(String, String), Error>;

    /// Ends a session.
    async fn end(&self, session: &str) -> Result<(), Error>;

    /// Which of our addresses faces the server.
    fn local(&self) -> Option<IpAddr>;
}

/// What one process may be.
pub const CLIENTS_MAX: usize = 20_000;
