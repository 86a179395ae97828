//! The one thread that writes: it gathers, flushes, syncs, and only then acknowledges.

use std::{
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::{Duration, Instant},
};

use lockgate_ports::records::RecordError;
use tokio::sync::oneshot;

use crate::{Acknowledged, Shared, disk, envelope::Row, open::Place};

/// Changes that are made together, and who waits for them.
pub(crate) struct Write {
    pub(crate) rows: Vec<Row>,
    pub(crate) ack: oneshot::Sender<Acknowledged>,
}

/// Works until the last sender is gone.
pub(crate) fn run(place: &Place, shared: &Shared, inbox: &Receiver<Write>) {
    let mut closed_since = shared_error(shared).map(|_| Instant::now());
    keep_ballast(place);
    loop {
        let first = match inbox.recv_timeout(LOOK_EVERY) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if closed_since.is_some_and(|since| since.elapsed() >= LOOK_EVERY) {
            closed_since = if reopen(place, shared) {
                None
            } else {
                Some(Instant::now())
            };
        }
        let Some(first) = first else {
            continue;
        };
        let mut writes = vec![first];
        writes.extend(inbox.try_iter().take(GATHER_MAX - 1));
        let result = write(place, shared, &mut writes);
        if result.is_err() && closed_since.is_none() {
            closed_since = Some(Instant::now());
        }
        for write in writes {
            // Whoever does not wait any more does not need to know.
            drop(write.ack.send(result.clone()));
        }
    }
}

fn write(place: &Place, shared: &Shared, writes: &mut [Write]) -> Result<(), RecordError> {
    let written = {
        let db = shared.read().map_err(|_| gone())?;
        let db = db.as_ref().map_err(Clone::clone)?;
        commit(db, &place.sled().join("db"), writes)
    };
    written.map_err(|error| {
        // After an error sled stays in it: it is closed, and opened again when the disk allows.
        let why = if place.room() < disk::ROOM_TO_OPEN {
            RecordError::Full
        } else {
            RecordError::Unavailable(error)
        };
        tracing::error!(error = %why, "records were not written and not acknowledged");
        if let Ok(mut db) = shared.write() {
            *db = Err(why.clone());
        }
        if why == RecordError::Full {
            disk::give_back(&place.ballast());
        }
        why
    })
}

fn commit(db: &sled::Db, file: &Path, writes: &mut [Write]) -> Result<(), String> {
    // One batch for all: whoever waits for one of them waits for all, and of two changes of a key the later counts.
    let mut batch = sled::Batch::default();
    for (key, value) in writes.iter_mut().flat_map(|write| write.rows.drain(..)) {
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    db.apply_batch(batch).map_err(|error| error.to_string())?;
    db.flush().map_err(|error| error.to_string())?;
    disk::sync(file).map_err(|error| error.to_string())
}

fn reopen(place: &Place, shared: &Shared) -> bool {
    if place.room() < disk::ROOM_TO_OPEN {
        return false;
    }
    match place.open() {
        Ok(opened) => {
            let is_open = opened.is_ok();
            if let Ok(mut db) = shared.write() {
                *db = opened;
            }
            if is_open {
                tracing::info!("records are written again");
                keep_ballast(place);
            }
            is_open
        }
        Err(error) => {
            tracing::error!(%error, "the records cannot be opened again yet");
            false
        }
    }
}

fn keep_ballast(place: &Place) {
    if place.room() >= disk::ROOM_FOR_BALLAST
        && let Err(error) = disk::keep_ballast(&place.ballast())
    {
        tracing::warn!(%error, "no ballast can be kept for a full disk");
    }
}

fn shared_error(shared: &Shared) -> Option<RecordError> {
    shared.read().ok()?.as_ref().err().cloned()
}

pub(crate) fn gone() -> RecordError {
    RecordError::Unavailable("the store was closed".to_owned())
}

/// How often a closed database is tried again.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Writes that share a flush: a group commit.
const GATHER_MAX: usize = 512;
