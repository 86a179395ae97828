//! The configuration: every key with its type, default and limits. `examples/config/lockgate.toml` shows them all.

mod auth;
mod check;
mod hidden;
mod http;
mod limits;
mod load;
mod log;
mod ops;
mod origin;
mod ranges;
mod record;
mod room;
mod schema;
mod show;
mod webrtc;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use lockgate_media::{BroadcastName, Rung, ladder::default_rungs};
use lockgate_policy::{Kind, host::Grants};
use lockgate_ports::transcoder::Settings;
use lockgate_session::Keep;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use auth::{Auth, AuthHttp, AuthKey, AuthUser};
pub use hidden::{HIDDEN, Location, Secret};
pub use http::{AcmeOrders, Http, HttpTimeouts, RateLimit, TlsFiles, TlsMode};
pub use limits::PolicyLimits;
pub use load::{Error, Loaded, Loader};
pub use log::{PolicyLog, Record as LogRecord};
pub use ops::{Log, LogFormat, Server, Telemetry};
pub use origin::{Origin, Origins};
pub use record::Record;
pub use room::Room;
pub use schema::schema;
pub(crate) use show::leaves;
pub use webrtc::{IceServer, Listen, Webrtc};

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// HTTP.
    pub http: Http,
    /// WebRTC.
    pub webrtc: Webrtc,
    /// Where media comes from, besides publishers.
    pub ingest: Ingest,
    /// The bitrate ladder.
    pub ladder: Ladder,
    /// HLS.
    pub hls: Hls,
    /// Rooms.
    pub room: Room,
    /// What is recorded.
    pub record: Record,
    /// Who may do what.
    pub auth: Auth,
    /// How much anybody may ask for.
    pub rate_limit: RateLimit,
    /// The judgements.
    pub policies: Policies,
    /// Where the server keeps its own files.
    pub store: Store,
    /// How it goes down.
    pub server: Server,
    /// The log.
    pub log: Log,
    /// Traces.
    pub telemetry: Telemetry,
}

/// Where media comes from, besides publishers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// How long the broadcast of a publisher that was cut waits for it to come back, in s, 0 to 300; 0 ends it at once.
    pub resume_s: u64,
    /// Publishers over RTMP.
    pub rtmp: Rtmp,
    /// Publishers over SRT.
    pub srt: Srt,
    /// URL protocols that FFmpeg may use.
    pub protocols: Vec<String>,
    /// What FFmpeg may connect to besides the hosts in the URLs of sources.
    pub hosts: Vec<String>,
    /// Files and URLs served as broadcasts.
    pub source: Vec<Source>,
}

/// Publishers over RTMP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rtmp {
    /// Address and TCP port; without it nobody can publish over RTMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub listen: Option<SocketAddr>,
    /// Most connections at a time; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// How long a publisher may be silent before it is taken to be gone, in s, 1 to 300.
    pub silence_s: u64,
}

/// Publishers over SRT.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Srt {
    /// Address and UDP port; without it nobody can publish over SRT.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub listen: Option<SocketAddr>,
    /// Most publishers at a time; further ones are refused.
    pub connections_max: usize,
    /// How long a publisher may be silent before it is taken to be gone, in s, 1 to 300.
    pub silence_s: u64,
    /// How long a lost packet is waited for at least, in ms, 20 to 8000; a publisher may want more.
    pub latency_ms: u64,
    /// What everything is encrypted with, 10 to 79 bytes; without it nothing may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub passphrase: Option<Secret>,
}

/// A file or URL served as a broadcast.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The broadcast's name.
    pub name: BroadcastName,
    /// A path, `file://…` or another URL.
    #[schema(value_type = String)]
    pub url: Location,
    /// Starts again at its end.
    #[serde(default, rename = "loop")]
    pub looped: bool,
}

/// The bitrate ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ladder {
    /// Encode a rung only while somebody watches it.
    pub on_demand: bool,
    /// Let a source that already fits a rung stand in for it, without encoding.
    pub passthrough: bool,
    /// Share of all cores that encoding one broadcast may take, 0 to 1.
    pub cpu_budget: f64,
    /// Shed rungs from the top while encoding cannot keep up.
    pub shed: bool,
    /// FFmpeg's name of the H.264 encoder.
    pub encoder: String,
    /// The encoder's preset.
    pub preset: String,
    /// The best rung that is ever encoded.
    pub max_quality: String,
    /// The rung a viewer starts with whose bandwidth nobody knows yet.
    pub default_quality: String,
    /// Opus bitrate in kbit/s, for WebRTC.
    pub opus_kbps: u32,
    /// AAC bitrate in kbit/s, for HLS.
    pub aac_kbps: u32,
    /// The rungs to choose from.
    pub rungs: Vec<Rung>,
}

/// The container of HLS segments.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// CMAF fragmented MP4.
    #[default]
    Fmp4,
    /// MPEG-2 transport stream.
    Ts,
}

