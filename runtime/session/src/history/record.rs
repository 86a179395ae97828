//! What is kept of a session, and how it lies in the store.

use lockgate_media::BroadcastName;
use serde::{Deserialize, Serialize};

use crate::SessionId;

/// What is kept of a session: somebody's stay, live or past.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SessionRecord {
    /// The session: for WHIP and WHEP the last part of its URL.
    pub id: SessionId,
    /// Whether it publishes or watches, or is a room or in one.
    pub role: Role,
    /// By which protocol.
    pub protocol: Via,
    /// The broadcast.
    pub stream: BroadcastName,
    /// What the broadcast is called: `?title=` of the WHIP request, else its name. At most 200 characters.
    pub title: String,
    /// Who publishes the broadcast: the subject of the token, or the user; where neither is known, the address. Absent where
    /// the server itself fetches the media.
    #[serde(default)]
    pub host: Option<String>,
    /// Whose session this is, where that is known.
    #[serde(default)]
    pub subject: Option<String>,
    /// From which address.
    #[serde(default)]
    pub address: Option<String>,
    /// With which program.
    #[serde(default)]
    pub agent: Option<String>,
    /// The quality last published or watched, such as `720p30`, or the rung's name.
    #[serde(default)]
    pub quality: Option<String>,
    /// `live` or `ended`.
    pub state: RecordState,
    /// When it began, in ms since 1970-01-01 UTC.
    pub started_at_ms: u64,
    /// When it ended, in ms since 1970-01-01 UTC; absent while it is live.
    #[serde(default)]
    pub ended_at_ms: Option<u64>,
    /// When this was last brought up to date, in ms since 1970-01-01 UTC.
    pub updated_at_ms: u64,
    /// Why it ended.
    #[serde(default)]
    pub end_reason: Option<EndReason>,
    /// Of a publisher: the sessions that watched; of a room: those who were in it. The first 50 of them;
    /// `stats.total_viewers` counts all.
    #[serde(default)]
    pub participants: Vec<SessionId>,
    /// What it came to.
    #[serde(default)]
    pub stats: SessionStats,
}

/// What a session came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct SessionStats {
    /// Of a publisher: sessions that watched in its time. Of a room: all who were in it.
    pub total_viewers: u64,
    /// Network quality as the `score` policy sees it, 0 to 100, averaged over the seconds that somebody watched by
    /// WebRTC; absent where nobody did.
    pub average_quality: Option<f64>,
    /// Scores that the average is made of, about one a second and viewer.
    pub quality_samples: u64,
    /// Bytes received and sent together.
    pub data_used_bytes: u64,
    /// Bytes of media that came from the publisher, or from all in the room.
    pub received_bytes: u64,
    /// Bytes of media that were sent: to this viewer, to all who watched this publisher, or to all in the room.
    pub sent_bytes: u64,
}

/// What a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Media comes from it.
    Publisher,
    /// Media goes to it.
    Viewer,
    /// It is a room, in which there are participants.
    Room,
    /// It is in a room; media may come from it and go to it.
    Participant,
}

/// By which protocol a session is here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// A publisher over WebRTC.
    Whip,
    /// A publisher over RTMP.
    Rtmp,
    /// A publisher over SRT.
    Srt,
    /// A file or URL of the configuration.
    Url,
    /// The generated source.
    Demo,
    /// A viewer over WebRTC.
    Whep,
    /// A player of HLS or DASH.
    Hls,
    /// A room: whoever is in it, and what its host publishes from there.
    Room,
}

impl Via {
    /// What a session is that comes by it, unless that is said.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Whep | Self::Hls => Role::Viewer,
            Self::Whip | Self::Rtmp | Self::Srt | Self::Url | Self::Demo | Self::Room => {
                Role::Publisher
            }
        }
    }
}

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// It does.
    Live,
    /// It is over.
    Ended,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// It said goodbye: DELETE, DTLS close_notify, the end of an RTMP or SRT stream.
    Left,
    /// It went silent, or its connection was cut and did not come back.
    Gone,
    /// ICE or DTLS never finished.
    NeverConnected,
    /// It asked for nothing any more (HLS and DASH).
    Idle,
    /// Its publisher came back over another connection, which has a session of its own.
    Replaced,
    /// An administrator ended it, or it may not stay any longer.
    Kicked,
    /// An administrator ended the broadcast.
    Stopped,
    /// The broadcast that it watched is over.
    BroadcastEnded,
    /// The room that it was in has ended.
    RoomEnded,
    /// The host of the room left and did not come back.
    HostLeft,
    /// The room was empty.
    Empty,
    /// It lasted as long as it may.
    TimedOut,
    /// The source has come to its end.
    SourceEnded,
    /// The ladder failed, without which nothing is left of a byte stream.
    Failed,
    /// The server went down in order.
    ServerStopped,
    /// The server ended without a word; the session's end is when it was last recorded.
    ServerCrashed,
    /// It was live where it was exported.
    Exported,
    /// A reason that a later version has.
    #[serde(other)]
    Unknown,
}

