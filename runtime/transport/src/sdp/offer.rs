//! The checks an offer has to pass before anything is built for it.

use std::{collections::HashSet, io::Cursor};

use lockgate_dtls::Fingerprint;
use lockgate_media::VideoCodec;
use lockgate_ports::SignalError;
use rtc::sdp::description::{media::MediaDescription, session::SessionDescription};

use super::{
    codecs::{self, OfferedCodec},
    extension::Numbers,
    fragment,
    purpose::Purpose,
};
use crate::net::Credentials;

/// What matters of an acceptable offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// The sections that media goes through.
    pub(crate) sections: Vec<Section>,
    /// Whether the stream of retransmissions is told by its SSRC (`a=ssrc-group:FID`, RFC 5576 §4.2).
    pub(crate) names_rtx: bool,
    /// The certificates that the peer may show.
    pub(crate) fingerprints: Vec<Fingerprint>,
    /// The peer's ICE credentials; others in a fragment mean a restart.
    pub(crate) ice: Credentials,
    /// Whether the peer wants to be the DTLS client (`a=setup:active`), so that we must be the server.
    pub(crate) peer_is_dtls_client: bool,
}

/// A section that media goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its place in the offer, counted from 0.
    pub(crate) at: usize,
    /// Its name (`a=mid`, RFC 5888).
    pub(crate) mid: Option<String>,
    /// Whether the peer sends there.
    pub(crate) sends: bool,
    /// Whether it receives there.
    pub(crate) receives: bool,
    pub(crate) media: Media,
    /// The header extensions of what goes there.
    pub(crate) numbers: Numbers,
}

/// What a section carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Media {
    Audio {
        opus: OfferedCodec<()>,
        /// Redundant Opus (RFC 2198), if the peer receives and offers it.
        red: Option<OfferedCodec<()>>,
    },
    /// The codecs we can use, best first.
    Video(Vec<OfferedCodec<VideoCodec>>),
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
        check_size(&session.media_descriptions, purpose)?;
        let used = used(&session, purpose)?;
        if session.has_attribute("ice-lite") {
            return Err(unsupported(
                "the offer says a=ice-lite, and so do we: one of both has to check (RFC 9725 §4.4.5)",
            ));
        }
        if matches!(purpose, Purpose::Publish | Purpose::View) {
            check_stream(&session.media_descriptions)?;
        }
        let mut peer_is_dtls_client = false;
        for (_, section) in &used {
            peer_is_dtls_client |= check_section(&session, section, purpose)?;
        }
        if used.len() > 1 && !is_bundled(&session) {
            return Err(unsupported(
                "the offer does not bundle its sections (a=group:BUNDLE); one transport is supported",
            ));
        }
        if matches!(purpose, Purpose::Publish | Purpose::Speak) {
            check_sources(&used)?;
        }
        let first = |key: &str| {
            let mut values = used
                .iter()
                .filter_map(|(_, section)| attribute(&session, section, key));
            values.next().unwrap_or_default().to_owned()
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
        let names_rtx = used
            .iter()
            .filter(|(_, section)| section.media_name.media == "video")
            .flat_map(|(_, section)| &section.attributes)
            .filter(|attribute| attribute.key == "ssrc-group")
            .filter_map(|attribute| attribute.value.as_deref())
            .any(|value| value.starts_with("FID "));
        let media_sections = used.iter().filter(|(_, section)| !is_data(section));
        let sections = media_sections.map(|(at, section)| {
            let (sends, receives) = purpose.ways(direction(&session, section));
            let mut numbers = Numbers::of(section);
            numbers.level = numbers.level.filter(|_| sends && purpose.is_in_a_room());
            Ok(Section {
                at: *at,
                mid: mid(section).map(str::to_owned),
                sends,
                receives,
                media: media(section, purpose, sends)?,
                numbers,
            })
        });
        let sections: Vec<Section> = sections.collect::<Result<_, SignalError>>()?;
        if matches!(purpose, Purpose::Attend | Purpose::Converse) {
            check_names(&sections)?;
        }
        Ok(Self {
            sections,
            names_rtx,
            fingerprints: fingerprints(&session, &used),
            ice,
            peer_is_dtls_client,
        })
    }

    /// As if only those of its sections had been offered.
    pub(crate) fn only(&self, is_wanted: impl Fn(&Section) -> bool) -> Self {
        let mut only = self.clone();
        only.sections.retain(is_wanted);
        only
    }

    /// The number of the header extension by which somebody in a room says how loud they are.
    pub(crate) fn level(&self) -> Option<u8> {
        self.sections
            .iter()
            .find_map(|section| section.numbers.level)
    }

    /// The codecs of the first video section that we can use, best first.
    pub(crate) fn video(&self) -> &[OfferedCodec<VideoCodec>] {
        let mut codecs = self.sections.iter().filter_map(Section::video);
        codecs.next().unwrap_or_default()
    }

    /// Opus of the first audio section.
    pub(crate) fn audio(&self) -> Option<&OfferedCodec<()>> {
        self.sections.iter().find_map(|section| {
            let Media::Audio { opus, .. } = &section.media else {
                return None;
            };
            Some(opus)
        })
    }

    /// The place of the first video section, counted from 0.
    pub(crate) fn video_section(&self) -> Option<usize> {
        let mut videos = self.sections.iter().filter(|one| one.video().is_some());
        videos.next().map(|section| section.at)
    }
}

