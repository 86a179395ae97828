//! The tasks that bring the book to the disk, close what a crash left live, and let go of what is old.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lockgate_ports::{Change, Table, records::Range};
use tokio::time::{MissedTickBehavior, interval};

use super::{EndReason, History, HistoryError, keys, now_ms, rows::Rows};
use crate::SessionId;

impl History {
    /// Writes what is to be written, and takes away what is too old, until it is dropped.
    pub async fn keep(self: Arc<Self>) {
        tokio::join!(self.write_all(), self.let_go_all());
    }

    async fn write_all(&self) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut was_full = false;
        loop {
            let is_tick = tokio::select! {
                _ = tick.tick() => true,
                () = self.wake.notified() => false,
            };
            loop {
                if is_tick {
                    self.refresh(None, NUMBERS_EVERY);
                }
                let due = self.book().due(TOGETHER_MAX, is_tick);
                let is_more = due.len() == TOGETHER_MAX;
                if due.is_empty() {
                    break;
                }
                let mut changes = Vec::with_capacity(due.len() + 16);
                for one in &due {
                    match keys::written(&one.record, one.is_there) {
                        Ok(more) => changes.extend(more),
                        Err(error) => {
                            tracing::error!(session = %one.record.id, %error, "a record cannot be written down");
                        }
                    }
                }
                match self.records.write(changes).await {
                    Ok(()) => {
                        let new = self.book().written(&due);
                        self.count(new, 0);
                        self.written.fetch_add(due.len() as u64, Ordering::Relaxed);
                        self.done.notify_waiters();
                        if was_full {
                            was_full = false;
                            tracing::info!("sessions are recorded again");
                            // Ends may have been lost meanwhile, or never been closed after a crash.
                            self.settled.store(false, Ordering::Relaxed);
                        }
                        if !self.settled.load(Ordering::Relaxed)
                            && let Err(error) = self.settle().await
                        {
                            tracing::warn!(%error, "sessions of before cannot be closed yet");
                        }
                    }
                    Err(error) => {
                        self.book().put_back(&due);
                        if !was_full {
                            was_full = true;
                            tracing::error!(%error, "sessions cannot be recorded now; they go on, and are recorded later");
                        }
                        tokio::time::sleep(AGAIN_AFTER).await;
                        break;
                    }
                }
                if !is_more {
                    break;
                }
            }
        }
    }

    /// Closes what is live on the disk and not here.
    pub(super) async fn settle(&self) -> Result<(), HistoryError> {
        let mut closed = 0;
        let mut beyond: Option<String> = None;
        loop {
            let range = Range {
                prefix: keys::LIVE,
                beyond: beyond.as_deref(),
                reverse: false,
            };
            let page = self.records.list(Table::Sessions, range, SETTLE_MAX)?;
            let Some((last, _)) = page.last() else {
                break;
            };
            beyond = Some(last.clone());
            let mut changes = Vec::new();
            for (key, _) in &page {
                let id = key.strip_prefix(keys::LIVE).and_then(|id| id.parse().ok());
                closed += u64::from(self.close_one(key, id, &mut changes)?);
            }
            if !changes.is_empty() {
                self.records.write(changes).await?;
            }
        }
        self.settled.store(true, Ordering::Relaxed);
        if closed > 0 {
            tracing::warn!(
                closed,
                "sessions were live when the server ended; their records are closed as server-crashed"
            );
        }
        Ok(())
    }

    fn close_one(
        &self,
        key: &str,
        id: Option<SessionId>,
        changes: &mut Vec<Change>,
    ) -> Result<bool, HistoryError> {
        let Some(id) = id else {
            changes.push(keys::remove(key.to_owned()));
            return Ok(false);
        };
        if self.book().has(id) {
            return Ok(false);
        }
        // Read after the book: whoever left the book meanwhile is on the disk as ended.
        if let Some(mut record) = self.stored(id)?
            && record.is_live()
        {
            record.end(record.updated_at_ms, EndReason::ServerCrashed);
            match keys::written(&record, true) {
                Ok(more) => changes.extend(more),
                Err(error) => tracing::error!(session = %id, %error, "a record cannot be closed"),
            }
            return Ok(true);
        }
        changes.push(keys::remove(key.to_owned()));
        Ok(false)
    }

    async fn let_go_all(self: &Arc<Self>) {
        let mut tick = interval(LET_GO_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.let_go().await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "records of old sessions were taken away"),
                Err(error) => tracing::warn!(%error, "old records cannot be taken away now"),
            }
        }
    }

    /// Takes away what is older, or more, than is kept. Returns how many records that were.
    pub(super) async fn let_go(self: &Arc<Self>) -> Result<u64, HistoryError> {
        if !self.is_counted.load(Ordering::Relaxed) {
            let before = self.changes.load(Ordering::SeqCst);
            let count = self
                .blocking(|history| Rows::stored(history).count())
                .await?;
            self.kept.store(count, Ordering::SeqCst);
            // What came or went meanwhile may be in it or not: then it is counted again the next time.
            let is_right = self.changes.load(Ordering::SeqCst) == before;
            self.is_counted.store(is_right, Ordering::Relaxed);
        }
        let mut gone = 0;
        loop {
            let kept = self.kept.load(Ordering::Relaxed);
            let over = self
                .keep
                .count
                .map_or(0, |count| kept.saturating_sub(count));
            let before = self.keep.before(now_ms());
            let old = self
                .blocking(move |history| Ok(Rows::stored(history).old(over, before, LET_GO_MAX)?))
                .await?;
            if old.is_empty() {
                return Ok(gone);
            }
            let count = old.len() as u64;
            let changes = old.iter().flat_map(|(time, id)| keys::removed(*time, *id));
            self.records.write(changes.collect()).await?;
            self.count(0, count);
            gone += count;
        }
    }

    /// Keeps count of the records on the disk.
    pub(super) fn count(&self, more: u64, fewer: u64) {
        if more == 0 && fewer == 0 {
            return;
        }
        self.changes.fetch_add(1, Ordering::SeqCst);
        let next = |kept: u64| Some(kept.saturating_add(more).saturating_sub(fewer));
        let _before = self
            .kept
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, next);
    }
}

/// How often it is looked for what changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often every session is asked for its numbers.
const NUMBERS_EVERY: Duration = Duration::from_secs(5);
/// When it is tried again after the store took nothing.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// Records written together.
const TOGETHER_MAX: usize = 256;
/// Sessions closed together after a crash.
const SETTLE_MAX: usize = 256;
/// How often old records are let go.
const LET_GO_EVERY: Duration = Duration::from_secs(60);
/// Records let go together.
const LET_GO_MAX: usize = 256;
