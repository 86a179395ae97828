//! Answers.

use std::net::{IpAddr, SocketAddr};

use super::{LEVEL_URI, MID_URI, TRANSPORT_URI};
use crate::{
    media::keyframe::Codec,
    peer::{Credentials, Remote, Setup},
};

/// A section that the server takes part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Section {
    /// Its name (`a=mid`, RFC 5888); empty where it has none.
    pub(crate) mid: String,
    pub(crate) is_video: bool,
    /// Payload types with what they carry.
    pub(crate) formats: Vec<(u8, Format)>,
    /// Whether lost packets may be asked for.
    pub(crate) has_nack: bool,
    /// Whether keyframes may be asked for.
    pub(crate) has_pli: bool,
    /// The first SSRC that is named.
    pub(crate) ssrc: Option<u32>,
    /// That of what is sent again, where it is named (`a=ssrc-group:FID`, RFC 5576 §4.2).
    pub(crate) repair: Option<u32>,
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
    /// The same of the extension that says how loud audio is.
    pub(crate) level: Option<u8>,
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
            level: extension(LEVEL_URI),
        })
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
                mid: String::new(),
                is_video: media.starts_with("video "),
                formats: Vec::new(),
                has_nack: false,
                has_pli: false,
                ssrc: None,
                repair: None,
            };
            sections.push((section, is_used));
            continue;
        }
        let Some((section, is_used)) = sections.last_mut() else {
            continue;
        };
        if line == "a=inactive" {
            *is_used = false;
        } else if let Some(mid) = line.strip_prefix("a=mid:") {
            mid.clone_into(&mut section.mid);
        } else if let Some(group) = line.strip_prefix("a=ssrc-group:FID ") {
            let mut numbers = group.split(' ').map(str::parse);
            if let (Some(Ok(ssrc)), Some(Ok(repair))) = (numbers.next(), numbers.next()) {
                (section.ssrc, section.repair) = (Some(ssrc), Some(repair));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\na=ice-lite\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:abcd\r\na=ice-pwd:secret\r\na=fingerprint:sha-256 AA:BB\r\n\
        a=setup:active\r\na=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n\
        a=rtpmap:111 opus/48000/2\r\na=sendonly\r\na=candidate:1 1 udp 5 10.0.0.1 8189 typ host\r\n\
        a=candidate:2 1 tcp 9 10.0.0.1 8189 typ host tcptype passive\r\na=candidate:3 1 udp 7 10.0.0.2 8189 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 102 103\r\na=rtpmap:102 H264/90000\r\na=rtcp-fb:102 nack\r\n\
        a=rtcp-fb:102 nack pli\r\na=rtpmap:103 rtx/90000\r\na=fmtp:103 apt=102\r\na=sendonly\r\na=mid:7\r\n\
        a=ssrc-group:FID 11 12\r\na=ssrc:11 cname:x\r\na=ssrc:12 cname:x\r\n";

    #[test]
    fn an_answer_is_read() {
        let answer = Answer::read(ANSWER).unwrap();
        assert!(answer.remote.is_lite);
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
        assert_eq!(
            (video.mid.as_str(), video.ssrc, video.repair),
            ("7", Some(11), Some(12))
        );
        assert_eq!((answer.sections[0].ssrc, answer.level), (None, None));
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
}
