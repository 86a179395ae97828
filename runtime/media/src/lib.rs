//! The words of the house as types: names, time, codecs, access units, rungs, statistics.
//!
//! It never does I/O, never reads a clock, and knows no task, lock or socket. Start reading at
//! [`unit::AccessUnit`], the one thing that flows from every source to every egress, then
//! [`format::Format`], which says what a track's units are made of.
#![forbid(unsafe_code)]

pub mod aac;
pub mod av1;
mod bits;
pub mod format;
#[cfg(test)]
mod fuzz;
pub mod h264;
pub mod ladder;
pub mod name;
pub mod stats;
pub mod time;
pub mod unit;
pub mod vp8;
pub mod vp9;

pub use format::{AudioCodec, AudioFormat, Format, FrameRate, VideoCodec, VideoFormat};
pub use ladder::Rung;
pub use name::{BroadcastName, NameError, TrackId};
pub use unit::AccessUnit;

/// The frames of an IVF file.
#[cfg(test)]
fn ivf(file: &[u8]) -> Vec<bytes::Bytes> {
    let mut rest = &file[32..];
    let mut frames = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<12>() {
        let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        frames.push(bytes::Bytes::copy_from_slice(&tail[..len]));
        rest = &tail[len..];
    }
    frames
}
