//! One UDP port for every peer: the socket, who a datagram belongs to, and the face the `webrtc` crate sees of it.

mod addresses;
mod ice;
mod mux;
mod runtime;
mod slot;
mod stun;

pub use addresses::advertised;
pub(crate) use ice::Credentials;
pub use mux::Counters;
pub(crate) use mux::{Mux, Registration};
pub(crate) use runtime::{Drivers, PeerRuntime};
pub(crate) use slot::Slot;
