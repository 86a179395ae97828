//! The checks an offer has to pass before anything is built for it.

use std::io::Cursor;

use lockgate_media::VideoCodec;
use lockgate_ports::SignalError;
use rtc::sdp::description::{media::MediaDescription, session::SessionDescription};

use super::{
    codecs::{self, OfferedCodec},
    fragment,
};
use crate::net::Credentials;

/// What the offer was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// WHIP: the peer sends.
    Publish,
    /// WHEP: the peer receives.
    View,
}

/// What matters of an acceptable offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// Opus, if there is an audio section.
    pub(crate) audio: Option<OfferedCodec<()>>,
    /// Redundant Opus (RFC 2198), if a viewer offers it.
    pub(crate) red: Option<OfferedCodec<()>>,
    /// Whether the stream of retransmissions is told by its SSRC (`a=ssrc-group:FID`, RFC 5576 §4.2).
    pub(crate) names_rtx: bool,
    /// The video codecs we can use, best first; empty without a video section.
    pub(crate) video: Vec<OfferedCodec<VideoCodec>>,
    /// The place of the video section, counted from 0.
    pub(crate) video_section: Option<usize>,
    /// The peer's ICE credentials; others in a fragment mean a restart.
    pub(crate) ice: Credentials,
    /// Whether the peer wants to be the DTLS client (`a=setup:active`), so that we must be the server.
    pub(crate) peer_is_dtls_client: bool,
}

fn malformed(text: impl Into<String>) -> SignalError {
    SignalError::Malformed(text.into())
}

fn unsupported(text: impl Into<String>) -> SignalError {
    SignalError::Unsupported(text.into())
}

impl Offer {
    /// Reads and checks an offer.
    pub(crate) fn check(sdp: &str, purpose: Purpose) -> Result<Self, SignalError> {
        if sdp.trim().is_empty() {
            return Err(malformed("the offer is empty"));
        }
        let session = SessionDescription::unmarshal(&mut Cursor::new(sdp))
            .map_err(|error| malformed(format!("the offer is not SDP: {error}")))?;
        let sections = &session.media_descriptions;
        if sections.is_empty() {
            return Err(malformed("the offer has no media section"));
        }
        if sections.len() > SECTIONS_MAX {
            return Err(malformed(format!(
                "the offer has {} media sections; at most {SECTIONS_MAX} are read",
                sections.len()
            )));
        }
        let candidates = sections
            .iter()
            .flat_map(|section| &section.attributes)
            .filter(|attribute| attribute.key == "candidate")
            .count();
        if candidates > CANDIDATES_MAX {
            return Err(malformed(format!(
                "the offer has {candidates} candidates; at most {CANDIDATES_MAX} are read"
            )));
        }
        let (mut audio, mut video) = (None, None);
        let mut video_section = None;
        for (at, section) in sections.iter().enumerate() {
            // RFC 9429 §5.2.1: port 0 is a rejected section unless it is only to be bundled.
            if section.media_name.port.value == 0 && !section.has_attribute("bundle-only") {
                continue;
            }
            let place = match section.media_name.media.as_str() {
                "audio" => &mut audio,
                "video" => {
                    video_section = Some(at);
                    &mut video
                }
                other => {
                    // RFC 9725 §4.4.3: no partial success, so nothing is left out in silence.
                    return Err(unsupported(format!(
                        "the offer has a section of the kind {other}; audio and video are supported"
                    )));
                }
            };
            if place.replace(section).is_some() {
                return Err(unsupported(format!(
                    "the offer has more than one {} section; one of each kind is supported",
                    section.media_name.media
                )));
            }
        }
        if audio.is_none() && video.is_none() {
            return Err(unsupported(
                "the offer has neither an audio nor a video section",
            ));
        }
        if session.has_attribute("ice-lite") {
            return Err(unsupported(
                "the offer says a=ice-lite, and so do we: one of both has to check (RFC 9725 §4.4.5)",
            ));
        }
        check_stream(sections)?;
        let mut peer_is_dtls_client = false;
        for section in audio.iter().chain(&video) {
            peer_is_dtls_client |= check_section(&session, section, purpose)?;
        }
        if audio.is_some() && video.is_some() && !is_bundled(&session) {
            return Err(unsupported(
                "the offer does not bundle its sections (a=group:BUNDLE); one transport is supported",
            ));
        }
        if purpose == Purpose::Publish {
            check_sources(&audio, &video)?;
        }
        let first = |key: &str| {
            let value = audio
                .iter()
                .chain(&video)
                .find_map(|section| attribute(&session, section, key));
            value.unwrap_or_default().to_owned()
        };
        let ice = Credentials {
            ufrag: first("ice-ufrag"),
            password: first("ice-pwd"),
        };
        if !fragment::are_credentials(&ice.ufrag, &ice.password) {
            return Err(malformed(
                "the offer's ICE credentials break RFC 8839 §5.4 (ufrag of 4 to 256, password of 22 to 256 letters, \
                 digits, '+' and '/')",
            ));
        }
        let sections = (audio, video);
        let names_rtx = sections.1.is_some_and(|video| {
            let is_fid = |value: &str| value.starts_with("FID ");
            video.attributes.iter().any(|attribute| {
                attribute.key == "ssrc-group" && attribute.value.as_deref().is_some_and(is_fid)
            })
        });
        let (audio, video) = choose(sections.0, sections.1, purpose)?;
        let red = match (&audio, sections.0) {
            (Some(opus), Some(section)) if purpose == Purpose::View => {
                codecs::red(section, opus.payload_type)
            }
            _ => None,
        };
        Ok(Self {
            audio,
            red,
            names_rtx,
            video,
            video_section,
            ice,
            peer_is_dtls_client,
        })
    }
}

