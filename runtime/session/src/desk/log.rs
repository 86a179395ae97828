//! The decision log: what was asked, what was answered, why, and by whom. Changes, faults and a sample; bounded.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use lockgate_policy::{
    Batch, Kind,
    column::{self, Column},
    slot::{Decided, Level},
};
use serde::Serialize;

use super::About;

/// A logged decision about one row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// When, on the desk's clock in ms.
    pub now_ms: u64,
    /// The kind.
    pub kind: Kind,
    /// The broadcast.
    pub stream: Arc<str>,
    /// The viewer, or the source.
    pub row: String,
    /// The deciding policy's digest.
    pub digest: String,
    /// Its generation.
    pub generation: u64,
    /// Which link of the chain it was.
    pub level: Level,
    /// Why, in its own words.
    pub reason: String,
    /// What is known, by column; what is absent is left out.
    pub input: serde_json::Map<String, serde_json::Value>,
    /// What each rung needs, in kbit/s.
    pub rungs_kbps: Vec<f64>,
    /// What was answered, by column.
    pub output: serde_json::Map<String, serde_json::Value>,
    /// What was carried; absent numbers are null.
    pub memo: Vec<f64>,
    /// What went wrong before somebody answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
    /// The policy's answer about this row made no sense, and the built-in's stands.
    pub refused: bool,
    /// How long the whole batch took, in µs.
    pub took_us: u64,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    entries: VecDeque<Arc<Entry>>,
    /// The last answer about each row and whose it was, to tell a change.
    last: HashMap<u64, (u64, u64)>,
    count: u64,
}

impl Log {
    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.iter().cloned().collect()
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "everything that belongs to a decision, used once"
    )]
    pub(super) fn append(
        &mut self,
        kind: Kind,
        batch: &Batch,
        keys: &[u64],
        about: &About,
        decided: &Decided,
        memo: &[f64],
        took_us: u64,
        now_ms: u64,
    ) {
        let width = kind.output_width(batch.rung_count).max(1);
        let input_width = column::width(kind.inputs()).max(1);
        let memo_width = memo.len().checked_div(batch.row_count).unwrap_or(0);
        if self.last.len() > ROWS_MAX {
            self.last.clear();
        }
        for (at, row) in decided.rows.chunks_exact(width).enumerate() {
            self.count += 1;
            let key = keys.get(at).copied().unwrap_or(0);
            let answer = (
                row.first().map_or(0, |number| number.to_bits()),
                decided.generation,
            );
            let has_changed = self.last.insert(key, answer) != Some(answer);
            let refused = decided.refusal(at).is_some();
            if !(has_changed
                || refused
                || !decided.faults.is_empty()
                || self.count.is_multiple_of(SAMPLE_EVERY))
            {
                continue;
            }
            let input = batch
                .rows
                .get(at * input_width..(at + 1) * input_width)
                .unwrap_or_default();
            let code = column::place(kind.outputs(), "reason")
                .and_then(|at| row.get(at))
                .copied();
            let need = column::place(column::RUNG, "need_kbps").unwrap_or(0);
            let rung_width = column::width(column::RUNG).max(1);
            let entry = Entry {
                now_ms,
                kind,
                stream: Arc::clone(&about.stream),
                row: about.rows.get(at).cloned().unwrap_or_default(),
                digest: decided.digest.clone(),
                generation: decided.generation,
                level: decided.level,
                reason: decided
                    .artifact
                    .manifest()
                    .reason(kind, code.unwrap_or(f64::NAN)),
                input: named(kind.inputs(), input),
                rungs_kbps: batch
                    .rungs
                    .chunks_exact(rung_width)
                    .filter_map(|rung| rung.get(need).copied())
                    .collect(),
                output: named(kind.outputs(), row),
                memo: memo
                    .get(at * memo_width..(at + 1) * memo_width)
                    .unwrap_or_default()
                    .to_vec(),
                faults: decided
                    .faults
                    .iter()
                    .map(|(_, fault)| fault.to_string())
                    .collect(),
                refused,
                took_us,
            };
            self.entries.push_back(Arc::new(entry));
            if self.entries.len() > ENTRIES_MAX {
                self.entries.pop_front();
            }
        }
    }
}

/// A row of an answer in words: its numbers by column, and its reason.
pub(crate) fn reading(
    decided: &Decided,
    kind: Kind,
    row: &[f64],
) -> serde_json::Map<String, serde_json::Value> {
    let mut map = named(kind.outputs(), row);
    let code = column::place(kind.outputs(), "reason")
        .and_then(|at| row.get(at))
        .copied();
    let reason = decided
        .artifact
        .manifest()
        .reason(kind, code.unwrap_or(f64::NAN));
    map.insert("reason".to_owned(), reason.into());
    map
}

fn named(columns: &[Column], row: &[f64]) -> serde_json::Map<String, serde_json::Value> {
    let mut map = serde_json::Map::new();
    let mut at = 0;
    for column in columns {
        let numbers = row.get(at..at + column.width).unwrap_or_default();
        at += column.width;
        if let [number] = numbers
            && number.is_finite()
        {
            map.insert(column.name.to_owned(), (*number).into());
        } else if numbers.iter().any(|number| number.is_finite()) {
            map.insert(column.name.to_owned(), numbers.to_vec().into());
        }
    }
    map
}

/// About a minute of a hundred viewers, if all were logged.
const ENTRIES_MAX: usize = 4096;
/// One in so many that nothing speaks for.
const SAMPLE_EVERY: u64 = 100;
/// Rows whose last answer is remembered.
const ROWS_MAX: usize = 100_000;
