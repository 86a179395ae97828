//! `[room]`: how many may be in a room, and how long it lasts.

use std::time::Duration;

use lockgate_session::RoomConfig;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Rooms.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Room {
    /// Most participants of a room, 1 to 1000; further ones are refused.
    pub max_participants: usize,
    /// How long a room lasts at most, in ms, 1000 to 604800000.
    pub stream_timeout_ms: u64,
    /// How long a room goes on without its host, in s, 0 to 3600; then it ends.
    pub host_grace_s: u64,
}

impl Default for Room {
    fn default() -> Self {
        Self {
            max_participants: 50,
            stream_timeout_ms: 3_600_000,
            host_grace_s: 60,
        }
    }
}

impl Room {
    pub(crate) fn session(&self) -> RoomConfig {
        RoomConfig {
            participants_max: self.max_participants,
            host_grace: Duration::from_secs(self.host_grace_s),
            timeout: Duration::from_millis(self.stream_timeout_ms),
        }
    }
}
