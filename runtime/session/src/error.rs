//! What can go wrong in a use case, in the core's words. `api` decides the HTTP status.

use lockgate_media::{BroadcastName, TrackId};
use lockgate_ports::{SignalError, TranscodeError};

use crate::SessionId;

/// Why a use case failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Someone is already publishing under this name.
    #[error("a broadcast named {0} is already live")]
    NameTaken(BroadcastName),
    /// The broadcast's publisher was cut and may still come back.
    #[error(
        "the broadcast {broadcast} is kept for its publisher, who was cut; somebody else can have the name in {left_s} s"
    )]
    Kept {
        /// The broadcast.
        broadcast: BroadcastName,
        /// How long it is kept, in s.
        left_s: u64,
    },
    /// Nobody is publishing under this name.
    #[error("no broadcast named {0} is live")]
    NotLive(BroadcastName),
    /// The broadcast is live, but has nothing that could be sent yet.
    #[error("the broadcast {0} has no media yet")]
    NotReady(BroadcastName),
    /// The session does not exist or has ended.
    #[error("the broadcast {broadcast} has no session {session}")]
    NoSession {
        /// The broadcast.
        broadcast: BroadcastName,
        /// The session asked for.
        session: SessionId,
    },
    /// The broadcast has no such track.
    #[error("the broadcast {broadcast} has no track {track}")]
    NoTrack {
        /// The broadcast.
        broadcast: BroadcastName,
        /// The track asked for.
        track: TrackId,
    },
    /// A segment or init section that is not there (any more).
    #[error("the broadcast {broadcast} has no file {file}")]
    NoFile {
        /// The broadcast.
        broadcast: BroadcastName,
        /// The file asked for.
        file: String,
    },
    /// A playlist was asked for that is further ahead than any playlist can have told (rfc8216bis §6.2.5.2).
    #[error("the playlists of the broadcast {0} are not as far as that")]
    TooFarAhead(BroadcastName),
    /// What was waited for did not come in time.
    #[error("the broadcast {0} has stalled")]
    TooLate(BroadcastName),
    /// The broadcast has as many viewers as the configuration allows.
    #[error("the broadcast {broadcast} has its {max} viewers already")]
    Full {
        /// The broadcast.
        broadcast: BroadcastName,
        /// Most viewers.
        max: usize,
    },
    /// There is no such room.
    #[error("there is no room {0}; a host or a speaker opens it by joining")]
    NoRoom(BroadcastName),
    /// Nobody with this id is in the room.
    #[error("nobody with the id {participant} is in the room {room}")]
    NoParticipant {
        /// The room.
        room: BroadcastName,
        /// The participant asked for.
        participant: SessionId,
    },
    /// The room has as many participants as the configuration allows.
    #[error("the room {room} has its {max} participants already")]
    RoomFull {
        /// The room.
        room: BroadcastName,
        /// Most participants.
        max: usize,
    },
    /// There are as many rooms as the server takes.
    #[error("the server has the {0} rooms it takes")]
    TooManyRooms(usize),
    /// Whoever wants to join was sent out of the room.
    #[error("you were sent out of the room {0} and cannot come back as long as it lasts")]
    Banned(BroadcastName),
    /// A participant may not do this.
    #[error("{0}")]
    NotAllowed(String),
    /// A participant does something too often.
    #[error("that was too often: wait a moment with {0}")]
    TooOften(String),
    /// What a participant sends cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// WebRTC signalling failed.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// The ladder could not be started.
    #[error(transparent)]
    Transcode(#[from] TranscodeError),
    /// The disk does not give what is kept on it.
    #[error("the disk cannot be read: {0}")]
    Disk(String),
    /// The server is going down and takes nobody in.
    #[error("the server is shutting down")]
    ShuttingDown,
}
