//! Real WebRTC peers outside the server: a publisher of marked frames, and viewers that note when each frame is whole.
//!
//! For the end-to-end tests and the benchmark tables. The server is whoever implements [`Server`]: this crate knows no
//! HTTP.

pub mod clip;
mod frames;
mod peer;
mod publisher;
mod socket;
mod viewer;
mod wishes;

pub use peer::Server;
pub use publisher::{FPS, Publisher};
pub use socket::Tricks;
pub use viewer::{Seen, Viewer};
