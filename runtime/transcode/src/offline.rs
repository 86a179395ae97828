//! Encoding as fast as it goes: a source's whole ladder unit by unit, with nothing left out. The reader sets the pace.

use bytes::Bytes;
use lockgate_media::{AccessUnit, Format, TrackId, VideoFormat, h264::ParameterSets};
use lockgate_ports::transcoder::{Input, Plan, Settings, SourceInfo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    Ladders,
    guard::gate::Refusals,
    ladder::rung_rate,
    session,
    wire::{self, AAC, Frame, Frames, SOURCE, Start, ToParent, ToWorker, TrackNo, Unit, Work},
    worker_process::{self, Worker},
};

/// A source that is being encoded without regard to real time. Dropping it ends its worker.
pub struct Offline {
    worker: Worker,
    refusals: Refusals,
    frames: Frames,
    source: SourceInfo,
    length_s: Option<f64>,
    position_90k: i64,
    tracks: Vec<Known>,
    stderr: tokio::task::JoinSet<()>,
}

/// What comes out, in the order in which it is encoded.
#[derive(Debug)]
pub enum Piece {
    /// What a track is made of from here on, and whether it is the source's own coding.
    Format(TrackId, Format, bool),
    /// A unit of a track whose format came before.
    Unit(TrackId, AccessUnit),
    /// The source has come this far, in 1/90000 s.
    Position(i64),
    /// Something went wrong that does not end the work.
    Problem(String),
}

struct Known {
    number: TrackNo,
    id: TrackId,
    /// Video: what is known of it.
    video: Option<VideoFormat>,
    last_90k: Option<i64>,
}

impl Ladders {
    /// Opens a source and looks at it. The error is for people.
    pub async fn offline(&self, input: Input, settings: Settings) -> Result<Offline, String> {
        let mut worker = self
            .spawn()
            .map_err(|error| format!("the transcode worker cannot start: {error}"))?;
        let refusals = session::watch(&mut worker, &input, &settings)
            .map_err(|error| format!("the gate of the network cannot be put up: {error}"))?;
        let mut stderr = tokio::task::JoinSet::new();
        if let Some(lines) = worker.stderr.take() {
            stderr.spawn(async move { worker_process::log(Some(lines), "offline").await });
        }
        let mut offline = Offline {
            worker,
            refusals,
            frames: Frames::default(),
            source: SourceInfo::default(),
            length_s: None,
            position_90k: 0,
            tracks: Vec::new(),
            stderr,
        };
        offline
            .send(&ToWorker::Start(Start {
                input,
                // A track is encoded if it was asked for in the plan, and Opus is not.
                settings: Settings {
                    on_demand: true,
                    ..settings
                },
                peer_video: None,
                peer_audio: false,
                container: None,
                paced: false,
                offline: true,
            }))
            .await?;
        loop {
            match offline.frame().await? {
                Frame::Control(ToParent::Opened { source }) => {
                    offline.source = source;
                    return Ok(offline);
                }
                Frame::Control(ToParent::Length { duration_s }) => {
                    offline.length_s = Some(duration_s);
                }
                Frame::Control(message) => drop(offline.took(message)?),
                Frame::Unit(_) | Frame::Bytes(_) => {}
            }
        }
    }
}

impl Offline {
    /// What the source is.
    pub fn source(&self) -> &SourceInfo {
        &self.source
    }

    /// How long the source lasts in s, where it says.
    pub fn length_s(&self) -> Option<f64> {
        self.length_s
    }

    /// Says what to encode, before anything else comes. Pictures before `video_from_90k` were encoded earlier and are
    /// passed over; sound comes from the beginning, so that its frames are the same as they were.
    pub async fn plan(&mut self, plan: &Plan, video_from_90k: Option<i64>) -> Result<(), String> {
        let video = self.source.video.as_ref();
        if let Some(video) = video {
            for (number, rung) in (0..).zip(&plan.rungs) {
                let (width, height) = rung.size_for(video.width, video.height);
                self.tracks.push(Known {
                    number,
                    id: rung.name.clone(),
                    video: Some(VideoFormat {
                        codec: lockgate_media::VideoCodec::H264,
                        width,
                        height,
                        frame_rate: Some(rung_rate(video.frame_rate, rung.fps)),
                        bitrate_bps: Some(u64::from(rung.kbps) * 1000),
                        parameter_sets: None,
                        reordered: false,
                    }),
                    last_90k: None,
                });
            }
        }
        if let Some(video) = video.filter(|_| plan.passthrough) {
            self.tracks.push(Known {
                number: SOURCE,
                id: TrackId::source(),
                video: Some(VideoFormat {
                    codec: lockgate_media::VideoCodec::H264,
                    width: video.width,
                    height: video.height,
                    frame_rate: video.frame_rate,
                    bitrate_bps: video.bitrate_bps,
                    parameter_sets: None,
                    reordered: video.b_frames,
                }),
                last_90k: None,
            });
        }
        self.tracks.push(Known {
            number: AAC,
            id: TrackId::aac(),
            video: None,
            last_90k: None,
        });
        self.send(&ToWorker::Enable {
            track: AAC,
            on: true,
        })
        .await?;
        self.send(&ToWorker::Plan(Work {
            wanted: vec![true; plan.rungs.len()],
            tracks: wire::numbers(plan),
            plan: plan.clone(),
            start_pts_90k: 0,
            not_before_90k: 0,
            zero_unix_us: 0,
            video_from_90k,
        }))
        .await
    }

