//! The history: who published and who watched, kept beyond the end of the session and of the server.
//!
//! What is live stands in a book in memory ([`book`]); one task ([`keeper`]) brings it to the disk: beginnings and ends
//! at once, changes at most every ten seconds, totals every minute. Nobody who publishes or watches waits for it. What
//! [`recorded`](SessionView::recorded) says of a session is on the disk.

mod book;
mod import;
mod keeper;
mod keys;
mod query;
mod record;
mod rows;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lockgate_media::BroadcastName;
use lockgate_ports::{RecordError, Records, Table};
use serde::Serialize;
use tokio::sync::{Notify, Semaphore};

use crate::SessionId;
use book::Book;

pub use import::{Imported, LineError, read_lines};
pub use query::{Cursor, Found, Query, Sort};
pub use record::{EndReason, FormatError, RecordState, Role, SessionRecord, SessionStats, Via};

/// How much history is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// How long after its end a session's record is kept; without it, for good.
    pub age: Option<Duration>,
    /// How many records are kept, the oldest going first; without it, any number.
    pub count: Option<u64>,
}

impl Keep {
    /// What ended before this time, in ms since 1970-01-01 UTC, is not kept.
    fn before(&self, now_ms: u64) -> u64 {
        let age_ms = self
            .age
            .map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        age_ms.map_or(0, |age| now_ms.saturating_sub(age))
    }
}

/// Who comes, as far as it is written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visitor {
    /// Who it is, where that is known.
    pub subject: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// With which program.
    pub agent: Option<String>,
    /// What a publisher calls its broadcast.
    pub title: Option<String>,
}

/// A session that begins.
#[derive(Debug)]
pub struct Opening<'a> {
    /// Its id.
    pub id: SessionId,
    /// What it is, where its protocol does not say.
    pub role: Option<Role>,
    /// By which protocol.
    pub protocol: Via,
    /// The broadcast.
    pub stream: &'a BroadcastName,
    /// Who.
    pub visitor: Visitor,
}

/// A session's numbers so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Numbers {
    /// Bytes of media received.
    pub received_bytes: u64,
    /// Bytes of media sent.
    pub sent_bytes: u64,
    /// The quality now; `None` where it is not known.
    pub quality: Option<String>,
    /// The sum of network qualities and how many there were.
    pub scores: (f64, u64),
    /// When it was last there, in ms since 1970-01-01 UTC; `None` is now.
    pub seen_at_ms: Option<u64>,
}

/// Whoever has a session's numbers.
pub trait Sitting: Send + Sync {
    /// The numbers now. Nothing is waited for.
    fn numbers(&self) -> Numbers;
}

/// A session as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct SessionView {
    /// Its record.
    #[serde(flatten)]
    pub record: SessionRecord,
    /// How long it lasted or has lasted, in s.
    pub duration_s: f64,
    /// Whether it is on the disk: of a session that is over, its end; of a live one, its beginning.
    pub recorded: bool,
}

/// What the history has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HistoryCounts {
    /// Records on the disk; `None` until they have been counted.
    pub kept: Option<u64>,
    /// Sessions whose beginning or end is not on the disk yet.
    pub waiting: u64,
    /// Records written so far, each change counted.
    pub written: u64,
    /// Sessions that were never written down, or whose end was not.
    pub lost: u64,
}

/// Why history cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// There is no session of that id.
    #[error("there is no session {0}; its record may have been too old to be kept")]
    NoSession(SessionId),
    /// The store does not give or take them.
    #[error(transparent)]
    Records(#[from] RecordError),
}

/// The sessions there are and were.
pub struct History {
    records: Arc<dyn Records>,
    keep: Keep,
    book: Mutex<Book>,
    /// Something is to be written.
    wake: Notify,
    /// Something was written.
    done: Notify,
    /// What a crash left live has been closed.
    settled: AtomicBool,
    /// Records on the disk.
    kept: AtomicU64,
    /// That number is right, and kept so.
    is_counted: AtomicBool,
    /// How often that number changed.
    changes: AtomicU64,
    written: AtomicU64,
    /// Readers of the whole table at a time.
    scans: Semaphore,
    /// Importers at a time.
    turns: Semaphore,
    /// Held while imported records are compared with those that are there, and written.
    importing: tokio::sync::Mutex<()>,
}

impl History {
    /// Opens the history, and closes the records of sessions that a crash left live, with the reason `server-crashed`. If
    /// the store cannot be written now, that is done once it can.
    pub async fn open(records: Arc<dyn Records>, keep: Keep) -> Arc<Self> {
        let history = Arc::new(Self {
            records,
            keep,
            book: Mutex::default(),
            wake: Notify::new(),
            done: Notify::new(),
            settled: AtomicBool::new(false),
            kept: AtomicU64::new(0),
            is_counted: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            written: AtomicU64::new(0),
            scans: Semaphore::new(SCANS_MAX),
            turns: Semaphore::new(IMPORTS_MAX),
            importing: tokio::sync::Mutex::default(),
        });
        if let Err(error) = history.settle().await {
            tracing::error!(%error, "sessions that were live when the server ended cannot be closed yet");
        }
        history
    }

