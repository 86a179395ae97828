//! Taking in what another history gave out: a record a line.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use lockgate_ports::Change;
use serde::Serialize;
use tokio::sync::SemaphorePermit;

use super::{EndReason, History, HistoryError, SessionRecord, keys, now_ms};
use crate::SessionId;

/// A line that is no record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineError {
    /// Its number, counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub error: String,
}

/// What an import came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Imported {
    /// Records that were not there.
    pub added: u64,
    /// Records that were there and older.
    pub replaced: u64,
    /// Records that were there already, as they are or newer.
    pub unchanged: u64,
    /// Sessions that ended longer ago than records are kept: not taken.
    pub too_old: u64,
}

/// Reads lines of an export; empty ones are passed over. Of two with one id the newer counts. Where some are bad, the
/// first hundred of them are returned and nothing else.
pub fn read_lines(text: &[u8]) -> Result<Vec<SessionRecord>, Vec<LineError>> {
    let mut records: Vec<SessionRecord> = Vec::new();
    let mut places: HashMap<SessionId, usize> = HashMap::new();
    let mut bad = Vec::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        match SessionRecord::of_line(line) {
            Ok(record) => {
                let known = places.get(&record.id).and_then(|at| records.get_mut(*at));
                match known {
                    Some(known) if known.updated_at_ms < record.updated_at_ms => *known = record,
                    Some(_) => {}
                    None => {
                        places.insert(record.id, records.len());
                        records.push(record);
                    }
                }
            }
            Err(error) if bad.len() < BAD_MAX => bad.push(LineError {
                line: at + 1,
                error: error.to_string(),
            }),
            Err(_) => break,
        }
    }
    if bad.is_empty() {
        Ok(records)
    } else {
        Err(bad)
    }
}

impl History {
    /// Waits until another import may be read into memory; it is this one's turn as long as what is returned lives.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // Nobody closes the semaphore.
        self.turns.acquire().await.ok()
    }

    /// Takes records in. Done means that they are on the disk; of an import that fails, a part may be there, and it can be
    /// sent again. A record that is there and as new or newer stays; a session that is live here is left alone, and one
    /// that was live there is over, as `exported`.
    pub async fn import(
        self: &Arc<Self>,
        records: Vec<SessionRecord>,
    ) -> Result<Imported, HistoryError> {
        let mut imported = Imported::default();
        for some in records.chunks(TOGETHER_MAX) {
            let some = some.to_vec();
            let _alone = self.importing.lock().await;
            let (changes, counts) = self.blocking(move |history| history.compared(some)).await?;
            if !changes.is_empty() {
                self.records.write(changes).await?;
            }
            self.count(counts.added, 0);
            imported.added += counts.added;
            imported.replaced += counts.replaced;
            imported.unchanged += counts.unchanged;
            imported.too_old += counts.too_old;
        }
        Ok(imported)
    }

    /// The changes that bring some records in.
    fn compared(
        &self,
        records: Vec<SessionRecord>,
    ) -> Result<(Vec<Change>, Imported), HistoryError> {
        let here: HashSet<SessionId> = {
            let book = self.book();
            let ids = records.iter().map(|record| record.id);
            ids.filter(|id| book.has(*id)).collect()
        };
        let before = self.keep.before(now_ms());
        let (mut changes, mut counts) = (Vec::new(), Imported::default());
        for mut record in records {
            if record.is_live() {
                let at_ms = record.updated_at_ms;
                record.end(at_ms, EndReason::Exported);
            }
            if record.ended_at_ms.is_some_and(|ended| ended < before) {
                counts.too_old += 1;
                continue;
            }
            let stored = self.stored(record.id)?;
            let is_known = stored
                .as_ref()
                .is_some_and(|stored| stored.updated_at_ms >= record.updated_at_ms);
            if is_known || here.contains(&record.id) {
                counts.unchanged += 1;
                continue;
            }
            match &stored {
                Some(stored) => {
                    changes.extend(keys::removed(stored.started_at_ms, stored.id));
                    counts.replaced += 1;
                }
                None => counts.added += 1,
            }
            match keys::written(&record, false) {
                Ok(more) => changes.extend(more),
                Err(error) => {
                    tracing::error!(session = %record.id, %error, "a record cannot be written down");
                }
            }
        }
        Ok((changes, counts))
    }
}

/// Bad lines that are told.
const BAD_MAX: usize = 100;
/// Records that are written together.
const TOGETHER_MAX: usize = 128;
