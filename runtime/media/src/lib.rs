//! The words of the house as types: names, time, codecs, access units, rungs, statistics.
//!
//! It never does I/O, never reads a clock, and knows no task, lock or socket. Start reading at
//! [`unit::AccessUnit`], the one thing that flows from every source to every egress, then
//! [`format::Format`], which says what a track's units are made of.
#![forbid(unsafe_code)]

pub mod aac;
pub mod format;
pub mod h264;
pub mod ladder;
pub mod name;
pub mod stats;
pub mod time;
pub mod unit;
pub mod vp8;

pub use format::{AudioCodec, AudioFormat, Format, FrameRate, VideoCodec, VideoFormat};
pub use ladder::Rung;
pub use name::{BroadcastName, NameError, TrackId};
pub use unit::AccessUnit;
