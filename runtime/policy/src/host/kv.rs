//! `host-kv`: numbers under keys, for what belongs to no single row.
//!
//! Within a call the space stands still: a read sees what was there when the call began, and what is put is seen by later
//! calls. So no answer depends on the order of the rows, a call that fails has changed nothing, and the keys that were
//! read with their values are all that is needed to ask the same question again.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

/// What a call read: part of its question.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reads {
    /// The keys read, and what stood under them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub values: BTreeMap<String, Option<Arc<[f64]>>>,
    /// Which puts, counted from 0, were refused because the space was full.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<u32>,
}

impl Reads {
    /// Whether nothing was read, and nothing learnt from a refusal.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.refused.is_empty()
    }
}

/// What a policy keeps, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct KvInfo {
    /// Keys.
    pub keys: usize,
    /// What they count for, in bytes.
    pub bytes: usize,
    /// Puts that were refused because the space was full.
    pub refused: u64,
}

/// A key-value space. Clones are one space.
#[derive(Debug, Clone, Default)]
pub struct Space {
    kept: Arc<Mutex<Kept>>,
}

/// What a space holds at a moment, to come back to.
#[derive(Debug, Clone, Default)]
pub struct Kept {
    entries: BTreeMap<String, Entry>,
    bytes: usize,
    refused: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    numbers: Arc<[f64]>,
    until_ms: u64,
}

impl Space {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of what it holds.
    pub fn snapshot(&self) -> Kept {
        self.kept().clone()
    }

    /// Holds what it held at another time.
    pub fn restore(&self, kept: Kept) {
        *self.kept() = kept;
    }

    pub(super) fn info(&self) -> KvInfo {
        let kept = self.kept();
        KvInfo {
            keys: kept.entries.len(),
            bytes: kept.bytes,
            refused: kept.refused,
        }
    }
}

/// A call in progress.
#[derive(Debug)]
pub(super) struct Call {
    space: Space,
    now_ms: u64,
    reads: Reads,
    answers: Option<Reads>,
    /// What will be put; nothing to forget the key.
    puts: BTreeMap<String, Option<Entry>>,
    puts_made: u32,
    /// What the space will hold.
    keys: usize,
    bytes: usize,
}

impl Call {
    pub(super) fn begin(space: &Space, now_ms: u64, answers: Option<Reads>) -> Self {
        let mut kept = space.kept();
        let before = kept.entries.len();
        kept.entries.retain(|_, entry| entry.until_ms > now_ms);
        if kept.entries.len() != before {
            kept.bytes = kept
                .entries
                .iter()
                .map(|(key, entry)| cost(key, &entry.numbers))
                .sum();
        }
        Self {
            space: space.clone(),
            now_ms,
            reads: Reads::default(),
            answers,
            puts: BTreeMap::new(),
            puts_made: 0,
            keys: kept.entries.len(),
            bytes: kept.bytes,
        }
    }

    pub(super) fn get(&mut self, key: &str) -> Result<Option<Arc<[f64]>>, String> {
        if !is_key(key) {
            return Ok(None);
        }
        if let Some(known) = self.reads.values.get(key) {
            return Ok(known.clone());
        }
        if self.reads.values.len() >= KEYS_A_CALL_MAX {
            return Err(format!(
                "host-kv: more than {KEYS_A_CALL_MAX} keys were read in one call"
            ));
        }
        let numbers = match &self.answers {
            Some(answers) => answers.values.get(key).cloned().flatten(),
            None => {
                let kept = self.space.kept();
                kept.entries
                    .get(key)
                    .map(|entry| Arc::clone(&entry.numbers))
            }
        };
        self.reads.values.insert(key.to_owned(), numbers.clone());
        Ok(numbers)
    }

    pub(super) fn put(&mut self, key: &str, numbers: &[f64], ttl_s: u32) -> bool {
        let at = self.puts_made;
        self.puts_made = at.saturating_add(1);
        let is_good = is_key(key)
            && numbers.len() <= NUMBERS_MAX
            && numbers.iter().all(|number| number.is_finite())
            && (self.puts.contains_key(key) || self.puts.len() < KEYS_A_CALL_MAX);
        if !is_good {
            return false;
        }
        // What stands there at the end of the call so far.
        let standing = match self.puts.get(key) {
            Some(put) => put.as_ref().map(|entry| cost(key, &entry.numbers)),
            None => {
                let kept = self.space.kept();
                let entry = kept.entries.get(key);
                entry.map(|entry| cost(key, &entry.numbers))
            }
        };
        let keys = self.keys - usize::from(standing.is_some()) + usize::from(ttl_s > 0);
        let more = if ttl_s > 0 { cost(key, numbers) } else { 0 };
        let bytes = self.bytes.saturating_sub(standing.unwrap_or(0)) + more;
        let is_full = match &self.answers {
            Some(answers) => answers.refused.contains(&at),
            None => ttl_s > 0 && (keys > KEYS_MAX || bytes > BYTES_MAX),
        };
        if is_full {
            if self.reads.refused.len() < KEYS_A_CALL_MAX {
                self.reads.refused.push(at);
            }
            return false;
        }
        let entry = (ttl_s > 0).then(|| Entry {
            numbers: numbers.into(),
            until_ms: self.now_ms.saturating_add(u64::from(ttl_s) * 1000),
        });
        self.puts.insert(key.to_owned(), entry);
        (self.keys, self.bytes) = (keys, bytes);
        true
    }

    pub(super) fn end(self, space: &Space, went_well: bool) -> Reads {
        let mut kept = space.kept();
        kept.refused = kept.refused.saturating_add(self.reads.refused.len() as u64);
        if went_well && self.answers.is_none() {
            for (key, entry) in self.puts {
                match entry {
                    Some(entry) => drop(kept.entries.insert(key, entry)),
                    None => drop(kept.entries.remove(&key)),
                }
            }
            kept.bytes = self.bytes;
        }
        self.reads
    }
}

fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len())
}

fn cost(key: &str, numbers: &[f64]) -> usize {
    ENTRY_BYTES + key.len() + size_of_val(numbers)
}

/// Bytes of a key.
pub const KEY_BYTES_MAX: usize = 128;
/// Numbers under a key.
pub const NUMBERS_MAX: usize = 64;
/// Keys in a space, …
const KEYS_MAX: usize = 4096;
/// … and what they may count for together.
const BYTES_MAX: usize = 256 << 10;
/// What an entry counts for besides its key and numbers.
const ENTRY_BYTES: usize = 32;
/// Different keys that one call may read, and put.
const KEYS_A_CALL_MAX: usize = 1024;
