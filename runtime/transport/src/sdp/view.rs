//! The answer to a viewer's offer, written by us from its first line to its last.

use std::{fmt::Write as _, io::Cursor};

use lockgate_ports::SignalError;
use rtc::{
    crypto::{HashAlgorithm, RTCCrypto},
    sdp::description::{media::MediaDescription, session::SessionDescription},
};

use super::{
    answer::{OPTIONS, write_candidates},
    codecs::rtpmap,
    offer::Offer,
};
use crate::{
    egress::PLAYOUT_DELAY,
    net::{Candidate, Credentials},
};

/// Our half of what is negotiated.
pub(crate) struct Ours<'a> {
    pub(crate) ice: &'a Credentials,
    /// The value of `a=fingerprint`.
    pub(crate) fingerprint: &'a str,
    /// Where the viewer reaches us.
    pub(crate) candidates: &'a [Candidate],
    /// The canonical name (RFC 7022 §4.2), and that of the media stream: a browser plays what is in one stream in
    /// sync (RFC 8830 §2).
    pub(crate) cname: &'a str,
    pub(crate) video: u32,
    /// The stream of retransmissions, where they were offered.
    pub(crate) rtx: Option<u32>,
    pub(crate) audio: u32,
}

/// What is agreed on besides what the offer says by itself.
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    pub(crate) answer: String,
    pub(crate) fingerprints: Vec<Fingerprint>,
    /// The header extension for transport-wide numbers in video and audio.
    pub(crate) numbers: [Option<u8>; 2],
    /// The header extension for the playout delay.
    pub(crate) playout: Option<u8>,
}

/// A certificate by its digest (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    algorithm: String,
    digest: String,
}

impl Fingerprint {
    fn parse(value: &str) -> Option<Self> {
        let (algorithm, digest) = value.trim().split_once(' ')?;
        Some(Self {
            algorithm: algorithm.to_ascii_lowercase(),
            digest: digest.trim().to_ascii_lowercase(),
        })
    }

    /// Whether it is that of a certificate. A hash that we do not have fits none.
    pub(crate) fn is_of(&self, der: &[u8], crypto: &dyn RTCCrypto) -> bool {
        if self.algorithm != "sha-256" {
            return false;
        }
        let Ok(digest) = crypto.hash(HashAlgorithm::Sha256, der) else {
            return false;
        };
        let pairs: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        pairs.join(":") == self.digest
    }
}

/// Answers an offer that passed its checks.
pub(crate) fn agree(sdp: &str, offer: &Offer, ours: &Ours<'_>) -> Result<Agreed, SignalError> {
    let session = SessionDescription::unmarshal(&mut Cursor::new(sdp))
        .map_err(|error| SignalError::Malformed(format!("the offer is not SDP: {error}")))?;
    let mut agreed = Agreed::default();
    let mut out = String::with_capacity(sdp.len() + 1024);
    let id: u64 = rand::random::<u64>() >> 2; // RFC 9429 §5.2.1: 62 bits
    line(
        &mut out,
        format_args!("v=0\r\no=- {id} 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0"),
    );
    line(&mut out, format_args!("a=msid-semantic:WMS *"));
    line(&mut out, format_args!("a=fingerprint:{}", ours.fingerprint));
    line(&mut out, format_args!("a=ice-lite\r\n{OPTIONS}"));
    if session.has_attribute("extmap-allow-mixed") {
        line(&mut out, format_args!("a=extmap-allow-mixed"));
    }
    write_bundle(&mut out, &session);
    let mut transport_is_said = false;
    for section in &session.media_descriptions {
        if !is_used(section) {
            write_refused(&mut out, section);
            continue;
        }
        let fingerprints = section.attributes.iter().chain(&session.attributes);
        for attribute in fingerprints.filter(|attribute| attribute.key == "fingerprint") {
            let fingerprint = attribute.value.as_deref().and_then(Fingerprint::parse);
            agreed.fingerprints.extend(fingerprint);
        }
        let is_video = section.media_name.media == "video";
        write_section(&mut out, &session, section, offer, ours);
        let number = extension(section, TRANSPORT_WIDE);
        agreed.numbers[usize::from(!is_video)] = number;
        if is_video {
            agreed.playout = extension(section, PLAYOUT_DELAY);
        }
        // All sections share one transport, that of the first (RFC 9143 §7.1.2).
        if !std::mem::replace(&mut transport_is_said, true) {
            write_candidates(&mut out, ours.candidates);
        }
    }
    agreed.answer = out;
    Ok(agreed)
}

