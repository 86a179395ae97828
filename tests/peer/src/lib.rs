//! Real WebRTC peers outside the server: a publisher of marked frames, viewers that note when each frame is whole, and
//! people in rooms.
//!
//! For the end-to-end tests and the benchmark tables. Publishers and viewers know no HTTP: their server is whoever implements
//! [`Server`]. A [`Person`] speaks Socket.IO, and sends and receives by the light peers of `lockgate-load`.

pub mod clip;
mod frames;
mod peer;
mod person;
mod publisher;
mod signalling;
mod socket;
mod viewer;
mod wishes;

pub use lockgate_load::room::{Downlink, Uplink};
pub use peer::Server;
pub use person::{Person, moves, rests};
pub use publisher::{FPS, Publisher};
pub use signalling::{Refused, Signalling};
pub use socket::Tricks;
pub use viewer::{Seen, Viewer};
