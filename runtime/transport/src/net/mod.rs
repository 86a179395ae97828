//! One UDP port for every peer: the socket, who a datagram belongs to, and the face the `webrtc` crate sees of it.

mod addresses;
mod mux;
mod runtime;
mod slot;
mod stun;

pub(crate) use addresses::advertised;
pub use mux::Counters;
pub(crate) use mux::{Mux, Registration};
pub(crate) use runtime::{Drivers, PeerRuntime};
