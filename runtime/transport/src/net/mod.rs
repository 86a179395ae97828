//! One port for every peer: its sockets, who a datagram belongs to, what peers are told of it, and the face the `webrtc`
//! crate sees of it.

mod addresses;
mod announced;
#[cfg(test)]
mod fuzz;
mod handshakes;
mod ice;
mod mux;
mod reflexive;
mod runtime;
mod slot;
mod socket;
mod stream;
mod stun;
mod tcp;
mod via;

pub(crate) use addresses::Candidate;
pub use announced::advertised;
pub(crate) use announced::{Announced, Keeper};
pub(crate) use ice::Credentials;
pub use mux::Counters;
pub(crate) use mux::{Mux, Registration};
pub(crate) use runtime::{Drivers, PeerRuntime};
pub(crate) use slot::Slot;
pub(crate) use socket::{Bound, Udp};
pub(crate) use tcp::{Room, accept};