    /// Writes a session down.
    pub fn begin(self: &Arc<Self>, opening: Opening<'_>) -> Entry {
        let id = opening.id;
        let begun = self.book().begin(opening, now_ms());
        if !begun {
            return Entry::default();
        }
        self.wake.notify_one();
        Entry(Some((Arc::clone(self), id)))
    }

    fn end(&self, id: SessionId, reason: EndReason, numbers: Option<Numbers>) {
        if self.book().end(id, reason, numbers, now_ms()) {
            self.wake.notify_one();
        }
    }

    /// A session, live or past.
    pub async fn get(self: &Arc<Self>, id: SessionId) -> Result<SessionView, HistoryError> {
        self.refresh(Some(id), REFRESH_EVERY);
        let now_ms = now_ms();
        if let Some(sheet) = self.book().get(id) {
            return Ok(sheet.view(now_ms));
        }
        self.blocking(move |history| {
            let record = history.stored(id)?.ok_or(HistoryError::NoSession(id))?;
            Ok(SessionView::stored(record, now_ms))
        })
        .await
    }

    /// What is on the disk of a session.
    fn stored(&self, id: SessionId) -> Result<Option<SessionRecord>, HistoryError> {
        let Some(time) = self.records.get(Table::Sessions, &keys::time_of(id))? else {
            return Ok(None);
        };
        let Some(time) = keys::read_time(&time) else {
            return Ok(None);
        };
        let value = self.records.get(Table::Sessions, &keys::of(time, id))?;
        Ok(value.and_then(|value| match SessionRecord::decode(&value) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(session = %id, %error, "a session's record is passed over");
                None
            }
        }))
    }

    /// Sessions that match, in order, a page of them.
    pub async fn list(self: &Arc<Self>, query: Query) -> Result<Found, HistoryError> {
        self.refresh(None, REFRESH_EVERY);
        let _one_of_few = self.scans.acquire().await;
        self.blocking(move |history| query::find(history, &query))
            .await
    }

    /// What it has come to.
    pub fn counts(&self) -> HistoryCounts {
        let (waiting, lost) = self.book().counts();
        let is_counted = self.is_counted.load(Ordering::Relaxed);
        HistoryCounts {
            kept: is_counted.then(|| self.kept.load(Ordering::Relaxed)),
            waiting,
            written: self.written.load(Ordering::Relaxed),
            lost,
        }
    }

    /// Ends every session that is still open, and waits until all is on the disk, at most so long.
    pub async fn close(&self, within: Duration) {
        self.refresh(None, REFRESH_EVERY);
        let open = self.book().open_ids();
        for id in open {
            self.end(id, EndReason::ServerStopped, None);
        }
        let all = async {
            loop {
                let mut done = std::pin::pin!(self.done.notified());
                done.as_mut().enable();
                if self.book().counts().0 == 0 {
                    return;
                }
                self.wake.notify_one();
                done.await;
            }
        };
        if tokio::time::timeout(within, all).await.is_err() {
            let waiting = self.book().counts().0;
            tracing::error!(
                waiting,
                "the ends of sessions could not be recorded in time"
            );
        }
    }

    /// Asks sessions for their numbers: one, or all, if they have not been asked for so long.
    fn refresh(&self, id: Option<SessionId>, since: Duration) {
        // Nothing is locked while they are asked.
        let sitting = self.book().whom_to_ask(id, since);
        for (id, sitting) in sitting {
            if let Some(sitting) = sitting.upgrade() {
                let numbers = sitting.numbers();
                self.book().apply(id, numbers, now_ms());
            }
        }
    }

    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, HistoryError> + Send + 'static,
    ) -> Result<T, HistoryError> {
        let history = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&history))
            .await
            .unwrap_or_else(|error| {
                Err(RecordError::Unavailable(format!("reading failed: {error}")).into())
            })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionView {
    fn of(record: SessionRecord, recorded: bool, now_ms: u64) -> Self {
        Self {
            duration_s: record.duration_ms(now_ms) as f64 / 1000.0,
            record,
            recorded,
        }
    }

    fn stored(record: SessionRecord, now_ms: u64) -> Self {
        Self::of(record, true, now_ms)
    }
}

/// A session's place in the history. Dropping it ends the session, as gone.
#[derive(Default)]
pub struct Entry(Option<(Arc<History>, SessionId)>);

impl Entry {
    /// Says whom to ask for numbers.
    pub fn watch(&self, sitting: Weak<dyn Sitting>) {
        if let Some((history, id)) = &self.0 {
            history.book().watch(*id, sitting);
        }
    }

    /// Ends the session; the first reason counts.
    pub fn end(&self, reason: EndReason, numbers: Numbers) {
        if let Some((history, id)) = &self.0 {
            history.end(*id, reason, Some(numbers));
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some((history, id)) = &self.0 {
            history.end(*id, EndReason::Gone, None);
        }
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let id = self.0.as_ref().map(|(_, id)| id);
        f.debug_tuple("Entry").field(&id).finish()
    }
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Numbers that are shown are no older.
const REFRESH_EVERY: Duration = Duration::from_secs(1);
/// Lists made at a time; further ones wait.
const SCANS_MAX: usize = 2;
/// Imports whose lines are in memory at a time; further ones wait.
const IMPORTS_MAX: usize = 2;
