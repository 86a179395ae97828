//! The HLS packager: access units of one broadcast in, segments and playlists (RFC 8216, in the words of
//! draft-pantos-hls-rfc8216bis) out, as CMAF or as MPEG-TS.
//!
//! It is a value with `push` and `snapshot`. It knows no HTTP, no file, no task, no lock and no clock: time is what
//! the units say. It never re-encodes, and nothing that is pushed makes it panic or grow without bound.
//!
//! Start reading at [`Packager`], which owns everything; then [`cuts`], the one rule by which all renditions of a
//! broadcast agree on where a segment starts, on its number and on its discontinuity sequence. `video` and `audio`
//! group units into segments, `parts` into the Partial Segments of low latency, `cmaf` and `ts` write their bytes,
//! [`playlist`] and [`multivariant`] their text. [`rendition`] is what can be fetched at one moment.
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
mod parts;
mod sample;
mod video;

mod ahead;
mod cmaf;
mod dash;
mod psi;
mod ts;

pub mod config;
pub mod multivariant;
pub mod playlist;
mod rate;
pub mod record;
pub mod rendition;
mod shelf;
mod uri;
pub mod vod;

pub use config::{Config, Container};
pub use dash::ManifestAsk;
pub use multivariant::{AudioRendition, Multivariant, Variant};
pub use packager::Packager;
pub use playlist::{Ask, Skip, date_time};
pub use rendition::{Awaited, Init, Part, Rendition, Segment};

#[cfg(test)]
mod tests;
