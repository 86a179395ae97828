//! RTMP's media messages as FLV (Adobe's FLV specification 10.1, annex E): the bodies are the same.

use bytes::{BufMut, Bytes, BytesMut};
use lockgate_ports::Piece;

/// What the first bytes of a media message say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    /// The decoder's configuration.
    Configuration,
    /// Media with which reading can start.
    Start,
    /// Other media.
    Rest,
}

/// Turns media messages into pieces of FLV.
#[derive(Debug, Default)]
pub(crate) struct Muxer {
    /// The last timestamp as it came, and as it was written.
    last: Option<(u32, i64)>,
    has_video: bool,
    has_begun: bool,
}

/// A message that is no media this server takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    /// Video in another codec.
    #[error(
        "the publisher sends {0} over RTMP, which is taken in H.264 only; choose H.264 in the encoder, or publish over SRT or WHIP"
    )]
    Video(Codec),
    /// Sound in another codec.
    #[error(
        "the publisher sends {0} over RTMP, which is taken with AAC or MP3 only; choose AAC in the encoder, or publish over SRT or WHIP"
    )]
    Audio(Codec),
}

/// A codec that a publisher names: by a number (annex E.4), or by four letters (enhanced RTMP).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Number(u8),
    Letters([u8; 4]),
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(2) => f.write_str("Sorenson H.263"),
            Self::Number(4 | 5) => f.write_str("VP6"),
            // What some encoders send without the mark of enhanced RTMP.
            Self::Number(12) => f.write_str("HEVC"),
            Self::Number(number) => write!(f, "codec {number}"),
            Self::Letters(letters) => match letters {
                b"hvc1" | b"hev1" => f.write_str("HEVC"),
                b"av01" => f.write_str("AV1"),
                b"vp08" => f.write_str("VP8"),
                b"vp09" => f.write_str("VP9"),
                b"vvc1" => f.write_str("VVC"),
                b"avc1" => f.write_str("H.264 in the form of enhanced RTMP"),
                b"mp4a" => f.write_str("AAC in the form of enhanced RTMP"),
                b"Opus" => f.write_str("Opus"),
                b"fLaC" => f.write_str("FLAC"),
                b"ac-3" => f.write_str("AC-3"),
                b"ec-3" => f.write_str("E-AC-3"),
                // Letters of a peer: nothing that moves a terminal's cursor.
                other => write!(f, "codec {}", other.escape_ascii()),
            },
        }
    }
}

impl Muxer {
    /// The pieces of a message of kind `8` (audio) or `9` (video).
    pub(crate) fn media(
        &mut self,
        kind: u8,
        timestamp: u32,
        body: &[u8],
    ) -> Result<Vec<Piece>, Unusable> {
        let mut pieces = Vec::new();
        if body.len() < 2 {
            return Ok(pieces); // an end of sequence, or nothing
        }
        if !self.has_begun {
            self.has_begun = true;
            pieces.push(Piece::Head(HEAD_FILE, Bytes::from_static(&FILE_HEADER)));
        }
        let what = match kind {
            VIDEO => {
                let what = video(body)?;
                self.has_video = true;
                what
            }
            _ => match audio(body)? {
                // Where there is video, reading starts with it.
                Media::Start if self.has_video => Media::Rest,
                what => what,
            },
        };
        let tag = tag(kind, self.unwrap(timestamp), body);
        pieces.push(match what {
            Media::Configuration => Piece::Head(kind, tag),
            Media::Start => Piece::Media {
                bytes: tag,
                start: true,
            },
            Media::Rest => Piece::Media {
                bytes: tag,
                start: false,
            },
        });
        Ok(pieces)
    }

    /// A timestamp that does not wrap: it starts at a time that leaves room to both sides, and follows the steps of
    /// what comes, modulo 2³² (RTMP §5.3.1.2).
    fn unwrap(&mut self, timestamp: u32) -> u32 {
        let unwrapped = match self.last {
            None => START_MS,
            Some((last, unwrapped)) => {
                let step = timestamp.wrapping_sub(last).cast_signed();
                unwrapped.saturating_add(i64::from(step))
            }
        };
        self.last = Some((timestamp, unwrapped));
        // FLV has 32 bits as well: after 46 days, or steps back of more than three, the reader sees a jump.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "modulo 2³²"
        )]
        let written = unwrapped as u32;
        written
    }
}

/// What a video body is (annex E.4.3.1).
fn video(body: &[u8]) -> Result<Media, Unusable> {
    let (first, second) = (body.first().copied().unwrap_or(0), body.get(1).copied());
    // The highest bit is the mark of enhanced RTMP, whose codecs have names of four letters.
    if first & 0x80 != 0 {
        return Err(Unusable::Video(letters(body)));
    }
    if first & 0x0f != AVC {
        return Err(Unusable::Video(Codec::Number(first & 0x0f)));
    }
    Ok(match (first >> 4, second) {
        (_, Some(0)) => Media::Configuration,
        (1, Some(1)) => Media::Start,
        _ => Media::Rest,
    })
}