    /// The next piece; `None` once the source is over.
    pub async fn next(&mut self) -> Result<Option<Vec<Piece>>, String> {
        loop {
            match self.frame().await? {
                Frame::Control(ToParent::Ended) => return Ok(None),
                Frame::Control(message) => {
                    if let Some(piece) = self.took(message)? {
                        return Ok(Some(vec![piece]));
                    }
                }
                Frame::Bytes(_) => {}
                Frame::Unit(unit) => {
                    if let Some(pieces) = self.unit(unit) {
                        return Ok(Some(pieces));
                    }
                }
            }
        }
    }

    fn took(&mut self, message: ToParent) -> Result<Option<Piece>, String> {
        Ok(match message {
            ToParent::Format { track, format } if track == AAC => {
                Some(Piece::Format(TrackId::aac(), format, false))
            }
            ToParent::Stats(stats) => {
                self.position_90k = self.position_90k.max(stats.media_90k);
                Some(Piece::Position(self.position_90k))
            }
            ToParent::Problem { text } => Some(Piece::Problem(text)),
            ToParent::Error { text, .. } => {
                return Err(match self.refusals.last() {
                    Some(refused) => format!("{text} ({refused})"),
                    None => text,
                });
            }
            _ => None,
        })
    }

    fn unit(&mut self, unit: Unit) -> Option<Vec<Piece>> {
        let known = self
            .tracks
            .iter_mut()
            .find(|known| known.number == unit.track)?;
        if known.last_90k.is_some_and(|last| unit.dts_90k <= last) {
            return None;
        }
        known.last_90k = Some(unit.dts_90k);
        let mut pieces = Vec::with_capacity(2);
        if unit.keyframe
            && let Some(video) = &mut known.video
            && let Some(sets) = ParameterSets::find(&unit.data)
            && video.parameter_sets.as_ref() != Some(&sets)
        {
            if let Ok(info) = sets.info() {
                (video.width, video.height) = (info.width, info.height);
            }
            let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
            video.parameter_sets = ParameterSets::new(copy(&sets.sps), copy(&sets.pps));
            let format = Format::Video(video.clone());
            pieces.push(Piece::Format(
                known.id.clone(),
                format,
                known.number == SOURCE,
            ));
        }
        pieces.push(Piece::Unit(
            known.id.clone(),
            AccessUnit::new(unit.pts_90k, unit.keyframe, unit.data)
                .with_dts(unit.dts_90k)
                .with_duration(unit.duration_90k),
        ));
        Some(pieces)
    }

    async fn send(&mut self, message: &ToWorker) -> Result<(), String> {
        let frame = wire::control(message).map_err(|error| error.to_string())?;
        let sent = self.worker.socket.write_all(&frame).await;
        sent.map_err(|_| "the transcode worker died".to_owned())
    }

    async fn frame(&mut self) -> Result<Frame<ToParent>, String> {
        loop {
            let next = self.frames.next::<ToParent>();
            match next.map_err(|error| format!("the worker cannot be understood: {error}"))? {
                Some(frame) => return Ok(frame),
                None => self.frames.buffer.reserve(READ_LEN),
            }
            match self.worker.socket.read_buf(&mut self.frames.buffer).await {
                Ok(0) | Err(_) => {
                    // What it said last is worth reading.
                    while self.stderr.join_next().await.is_some() {}
                    return Err("the transcode worker died".to_owned());
                }
                Ok(_) => {}
            }
        }
    }
}

const READ_LEN: usize = 64 << 10;
