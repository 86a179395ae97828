//! Offers as a browser would make them, and what a client needs of the answer.

use std::net::{IpAddr, SocketAddr};

use crate::{
    media::keyframe::Codec,
    peer::{Credentials, Remote, Setup},
};

/// What an offer is made of.
pub(crate) struct Offer<'a> {
    pub(crate) ice: &'a Credentials,
    /// `sha-256` and a digest.
    pub(crate) fingerprint: &'a str,
    /// Our own address; what a server learns by our checks it learns sooner.
    pub(crate) address: Option<SocketAddr>,
    /// The SSRCs of what we send, audio and video; `None` to receive.
    pub(crate) sends: Option<(u32, u32)>,
    pub(crate) has_audio: bool,
}

impl Offer<'_> {
    pub(crate) fn text(&self) -> String {
        let session: u32 = rand::random();
        let mids = if self.has_audio { "0 1" } else { "1" };
        let mut out = format!(
            "v=0\r\no=- {session} 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n\
             a=extmap-allow-mixed\r\na=msid-semantic: WMS load\r\n"
        );
        if self.has_audio {
            self.section(&mut out, "audio", "0", "111", AUDIO);
        }
        match self.sends {
            Some(_) => self.section(&mut out, "video", "1", "102", SENT),
            None => self.section(
                &mut out,
                "video",
                "1",
                "102 103 104 105 106 107 108 109 96 97 98 99 100 101",
                RECEIVED,
            ),
        }
        out
    }

    fn section(&self, out: &mut String, kind: &str, mid: &str, formats: &str, codecs: &str) {
        let direction = if self.sends.is_some() {
            "sendonly"
        } else {
            "recvonly"
        };
        let Credentials { ufrag, password } = self.ice;
        *out += &format!(
            "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
             a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=ice-options:trickle\r\na=fingerprint:{}\r\n\
             a=setup:actpass\r\na=mid:{mid}\r\na=extmap:{MID} {MID_URI}\r\n\
             a=extmap:{TRANSPORT} {TRANSPORT_URI}\r\na={direction}\r\na=rtcp-mux\r\na=rtcp-mux-only\r\na=rtcp-rsize\r\n",
            self.fingerprint
        );
        if let Some((audio, video)) = self.sends {
            let ssrc = if kind == "audio" { audio } else { video };
            *out += &format!(
                "a=msid:load {kind}\r\na=ssrc:{ssrc} cname:load\r\na=ssrc:{ssrc} msid:load {kind}\r\n"
            );
        }
        *out += codecs;
        if let Some(address) = self.address {
            *out += &format!(
                "a=candidate:1 1 udp 2130706431 {} {} typ host\r\na=end-of-candidates\r\n",
                address.ip(),
                address.port()
            );
        }
    }
}

/// A section that the server takes part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) is_video: bool,
    /// Payload types with what they carry.
    pub(crate) formats: Vec<(u8, Format)>,
    /// Whether lost packets may be asked for.
    pub(crate) has_nack: bool,
    /// Whether keyframes may be asked for.
    pub(crate) has_pli: bool,
    /// The first SSRC that is named.
    pub(crate) ssrc: Option<u32>,
}

/// What a payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Video(Codec),
    Audio,
    /// What another payload type lost (RFC 4588).
    Repair,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) remote: Remote,
    pub(crate) sections: Vec<Section>,
    /// The number of the extension for transport-wide numbers, if the server takes it.
    pub(crate) transport: Option<u8>,
    /// The same of the extension that names the section.
    pub(crate) mid: Option<u8>,
}

