//! HTTP in, JSON, SDP, playlists and problem+json out.
//!
//! Each handler is a few lines around one use case of `session`. The status of every error is decided in
//! [`problem`] and nowhere else. It never touches media, WebRTC or FFmpeg. Start reading at [`router`], then
//! [`listen`], our own accept loop.
#![forbid(unsafe_code)]

pub mod caller;
mod decisions;
pub mod door;
mod extract;
mod headers;
mod hls;
pub mod listen;
mod metrics;
mod pages;
mod policies;
pub mod problem;
mod router;
pub mod scope;
mod streams;
pub mod token;
mod webrtc;
mod whep;
mod whip;

pub use caller::Caller;
pub use door::{Door, Grant};
pub use listen::Listener;
pub use metrics::Access as MetricsAccess;
pub use policies::PolicyStore;
pub use problem::Problem;
pub use router::{App, IceServer, router};
pub use scope::{Scope, Scopes};