/// The library tells the packets of two sections apart by the sources that the offer declares, and by no other means.
fn check_sources(
    audio: &Option<&MediaDescription>,
    video: &Option<&MediaDescription>,
) -> Result<(), SignalError> {
    let (Some(audio), Some(video)) = (audio, video) else {
        return Ok(());
    };
    for section in [audio, video] {
        if !section.has_attribute("ssrc") && !section.has_attribute("rid") {
            return Err(unsupported(format!(
                "the {} section declares no source; with audio and video, a=ssrc (RFC 5576) is needed in both",
                section.media_name.media
            )));
        }
    }
    Ok(())
}

/// RFC 9725 §4.4.2: one MediaStream. A browser says `-` where a track is in none (RFC 8830 §2).
fn check_stream(sections: &[MediaDescription]) -> Result<(), SignalError> {
    let mut streams = sections
        .iter()
        .filter_map(|section| section.attribute("msid").flatten())
        .filter_map(|value| value.split_whitespace().next())
        .filter(|stream| *stream != "-");
    let first = streams.next();
    if streams.any(|stream| Some(stream) != first) {
        return Err(unsupported(
            "the offer has more than one MediaStream (a=msid); one is supported",
        ));
    }
    Ok(())
}

/// The rules every used section has to keep; true if the peer wants to be the DTLS client.
fn check_section(
    session: &SessionDescription,
    section: &MediaDescription,
    purpose: Purpose,
) -> Result<bool, SignalError> {
    let kind = &section.media_name.media;
    // RFC 8834 §4.2: the profile of WebRTC is RTP/SAVPF over DTLS.
    let profile = section.media_name.protos.join("/");
    if profile != "UDP/TLS/RTP/SAVPF" && profile != "TCP/TLS/RTP/SAVPF" {
        return Err(unsupported(format!(
            "the {kind} section has the profile {profile}; UDP/TLS/RTP/SAVPF is supported"
        )));
    }
    for (key, what) in [
        ("ice-ufrag", "ICE user fragment (a=ice-ufrag)"),
        ("ice-pwd", "ICE password (a=ice-pwd)"),
        ("fingerprint", "certificate fingerprint (a=fingerprint)"),
    ] {
        if attribute(session, section, key).is_none_or(|value| value.trim().is_empty()) {
            return Err(malformed(format!("the {kind} section has no {what}")));
        }
    }
    if let Some(fingerprint) = attribute(session, section, "fingerprint")
        && !is_fingerprint(fingerprint)
    {
        return Err(malformed(format!(
            "the {kind} section has a certificate fingerprint that cannot be checked"
        )));
    }
    // RFC 8842 §5.1: the three roles an offer may have. Whatever it is, we take the other.
    let peer_is_dtls_client = match attribute(session, section, "setup").map(str::trim) {
        Some("actpass" | "passive") => false,
        Some("active") => true,
        Some("holdconn") => {
            return Err(malformed(format!(
                "the {kind} section has a=setup:holdconn, which an offer must not have"
            )));
        }
        Some(other) => {
            return Err(malformed(format!(
                "the {kind} section has the unknown role a=setup:{other}"
            )));
        }
        None => {
            return Err(malformed(format!(
                "the {kind} section has no DTLS role (a=setup)"
            )));
        }
    };
    // RFC 5761 §5.1.1: without it the peer would expect RTCP on a second port.
    if !section.has_attribute("rtcp-mux") {
        return Err(unsupported(format!(
            "the {kind} section does not multiplex RTCP (a=rtcp-mux)"
        )));
    }
    let direction = ["sendonly", "recvonly", "inactive", "sendrecv"]
        .into_iter()
        .find(|direction| section.has_attribute(direction))
        .or_else(|| {
            ["sendonly", "recvonly", "inactive"]
                .into_iter()
                .find(|direction| session.has_attribute(direction))
        })
        .unwrap_or("sendrecv");
    match (purpose, direction) {
        (Purpose::Publish, "sendonly" | "sendrecv") | (Purpose::View, "recvonly" | "sendrecv") => {
            Ok(peer_is_dtls_client)
        }
        (Purpose::Publish, other) => Err(unsupported(format!(
            "the {kind} section is {other}; a publisher's sections must send"
        ))),
        (Purpose::View, other) => Err(unsupported(format!(
            "the {kind} section is {other}; a viewer's sections must receive"
        ))),
    }
}