impl Answer {
    /// Reads an answer, or says what it lacks.
    pub(crate) fn read(sdp: &str) -> Result<Self, String> {
        if !sdp.starts_with("v=0") {
            let start: String = sdp.chars().take(60).collect();
            return Err(format!("it is not SDP, but begins with {start:?}"));
        }
        let attribute = |name: &str| {
            let mut lines = sdp.lines().filter_map(|line| line.strip_prefix("a="));
            lines
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        let wanted = |name: &str| {
            let value = attribute(name).map(str::to_owned);
            value.ok_or_else(|| format!("it has no a={name}"))
        };
        let setup = match attribute("setup") {
            Some("passive") => Setup::Client,
            Some("active") => Setup::Server,
            other => {
                let other = other.unwrap_or("nothing");
                return Err(format!("a=setup is {other}, not active or passive"));
            }
        };
        let fingerprints = sdp
            .lines()
            .filter_map(|line| line.strip_prefix("a=fingerprint:"));
        let fingerprint = fingerprints
            .map(str::trim)
            .find(|one| one.to_ascii_lowercase().starts_with("sha-256 "));
        let sections = sections(sdp);
        if !sections.iter().any(|section| !section.formats.is_empty()) {
            return Err("it takes none of the codecs that were offered".to_owned());
        }
        let extension = |wanted: &str| {
            sdp.lines().find_map(|line| {
                let (id, uri) = line.strip_prefix("a=extmap:")?.split_once(' ')?;
                let id = id.split('/').next()?;
                uri.trim().starts_with(wanted).then(|| id.parse().ok())?
            })
        };
        Ok(Self {
            remote: Remote {
                ice: Credentials {
                    ufrag: wanted("ice-ufrag")?,
                    password: wanted("ice-pwd")?,
                },
                is_lite: sdp.lines().any(|line| line.trim_end() == "a=ice-lite"),
                fingerprint: fingerprint
                    .ok_or("it has no a=fingerprint of sha-256")?
                    .to_owned(),
                setup,
                candidates: candidates(sdp)?,
            },
            sections,
            transport: extension(TRANSPORT_URI),
            mid: extension(MID_URI),
        })
    }

    /// Whether video may be expected.
    pub(crate) fn has_video(&self) -> bool {
        let mut sections = self.sections.iter();
        sections.any(|section| section.is_video && !section.formats.is_empty())
    }

    /// The payload type of a format.
    pub(crate) fn payload_type(&self, wanted: Format) -> Option<u8> {
        let formats = self.sections.iter().flat_map(|section| &section.formats);
        formats
            .clone()
            .find(|(_, format)| *format == wanted)
            .map(|(number, _)| *number)
    }
}

fn sections(sdp: &str) -> Vec<Section> {
    let mut sections: Vec<(Section, bool)> = Vec::new();
    for line in sdp.lines().map(str::trim_end) {
        if let Some(media) = line.strip_prefix("m=") {
            let is_used = media.split(' ').nth(1) != Some("0");
            let section = Section {
                is_video: media.starts_with("video "),
                formats: Vec::new(),
                has_nack: false,
                has_pli: false,
                ssrc: None,
            };
            sections.push((section, is_used));
            continue;
        }
        let Some((section, is_used)) = sections.last_mut() else {
            continue;
        };
        if line == "a=inactive" {
            *is_used = false;
        } else if let Some(map) = line.strip_prefix("a=rtpmap:")
            && let Some((number, name)) = map.split_once(' ')
            && let Ok(number) = number.parse()
        {
            let name = name.split('/').next().unwrap_or_default();
            let format = if name.eq_ignore_ascii_case("opus") {
                Some(Format::Audio)
            } else if name.eq_ignore_ascii_case("rtx") {
                Some(Format::Repair)
            } else {
                Codec::named(name).map(Format::Video)
            };
            section
                .formats
                .extend(format.map(|format| (number, format)));
        } else if let Some(source) = line.strip_prefix("a=ssrc:") {
            let number = source.split(' ').next().and_then(|one| one.parse().ok());
            section.ssrc = section.ssrc.or(number);
        } else if let Some(feedback) = line.strip_prefix("a=rtcp-fb:") {
            section.has_nack |= feedback.ends_with(" nack");
            section.has_pli |= feedback.ends_with(" nack pli");
        }
    }
    let used = sections.into_iter().filter(|(_, is_used)| *is_used);
    used.map(|(section, _)| section).collect()
}

/// The addresses of UDP candidates of the first component, best first. Names are left out: they are for mDNS.
fn candidates(sdp: &str) -> Result<Vec<SocketAddr>, String> {
    let mut found: Vec<(u32, SocketAddr)> = Vec::new();
    let mut passed_over = 0;
    for line in sdp
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
    {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let usable = || {
            let [_, component, protocol, priority, address, port, ..] = fields[..] else {
                return None;
            };
            if component != "1" || !protocol.eq_ignore_ascii_case("udp") {
                return None;
            }
            let address: IpAddr = address.parse().ok()?;
            let address = SocketAddr::new(address, port.parse().ok()?);
            Some((priority.parse().unwrap_or(0), address))
        };
        match usable() {
            Some(one) if !found.iter().any(|(_, other)| *other == one.1) => found.push(one),
            Some(_) => {}
            None => passed_over += 1,
        }
    }
    if found.is_empty() {
        return Err(format!(
            "it has no UDP candidate with an address ({passed_over} of other kinds); trickled candidates are not waited for"
        ));
    }
    found.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    Ok(found.into_iter().map(|(_, address)| address).collect())
}

/// The header extensions that we offer.
const MID: u8 = 4;
const TRANSPORT: u8 = 3;
const MID_URI: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const TRANSPORT_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const AUDIO: &str = "a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\n\
                     a=fmtp:111 minptime=10;useinbandfec=1\r\n";
const SENT: &str = "a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
    a=rtcp-fb:102 ccm fir\r\na=rtcp-fb:102 transport-cc\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";
const RECEIVED: &str = "a=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\na=rtcp-fb:102 nack pli\r\n\
    a=rtcp-fb:102 ccm fir\r\na=rtcp-fb:102 transport-cc\r\n\
    a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n\
    a=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\n\
    a=rtpmap:104 H264/90000\r\na=rtcp-fb:104 nack\r\na=rtcp-fb:104 nack pli\r\na=rtcp-fb:104 transport-cc\r\n\
    a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f\r\n\
    a=rtpmap:105 rtx/90000\r\na=fmtp:105 apt=104\r\n\
    a=rtpmap:106 H264/90000\r\na=rtcp-fb:106 nack\r\na=rtcp-fb:106 nack pli\r\na=rtcp-fb:106 transport-cc\r\n\
    a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f\r\n\
    a=rtpmap:107 rtx/90000\r\na=fmtp:107 apt=106\r\n\
    a=rtpmap:108 H264/90000\r\na=rtcp-fb:108 nack\r\na=rtcp-fb:108 nack pli\r\na=rtcp-fb:108 transport-cc\r\n\
    a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f\r\n\
    a=rtpmap:109 rtx/90000\r\na=fmtp:109 apt=108\r\n\
    a=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 transport-cc\r\n\
    a=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n\
    a=rtpmap:98 VP9/90000\r\na=rtcp-fb:98 nack\r\na=rtcp-fb:98 nack pli\r\na=rtcp-fb:98 transport-cc\r\n\
    a=fmtp:98 profile-id=0\r\na=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n\
    a=rtpmap:100 AV1/90000\r\na=rtcp-fb:100 nack\r\na=rtcp-fb:100 nack pli\r\na=rtcp-fb:100 transport-cc\r\n\
    a=rtpmap:101 rtx/90000\r\na=fmtp:101 apt=100\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-lite\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\na=fingerprint:sha-256 AA:BB\r\n\
        a=setup:active\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=rtpmap:111 opus/48000/2\r\na=sendonly\r\na=candidate:1 1 udp 5 10.0.0.1 8189 typ host\r\n\
        a=candidate:2 1 tcp 9 10.0.0.1 8189 typ host tcptype passive\r\na=candidate:3 1 udp 7 10.0.0.2 8189 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\n\
        a=rtcp-fb:102 nack pli\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=sendonly\r\n";

