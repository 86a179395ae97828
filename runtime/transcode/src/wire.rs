//! What parent and worker say to each other, and how it stands on their socket.
//!
//! A frame is a length of four bytes (big endian, of what follows), a kind byte, and either JSON (kind 0), an access
//! unit (kind 1): track `u16`, flags `u8`, pts `i64`, dts `i64`, duration `u32`, data, or a piece of a byte stream
//! (kind 2).

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lockgate_media::{Format, VideoCodec};
use lockgate_ports::transcoder::{Input, Plan, Settings, SourceInfo};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// A track by number. Rungs count from 0; one keeps its number for as long as its worker lives, whatever is planned anew.
pub(crate) type TrackNo = u16;

/// The source's own coding: passthrough towards the parent, a peer's video towards the worker.
pub(crate) const SOURCE: TrackNo = 0x100;
/// AAC towards the parent.
pub(crate) const AAC: TrackNo = 0x101;
/// Opus: of the ladder towards the parent, of a peer towards the worker.
pub(crate) const OPUS: TrackNo = 0x102;
/// Opus of fewer bits towards the parent: the first of [`crate::sound::SAVINGS`], the others follow.
pub(crate) const OPUS_SAVING: TrackNo = 0x103;

/// Control messages towards the worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub(crate) enum ToWorker {
    /// The first message: what to open.
    Start(Start),
    /// The answer to each `Opened`: what to encode from now on.
    Plan(Work),
    /// Whether a rung is wanted.
    Enable { track: TrackNo, on: bool },
    /// Whether a rung is shed: not encoded, whoever wants it.
    Shed { track: TrackNo, on: bool },
    /// A keyframe is wanted on a rung, at once.
    Keyframe { track: TrackNo },
    /// What a peer's video is made of from the next unit on.
    FormatChange { video: VideoCodec },
    /// The publisher's byte stream is over.
    StreamEnd,
}

/// What to open.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Start {
    pub(crate) input: Input,
    pub(crate) settings: Settings,
    /// Peers: the codec of their video, if they send any.
    pub(crate) peer_video: Option<VideoCodec>,
    /// Peers: whether they send audio.
    pub(crate) peer_audio: bool,
    /// Byte streams: FFmpeg's name of the container.
    #[serde(default)]
    pub(crate) container: Option<String>,
    /// Hold media back until its time has come. Off where the cost of encoding is measured, and for what is encoded for
    /// later.
    pub(crate) paced: bool,
    /// It is encoded for later: encoders may keep pictures for a while, and use all processors.
    #[serde(default)]
    pub(crate) offline: bool,
}

/// What to encode.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Work {
    pub(crate) plan: Plan,
    /// The numbers of the plan's rungs, in its order.
    pub(crate) tracks: Vec<TrackNo>,
    /// The media time now, in 1/90000 s, at which a source starts; peers bring their own.
    pub(crate) start_pts_90k: i64,
    /// Nothing may stand before this media time: it is what an earlier worker has come to.
    #[serde(default)]
    pub(crate) not_before_90k: i64,
    /// Wall-clock time of media time 0, in µs since 1970.
    pub(crate) zero_unix_us: i64,
    /// Which rungs are wanted from the start, in the order of the plan.
    pub(crate) wanted: Vec<bool>,
    /// Pictures before this media time were encoded in an earlier run.
    pub(crate) video_from_90k: Option<i64>,
}

/// Control messages towards the parent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(crate) enum ToParent {
    /// What the source turned out to be; answered by a plan. Sent again when a live source's picture has grown, or when
    /// it can no longer be passed through.
    Opened { source: SourceInfo },
    /// How long the source lasts, where it says.
    Length { duration_s: f64 },
    /// What a track is made of.
    Format { track: TrackNo, format: Format },
    /// About once a second.
    Stats(Stats),
    /// A peer's video cannot be decoded until it sends a keyframe.
    NeedKeyframe,
    /// Something went wrong that does not end the work.
    Problem { text: String },
    /// The work is over; `hopeless` if trying again cannot help.
    Error { text: String, hopeless: bool },
    /// The source became another one: it is to be looked at anew, by a new worker.
    Replan { text: String },
    /// The source came to its end.
    Ended,
}

/// How the work goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// Media seconds encoded per second of real time since the last report.
    pub(crate) speed: f64,
    /// The share of the frames due since the last report that the slowest rung really encoded.
    pub(crate) kept: f64,
    /// User and system CPU seconds of the worker.
    pub(crate) cpu_s: f64,
    /// Frames that were dropped because encoding was too slow, over all rungs.
    pub(crate) frames_dropped: u64,
    /// Packets that could not be decoded.
    pub(crate) decode_errors: u64,
    /// The media time the source has come to, in 1/90000 s.
    pub(crate) media_90k: i64,
    /// How many rungs are being encoded.
    pub(crate) rungs_active: usize,
}

/// An access unit under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) track: TrackNo,
    pub(crate) keyframe: bool,
    pub(crate) pts_90k: i64,
    pub(crate) dts_90k: i64,
    pub(crate) duration_90k: u32,
    pub(crate) data: Bytes,
}

/// One frame of the wire.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Frame<C> {
    Control(C),
    Unit(Unit),
    /// A piece of a publisher's byte stream.
    Bytes(Bytes),
}

/// Why the other side cannot be understood.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a frame of {0} bytes is larger than {FRAME_LEN_MAX}")]
    TooLarge(usize),
    #[error("a frame ends early")]
    Short,
    #[error("a frame is of the unknown kind {0}")]
    Kind(u8),
    #[error("a message cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// The numbers of a plan's rungs where no other plan was before.
