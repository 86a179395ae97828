//! Sections as they are written in our answers and offers.

use std::fmt::Write as _;

use super::{
    answer::OPTIONS,
    codecs::rtpmap,
    offer::{Media, Section},
};
use crate::net::{Candidate, Credentials};

/// Our half of what is negotiated.
pub(crate) struct Ours<'a> {
    pub(crate) ice: &'a Credentials,
    /// The value of `a=fingerprint`.
    pub(crate) fingerprint: &'a str,
    /// Where the viewer reaches us.
    pub(crate) candidates: &'a [Candidate],
    /// The canonical name (RFC 7022 §4.2).
    pub(crate) cname: &'a str,
    /// What we send in those sections of the offer in which the peer receives, in their order.
    pub(crate) sources: &'a [Source],
}

/// What we send in a section.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    /// The stream of retransmissions, where they were offered.
    pub(crate) rtx: Option<u32>,
    /// The media stream and the track in it: a browser plays what is in one stream in sync (RFC 8830 §2).
    pub(crate) stream: String,
    pub(crate) track: String,
}

/// What stands above all sections of a description of ours.
pub(super) fn write_head(out: &mut String, ours: &Ours<'_>) {
    let id: u64 = rand::random::<u64>() >> 2; // RFC 9429 §5.2.1: 62 bits
    line(
        out,
        format_args!("v=0\r\no=- {id} 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0"),
    );
    line(out, format_args!("a=msid-semantic:WMS *"));
    line(out, format_args!("a=fingerprint:{}", ours.fingerprint));
    line(out, format_args!("a=ice-lite\r\n{OPTIONS}"));
}

/// What a section says besides what was agreed on.
pub(super) struct Said<'a> {
    /// The transport and the profile.
    pub(super) protos: &'a str,
    /// Our role in the handshake (RFC 8842 §5).
    pub(super) setup: &'a str,
    /// Whether RTCP may be of reduced size (RFC 5506).
    pub(super) reduced_size: bool,
    /// Whether a format has this kind of feedback (RFC 4585 §4.2).
    pub(super) feedback: &'a dyn Fn(u8, &str) -> bool,
}

/// Writes a section.
pub(super) fn write_section(
    out: &mut String,
    ours: &Ours<'_>,
    section: &Section,
    source: Option<&Source>,
    said: &Said<'_>,
) {
    let is_video = section.is_video();
    let kind = if is_video { "video" } else { "audio" };
    let codecs = formats(&section.media);
    let numbers: Vec<String> = codecs
        .iter()
        .map(|codec| codec.number.to_string())
        .collect();
    let (protos, setup) = (said.protos, said.setup);
    line(
        out,
        format_args!(
            "m={kind} 9 {protos} {}\r\nc=IN IP4 0.0.0.0\r\na=setup:{setup}",
            numbers.join(" ")
        ),
    );
    if let Some(mid) = &section.mid {
        line(out, format_args!("a=mid:{mid}"));
    }
    let (ufrag, password) = (&ours.ice.ufrag, &ours.ice.password);
    line(
        out,
        format_args!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}"),
    );
    // RFC 9725 §4.4.1 wants the second of both sides.
    line(out, format_args!("a=rtcp-mux\r\na=rtcp-mux-only"));
    if said.reduced_size {
        line(out, format_args!("a=rtcp-rsize"));
    }
    for codec in &codecs {
        write_format(out, is_video, codec, said);
    }
    section.numbers.write(out);
    if let Some(source) = source {
        write_source(out, ours.cname, source);
    }
    let direction = match (source, section.sends) {
        (Some(_), true) => "sendrecv",
        (Some(_), false) => "sendonly",
        (None, true) => "recvonly",
        (None, false) => "inactive",
    };
    line(out, format_args!("a={direction}"));
}

/// What we send in a section.
fn write_source(out: &mut String, cname: &str, source: &Source) {
    let Source {
        ssrc,
        rtx,
        stream,
        track,
    } = source;
    line(out, format_args!("a=msid:{stream} {track}"));
    if let Some(rtx) = rtx {
        // RFC 5576 §4.2.
        line(out, format_args!("a=ssrc-group:FID {ssrc} {rtx}"));
    }
    for ssrc in std::iter::once(ssrc).chain(rtx) {
        line(
            out,
            format_args!("a=ssrc:{ssrc} cname:{cname}\r\na=ssrc:{ssrc} msid:{stream} {track}"),
        );
    }
}

/// A format of a section.
struct Format {
    number: u8,
    name: &'static str,
    fmtp: String,
}

/// The formats of a section, best first, retransmissions after them: a sender uses the first (RFC 9429 §5.3.1).
fn formats(media: &Media) -> Vec<Format> {
    let format = |number, name, fmtp: &str| Format {
        number,
        name,
        fmtp: fmtp.to_owned(),
    };
    match media {
        Media::Video(codecs) => {
            let media = codecs
                .iter()
                .map(|codec| format(codec.payload_type, rtpmap(codec.codec), &codec.fmtp));
            let rtx = codecs.iter().filter_map(|codec| {
                let apt = format!("apt={}", codec.payload_type);
                Some(format(codec.rtx?, RTX, &apt))
            });
            media.chain(rtx).collect()
        }
        Media::Audio { opus, red } => {
            let red = red.iter().map(|codec| (RED, codec));
            std::iter::once((OPUS, opus))
                .chain(red)
                .map(|(name, codec)| format(codec.payload_type, name, &codec.fmtp))
                .collect()
        }
    }
}

fn write_format(out: &mut String, is_video: bool, codec: &Format, said: &Said<'_>) {
    let number = codec.number;
    line(out, format_args!("a=rtpmap:{number} {}", codec.name));
    if !codec.fmtp.is_empty() {
        line(out, format_args!("a=fmtp:{number} {}", codec.fmtp));
    }
    if matches!(codec.name, RTX | RED) {
        return;
    }
    let kinds: &[&str] = if is_video {
        &["ccm fir", "nack", "nack pli", "transport-cc"]
    } else {
        &["transport-cc"]
    };
    for kind in kinds.iter().filter(|kind| (said.feedback)(number, kind)) {
        line(out, format_args!("a=rtcp-fb:{number} {kind}"));
    }
}

pub(super) fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes all that is written.
    let _written = out.write_fmt(text);
    out.push_str("\r\n");
}

const OPUS: &str = "opus/48000/2";
const RED: &str = "red/48000/2";
const RTX: &str = "rtx/90000";