type Chosen = (Option<OfferedCodec<()>>, Vec<OfferedCodec<VideoCodec>>);

fn choose(
    audio: Option<&MediaDescription>,
    video: Option<&MediaDescription>,
    purpose: Purpose,
) -> Result<Chosen, SignalError> {
    let audio = audio
        .map(codecs::audio)
        .transpose()
        .map_err(|offered| no_codec("audio", &offered, "Opus"))?;
    let video = match video {
        None => Vec::new(),
        Some(section) => codecs::video(section, purpose).map_err(|offered| {
            no_codec(
                "video",
                &offered,
                match purpose {
                    Purpose::Publish => "H.264 (baseline, main or high), VP8, VP9 (profile 0) and AV1 (main profile)",
                    Purpose::View => "H.264 with packetization-mode 1, VP8, VP9 (profile 0) and AV1 (main profile)",
                },
            )
        })?,
    };
    Ok((audio, video))
}

fn no_codec(kind: &str, offered: &str, taken: &str) -> SignalError {
    let offered = if offered.is_empty() {
        "nothing"
    } else {
        offered
    };
    unsupported(format!(
        "no usable {kind} codec: the offer has {offered}; supported is {taken}"
    ))
}

/// An attribute of a section or, failing that, of the session.
fn attribute<'a>(
    session: &'a SessionDescription,
    section: &'a MediaDescription,
    key: &str,
) -> Option<&'a str> {
    section
        .attribute(key)
        .flatten()
        .or_else(|| session.attribute(key).map(String::as_str))
}

/// RFC 8122 §5: the name of a hash we know and its bytes in hexadecimal.
fn is_fingerprint(value: &str) -> bool {
    let Some((algorithm, digest)) = value.trim().split_once(' ') else {
        return false;
    };
    let bytes = match algorithm.to_ascii_lowercase().as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return false,
    };
    let pairs: Vec<&str> = digest.trim().split(':').collect();
    pairs.len() == bytes
        && pairs
            .iter()
            .all(|pair| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_bundled(session: &SessionDescription) -> bool {
    session
        .attributes
        .iter()
        .filter(|attribute| attribute.key == "group")
        .filter_map(|attribute| attribute.value.as_deref())
        .any(|value| value.split_whitespace().next() == Some("BUNDLE"))
}

/// A browser's offer has two or three; the bound keeps the work for a hostile one small.
const SECTIONS_MAX: usize = 16;
/// Browsers gather a few dozen on machines with many interfaces.
pub(super) const CANDIDATES_MAX: usize = 256;