/// RFC 9429 §5.2.1: port 0 is a rejected section unless it is only to be bundled.
fn is_used(section: &MediaDescription) -> bool {
    section.media_name.port.value != 0 || section.has_attribute("bundle-only")
}

fn mid(section: &MediaDescription) -> Option<&str> {
    section.attribute("mid").flatten().map(str::trim)
}

/// The used sections of the offered bundle (RFC 9143 §7.3), if there is one.
fn write_bundle(out: &mut String, session: &SessionDescription) {
    let groups = session.attributes.iter().filter(|one| one.key == "group");
    let mut groups = groups.filter_map(|group| group.value.as_deref());
    let Some(group) = groups.find_map(|group| group.trim().strip_prefix("BUNDLE")) else {
        return;
    };
    let used: Vec<&str> = session
        .media_descriptions
        .iter()
        .filter(|section| is_used(section))
        .filter_map(mid)
        .collect();
    let mids: Vec<&str> = group
        .split_whitespace()
        .filter(|mid| used.contains(mid))
        .collect();
    line(out, format_args!("a=group:BUNDLE {}", mids.join(" ")));
}

/// A section that the peer itself has switched off (RFC 3264 §6).
fn write_refused(out: &mut String, section: &MediaDescription) {
    let name = &section.media_name;
    let (kind, protos, formats) = (&name.media, name.protos.join("/"), name.formats.join(" "));
    line(
        out,
        format_args!("m={kind} 0 {protos} {formats}\r\nc=IN IP4 0.0.0.0"),
    );
    if let Some(mid) = mid(section) {
        line(out, format_args!("a=mid:{mid}"));
    }
    line(out, format_args!("a=inactive"));
}

fn write_section(
    out: &mut String,
    session: &SessionDescription,
    section: &MediaDescription,
    offer: &Offer,
    ours: &Ours<'_>,
) {
    let kind = section.media_name.media.as_str();
    let codecs = formats(kind, offer);
    let protos = section.media_name.protos.join("/");
    let numbers: Vec<String> = codecs
        .iter()
        .map(|codec| codec.number.to_string())
        .collect();
    line(
        out,
        format_args!(
            "m={kind} 9 {protos} {}\r\nc=IN IP4 0.0.0.0",
            numbers.join(" ")
        ),
    );
    let setup = if offer.peer_is_dtls_client {
        "passive"
    } else {
        "active"
    };
    line(out, format_args!("a=setup:{setup}"));
    if let Some(mid) = mid(section) {
        line(out, format_args!("a=mid:{mid}"));
    }
    let (ufrag, password) = (&ours.ice.ufrag, &ours.ice.password);
    line(
        out,
        format_args!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}"),
    );
    // RFC 9725 §4.4.1 wants the second of both sides.
    line(out, format_args!("a=rtcp-mux\r\na=rtcp-mux-only"));
    if session.has_attribute("rtcp-rsize") || section.has_attribute("rtcp-rsize") {
        line(out, format_args!("a=rtcp-rsize"));
    }
    for codec in &codecs {
        write_format(out, section, codec);
    }
    for uri in [TRANSPORT_WIDE, PLAYOUT_DELAY] {
        if let Some(id) =
            extension(section, uri).filter(|_| kind == "video" || uri != PLAYOUT_DELAY)
        {
            line(out, format_args!("a=extmap:{id} {uri}"));
        }
    }
    let cname = ours.cname;
    line(out, format_args!("a=msid:{cname} {kind}"));
    let (first, second) = if kind == "video" {
        (ours.video, ours.rtx)
    } else {
        (ours.audio, None)
    };
    if let Some(second) = second {
        // RFC 5576 §4.2.
        line(out, format_args!("a=ssrc-group:FID {first} {second}"));
    }
    for ssrc in std::iter::once(first).chain(second) {
        line(
            out,
            format_args!("a=ssrc:{ssrc} cname:{cname}\r\na=ssrc:{ssrc} msid:{cname} {kind}"),
        );
    }
    line(out, format_args!("a=sendonly"));
}

