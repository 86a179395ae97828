//! Sessions of HLS and DASH players.
//!
//! A player makes many requests and says nowhere that they belong together; cookies do not reach players on other
//! origins, and an id in each URI would keep caches from sharing. So a session is who asks for what: broadcast, token or
//! user, address, and the name of the program. It ends when nothing is asked for any more.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{
        Arc, LazyLock, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::{Body, HttpBody as _},
    response::Response,
};
use http_body_util::BodyExt as _;
use lockgate_media::{BroadcastName, TrackId};
use lockgate_session::{EndReason, Entry, Numbers, Opening, SessionId, Sitting, Streams, Via};
use moka::{notification::RemovalCause, sync::Cache};
use serde::Serialize;

use crate::{Caller, caller::Protocol};

use super::{Grant, Refusal, Verdict};

/// Who asks for what, without what they showed for it: a keyed hash that nobody outside can aim at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Seal(u128);

impl Seal {
    pub(super) fn of(caller: &Caller, name: &BroadcastName) -> Self {
        Self::of_all((
            Some(name),
            &caller.token,
            &caller.login,
            caller.peer,
            &caller.agent,
        ))
    }

    /// The same for whatever is asked for.
    pub(super) fn of_credentials(caller: &Caller) -> Self {
        let nothing: Option<&BroadcastName> = None;
        Self::of_all((
            nothing,
            &caller.token,
            &caller.login,
            caller.peer,
            &caller.agent,
        ))
    }

    fn of_all(all: impl Hash) -> Self {
        static KEYS: LazyLock<[RandomState; 2]> = LazyLock::new(Default::default);
        let [high, low] = &*KEYS;
        Self((u128::from(high.hash_one(&all)) << 64) | u128::from(low.hash_one(&all)))
    }
}

/// All sessions.
pub(super) struct Seats {
    taken: Cache<Seal, Arc<Seat>>,
    /// Who was sent out.
    out: Cache<Seal, ()>,
}

/// A session.
pub(super) struct Seat {
    id: SessionId,
    stream: BroadcastName,
    subject: Option<String>,
    caller: Caller,
    started_at_ms: u64,
    requests: AtomicU64,
    bytes: AtomicU64,
    /// When it last asked for something, in ms since 1970-01-01 UTC.
    asked_at_ms: AtomicU64,
    /// What it last had a segment of.
    rung: Mutex<Option<TrackId>>,
    said: Mutex<Said>,
    /// Its place in the history, once it was given something.
    entry: OnceLock<Entry>,
}

/// A request of a session that was let in.
pub struct Seated(Arc<Seat>);

impl Seated {
    pub(super) fn at(seat: Arc<Seat>) -> Self {
        Self(seat)
    }

    /// It is given this answer, about a rung or about all of them; its bytes are counted. Its session is written down from
    /// the first on: who only asks for what is not there leaves nothing behind.
    pub(crate) fn served(
        self,
        streams: &Streams,
        rung: Option<&TrackId>,
        answer: Response,
    ) -> Response {
        let seat = &self.0;
        if let Some(rung) = rung {
            let mut last = seat.rung.lock().unwrap_or_else(PoisonError::into_inner);
            if last.as_ref() != Some(rung) {
                *last = Some(rung.clone());
            }
        }
        seat.entry.get_or_init(|| {
            let Some(history) = streams.history() else {
                return Entry::default();
            };
            let entry = history.begin(Opening {
                id: seat.id,
                role: None,
                protocol: Via::Hls,
                stream: &seat.stream,
                visitor: seat.caller.visitor(seat.subject.clone()),
            });
            let sitting: Weak<Seat> = Arc::downgrade(seat);
            entry.watch(sitting);
            entry
        });
        if let Some(length) = answer.body().size_hint().exact() {
            seat.bytes.fetch_add(length, Ordering::Relaxed);
            return answer;
        }
        // What is still growing is counted as it goes.
        let seat = Arc::clone(seat);
        answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                seat.bytes.fetch_add(length, Ordering::Relaxed);
                frame
            }))
        })
    }
}

impl Sitting for Seat {
    fn numbers(&self) -> Numbers {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        Numbers {
            sent_bytes: self.bytes.load(Ordering::Relaxed),
            quality: rung.as_ref().map(ToString::to_string),
            seen_at_ms: Some(self.asked_at_ms.load(Ordering::Relaxed)),
            ..Numbers::default()
        }
    }
}

#[derive(Clone)]
struct Said {
    verdict: Verdict,
    at: Instant,
    epoch: (u64, u64),
}

/// A session of an HLS or DASH player, as the API shows it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct HlsSession {
    /// Its id, to end it by.
    pub id: SessionId,
    /// `hls`.
    pub protocol: Protocol,
    /// The broadcast.
    pub stream: BroadcastName,
    /// Who watches, where that is known.
    pub subject: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// With which program.
    pub agent: String,
    /// Since when, in ms since 1970-01-01 UTC.
    pub started_at_ms: u64,
    /// Requests so far.
    pub requests: u64,
}

impl Seats {
    pub(super) fn new(kicked: Duration) -> Self {
        Self {
            taken: Cache::builder()
                .max_capacity(SEATS_MAX)
                .time_to_idle(IDLE)
                .eviction_listener(|_, seat: Arc<Seat>, cause| {
                    seat.leave(match cause {
                        RemovalCause::Explicit => EndReason::Kicked,
                        _ => EndReason::Idle,
                    });
                })
                .build(),
            out: Cache::builder()
                .max_capacity(SEATS_MAX)
                .time_to_live(kicked)
                .build(),
        }
    }