/// What an audio body is (annex E.4.2.1).
fn audio(body: &[u8]) -> Result<Media, Unusable> {
    let format = body.first().map_or(0, |first| first >> 4);
    if format == ENHANCED {
        return Err(Unusable::Audio(letters(body)));
    }
    Ok(if format == AAC && body.get(1) == Some(&0) {
        Media::Configuration
    } else {
        Media::Start
    })
}

/// The name of a codec in a message of enhanced RTMP: behind its first byte, in whichever kind of packet it is told.
fn letters(body: &[u8]) -> Codec {
    let name = body.get(1..5).and_then(|name| name.try_into().ok());
    name.map_or(Codec::Number(0), Codec::Letters)
}

fn tag(kind: u8, timestamp: u32, body: &[u8]) -> Bytes {
    let len = u32::try_from(body.len()).unwrap_or(0);
    let mut out = BytesMut::with_capacity(body.len() + 15);
    out.put_u8(kind);
    out.put_slice(&len.to_be_bytes()[1..]);
    let time = timestamp.to_be_bytes();
    out.put_slice(&time[1..]);
    out.put_u8(time[0]);
    out.put_slice(&[0, 0, 0]);
    out.put_slice(body);
    out.put_u32(len + 11);
    out.freeze()
}

/// A message's kind: audio.
pub(crate) const AUDIO: u8 = 8;
/// A message's kind: video.
pub(crate) const VIDEO: u8 = 9;
/// The header of the file goes before all others.
const HEAD_FILE: u8 = 0;
/// Version 1 with audio and video, nine bytes long, and the length of no tag before the first.
const FILE_HEADER: [u8; 13] = [b'F', b'L', b'V', 1, 5, 0, 0, 0, 9, 0, 0, 0, 0];
/// `CodecID` of H.264.
const AVC: u8 = 7;
/// `SoundFormat` of AAC.
const AAC: u8 = 10;
/// `SoundFormat` of enhanced RTMP.
const ENHANCED: u8 = 9;
/// Three days: no sane step back goes beyond it.
const START_MS: i64 = 3 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn times(stamps: &[u32]) -> Vec<i64> {
        let mut muxer = Muxer::default();
        stamps
            .iter()
            .map(|stamp| i64::from(muxer.unwrap(*stamp)) - START_MS)
            .collect()
    }

    #[test]
    fn times_start_anywhere_and_go_on_over_a_wrap() {
        assert_eq!(times(&[u32::MAX - 9, 30, 70]), [0, 40, 80]);
        assert_eq!(times(&[36_000_000, 36_000_040, 35_999_000]), [0, 40, -1000]);
    }

    #[test]
    fn media_is_told_by_its_first_bytes() {
        let mut muxer = Muxer::default();
        let mut what = |kind, body: &[u8]| {
            let mut pieces = muxer.media(kind, 0, body).unwrap();
            match pieces.pop() {
                Some(Piece::Head(number, _)) => format!("head {number}"),
                Some(Piece::Media { start, .. }) => format!("start {start}"),
                None => "nothing".to_owned(),
            }
        };
        assert_eq!(what(AUDIO, &[0xaf, 0, 0x11, 0x90]), "head 8");
        assert_eq!(what(AUDIO, &[0xaf, 1, 7]), "start true");
        assert_eq!(what(VIDEO, &[0x17, 0, 0, 0, 0, 1]), "head 9");
        assert_eq!(what(VIDEO, &[0x17, 1, 0, 0, 0, 1]), "start true");
        assert_eq!(what(VIDEO, &[0x27, 1, 0, 0, 0, 1]), "start false");
        assert_eq!(what(AUDIO, &[0xaf, 1, 7]), "start false");
        assert_eq!(what(VIDEO, &[0x17]), "nothing");
    }

    #[test]
    fn what_cannot_be_taken_is_named_with_what_to_do() {
        for (kind, body, words) in [
            (VIDEO, &b"\x90hvc1\x01"[..], "sends HEVC over RTMP"),
            (VIDEO, b"\x90av01", "sends AV1 over RTMP"),
            (VIDEO, b"\x1c\x00\x00\x00\x00", "sends HEVC over RTMP"),
            (VIDEO, b"\x12\x00", "sends Sorenson H.263"),
            (VIDEO, b"\x90\x1b[2J", "codec \\x1b[2J"),
            (AUDIO, b"\x90Opus", "sends Opus over RTMP"),
            (AUDIO, b"\x90", ""),
        ] {
            match Muxer::default().media(kind, 0, body) {
                Err(error) => {
                    let said = error.to_string();
                    assert!(said.contains(words) && said.contains("choose "), "{said}");
                }
                Ok(pieces) => assert!(words.is_empty() && pieces.is_empty(), "{words}"),
            }
        }
    }
}
