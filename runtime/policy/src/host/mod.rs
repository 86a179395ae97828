//! What a policy may ask of its host beside its question: to log a line, to keep a few numbers under a key, to count.
//!
//! Each is wanted in the manifest and granted by the operator, or it is not there. None waits for anything, none shows a
//! clock or chance, and each is bounded, so that a policy with imports can still be stopped, measured and asked again:
//! what it read is handed on with the answer ([`Reads`]).

mod kv;
mod log;
mod metrics;

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{Kind, Manifest};
pub use kv::{KEY_BYTES_MAX, KvInfo, NUMBERS_MAX, Reads, Space};
pub use log::{LINE_BYTES_MAX, Level, Line};
pub use metrics::{METRICS_MAX, MetricInfo, MetricKind};

/// Something a policy may import.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
pub enum Import {
    /// To log lines.
    #[serde(rename = "host-log")]
    Log,
    /// To keep numbers under keys.
    #[serde(rename = "host-kv")]
    Kv,
    /// To count.
    #[serde(rename = "host-metrics")]
    Metrics,
}

/// What an operator grants.
pub type Grants = BTreeSet<Import>;

impl Import {
    /// All imports.
    pub const ALL: [Self; 3] = [Self::Log, Self::Kv, Self::Metrics];

    /// Its name in manifests, configuration and WIT.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "host-log",
            Self::Kv => "host-kv",
            Self::Metrics => "host-metrics",
        }
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A policy wants what it is not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{name} imports {}, which is not granted. If it may, put `{kind} = [{}]` under [policies.grants]",
    listed(missing, ""),
    listed(wanted, "\"")
)]
pub struct NotGranted {
    name: String,
    kind: Kind,
    missing: Vec<Import>,
    wanted: Vec<Import>,
}

fn listed(imports: &[Import], mark: &str) -> String {
    let names: Vec<String> = imports
        .iter()
        .map(|import| format!("{mark}{import}{mark}"))
        .collect();
    names.join(", ")
}

/// Holds the imports of a manifest to what is granted for a kind.
pub fn granted(manifest: &Manifest, kind: Kind, grants: &Grants) -> Result<(), NotGranted> {
    let missing: Vec<Import> = manifest
        .imports
        .iter()
        .filter(|import| !grants.contains(import))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(NotGranted {
        name: manifest.name.clone(),
        kind,
        missing,
        wanted: manifest.imports.clone(),
    })
}

/// The host's side of a policy's imports: what its instances share. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Services {
    imports: Arc<[Import]>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    log: log::Log,
    metrics: metrics::Metrics,
    space: Space,
    call: Option<kv::Call>,
    /// What the next call is to read: a replay.
    answers: Option<Reads>,
    reads: Reads,
}

/// What a policy's imports have come to, for people.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HostInfo {
    /// What it imports.
    pub imports: Vec<Import>,
    /// Its last lines, oldest first.
    pub log: Vec<Line>,
    /// Lines that were over its rate.
    pub log_dropped: u64,
    /// What it keeps.
    pub kv: KvInfo,
    /// What it counts.
    pub metrics: Vec<MetricInfo>,
}

impl Services {
    /// Nothing.
    pub fn none() -> Self {
        Self::with(&[], Space::default())
    }

    /// Everything a manifest wants, with a key-value space of its own. That it may have it was checked before.
    pub fn of(manifest: &Manifest) -> Self {
        Self::with(&manifest.imports, Space::default())
    }

    /// The same with the key-value space of another.
    pub fn sharing(manifest: &Manifest, other: &Self) -> Self {
        Self::with(&manifest.imports, other.space())
    }

    fn with(imports: &[Import], space: Space) -> Self {
        let state = State {
            space,
            ..State::default()
        };
        Self {
            imports: imports.into(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    // What is in there is whole after each statement: a panic elsewhere has harmed nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether an import is there.
    pub fn has(&self, import: Import) -> bool {
        self.imports.contains(&import)
    }

    /// Whether every import of a manifest is there.
    pub fn has_all(&self, manifest: &Manifest) -> bool {
        manifest.imports.iter().all(|import| self.has(*import))
    }

    /// A call begins, at a time of the policy's clock. What is put is seen by later calls only.
    pub fn begin(&self, now_ms: u64) {
        let state = &mut *self.state();
        state.log.begin(now_ms);
        state.reads = Reads::default();
        let answers = state.answers.take();
        state.call = self
            .has(Import::Kv)
            .then(|| kv::Call::begin(&state.space, now_ms, answers));
    }

    /// A call is over. What it put takes effect if it went well.
    pub fn end(&self, went_well: bool) {
        let state = &mut *self.state();
        if let Some(call) = state.call.take() {
            state.reads = call.end(&state.space, went_well);
        }
    }

    /// What the last call read.
    pub fn reads(&self) -> Reads {
        self.state().reads.clone()
    }

    /// Lets the next call read what was read once, whatever is kept now: a replay.
    pub fn answer_with(&self, reads: Reads) {
        self.state().answers = Some(reads);
    }

    /// Logs a line, as far as the rate allows.
    pub fn log(&self, level: Level, text: &str) {
        self.state().log.line(level, text);
    }

    /// Lines that this has not returned before.
    pub fn take_lines(&self) -> Vec<Line> {
        self.state().log.take()
    }

    /// What was kept under a key when the call began. An error ends the call: too many keys were read.
    pub fn get(&self, key: &str) -> Result<Option<Arc<[f64]>>, String> {
        match &mut self.state().call {
            Some(call) => call.get(key),
            None => Ok(None),
        }
    }

    /// Keeps numbers under a key for `ttl_s` seconds of the policy's clock; 0 forgets the key. Says whether it is kept.
    pub fn put(&self, key: &str, numbers: &[f64], ttl_s: u32) -> bool {
        let state = &mut *self.state();
        match &mut state.call {
            Some(call) => call.put(key, numbers, ttl_s),
            None => false,
        }
    }

    /// The number of a counter or gauge of this name; `None` where it cannot be had.
    pub fn define(&self, name: &str, kind: MetricKind) -> Option<u32> {
        self.state().metrics.define(name, kind)
    }

    /// Adds to a counter, or sets a gauge. Says whether it did.
    pub fn record(&self, metric: u32, value: f64) -> bool {
        self.state().metrics.record(metric, value)
    }

    /// The key-value space. It can be copied, to come back to.
    pub fn space(&self) -> Space {
        self.state().space.clone()
    }

    /// For people; `None` for a policy without imports.
    pub fn info(&self) -> Option<HostInfo> {
        if self.imports.is_empty() {
            return None;
        }
        let state = self.state();
        Some(HostInfo {
            imports: self.imports.to_vec(),
            log: state.log.lines(),
            log_dropped: state.log.dropped(),
            kv: state.space.info(),
            metrics: state.metrics.info(),
        })
    }
}

#[cfg(test)]
mod tests;