/// A format of a section.
struct Format {
    number: u8,
    name: &'static str,
    fmtp: String,
}

/// The formats of a section, best first, retransmissions after them: a sender uses the first (RFC 9429 §5.3.1).
fn formats(kind: &str, offer: &Offer) -> Vec<Format> {
    let format = |number, name, fmtp: &str| Format {
        number,
        name,
        fmtp: fmtp.to_owned(),
    };
    if kind == "video" {
        let media = offer
            .video
            .iter()
            .map(|codec| format(codec.payload_type, rtpmap(codec.codec), &codec.fmtp));
        let rtx = offer.video.iter().filter_map(|codec| {
            let apt = format!("apt={}", codec.payload_type);
            Some(format(codec.rtx?, RTX, &apt))
        });
        return media.chain(rtx).collect();
    }
    let audio = offer.audio.iter().map(|codec| (OPUS, codec));
    let red = offer.red.iter().map(|codec| (RED, codec));
    audio
        .chain(red)
        .map(|(name, codec)| format(codec.payload_type, name, &codec.fmtp))
        .collect()
}

fn write_format(out: &mut String, section: &MediaDescription, codec: &Format) {
    let number = codec.number;
    line(out, format_args!("a=rtpmap:{number} {}", codec.name));
    if !codec.fmtp.is_empty() {
        line(out, format_args!("a=fmtp:{number} {}", codec.fmtp));
    }
    if matches!(codec.name, RTX | RED) {
        return;
    }
    let is_video = section.media_name.media == "video";
    let own = number.to_string();
    let offered = |wanted: &str| {
        section.attributes.iter().any(|attribute| {
            attribute.key == "rtcp-fb"
                && attribute.value.as_deref().is_some_and(|value| {
                    value.split_once(' ').is_some_and(|(number, kind)| {
                        (number == own || number == "*") && kind.trim() == wanted
                    })
                })
        })
    };
    let kinds: &[&str] = if is_video {
        &["ccm fir", "nack", "nack pli", "transport-cc"]
    } else {
        &["transport-cc"]
    };
    for kind in kinds.iter().filter(|kind| offered(kind)) {
        line(out, format_args!("a=rtcp-fb:{number} {kind}"));
    }
}

/// The number of a header extension (RFC 8285 §5), if it is one that fits one byte.
fn extension(section: &MediaDescription, uri: &str) -> Option<u8> {
    let maps = section.attributes.iter().filter(|one| one.key == "extmap");
    let mut maps = maps.filter_map(|map| map.value.as_deref());
    maps.find_map(|map| {
        let mut words = map.split_whitespace();
        let (number, direction) = match words.next()?.split_once('/') {
            Some((number, direction)) => (number, direction),
            None => (map.split_whitespace().next()?, "sendrecv"),
        };
        let number = number
            .parse()
            .ok()
            .filter(|number| (1..15).contains(number))?;
        // From a viewer, `recvonly` is what we may send.
        let may_send = matches!(direction, "sendrecv" | "recvonly");
        (may_send && words.next() == Some(uri)).then_some(number)
    })
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes all that is written.
    let _written = out.write_fmt(text);
    out.push_str("\r\n");
}

const OPUS: &str = "opus/48000/2";
const RED: &str = "red/48000/2";
const RTX: &str = "rtx/90000";
const TRANSPORT_WIDE: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
