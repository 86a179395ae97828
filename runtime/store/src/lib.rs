//! Records on disk: sled, used so that what is acknowledged is really there.
//!
//! One thread writes. It gathers what waits into one batch, flushes sled, calls `fdatasync` on the file itself, because
//! sled 0.34 on Linux only starts the writing (`sync_file_range`), and acknowledges then. Values carry a version and a
//! checksum. Opening survives what a crash, a full disk or somebody else's file leaves behind: see [`Store::open`].
#![forbid(unsafe_code)]

mod disk;
mod envelope;
mod open;
mod writer;

use std::{
    path::Path,
    sync::{
        Arc, RwLock,
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use lockgate_ports::{
    BoxFuture,
    records::{Change, Listed, Range, RecordError, Records, Table},
};
use tokio::sync::oneshot;

pub use open::OpenError;
use writer::Write;

/// The store. Dropping it writes what waits and ends its thread.
pub struct Store {
    db: Shared,
    writes: Option<SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
}

/// The database while it is open, or why it is not.
type Shared = Arc<RwLock<Result<sled::Db, RecordError>>>;

impl Store {
    /// Opens the store in a folder, which is made if it is not there.
    ///
    /// Only one process may have it open. What a crash at start-up left half-written is taken away; a database that
    /// cannot be read, or is none, is put aside as `quarantine-…` and a new one begun, and the log says so. With no
    /// room on the disk the store opens without its records: reading and writing fail with [`RecordError::Full`] until
    /// there is room.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let place = open::Place::claim(folder)?;
        let db: Shared = Arc::new(RwLock::new(place.open()?));
        let (writes, inbox) = sync_channel(WRITES_MAX);
        let shared = Arc::clone(&db);
        let thread = std::thread::Builder::new()
            .name("records".to_owned())
            .spawn(move || writer::run(&place, &shared, &inbox))
            .map_err(|error| open::unusable(folder, &error))?;
        Ok(Self {
            db,
            writes: Some(writes),
            thread: Some(thread),
        })
    }

    fn post(&self, changes: &[Change]) -> Result<oneshot::Receiver<Acknowledged>, RecordError> {
        let rows = envelope::rows(changes)?;
        let (ack, acknowledged) = oneshot::channel();
        let writes = self.writes.as_ref().ok_or_else(writer::gone)?;
        writes
            .try_send(Write { rows, ack })
            .map_err(|error| match error {
                TrySendError::Full(_) => RecordError::Busy,
                TrySendError::Disconnected(_) => writer::gone(),
            })?;
        Ok(acknowledged)
    }

    fn read<T>(&self, read: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, RecordError> {
        let db = self.db.read().map_err(|_| writer::gone())?;
        let db = db.as_ref().map_err(Clone::clone)?;
        read(db).map_err(|error| RecordError::Unavailable(error.to_string()))
    }
}

/// What became of a write.
type Acknowledged = Result<(), RecordError>;

impl Records for Store {
    fn write(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), RecordError>> {
        let posted = self.post(&changes);
        Box::pin(async move { posted?.await.unwrap_or_else(|_| Err(writer::gone())) })
    }

    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, RecordError> {
        let key = envelope::key(table, key);
        let value = self.read(|db| db.get(&key))?;
        Ok(value.and_then(|value| envelope::open(&key, &value)))
    }

    fn list(&self, table: Table, range: Range<'_>, limit: usize) -> Result<Listed, RecordError> {
        let (mut from, mut to) = envelope::range(table, range.prefix);
        if let Some(beyond) = range.beyond {
            let beyond = envelope::key(table, beyond);
            if range.reverse {
                to = to.min(beyond);
            } else {
                // The least key that is greater.
                from = from.max([&beyond[..], &[0]].concat());
            }
        }
        if from >= to {
            return Ok(Vec::new());
        }
        self.read(|db| {
            let rows = db.range(from..to);
            if range.reverse {
                gather(rows.rev(), limit)
            } else {
                gather(rows, limit)
            }
        })
    }
}

fn gather(
    rows: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>,
    limit: usize,
) -> sled::Result<Listed> {
    let mut listed = Vec::new();
    for row in rows {
        if listed.len() >= limit {
            break;
        }
        let (key, value) = row?;
        let Some(name) = envelope::name(&key) else {
            continue;
        };
        // What is damaged was put aside at the start; what is damaged since is left out.
        if let Some(value) = envelope::open(&key, &value) {
            listed.push((name.to_owned(), value));
        }
    }
    Ok(listed)
}

impl Drop for Store {
    fn drop(&mut self) {
        drop(self.writes.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the records had panicked");
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

/// Writes waiting; beyond them [`RecordError::Busy`].
const WRITES_MAX: usize = 4096;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