pub(crate) fn numbers(plan: &Plan) -> Vec<TrackNo> {
    (0..SOURCE).take(plan.rungs.len()).collect()
}

/// A control message as it stands on the wire.
pub(crate) fn control<C: Serialize>(message: &C) -> Result<Bytes, WireError> {
    let json = serde_json::to_vec(message)?;
    let mut out = head(json.len(), KIND_CONTROL)?;
    out.put_slice(&json);
    Ok(out.freeze())
}

/// An access unit as it stands on the wire.
pub(crate) fn unit(unit: &Unit) -> Result<Bytes, WireError> {
    let mut out = head(UNIT_HEAD_LEN + unit.data.len(), KIND_UNIT)?;
    out.put_u16(unit.track);
    out.put_u8(u8::from(unit.keyframe));
    out.put_i64(unit.pts_90k);
    out.put_i64(unit.dts_90k);
    out.put_u32(unit.duration_90k);
    out.put_slice(&unit.data);
    Ok(out.freeze())
}

/// A piece of a byte stream as it stands on the wire.
pub(crate) fn bytes(piece: &[u8]) -> Result<Bytes, WireError> {
    let mut out = head(piece.len(), KIND_BYTES)?;
    out.put_slice(piece);
    Ok(out.freeze())
}

fn head(body_len: usize, kind: u8) -> Result<BytesMut, WireError> {
    let len = body_len + 1;
    let short = u32::try_from(len)
        .ok()
        .filter(|_| len <= FRAME_LEN_MAX)
        .ok_or(WireError::TooLarge(len))?;
    let mut out = BytesMut::with_capacity(len + 4);
    out.put_u32(short);
    out.put_u8(kind);
    Ok(out)
}

/// Bytes as they come, frames as they are whole.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Bytes that were read and not yet understood.
    pub(crate) buffer: BytesMut,
}

impl Frames {
    /// The next whole frame; `None` if more bytes are needed.
    pub(crate) fn next<C: DeserializeOwned>(&mut self) -> Result<Option<Frame<C>>, WireError> {
        let Some(head) = self.buffer.first_chunk::<4>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if len > FRAME_LEN_MAX {
            return Err(WireError::TooLarge(len));
        }
        if self.buffer.len() < len + 4 {
            self.buffer.reserve(len + 4 - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut body = self.buffer.split_to(len).freeze();
        if body.is_empty() {
            return Err(WireError::Short);
        }
        match body.get_u8() {
            KIND_CONTROL => Ok(Some(Frame::Control(serde_json::from_slice(&body)?))),
            KIND_UNIT if body.len() < UNIT_HEAD_LEN => Err(WireError::Short),
            KIND_UNIT => Ok(Some(Frame::Unit(Unit {
                track: body.get_u16(),
                keyframe: body.get_u8() != 0,
                pts_90k: body.get_i64(),
                dts_90k: body.get_i64(),
                duration_90k: body.get_u32(),
                data: body,
            }))),
            KIND_BYTES => Ok(Some(Frame::Bytes(body))),
            kind => Err(WireError::Kind(kind)),
        }
    }
}

/// The longest frame taken, in bytes: more than any coded picture.
pub(crate) const FRAME_LEN_MAX: usize = 32 << 20;
const KIND_CONTROL: u8 = 0;
const KIND_UNIT: u8 = 1;
const KIND_BYTES: u8 = 2;
const UNIT_HEAD_LEN: usize = 2 + 1 + 8 + 8 + 4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_unit() -> impl Strategy<Value = Unit> {
        (
            any::<u16>(),
            any::<bool>(),
            any::<i64>(),
            any::<i64>(),
            any::<u32>(),
            proptest::collection::vec(any::<u8>(), 0..300),
        )
            .prop_map(
                |(track, keyframe, pts_90k, dts_90k, duration_90k, data)| Unit {
                    track,
                    keyframe,
                    pts_90k,
                    dts_90k,
                    duration_90k,
                    data: data.into(),
                },
            )
    }

    proptest! {
        #[test]
        fn frames_come_out_whole_however_the_bytes_are_cut(
            units in proptest::collection::vec(any_unit(), 0..8),
            cut in 1usize..97,
        ) {
            let mut wire = BytesMut::new();
            for (at, item) in units.iter().enumerate() {
                wire.extend_from_slice(&unit(item).unwrap());
                let on = at % 2 == 0;
                wire.extend_from_slice(&control(&ToWorker::Enable { track: item.track, on }).unwrap());
            }
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in wire.chunks(cut) {
                frames.buffer.extend_from_slice(piece);
                while let Some(frame) = frames.next::<ToWorker>().unwrap() {
                    if let Frame::Unit(item) = frame {
                        found.push(item);
                    }
                }
            }
            prop_assert_eq!(found, units);
            prop_assert!(frames.buffer.is_empty());
        }

        #[test]
        fn no_bytes_at_all_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut frames = Frames { buffer: BytesMut::from(&bytes[..]) };
            while let Ok(Some(_)) = frames.next::<ToParent>() {}
        }
    }

    #[test]
    fn a_frame_too_large_is_refused_before_it_is_read() {
        let mut frames = Frames {
            buffer: BytesMut::from(&[2, 0, 0, 1][..]),
        };
        assert!(matches!(
            frames.next::<ToWorker>(),
            Err(WireError::TooLarge(_))
        ));
        let huge = Unit {
            track: 0,
            keyframe: false,
            pts_90k: 0,
            dts_90k: 0,
            duration_90k: 0,
            data: vec![0; FRAME_LEN_MAX].into(),
        };
        assert!(unit(&huge).is_err());
    }
}
