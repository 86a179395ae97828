//! The transcoder: a source in, a ladder of H.264 rungs with AAC and Opus written into the hub.
//!
//! FFmpeg runs in a worker process, one for each broadcast, which gets and gives compressed units only; a crash or a
//! hostile file ends one broadcast's encoding for a moment, and never the server. The crate never opens a port and never
//! lets a raw frame leave the worker. Start reading at [`Ladders`], the parent's side, then [`worker`], and
//! `pipeline` for what happens to a frame.

// Both sides:
pub mod code;
mod wire;

// The parent's side:
mod demand;
mod feed;
mod feeder;
mod flaws;
mod ladders;
mod offline;
mod session;
mod supervise;
mod tracks;
mod worker_process;

// The worker's side:
mod asleep;
mod buffers;
mod captions;
mod cascade;
#[doc(hidden)]
pub mod cost;
mod decode;
mod demo;
mod drift;
mod encoder;
mod file;
mod font;
#[cfg(test)]
mod fuzz;
mod grid;
mod guard;
pub mod inspect;
mod ladder;
mod meter;
mod open;
mod out;
mod own;
mod pace;
mod passthrough;
mod peer;
mod pipeline;
mod probe;
mod sound;
mod stream;
mod stretch;
mod timeline;
pub mod worker;

pub use guard::{
    reach::{Host, NoHost, is_public},
    walls::kernel,
};
pub use ladders::{Config, Ladders};
pub use offline::{Offline, Piece};
pub use open::shown;
