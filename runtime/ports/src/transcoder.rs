//! The transcoder as the core sees it: a source in, a ladder written into the hub.

use std::{fmt, sync::Arc};

use lockgate_broadcast::Broadcast;
use lockgate_media::{FrameRate, Rung, TrackId};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::ingest::Feed;

/// Runs ladders. Implemented by `transcode` with a worker process for each broadcast, and in memory for tests.
pub trait Transcoder: Send + Sync + 'static {
    /// Starts a ladder that writes into `broadcast`. Returns at once; how it goes is in [`Transcode::status`].
    fn start(&self, job: Job, broadcast: Broadcast) -> Result<Arc<dyn Transcode>, TranscodeError>;
}

/// A running ladder. Dropping the last handle stops it and takes its tracks out of the broadcast.
pub trait Transcode: Send + Sync + 'static {
    /// How it goes.
    fn status(&self) -> watch::Receiver<Status>;

    /// From now on these rungs of the plan are not encoded, whoever reads them, and are no tracks of the broadcast; all
    /// others are again.
    fn shed(&self, rungs: Vec<TrackId>);

    /// A publisher's connection for a ladder of [`Input::Stream`], in place of the one before, which is over.
    /// Other ladders pass it over.
    fn feed(&self, feed: Feed);
}

/// What to encode and how.
#[derive(Clone)]
pub struct Job {
    /// Where the media comes from.
    pub input: Input,
    /// Asked once the source is known: which rungs there are to be.
    pub planner: Planner,
    /// How to encode.
    pub settings: Settings,
}

/// Where a ladder's media comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Input {
    /// The generated picture with clock and frame counter, and a tone.
    Demo {
        /// Width in pixels, even.
        width: u32,
        /// Height in pixels, even.
        height: u32,
        /// Frames a second.
        fps: u32,
    },
    /// A file or URL that FFmpeg opens. Paced to real time.
    Url {
        /// A path, `file://…` or another URL.
        url: String,
        /// Starts again from the beginning at its end.
        looped: bool,
    },
    /// The tracks `source` and `opus` that a live peer publishes into the same broadcast.
    Peer,
    /// A container's bytes as a publisher sends them, one connection after the other: see [`Transcode::feed`].
    Stream,
}

/// Which rungs to encode of a source.
pub type Planner = Arc<dyn Fn(&SourceInfo) -> Plan + Send + Sync>;

/// How to encode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// FFmpeg's name of the H.264 encoder, such as `libx264` or `h264_nvenc`.
    pub encoder: String,
    /// The encoder's preset.
    pub preset: String,
    /// GOP length and segment length in s, 1 to 10.
    pub gop_s: u32,
    /// Encode a rung only while it has readers.
    pub on_demand: bool,
    /// Opus bitrate in bit/s.
    pub opus_bps: u32,
    /// AAC bitrate in bit/s.
    pub aac_bps: u32,
    /// URL protocols that FFmpeg may use (its `protocol_whitelist`).
    pub protocols: Vec<String>,
    /// What FFmpeg may connect to besides the host in the source's own URL: `public`, `private`, names, addresses and
    /// networks such as `10.0.0.0/8`.
    pub hosts: Vec<String>,
}

/// What a source turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SourceInfo {
    /// The container or protocol, FFmpeg's name; empty for peers and the demo.
    pub container: String,
    /// Its video, if it has any.
    pub video: Option<VideoSource>,
    /// Its audio, if it has any.
    pub audio: Option<AudioSource>,
}

/// A source's video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct VideoSource {
    /// FFmpeg's name of the codec, such as `h264` or `rawvideo`.
    pub codec: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frame rate, where it is known.
    pub frame_rate: Option<FrameRate>,
    /// Bitrate in bit/s, where it is known.
    pub bitrate_bps: Option<u64>,
    /// Whether pictures come out of coding order.
    pub b_frames: bool,
    /// The longest distance between keyframes seen while probing, in s.
    pub gop_max_s: Option<f64>,
}

/// A source's audio.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AudioSource {
    /// FFmpeg's name of the codec, such as `aac`.
    pub codec: String,
    /// Samples per second in Hz.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u32,
}

/// The rungs to encode.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Plan {
    /// Best first.
    pub rungs: Vec<Rung>,
    /// Publish the source's own coding as track `source` instead of a top rung.
    pub passthrough: bool,
}

/// How a ladder goes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, utoipa::ToSchema)]
#[schema(as = LadderStatus)]
pub struct Status {
    /// What it does.
    pub state: State,
    /// Media seconds encoded per second of real time over the last few seconds; 0 while nothing was encoded.
    pub speed: f64,
    /// The share of the frames due that its slowest rung encoded over the last few seconds, 0 to 1; live is never
    /// delayed, so what an encoder is too slow for is left out.
    pub frames_kept: f64,
    /// Rungs being encoded.
    pub rungs_active: usize,
    /// The source, once opened.
    pub source: Option<SourceInfo>,
    /// The plan, once made.
    pub plan: Option<Plan>,
    /// How often its worker had to be started again.
    pub restarts: u32,
    /// The last thing that went wrong, in words for the operator.
    pub error: Option<String>,
    /// The process id of the running worker.
    pub worker_pid: Option<u32>,
    /// CPU seconds that the workers of this job have used.
    pub cpu_s: f64,
}

/// What a ladder does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = LadderState)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Opening the source.
    #[default]
    Starting,
    /// Its publisher is gone and may come back.
    Waiting,
    /// Encoding.
    Running,
    /// Its worker died or the source failed; it is tried again after a pause.
    Restarting,
    /// The source came to its end.
    Ended,
    /// It cannot work and is not tried again.
    Failed,
}

/// Why a ladder could not be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TranscodeError {
    /// The worker process could not be started.
    #[error("the transcode worker could not be started: {0}")]
    Spawn(String),
    /// The broadcast already has tracks of this ladder.
    #[error(transparent)]
    Taken(#[from] lockgate_broadcast::TrackTaken),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("input", &self.input)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