/// HLS.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Hls {
    /// What segments are.
    pub container: Container,
    /// Segment and GOP length in s, 1 to 10.
    pub segment_s: u32,
    /// Length of the parts of low-latency HLS in ms, 100 to 1000; 0 makes none.
    pub part_ms: u32,
    /// Segments that a playlist lists, 3 to 64.
    pub window: usize,
    /// How much of a broadcast is kept on disk for the long playlist (`?dvr=1`), in s; 0 keeps nothing.
    pub dvr_s: u64,
    /// Most bytes of a broadcast that are kept on disk, in MB.
    pub dvr_mb: u64,
    /// Where that is; `dvr` in the store's folder if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub dvr_path: Option<PathBuf>,
    /// Playlists are the long ones unless a player asks for `?dvr=0`.
    pub dvr_default: bool,
    /// How long after its last fetch a rung is still packaged, in s.
    pub keep_alive_s: u64,
}

/// The judgements: the file that decides each kind, a Luau script or a Wasm component; the built-in where none is named.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policies {
    /// How long media waits for a decision, in ms; then the last one holds.
    pub deadline_ms: u64,
    /// Which rendition a viewer gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub abr: Option<PathBuf>,
    /// What is saved for a poor link.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub optimize: Option<PathBuf>,
    /// How good a network is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub score: Option<PathBuf>,
    /// What is worth encoding.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ladder: Option<PathBuf>,
    /// Who may enter. It decides what `auth.anonymous` does not grant; without it the token's scopes do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub auth: Option<PathBuf>,
    /// What is kept of their decisions.
    pub log: PolicyLog,
    /// Parameters, a table for each kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Object)]
    pub parameters: BTreeMap<Kind, toml::Table>,
    /// What a policy of each kind may import; nothing where nothing is named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<Kind, Vec<lockgate_policy::host::Import>>)]
    pub grants: BTreeMap<Kind, Grants>,
    /// What a kind's policy may take, where that is not the default.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<Kind, PolicyLimits>,
}

/// How to encode, as the transcoder takes it.
pub(crate) fn encode_settings(config: &Config, on_demand: bool) -> Settings {
    Settings {
        encoder: config.ladder.encoder.clone(),
        preset: config.ladder.preset.clone(),
        gop_s: config.hls.segment_s,
        on_demand,
        opus_bps: config.ladder.opus_kbps * 1000,
        aac_bps: config.ladder.aac_kbps * 1000,
        protocols: config.ingest.protocols.clone(),
        hosts: config.ingest.hosts.clone(),
    }
}

impl Policies {
    /// The file that decides a kind.
    pub fn file(&self, kind: Kind) -> Option<&PathBuf> {
        match kind {
            Kind::Abr => self.abr.as_ref(),
            Kind::Optimize => self.optimize.as_ref(),
            Kind::Score => self.score.as_ref(),
            Kind::Ladder => self.ladder.as_ref(),
            Kind::Auth => self.auth.as_ref(),
        }
    }
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            deadline_ms: 20,
            abr: None,
            optimize: None,
            score: None,
            ladder: None,
            auth: None,
            log: PolicyLog::default(),
            parameters: BTreeMap::new(),
            grants: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }
}

/// Where the server keeps its own files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// A folder; made if it is not there.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// How long after its end a session's record is kept, in days; 0 keeps it for good.
    pub keep_days: u64,
    /// How many records of sessions are kept, the oldest going first; 0 is any number.
    pub keep_sessions: u64,
}

impl Store {
    /// How much history is kept.
    pub(crate) fn keep(&self) -> Keep {
        let some = |value: u64| (value > 0).then_some(value);
        Keep {
            age: some(self.keep_days).map(|days| Duration::from_secs(days.saturating_mul(86_400))),
            count: some(self.keep_sessions),
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        let protocols = [
            "file", "http", "https", "tcp", "tls", "crypto", "rtmp", "rtsp", "rtp", "udp", "srt",
        ];
        Self {
            resume_s: 10,
            rtmp: Rtmp::default(),
            srt: Srt::default(),
            protocols: protocols.map(str::to_owned).to_vec(),
            hosts: vec!["public".to_owned()],
            source: Vec::new(),
        }
    }
}

impl Default for Rtmp {
    fn default() -> Self {
        Self {
            listen: None,
            connections_max: 256,
            silence_s: 15,
        }
    }
}

impl Default for Srt {
    fn default() -> Self {
        Self {
            listen: None,
            connections_max: 256,
            silence_s: 5,
            latency_ms: 120,
            passphrase: None,
        }
    }
}

impl Default for Ladder {
    fn default() -> Self {
        Self {
            on_demand: true,
            passthrough: true,
            cpu_budget: 0.8,
            shed: true,
            encoder: "libx264".to_owned(),
            preset: "superfast".to_owned(),
            max_quality: "1080p60".to_owned(),
            default_quality: "720p60".to_owned(),
            opus_kbps: 96,
            aac_kbps: 128,
            rungs: default_rungs(),
        }
    }
}

impl Default for Hls {
    fn default() -> Self {
        Self {
            container: Container::Fmp4,
            segment_s: 2,
            part_ms: 200,
            window: 6,
            dvr_s: 0,
            dvr_mb: 10_000,
            dvr_path: None,
            dvr_default: false,
            keep_alive_s: 30,
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            path: PathBuf::from("data"),
            keep_days: 90,
            keep_sessions: 100_000,
        }
    }
}
