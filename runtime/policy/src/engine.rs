//! What every policy is to its host, whatever it is written in.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Kind, Manifest, Services, auth};

/// What one call is about: now, and why it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// The time in ms on a clock that never goes back. The only clock a policy knows.
    pub now_ms: u64,
    /// A number that differs from call to call. The only chance a policy knows.
    pub seed: u64,
    /// How media is delivered.
    pub mode: Mode,
    /// Why the call is made.
    pub cause: Cause,
}

/// How media is delivered. Crosses as its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// WebRTC.
    #[default]
    Webrtc = 0,
    /// HLS.
    Hls = 1,
    /// Low-latency HLS.
    LlHls = 2,
}

/// Why a call is made. Crosses as its number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A second has passed.
    #[default]
    Tick = 0,
    /// A segment was delivered.
    Segment = 1,
    /// A viewer stalled.
    Stall = 2,
    /// A link is congested.
    Congestion = 3,
    /// A keyframe is due.
    Keyframe = 4,
    /// The picture's place changed.
    Layout = 5,
}

/// One question about many rows. All lists are row after row; widths follow from the policy's manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// When and why.
    pub tick: Tick,
    /// Rungs, lowest bitrate first, `rung_columns` wide.
    pub rungs: Vec<f64>,
    /// How many rungs.
    pub rung_count: usize,
    /// Names of the rungs, for scripts to read; a policy answers by number.
    pub rung_names: Vec<Arc<str>>,
    /// Viewers, or the one source of `ladder`, `columns` wide.
    pub rows: Vec<f64>,
    /// How many rows.
    pub row_count: usize,
    /// What was carried for each row, `memo` wide.
    pub memo: Vec<f64>,
}

/// The answer to a batch: reused from call to call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// `output_width` numbers for each row.
    pub rows: Vec<f64>,
    /// What is to be carried for each row, as wide as in the question.
    pub memo: Vec<f64>,
    /// Rows it could not answer, in their order. Their numbers mean nothing; the other rows stand.
    ///
    /// An engine that can go on after an error says it here; one whose instances do not survive an error fails the
    /// whole batch. A guest can refuse a row too, by giving it no reason.
    pub refused: Vec<Refusal>,
}

impl Answer {
    /// Makes room for the next answer.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.memo.clear();
        self.refused.clear();
    }
}

/// A row that was not answered, or whose answer cannot be acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which row of the batch, counted from 0.
    pub row: usize,
    /// Why.
    pub fault: Fault,
}

/// What a call cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// Wasm fuel or Luau steps.
    pub steps: u64,
    /// Memory high-water mark in bytes.
    pub memory_bytes: u64,
}

/// Limits on a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory of an instance, in bytes.
    pub memory_bytes: usize,
    /// Steps of a call, whatever it is about.
    pub steps: u64,
    /// Steps for each row besides.
    pub steps_per_row: u64,
    /// Steps to configure.
    pub steps_configure: u64,
    /// Size of the artifact, in bytes.
    pub artifact_bytes: usize,
    /// It may bring an interpreter along, as policies in JavaScript and Python do: many functions, several memories.
    pub large: bool,
}

impl Limits {
    /// What a policy with an interpreter in it gets where the operator says no more than that it is one.
    pub const LARGE: Self = Self {
        memory_bytes: 64 << 20,
        steps: 5_000_000,
        steps_per_row: 500_000,
        steps_configure: 200_000_000,
        artifact_bytes: 32 << 20,
        large: true,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_bytes: 4 << 20,
            steps: 200_000,
            steps_per_row: 20_000,
            steps_configure: 10_000_000,
            artifact_bytes: 2 << 20,
            large: false,
        }
    }
}

/// Why a call failed. The instance that failed is thrown away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It raised an error, trapped or panicked.
    #[error("it failed: {0}")]
    Trap(String),
    /// It used up its steps.
    #[error("it used up its {0} steps")]
    Budget(u64),
    /// It asked for more memory than it may have.
    #[error("it asked for more than {0} bytes of memory")]
    Memory(usize),
    /// Its answer has the wrong form.
    #[error("its answer cannot be used: {0}")]
    BadOutput(String),
    /// It did not answer in time.
    #[error("it did not answer within {0} ms")]
    Late(u64),
    /// It does not judge this kind.
    #[error("it does not answer {0}")]
    NotAnswered(Kind),
    /// It refused its configuration.
    #[error("it refused its configuration: {0}")]
    Configuration(String),
    /// The host could not ask it: it is full, or was asked wrongly. Not the policy's doing.
    #[error("the host could not ask it: {0}")]
    Host(String),
}

impl Fault {
    /// A word for metrics: bounded.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Trap(_) => "trap",
            Self::Budget(_) => "budget",
            Self::Memory(_) => "memory",
            Self::BadOutput(_) => "bad_output",
            Self::Late(_) => "late",
            Self::NotAnswered(_) => "not_answered",
            Self::Configuration(_) => "configuration",
            Self::Host(_) => "host",
        }
    }
}

/// Why a file is no policy. Says what is wrong, where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct LoadError {
    /// The whole story.
    pub what: String,
}

impl LoadError {
    /// An error in words.
    pub fn new(what: impl fmt::Display) -> Self {
        Self {
            what: what.to_string(),
        }
    }
}

/// A policy instance. It belongs to one thread and is thrown away after a fault.
pub trait Policy {
    /// Answers a batch of `kind`, which is not `auth`. `answer` is overwritten.
    ///
    /// A policy that fails leaves `answer` in any state; the host goes on with the next in the chain.
    fn decide(&mut self, kind: Kind, batch: &Batch, answer: &mut Answer) -> Result<Spent, Fault>;

    /// Decides whether a request is let in.
    fn authorize(&mut self, request: &auth::Request) -> Result<(auth::Verdict, Spent), Fault>;
}

/// A loaded and checked policy, from which instances are made on the thread that will use them.
pub trait Artifact: Send + Sync + 'static {
    /// What it says of itself.
    fn manifest(&self) -> &Manifest;

    /// SHA-256 of what it was loaded from, in hexadecimal.
    fn digest(&self) -> &str;

    /// Makes an instance with these imports and configures it with a JSON value, which was held to its schema.
    fn instantiate_with(
        &self,
        config: &serde_json::Value,
        services: &Services,
    ) -> Result<Box<dyn Policy>, Fault>;

    /// How many instances may be made ahead of requests that each want a fresh one; 0 where one takes much memory.
    fn spares(&self) -> usize {
        usize::MAX
    }

    /// The same with all the imports it wants, shared with no other instance.
    fn instantiate(&self, config: &serde_json::Value) -> Result<Box<dyn Policy>, Fault> {
        self.instantiate_with(config, &Services::of(self.manifest()))
    }
}
