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
    extension::{self, Sender, TRANSPORT_WIDE},
    offer::{Media, Offer, Section, mid},
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
    /// The canonical name (RFC 7022 §4.2).
    pub(crate) cname: &'a str,
    /// What we send in the sections of the offer, in their order.
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

/// What is agreed on besides what the offer says by itself.
#[derive(Debug, Default)]
pub(crate) struct Agreed {
    pub(crate) answer: String,
    pub(crate) fingerprints: Vec<Fingerprint>,
    /// The header extensions of each section of the offer.
    pub(crate) extensions: Vec<Numbers>,
}

/// The numbers of the header extensions that go with packets of a section.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// That of transport-wide numbers.
    pub(crate) transport_wide: Option<u8>,
    /// That of the playout delay.
    pub(crate) playout: Option<u8>,
}

/// A certificate by its digest (RFC 8122 §5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    algorithm: String,
    digest: String,
}

impl Fingerprint {
    pub(crate) fn parse(value: &str) -> Option<Self> {
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
    write_bundle(&mut out, &session, offer);
    let mut transport_is_said = false;
    let mut used = offer.sections.iter().zip(ours.sources).peekable();
    for (at, section) in session.media_descriptions.iter().enumerate() {
        let Some((agreed_on, source)) = used.next_if(|(one, _)| one.at == at) else {
            write_refused(&mut out, section);
            continue;
        };
        let fingerprints = section.attributes.iter().chain(&session.attributes);
        for attribute in fingerprints.filter(|attribute| attribute.key == "fingerprint") {
            if let Some(fingerprint) = attribute.value.as_deref().and_then(Fingerprint::parse)
                && !agreed.fingerprints.contains(&fingerprint)
            {
                agreed.fingerprints.push(fingerprint);
            }
        }
        let numbers = Numbers {
            transport_wide: extension::number(section, TRANSPORT_WIDE, Sender::Us),
            playout: extension::number(section, PLAYOUT_DELAY, Sender::Us)
                .filter(|_| agreed_on.is_video()),
        };
        let shared = Shared {
            session: &session,
            offer,
            ours,
        };
        write_section(&mut out, &shared, section, agreed_on, source, numbers);
        agreed.extensions.push(numbers);
        // All sections share one transport, that of the first (RFC 9143 §7.1.2).
        if !std::mem::replace(&mut transport_is_said, true) {
            write_candidates(&mut out, ours.candidates);
        }
    }
    agreed.answer = out;
    Ok(agreed)
}

/// What is said in all sections.
struct Shared<'a> {
    session: &'a SessionDescription,
    offer: &'a Offer,
    ours: &'a Ours<'a>,
}

/// The used sections of the offered bundle (RFC 9143 §7.3), if there is one.
fn write_bundle(out: &mut String, session: &SessionDescription, offer: &Offer) {
    let groups = session.attributes.iter().filter(|one| one.key == "group");
    let mut groups = groups.filter_map(|group| group.value.as_deref());
    let Some(group) = groups.find_map(|group| group.trim().strip_prefix("BUNDLE")) else {
        return;
    };
    let used: Vec<&str> = offer
        .sections
        .iter()
        .filter_map(|section| section.mid.as_deref())
        .collect();
    let mids: Vec<&str> = group
        .split_whitespace()
        .filter(|mid| used.contains(mid))
        .collect();
    line(out, format_args!("a=group:BUNDLE {}", mids.join(" ")));
}

/// A section that the peer itself has switched off, or in which it does not receive (RFC 3264 §6).
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
    shared: &Shared<'_>,
    section: &MediaDescription,
    agreed_on: &Section,
    source: &Source,
    extensions: Numbers,
) {
    let Shared {
        session,
        offer,
        ours,
    } = *shared;
    let kind = section.media_name.media.as_str();
    let codecs = formats(&agreed_on.media);
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
    for (id, uri) in [
        (extensions.transport_wide, TRANSPORT_WIDE),
        (extensions.playout, PLAYOUT_DELAY),
    ] {
        if let Some(id) = id {
            line(out, format_args!("a=extmap:{id} {uri}"));
        }
    }
    let cname = ours.cname;
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
    line(out, format_args!("a=sendonly"));
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

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes all that is written.
    let _written = out.write_fmt(text);
    out.push_str("\r\n");
}

