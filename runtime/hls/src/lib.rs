//! The HLS packager: access units of one broadcast in, segments and playlists (RFC 8216, in the words of
//! draft-pantos-hls-rfc8216bis) out, as CMAF or as MPEG-TS.
//!
//! It is a value with `push` and `snapshot`. It knows no HTTP, no file, no task, no lock and no clock: time is what
//! the units say. It never re-encodes, and nothing that is pushed makes it panic or grow without bound.
//!
//! Start reading at [`Packager`], which owns everything; then [`cuts`], the one rule by which all renditions of a
//! broadcast agree on where a segment starts, on its number and on its discontinuity sequence. `video` and `audio`
//! group units into segments, `cmaf` and `ts` write their bytes, [`playlist`] and [`multivariant`] their text.
#![forbid(unsafe_code)]
#![warn(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap
)]

mod listing;
mod packager;
mod track;

mod audio;
mod cuts;
mod sample;
mod video;

mod cmaf;
mod psi;
mod ts;

pub mod config;
pub mod multivariant;
pub mod playlist;
mod rate;
pub mod record;
mod shelf;
mod uri;
pub mod vod;

pub use config::{Config, Container};
pub use multivariant::{AudioRendition, Multivariant, Variant};
pub use packager::Packager;
pub use playlist::{Init, Rendition, Segment};

#[cfg(test)]
mod tests;
