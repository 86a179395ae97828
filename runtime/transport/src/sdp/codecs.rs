//! Which codecs of an offered section we can use.

use lockgate_media::VideoCodec;
use rtc::sdp::{description::media::MediaDescription, util::Codec};

use super::purpose::Purpose;

/// A codec as it was offered; it is answered with the same numbers and parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfferedCodec<C> {
    /// What it is.
    pub(crate) codec: C,
    /// RTP payload type.
    pub(crate) payload_type: u8,
    /// The parameters of `a=fmtp`, as they came.
    pub(crate) fmtp: String,
    /// The payload type of its retransmissions (RFC 4588), if offered.
    pub(crate) rtx: Option<u8>,
}

/// The codecs of a section in the order they were offered, and a sentence naming all of them.
fn listed(section: &MediaDescription) -> (Vec<Codec>, String) {
    let mut by_number = section.codecs();
    let mut codecs = Vec::new();
    for format in &section.media_name.formats {
        if let Some(codec) = format
            .parse()
            .ok()
            .and_then(|number: u8| by_number.remove(&number))
        {
            codecs.push(codec);
        }
    }
    let mut names: Vec<String> = Vec::new();
    for codec in &codecs {
        let name = codec.name.to_ascii_uppercase();
        if !names.contains(&name) && !matches!(name.as_str(), "RTX" | "RED" | "ULPFEC") {
            names.push(name);
        }
    }
    (codecs, names.join(", "))
}

/// What `a=rtpmap` calls a codec.
pub(super) fn rtpmap(codec: VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 => "H264/90000",
        VideoCodec::Vp8 => "VP8/90000",
        VideoCodec::Vp9 => "VP9/90000",
        VideoCodec::Av1 => "AV1/90000",
    }
}

/// Opus of an audio section, or the names of what was offered instead.
pub(super) fn audio(section: &MediaDescription) -> Result<OfferedCodec<()>, String> {
    let (codecs, names) = listed(section);
    codecs
        .iter()
        .find(|codec| {
            // RFC 7587 §4.1 and §7: always 48000 Hz and two channels, whatever is coded.
            codec.name.eq_ignore_ascii_case("opus") && codec.clock_rate == 48_000
        })
        .map(|codec| OfferedCodec {
            codec: (),
            payload_type: codec.payload_type,
            fmtp: codec.fmtp.clone(),
            rtx: None,
        })
        .ok_or(names)
}

/// The payload type of redundant audio (RFC 2198) that carries Opus of this number, if offered.
pub(super) fn red(section: &MediaDescription, opus: u8) -> Option<OfferedCodec<()>> {
    let (codecs, _) = listed(section);
    let primary = opus.to_string();
    codecs
        .iter()
        .find(|codec| {
            codec.name.eq_ignore_ascii_case("red")
                && codec.clock_rate == 48_000
                && codec.fmtp.split('/').all(|number| number == primary)
        })
        .map(|codec| OfferedCodec {
            codec: (),
            payload_type: codec.payload_type,
            fmtp: codec.fmtp.clone(),
            rtx: None,
        })
}

/// The usable codecs of a video section, best first, or the names of what was offered instead.
pub(super) fn video(
    section: &MediaDescription,
    purpose: Purpose,
) -> Result<Vec<OfferedCodec<VideoCodec>>, String> {
    let (codecs, names) = listed(section);
    let mut usable: Vec<(u32, OfferedCodec<VideoCodec>)> = codecs
        .iter()
        .filter(|codec| codec.clock_rate == 90_000)
        .filter_map(|codec| {
            let (rank, kind) = rank(codec, purpose)?;
            let apt = format!("apt={}", codec.payload_type);
            let rtx = codecs
                .iter()
                .find(|other| {
                    other.name.eq_ignore_ascii_case("rtx")
                        && other.fmtp.split(';').any(|part| part.trim() == apt)
                })
                .map(|other| other.payload_type);
            let offered = OfferedCodec {
                codec: kind,
                payload_type: codec.payload_type,
                fmtp: codec.fmtp.clone(),
                rtx,
            };
            Some((rank, offered))
        })
        .collect();
    // A publisher's order between codecs is kept (RFC 3264 §6.1): it knows what it encodes well. Among the forms of one
    // codec, and for viewers, the order is ours.
    let offered: Vec<VideoCodec> = usable.iter().map(|(_, codec)| codec.codec).collect();
    let place = |codec: VideoCodec| offered.iter().position(|other| *other == codec);
    usable
        .sort_by_key(|(rank, codec)| (place(codec.codec).filter(|_| purpose.only_sends()), *rank));
    let mut usable: Vec<_> = usable.into_iter().map(|(_, codec)| codec).collect();
    if !purpose.only_sends() {
        // One payload type per codec is enough to send with.
        let mut seen = Vec::new();
        usable.retain(|codec| {
            let first = !seen.contains(&codec.codec);
            seen.push(codec.codec);
            first
        });
    }
    if usable.is_empty() {
        Err(names)
    } else {
        Ok(usable)
    }
}

/// Whether we can use a codec, and how gladly: less is better.
///
/// For viewers H.264 comes first, because it is what rungs are encoded in; among its profiles the simplest comes
/// first, because what plays it is least known.
fn rank(codec: &Codec, purpose: Purpose) -> Option<(u32, VideoCodec)> {
    let parameter = |key: &str| {
        codec.fmtp.split(';').find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case(key).then(|| value.trim())
        })
    };
    match codec.name.to_ascii_uppercase().as_str() {
        "VP8" => return Some((100, VideoCodec::Vp8)),
        // Eight bits, 4:2:0: what every decoder has. Both are the default (RFC 9628 §6.1; AV1 §7.2).
        "VP9" if parameter("profile-id").unwrap_or("0") == "0" => {
            return Some((110, VideoCodec::Vp9));
        }
        "AV1" if parameter("profile").unwrap_or("0") == "0" => {
            return Some((120, VideoCodec::Av1));
        }
        "H264" => {}
        _ => return None,
    }
    // RFC 6184 §8.1: without these parameters it is mode 0 and the baseline profile at level 1.
    let mode = parameter("packetization-mode").unwrap_or("0");
    let profile = parameter("profile-level-id")
        .unwrap_or("42000a")
        .to_ascii_lowercase();
    let by_profile = match (profile.get(..2)?, profile.get(2..4)?) {
        ("42", constraints) if constraints.starts_with(['c', 'd', 'e', 'f']) => 0,
        ("42", _) => 1,
        ("4d", _) => 2,
        ("64", _) => 3,
        _ => return None,
    };
    match (mode, purpose) {
        ("1", _) => Some((by_profile, VideoCodec::H264)),
        // Mode 0 has no fragments: a keyframe could not be sent to such a viewer (RFC 6184 §6.2).
        ("0", Purpose::Publish | Purpose::Speak) => Some((10 + by_profile, VideoCodec::H264)),
        _ => None,
    }
}
