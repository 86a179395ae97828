//! The core: who is live, who watches, and what each viewer gets.
//!
//! It speaks to WebRTC and FFmpeg only through `ports`, and to the outside only in values: no HTTP status, no SDP
//! line and no FFmpeg name is decided here. Start reading at [`Streams`], the use cases; [`control`] is the step that
//! turns a second's numbers into decisions.
#![forbid(unsafe_code)]

mod audience;
pub mod control;
pub mod desk;
mod effect;
mod error;
mod events;
pub mod history;
mod hls;
mod id;
mod info;
mod ladder;
mod load;
mod numbers;
mod publish;
mod publisher;
mod record;
mod report;
pub mod rooms;
mod sessions;
mod stream;
mod streams;
mod viewer;

#[cfg(test)]
mod tests;

pub use desk::{Desk, DeskError, Durations, Measures};
pub use effect::Effect;
pub use error::Error;
pub use events::{Event, EventKind, Events, Layer};
pub use history::{
    EndReason, Entry, History, HistoryError, Keep, Numbers, Opening, SessionRecord, Sitting, Via,
    Visitor,
};
pub use hls::{
    CutShort, DvrConfig, Growing, Hls, HlsConfig, MediaBody, MediaFile, Playlist, Reload, Text,
    sweep_dvr,
};
pub use id::SessionId;
pub use info::{StreamInfo, TrackInfo, ViewerInfo};
pub use ladder::{LadderConfig, Load, Planned, Planning};
pub use load::LoadInfo;
pub use lockgate_hls::{Awaited, Config as SegmentConfig, Container, ManifestAsk, Skip, date_time};
pub use lockgate_policy::{
    Artifact, Kind, LoadError, auth,
    breaker::BreakerState,
    slot::{Counters, Level, SlotInfo, Total},
};
pub use publisher::Principal;
pub use record::{RecordConfig, RecordInfo, RecordState, Recording};
pub use report::{Advice, Player, Report, Standing, StreamMetrics};
pub use rooms::{RoomConfig, Rooms};
pub use streams::{Config, HlsOf, Joined, Streams};
pub use viewer::{Judged, Verdict, Watcher};