    /// Refuses whoever was sent out.
    pub(super) fn let_in(&self, seal: Seal) -> Result<(), Refusal> {
        if self.out.contains_key(&seal) {
            Err(Refusal::Kicked)
        } else {
            Ok(())
        }
    }

    /// What was granted, while that holds.
    pub(super) fn take(&self, seal: Seal, epoch: (u64, u64)) -> Option<(Grant, Arc<Seat>)> {
        let seat = self.taken.get(&seal)?;
        seat.requests.fetch_add(1, Ordering::Relaxed);
        seat.asked_at_ms.store(now_ms(), Ordering::Relaxed);
        let said = seat.said();
        let holds = said.epoch == epoch && said.at.elapsed() < said.verdict.holds;
        holds.then_some((said.verdict.grant, seat))
    }

    /// Ends the sessions of players that are gone: the cache itself looks only when it is asked something.
    pub(super) fn tidy(&self) {
        self.taken.run_pending_tasks();
    }

    /// Whether there is such a session, whatever it was granted.
    pub(super) fn has(&self, seal: Seal) -> bool {
        self.taken.contains_key(&seal)
    }

    /// The same as [`take`](Self::take) where nobody could be asked now: for a little longer.
    pub(super) fn bear(&self, seal: Seal, epoch: (u64, u64)) -> Option<(Grant, Arc<Seat>)> {
        let seat = self.taken.get(&seal)?;
        let said = seat.said();
        let holds = said.verdict.holds.saturating_mul(GRACE);
        (said.epoch == epoch && said.at.elapsed() < holds).then_some((said.verdict.grant, seat))
    }

    /// Remembers a verdict, in the session that there is or in a new one.
    pub(super) fn give(
        &self,
        seal: Seal,
        caller: &Caller,
        name: &BroadcastName,
        subject: Option<String>,
        verdict: Verdict,
        epoch: (u64, u64),
    ) -> Arc<Seat> {
        let at = Instant::now();
        let said = Said { verdict, at, epoch };
        if let Some(seat) = self.taken.get(&seal) {
            *seat.said.lock().unwrap_or_else(PoisonError::into_inner) = said;
            return seat;
        }
        let now_ms = now_ms();
        // Of two first requests at once one makes the session.
        self.taken.get_with(seal, || {
            Arc::new(Seat {
                id: SessionId::random(),
                stream: name.clone(),
                subject,
                caller: Caller {
                    token: None,
                    login: None,
                    ..caller.clone()
                },
                started_at_ms: now_ms,
                requests: AtomicU64::new(1),
                bytes: AtomicU64::new(0),
                asked_at_ms: AtomicU64::new(now_ms),
                rung: Mutex::default(),
                said: Mutex::new(said),
                entry: OnceLock::new(),
            })
        })
    }

    /// The id of a session.
    pub(super) fn id(&self, seal: Seal) -> Option<SessionId> {
        self.taken.get(&seal).map(|seat| seat.id)
    }

    /// Forgets a session.
    pub(super) fn clear(&self, seal: Seal) {
        self.taken.invalidate(&seal);
    }

    /// Ends a session and keeps it out for a while. Whether there was one.
    pub(super) fn kick(&self, id: SessionId) -> bool {
        let seal = self
            .taken
            .iter()
            .find_map(|(seal, seat)| (seat.id == id).then_some(*seal));
        if let Some(seal) = seal {
            self.keep_out(seal);
        }
        seal.is_some()
    }

    /// Keeps somebody out for a while.
    pub(super) fn keep_out(&self, seal: Seal) {
        self.out.insert(seal, ());
        self.taken.invalidate(&seal);
    }

    /// Those of a broadcast, or all, by their start.
    pub(super) fn list(&self, name: Option<&BroadcastName>) -> Vec<HlsSession> {
        let wanted = |seat: &Seat| name.is_none_or(|name| seat.stream == *name);
        let mut listed: Vec<HlsSession> = self
            .taken
            .iter()
            .filter(|(_, seat)| wanted(seat))
            .map(|(_, seat)| seat.show())
            .collect();
        listed.sort_by_key(|session| (session.started_at_ms, session.id));
        listed
    }
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

impl Seat {
    /// Its session is over.
    fn leave(&self, reason: EndReason) {
        if let Some(entry) = self.entry.get() {
            entry.end(reason, self.numbers());
        }
    }

    fn said(&self) -> Said {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.clone()
    }

    fn show(&self) -> HlsSession {
        HlsSession {
            id: self.id,
            protocol: self.caller.protocol,
            stream: self.stream.clone(),
            subject: self.subject.clone(),
            address: self.caller.peer.map(|peer| peer.to_string()),
            agent: self.caller.agent.clone(),
            started_at_ms: self.started_at_ms,
            requests: self.requests.load(Ordering::Relaxed),
        }
    }
}

/// Most sessions remembered: at some 500 bytes each, 50 MB. Beyond them the least used is forgotten and costs a verdict more.
const SEATS_MAX: u64 = 100_000;
/// A player that asks for nothing so long is gone.
const IDLE: Duration = Duration::from_secs(60);
/// So many times as long as it said does a verdict hold when there is nobody to ask for the next.
const GRACE: u32 = 3;