impl Section {
    fn video(&self) -> Option<&[OfferedCodec<VideoCodec>]> {
        let Media::Video(codecs) = &self.media else {
            return None;
        };
        Some(codecs)
    }

    /// Whether it is for video; else it is for audio.
    pub(crate) fn is_video(&self) -> bool {
        self.video().is_some()
    }
}

/// The work for a hostile offer stays small.
fn check_size(sections: &[MediaDescription], purpose: Purpose) -> Result<(), SignalError> {
    if sections.is_empty() {
        return Err(malformed("the offer has no media section"));
    }
    let most = match purpose {
        Purpose::Publish | Purpose::View | Purpose::Speak => SECTIONS_MAX,
        Purpose::Attend | Purpose::Converse => PLACES_MAX,
    };
    if sections.len() > most {
        return Err(malformed(format!(
            "the offer has {} media sections; at most {most} are read",
            sections.len()
        )));
    }
    let candidates = sections
        .iter()
        .flat_map(|section| &section.attributes)
        .filter(|attribute| attribute.key == "candidate")
        .count();
    // Before there is a bundle, each section may have some.
    let most = CANDIDATES_MAX.max(sections.len() * CANDIDATES_MAX / SECTIONS_MAX);
    if candidates > most {
        return Err(malformed(format!(
            "the offer has {candidates} candidates; at most {most} are read"
        )));
    }
    Ok(())
}

type Numbered<'a> = (usize, &'a MediaDescription);

/// The sections that media is to go through, with their places.
fn used(session: &SessionDescription, purpose: Purpose) -> Result<Vec<Numbered<'_>>, SignalError> {
    let mut used: Vec<Numbered<'_>> = Vec::new();
    for (at, section) in session.media_descriptions.iter().enumerate() {
        if is_rejected(section) {
            continue;
        }
        let kind = section.media_name.media.as_str();
        let is_taken =
            matches!(kind, "audio" | "video") || (purpose == Purpose::Speak && is_data(section));
        if !is_taken {
            // RFC 9725 §4.4.3: no partial success, so nothing is left out in silence.
            return Err(unsupported(format!(
                "the offer has a section of the kind {kind}; {} supported",
                match purpose {
                    Purpose::Speak => "audio, video and a data channel are",
                    _ => "audio and video are",
                }
            )));
        }
        // In a room a section that is at rest, as of somebody who stopped to send, is passed over.
        let rests = match purpose {
            Purpose::Publish | Purpose::View => false,
            Purpose::Attend => matches!(direction(session, section), "inactive" | "sendonly"),
            Purpose::Speak => {
                !is_data(section) && matches!(direction(session, section), "inactive" | "recvonly")
            }
            Purpose::Converse => direction(session, section) == "inactive",
        };
        if rests {
            continue;
        }
        let takes_one = |section| match purpose {
            Purpose::Attend => false,
            Purpose::Publish | Purpose::View | Purpose::Speak => true,
            Purpose::Converse => purpose.ways(direction(session, section)).0,
        };
        let mut others = used
            .iter()
            .filter(|(_, other)| other.media_name.media == kind);
        if takes_one(section) && others.any(|(_, other)| takes_one(other)) {
            let which = if purpose == Purpose::Converse {
                " that sends"
            } else {
                ""
            };
            return Err(unsupported(format!(
                "the offer has more than one {kind} section{which}; one of each kind is supported"
            )));
        }
        used.push((at, section));
    }
    if used.is_empty() {
        return Err(unsupported(match purpose {
            Purpose::Publish | Purpose::View => {
                "the offer has neither an audio nor a video section"
            }
            Purpose::Attend => "the offer has no section that receives",
            Purpose::Converse => "the offer has no section that sends or receives",
            Purpose::Speak => "the offer has no section that sends, and no data channel",
        }));
    }
    Ok(used)
}

/// RFC 9429 §5.2.1: port 0 is a rejected section unless it is only to be bundled.
pub(super) fn is_rejected(section: &MediaDescription) -> bool {
    section.media_name.port.value == 0 && !section.has_attribute("bundle-only")
}

/// Whether it is for data channels (RFC 8841 §4).
pub(super) fn is_data(section: &MediaDescription) -> bool {
    let name = &section.media_name;
    name.media == "application"
        && name.protos.last().is_some_and(|proto| proto == "SCTP")
        && name
            .formats
            .iter()
            .any(|format| format == "webrtc-datachannel")
}

