//! Every seam of the core on one screen: what `session` asks of WebRTC and of the transcoder, in its own words.
//!
//! An adapter crate implements one of these traits and is named by `server` alone. Nothing here does any work.
#![forbid(unsafe_code)]

pub mod conference;
pub mod ingest;
pub mod records;
pub mod signaller;
pub mod task;
pub mod transcoder;

use std::{future::Future, pin::Pin};

pub use conference::{Answered, Attending, Conference, Invitation, Muted, Place, Speaking};
pub use ingest::{Admitted, Feed, Gate, Line, Piece, Refusal, Wish};
pub use records::{Change, RecordError, Records, Table};
pub use signaller::{Accepted, Peer, Selection, SignalError, Signaller, ViewerFeed};
pub use transcoder::{Transcode, TranscodeError, Transcoder};

/// A boxed future, so that the traits are object safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
