//! The records in the order of their beginnings: those of the disk, and over them those of the book.

use std::collections::VecDeque;

use lockgate_ports::{RecordError, Table, records::Range};

use super::{History, HistoryError, SessionRecord, SessionView, keys, now_ms};
use crate::SessionId;

/// Records one after the other, read in chunks.
pub(super) struct Rows<'a> {
    history: &'a History,
    /// Of the book, in order.
    open: VecDeque<(String, SessionView)>,
    chunk: VecDeque<(String, Vec<u8>)>,
    /// Where the next chunk begins.
    beyond: Option<String>,
    is_over: bool,
    reverse: bool,
    now_ms: u64,
    bad: u64,
}

impl<'a> Rows<'a> {
    /// All of them that stand beyond a key, if one is given.
    pub(super) fn new(history: &'a History, beyond: Option<String>, reverse: bool) -> Self {
        let now_ms = now_ms();
        // The book first: whoever leaves it meanwhile is found on the disk.
        let views = history.book().views(now_ms);
        let keyed = views.into_iter().map(|view| {
            let key = keys::of(view.record.started_at_ms, view.record.id);
            (key, view)
        });
        let is_beyond = |key: &String| {
            beyond
                .as_ref()
                .is_none_or(|beyond| if reverse { key < beyond } else { key > beyond })
        };
        let mut open: Vec<_> = keyed.filter(|(key, _)| is_beyond(key)).collect();
        open.sort_by(|(one, _), (other, _)| {
            if reverse {
                other.cmp(one)
            } else {
                one.cmp(other)
            }
        });
        Self {
            open: open.into(),
            beyond,
            reverse,
            now_ms,
            ..Self::stored(history)
        }
    }

    /// Only those of the disk, oldest first.
    pub(super) fn stored(history: &'a History) -> Self {
        Self {
            history,
            open: VecDeque::new(),
            chunk: VecDeque::new(),
            beyond: None,
            is_over: false,
            reverse: false,
            now_ms: now_ms(),
            bad: 0,
        }
    }

    fn fill(&mut self) -> Result<(), RecordError> {
        if self.is_over || !self.chunk.is_empty() {
            return Ok(());
        }
        let range = Range {
            prefix: keys::TIMES,
            beyond: self.beyond.as_deref(),
            reverse: self.reverse,
        };
        let rows = self.history.records.list(Table::Sessions, range, CHUNK)?;
        self.is_over = rows.len() < CHUNK;
        self.chunk = rows.into();
        if let Some((last, _)) = self.chunk.back() {
            self.beyond = Some(last.clone());
        }
        Ok(())
    }

    /// The next one.
    pub(super) fn next(&mut self) -> Result<Option<SessionView>, RecordError> {
        loop {
            self.fill()?;
            let stored = self.chunk.front().map(|(key, _)| key);
            let open = self.open.front().map(|(key, _)| key);
            let (from_open, from_stored) = match (open, stored) {
                (None, None) => return Ok(None),
                (Some(_), None) => (true, false),
                (None, Some(_)) => (false, true),
                (Some(open), Some(stored)) => {
                    let first = if self.reverse {
                        open > stored
                    } else {
                        open < stored
                    };
                    (first || open == stored, !first || open == stored)
                }
            };
            let stored = if from_stored {
                self.chunk.pop_front()
            } else {
                None
            };
            if from_open {
                // The newer of the two, where there are two.
                return Ok(self.open.pop_front().map(|(_, view)| view));
            }
            let Some((key, value)) = stored else {
                continue;
            };
            match SessionRecord::decode(&value) {
                Ok(record) => return Ok(Some(SessionView::stored(record, self.now_ms))),
                Err(error) => {
                    if self.bad == 0 {
                        tracing::warn!(%key, %error, "a session's record is passed over");
                    }
                    self.bad += 1;
                }
            }
        }
    }

    /// How many there are on the disk, readable or not.
    pub(super) fn count(mut self) -> Result<u64, HistoryError> {
        let mut count = 0;
        loop {
            self.fill()?;
            if self.chunk.is_empty() {
                return Ok(count);
            }
            count += self.chunk.len() as u64;
            self.chunk.clear();
        }
    }

    /// The oldest ones that need not be kept: `over` of them, and those that ended before a time; at most `max`.
    pub(super) fn old(
        mut self,
        over: u64,
        before: u64,
        max: usize,
    ) -> Result<Vec<(u64, SessionId)>, RecordError> {
        let mut old = Vec::new();
        while let Some(SessionView { record, .. }) = self.next()? {
            let is_over = (old.len() as u64) < over;
            if old.len() >= max || !(is_over || record.started_at_ms < before) {
                break;
            }
            let is_old = record.ended_at_ms.is_some_and(|ended| ended < before);
            if !record.is_live() && (is_over || is_old) {
                old.push((record.started_at_ms, record.id));
            }
        }
        Ok(old)
    }
}

/// Records read at a time.
const CHUNK: usize = 256;