impl EndReason {
    /// All there are.
    pub const ALL: [Self; 18] = [
        Self::Left,
        Self::Gone,
        Self::NeverConnected,
        Self::Idle,
        Self::Replaced,
        Self::Kicked,
        Self::Stopped,
        Self::BroadcastEnded,
        Self::RoomEnded,
        Self::HostLeft,
        Self::Empty,
        Self::TimedOut,
        Self::SourceEnded,
        Self::Failed,
        Self::ServerStopped,
        Self::ServerCrashed,
        Self::Exported,
        Self::Unknown,
    ];
}

/// Why a value of the store or a line of an import is no session's record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// It is of a format that this version does not know.
    #[error(
        "it is of format {0}; this version reads format {FORMAT}: use the version of Lockgate that wrote it"
    )]
    Format(u8),
    /// It cannot be read.
    #[error("{0}")]
    Broken(String),
}

impl SessionRecord {
    /// As it lies in the store: one byte of format, then JSON. Members that a reader does not know are passed over, so
    /// that a new one needs no new format.
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        let mut value = vec![FORMAT];
        serde_json::to_writer(&mut value, self).map_err(broken)?;
        Ok(value)
    }

    /// Reads what lies in the store.
    pub fn decode(value: &[u8]) -> Result<Self, FormatError> {
        let (format, json) = value
            .split_first()
            .ok_or_else(|| FormatError::Broken("it is empty".to_owned()))?;
        if *format != FORMAT {
            return Err(FormatError::Format(*format));
        }
        let record: Self = serde_json::from_slice(json).map_err(broken)?;
        record.checked()
    }

    /// Reads a line of an export.
    pub fn of_line(line: &[u8]) -> Result<Self, FormatError> {
        let record: Self = serde_json::from_slice(line).map_err(broken)?;
        record.checked()
    }

    /// What the types cannot say: bounds, and members that must fit together.
    fn checked(self) -> Result<Self, FormatError> {
        let wrong = |what: &str| Err(FormatError::Broken(what.to_owned()));
        let texts = [
            (Some(&self.title), "title"),
            (self.host.as_ref(), "host"),
            (self.subject.as_ref(), "subject"),
            (self.address.as_ref(), "address"),
            (self.agent.as_ref(), "agent"),
            (self.quality.as_ref(), "quality"),
        ];
        for (text, name) in texts {
            if text.is_some_and(|text| text.len() > TEXT_LEN_MAX) {
                return wrong(&format!("{name} has more than {TEXT_LEN_MAX} bytes"));
            }
        }
        if self.participants.len() > PARTICIPANTS_MAX {
            return wrong(&format!("participants are at most {PARTICIPANTS_MAX}"));
        }
        let times = [
            Some(self.started_at_ms),
            Some(self.updated_at_ms),
            self.ended_at_ms,
        ];
        if times.into_iter().flatten().any(|time| time > TIME_MAX_MS) {
            return wrong("a time is after the year 2286; times are in ms since 1970-01-01 UTC");
        }
        let quality = self.stats.average_quality;
        if quality.is_some_and(|quality| !(0.0..=100.0).contains(&quality)) {
            return wrong("stats.average_quality is not within 0 to 100");
        }
        match (self.state, self.ended_at_ms) {
            (RecordState::Ended, None) => wrong("state is ended, but ended_at_ms is missing"),
            (RecordState::Live, Some(_)) => wrong("state is live, but there is an ended_at_ms"),
            (RecordState::Ended, Some(ended)) if ended < self.started_at_ms => {
                wrong("ended_at_ms is before started_at_ms")
            }
            _ => Ok(self),
        }
    }

    /// Whether it goes on.
    pub fn is_live(&self) -> bool {
        self.state == RecordState::Live
    }

    /// How long it lasted, or has lasted at `now_ms`, in ms.
    pub fn duration_ms(&self, now_ms: u64) -> u64 {
        self.ended_at_ms
            .unwrap_or(now_ms)
            .saturating_sub(self.started_at_ms)
    }

    /// Ends it.
    pub(crate) fn end(&mut self, at_ms: u64, reason: EndReason) {
        self.state = RecordState::Ended;
        self.ended_at_ms = Some(at_ms.max(self.started_at_ms));
        self.updated_at_ms = self.updated_at_ms.max(at_ms);
        self.end_reason = Some(reason);
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn broken(error: serde_json::Error) -> FormatError {
    let text = error.to_string();
    // A record is one line: the column is enough.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let what = text.strip_suffix(&place).unwrap_or(&text);
    FormatError::Broken(match error.column() {
        0 => what.to_owned(),
        column => format!("column {column}: {what}"),
    })
}

/// The format that is written.
pub(crate) const FORMAT: u8 = 1;
/// Sessions that a publisher's record names.
pub(crate) const PARTICIPANTS_MAX: usize = 50;
/// Bytes of each text: 200 characters at least.
pub(crate) const TEXT_LEN_MAX: usize = 1024;
/// Times have 13 digits, so that keys sort by them.
const TIME_MAX_MS: u64 = 9_999_999_999_999;