const OPUS: &str = "opus/48000/2";
const RED: &str = "red/48000/2";
const RTX: &str = "rtx/90000";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::Purpose;

    const OFFER: &str = include_str!("../../tests/offers/viewer.sdp");

    fn agreed(sdp: &str) -> Agreed {
        let offer = Offer::check(sdp, Purpose::View).unwrap();
        let source = |(ssrc, section): (u32, &Section)| Source {
            ssrc,
            rtx: match &section.media {
                Media::Video(codecs) => codecs[0].rtx.map(|_| ssrc + 1000),
                Media::Audio { .. } => None,
            },
            stream: "name".to_owned(),
            track: "track".to_owned(),
        };
        let sources: Vec<Source> = (1..).zip(&offer.sections).map(source).collect();
        let ours = Ours {
            ice: &Credentials {
                ufrag: "us".to_owned(),
                password: "secret".to_owned(),
            },
            fingerprint: "sha-256 AA",
            candidates: &[],
            cname: "name",
            sources: &sources,
        };
        agree(sdp, &offer, &ours).unwrap()
    }

    #[test]
    fn extensions_are_agreed_on_where_we_may_send_them() {
        let numbers = |sdp: &str| -> Vec<Option<u8>> {
            let agreed = agreed(sdp).extensions.into_iter();
            agreed.map(|numbers| numbers.transport_wide).collect()
        };
        assert_eq!(numbers(OFFER), [Some(3), Some(3)]);
        assert_eq!(agreed(OFFER).extensions[1].playout, None);
        let map = format!("a=extmap:3 {TRANSPORT_WIDE}");
        let with = |other: &str| numbers(&OFFER.replace(&map, other));
        assert_eq!(
            with(&format!("a=extmap:7/recvonly {TRANSPORT_WIDE}")),
            [Some(7); 2]
        );
        assert_eq!(
            with(&format!("a=extmap:7/sendonly {TRANSPORT_WIDE}")),
            [None; 2]
        );
        // A number that needs the form of two bytes.
        assert_eq!(with(&format!("a=extmap:15 {TRANSPORT_WIDE}")), [None; 2]);
        assert_eq!(with("a=extmap:3"), [None; 2]);
        let playout = format!("{map}\r\na=extmap:5 {PLAYOUT_DELAY}");
        let both = agreed(&OFFER.replace(&map, &playout));
        let delays: Vec<_> = both.extensions.iter().map(|one| one.playout).collect();
        assert_eq!(delays, [None, Some(5)]);
        let line = format!("a=extmap:5 {PLAYOUT_DELAY}");
        assert_eq!(
            both.answer.matches(&line).count(),
            1,
            "audio has no playout delay"
        );
    }

    #[test]
    fn a_section_that_the_viewer_has_switched_off_stays_off_and_out_of_the_bundle() {
        let (head, video) = OFFER.split_once("m=video").unwrap();
        let off = format!("{}m=video{video}", head.replace("m=audio 9", "m=audio 0"));
        let answer = agreed(&off).answer;
        assert!(answer.contains("m=audio 0 UDP/TLS/RTP/SAVPF 111 63 9 0 8\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=inactive\r\n"));
        assert!(answer.contains("a=group:BUNDLE 1\r\n"));
        assert_eq!(answer.matches("a=end-of-candidates").count(), 1);
        assert_eq!(answer.matches("a=sendonly").count(), 1);
    }

    #[test]
    fn what_was_not_offered_is_not_answered() {
        let mut offer = OFFER
            .replace("a=rtcp-rsize\r\n", "")
            .replace("a=rtcp-rsize\n", "");
        offer = offer.replace("a=extmap-allow-mixed", "a=x-nothing");
        offer = offer
            .replace("rtx/90000", "other/90000")
            .replace("nack pli", "x");
        let answer = agreed(&offer).answer;
        for never in [
            "rtcp-rsize",
            "extmap-allow-mixed",
            "rtx",
            "FID",
            "nack pli",
            "goog-remb",
        ] {
            assert!(!answer.contains(never), "{never}: {answer}");
        }
    }

    #[test]
    fn a_fingerprint_is_that_of_its_certificate_alone() {
        let provider = rtc::crypto::default_provider().unwrap();
        // The digest of nothing.
        let digest = "E3:B0:C4:42:98:FC:1C:14:9A:FB:F4:C8:99:6F:B9:24:27:AE:41:E4:64:9B:93:4C:A4:95:99:1B:78:52:B8:55";
        let of = |value: &str, der: &[u8]| {
            let parsed = Fingerprint::parse(value).unwrap();
            parsed.is_of(der, provider.crypto())
        };
        assert!(of(&format!("SHA-256 {digest}"), b""));
        assert!(!of(&format!("sha-256 {digest}"), b"x"));
        assert!(!of(&format!("sha-512 {digest}"), b""));
        assert_eq!(Fingerprint::parse("sha-256"), None);
        assert_eq!(
            agreed(OFFER).fingerprints.len(),
            1,
            "the same in both sections"
        );
    }
}
