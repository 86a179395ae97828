//! The hub: one writer and many readers for each track of a broadcast, and demand flowing back.
//!
//! A writer never waits: each track is a bounded ring, and a reader that falls behind skips to the next keyframe and
//! is counted. The ring is also the GOP cache for late joiners. The hub never looks inside an access unit, never
//! spawns a task, and knows no protocol. Start reading at [`Broadcast`], then [`track::Producer`] and
//! [`track::Consumer`].
#![forbid(unsafe_code)]

mod broadcast;
mod origin;
mod ring;
pub mod track;

pub use broadcast::{Broadcast, TrackTaken};
pub use origin::Origin;
pub use ring::Limits;
