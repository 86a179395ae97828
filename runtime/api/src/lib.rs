//! HTTP in, JSON, SDP, playlists and problem+json out.
//!
//! Each handler is a few lines around one use case of `session`. The status of every error is decided in
//! [`problem`] and nowhere else. It never touches media, WebRTC or FFmpeg. Start reading at [`router`], then
//! [`listen`], our own accept loop.
#![forbid(unsafe_code)]

pub mod caller;
mod configuration;
mod decisions;
pub mod door;
mod drain;
mod extract;
#[cfg(test)]
mod fuzz;
mod gate;
mod headers;
mod health;
mod hls;
mod ice_server;
pub mod limits;
pub mod listen;
mod log;
mod metrics;
mod openapi;
mod pages;
mod policies;
pub mod problem;
mod process;
mod recordings;
mod reports;
mod revocations;
mod rooms;
mod router;
pub mod scope;
mod serve;
mod sessions;
mod socket;
mod streams;
mod switch;
pub mod tls;
pub mod token;
mod traffic;
mod verify;
mod webrtc;
mod whep;
mod whep_events;
mod whip;

pub use caller::{Caller, Login, Protocol};
pub use configuration::{Change, Configuration, Configured};
pub use door::{Door, Grant, HlsSession, Refusal};
pub use gate::StreamGate;
pub use headers::Headers;
pub use health::Health;
pub use ice_server::{Account, IceServer};
pub use limits::{Limits, Proxies, Trusted};
pub use listen::Listener;
pub use log::LogFilter;
pub use metrics::Access as MetricsAccess;
pub use openapi::document;
pub use policies::PolicyStore;
pub use problem::Problem;
pub use router::{App, Parts, Routes, router};
pub use scope::{Scope, Scopes};
pub use socket::{Sockets, Terms as SocketTerms};
pub use switch::Switch;
pub use traffic::{Adopt, Traffic};