/// Places are told apart by their names, so each has one (RFC 5888 §4, a token of RFC 8866 §9), and no other has it.
fn check_names(sections: &[Section]) -> Result<(), SignalError> {
    let mut seen = HashSet::new();
    for section in sections {
        let mid = section.mid.as_deref().unwrap_or_default();
        let is_token = (1..=MID_MAX).contains(&mid.len())
            && mid
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte));
        if !is_token || !seen.insert(mid) {
            return Err(malformed(format!(
                "section {} of the offer needs a name of its own (a=mid) of 1 to {MID_MAX} characters",
                section.at
            )));
        }
    }
    Ok(())
}

pub(super) fn mid(section: &MediaDescription) -> Option<&str> {
    section.attribute("mid").flatten().map(str::trim)
}

/// The library tells the packets of two sections apart by the sources that the offer declares, and by no other means.
fn check_sources(used: &[Numbered<'_>]) -> Result<(), SignalError> {
    let media = used.iter().filter(|(_, section)| !is_data(section));
    for (_, section) in media.clone() {
        let sources = (section.attributes.iter()).filter(|attribute| attribute.key == "ssrc");
        for source in sources {
            let number = source.value.as_deref().unwrap_or_default();
            let number = number.split(' ').next().unwrap_or_default();
            if number.parse::<u32>().is_err() {
                return Err(malformed(format!(
                    "the {} section has an a=ssrc that does not begin with a number below 2^32 (RFC 5576 §4.1)",
                    section.media_name.media
                )));
            }
        }
    }
    if media.clone().count() < 2 {
        return Ok(());
    }
    for (_, section) in media {
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
    let is_data = is_data(section);
    if !is_data && profile != "UDP/TLS/RTP/SAVPF" && profile != "TCP/TLS/RTP/SAVPF" {
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
        && !Fingerprint::is_sound(fingerprint)
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
    if is_data {
        return Ok(peer_is_dtls_client);
    }
    // RFC 5761 §5.1.1: without it the peer would expect RTCP on a second port.
    if !section.has_attribute("rtcp-mux") {
        return Err(unsupported(format!(
            "the {kind} section does not multiplex RTCP (a=rtcp-mux)"
        )));
    }
    match (purpose, direction(session, section)) {
        (Purpose::Converse, _)
        | (Purpose::Publish | Purpose::Speak, "sendonly" | "sendrecv")
        | (Purpose::View | Purpose::Attend, "recvonly" | "sendrecv") => Ok(peer_is_dtls_client),
        (Purpose::Publish | Purpose::Speak, other) => Err(unsupported(format!(
            "the {kind} section is {other}; a publisher's sections must send"
        ))),
        (Purpose::View | Purpose::Attend, other) => Err(unsupported(format!(
            "the {kind} section is {other}; a viewer's sections must receive"
        ))),
    }
}

pub(super) fn direction(session: &SessionDescription, section: &MediaDescription) -> &'static str {
    ["sendonly", "recvonly", "inactive", "sendrecv"]
        .into_iter()
        .find(|direction| section.has_attribute(direction))
        .or_else(|| {
            ["sendonly", "recvonly", "inactive"]
                .into_iter()
                .find(|direction| session.has_attribute(direction))
        })
        .unwrap_or("sendrecv")
}

/// What of a section we can use.
fn media(section: &MediaDescription, purpose: Purpose, sends: bool) -> Result<Media, SignalError> {
    let receives = !purpose.only_sends();
    if section.media_name.media == "audio" {
        let opus = codecs::audio(section).map_err(|offered| no_codec("audio", &offered, "Opus"))?;
        let red = codecs::red(section, opus.payload_type).filter(|_| !sends);
        return Ok(Media::Audio { opus, red });
    }
    let codecs = codecs::video(section, purpose).map_err(|offered| {
        no_codec(
            "video",
            &offered,
            if receives {
                "H.264 with packetization-mode 1, VP8, VP9 (profile 0) and AV1 (main profile)"
            } else {
                "H.264 (baseline, main or high), VP8, VP9 (profile 0) and AV1 (main profile)"
            },
        )
    })?;
    Ok(Media::Video(codecs))
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

/// All that are named, once each.
fn fingerprints(session: &SessionDescription, used: &[Numbered<'_>]) -> Vec<Fingerprint> {
    let mut all: Vec<Fingerprint> = Vec::new();
    let attributes = used.iter().flat_map(|(_, section)| &section.attributes);
    for attribute in attributes.chain(&session.attributes) {
        if attribute.key == "fingerprint"
            && let Some(fingerprint) = attribute.value.as_deref().and_then(Fingerprint::parse)
            && !all.contains(&fingerprint)
        {
            all.push(fingerprint);
        }
    }
    all
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
/// Most places of somebody who is in a room, video and audio together: 50 others seen and 10 heard, with a few at rest.
pub(crate) const PLACES_MAX: usize = 64;
/// Browsers count, others use a word.
const MID_MAX: usize = 32;
/// Browsers gather a few dozen on machines with many interfaces.
pub(super) const CANDIDATES_MAX: usize = 256;