    #[test]
    fn an_answer_is_read() {
        let answer = Answer::read(ANSWER).unwrap();
        assert!(answer.remote.is_lite && answer.has_video());
        assert_eq!(answer.remote.setup, Setup::Server);
        assert_eq!(answer.transport, Some(3));
        let ports: Vec<String> = answer
            .remote
            .candidates
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(ports, ["10.0.0.2:8189", "10.0.0.1:8189"]);
        let video = &answer.sections[1];
        assert!(video.has_nack && video.has_pli && video.is_video);
        let formats = [(102, Format::Video(Codec::H264)), (103, Format::Repair)];
        assert_eq!(video.formats, formats);
        assert_eq!(answer.payload_type(Format::Audio), Some(111));
    }

    #[test]
    fn what_an_answer_lacks_is_said() {
        let lacks =
            |what: &str, instead: &str| Answer::read(&ANSWER.replace(what, instead)).unwrap_err();
        assert!(lacks("v=0", "<html>").contains("not SDP"));
        assert!(lacks("a=setup:active\r\n", "").contains("a=setup"));
        assert!(lacks(" udp ", " tcp ").contains("no UDP candidate"));
        assert!(lacks("a=ice-pwd", "a=x").contains("ice-pwd"));
        assert!(lacks("a=rtpmap", "a=x").contains("none of the codecs"));
    }

    #[test]
    fn an_offer_has_what_a_server_looks_for() {
        let ice = Credentials::random();
        let offer = Offer {
            ice: &ice,
            fingerprint: "sha-256 AA",
            address: Some(SocketAddr::from(([127, 0, 0, 1], 7))),
            sends: None,
            has_audio: true,
        };
        let text = offer.text();
        assert_eq!(text.matches("a=recvonly").count(), 2);
        assert_eq!(text.matches("a=setup:actpass").count(), 2);
        assert!(text.contains("127.0.0.1 7 typ host"));
        let sent = Offer {
            sends: Some((5, 6)),
            has_audio: false,
            ..offer
        };
        let text = sent.text();
        assert!(text.contains("a=ssrc:6 cname") && !text.contains("m=audio"));
    }
}
