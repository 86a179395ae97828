//! DTLS between peers of WebRTC (RFC 8827 §6.5): who we are, a handshake with whom the signalling named, and the keys of
//! SRTP that it gives. And what the library leaves to be done: [`Flight`]. No I/O, no clock.
#![forbid(unsafe_code)]

mod association;
mod fingerprint;
mod flight;
#[cfg(test)]
mod fuzz;
mod identity;

pub use association::{Association, Heard, Keys};
pub use fingerprint::Fingerprint;
pub use flight::Flight;
pub use identity::Identity;
