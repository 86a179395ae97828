//! A logged decision: one row with all that was asked and answered, so that any build can ask again, exactly.
//!
//! A line of a log is one JSON object. Numbers survive it to the bit: a finite number is written with as many digits as
//! tell it from its neighbours, minus zero as `-0.0`, infinities as `"inf"` and `"-inf"`. NaN means absent: a column that is
//! absent is left out, inside a list it is `null`; NaNs are not told from each other. Columns stand by name, so that a
//! log outlives new columns. The broadcast, the row and the claims of `auth` are words and stand as they are.
//!
//! Of a request to `auth` only the claims on the operator's list are written; of the others only that they were there
//! (`withheld`); of a URL that it wants to be asked neither query nor password, and nothing of what that answered.
//! No token ever comes here. An entry that withholds something cannot be asked again. The configuration of
//! an `auth` policy may hold secrets: of that, only the digest is written.

mod line;
mod number;
mod replay;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    Kind, Tick,
    auth::{Request, Verdict},
    column,
    host::Reads,
    slot::Level,
};

pub use line::LineError;
pub use replay::{Redecided, redecide, same_answer};

/// A logged decision about one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The kind.
    pub kind: Kind,
    /// The viewer, the source, or what was wanted of `auth`.
    pub row: String,
    /// What the whole batch shares.
    pub call: Arc<Call>,
    /// Who answered.
    pub author: Arc<Author>,
    /// What was asked and answered.
    pub about: About,
    /// Why, in the policy's own words.
    pub reason: String,
    /// The policy whose answer about this row made no sense, so that the one named here answered.
    pub refused: Option<Failure>,
}

/// What all rows of a batch share.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// When, in ms since 1970-01-01 UTC: for people, not for policies.
    pub unix_ms: u64,
    /// The broadcast or room.
    pub stream: Arc<str>,
    /// What the policy knew as now, chance and cause.
    pub tick: Tick,
    /// The rungs to choose from.
    pub ladder: Ladder,
    /// Rows in the batch.
    pub rows: usize,
    /// Who failed before somebody answered.
    pub faults: Vec<Failure>,
    /// The answer came after the deadline: what was decided before went on.
    pub late: bool,
    /// How long the whole batch took, in µs.
    pub took_us: u64,
}

/// Rungs, lowest bitrate first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ladder {
    /// Their names.
    pub names: Vec<Arc<str>>,
    /// All their columns, rung after rung.
    pub columns: Vec<f64>,
}

/// Who decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Author {
    /// Whether it counts.
    pub mode: Mode,
    /// Which link of the chain it was.
    pub level: Level,
    /// The policy's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// Its generation; 0 for the built-in.
    pub generation: u64,
    /// What it was configured with.
    pub config: Settings,
    /// What the call read from its key-value space.
    pub reads: Reads,
    /// Steps that the whole batch took.
    pub steps: u64,
}

/// Whether a decision counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It took effect.
    Active,
    /// A candidate would have decided so.
    Shadow,
}

/// A policy's configuration, as far as a log holds it.
#[derive(Debug, Clone, PartialEq)]
pub enum Settings {
    /// The value.
    Known(Arc<Value>),
    /// Only its digest.
    Withheld(String),
}

/// A policy that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its generation.
    pub generation: u64,
    /// Its digest.
    pub digest: String,
    /// The fault in one word.
    pub fault: String,
    /// What happened.
    pub what: String,
}

/// What was asked and answered.
#[derive(Debug, Clone, PartialEq)]
pub enum About {
    /// Numbers.
    Row(Row),
    /// Words: `auth`. Boxed, as it is rare and large.
    Request(Box<Asked>),
}

/// A row of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// All columns of the kind.
    pub input: Vec<f64>,
    /// What the one that answered had carried.
    pub memo: Vec<f64>,
    /// Its answer.
    pub output: Vec<f64>,
    /// What it carries on.
    pub memo_after: Vec<f64>,
    /// What took effect, where this is a shadow's answer.
    pub active: Option<Vec<f64>>,
}

/// A request to `auth`.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// What was asked, without what is withheld.
    pub request: Request,
    /// Names of claims that are not written, and `answered` for what a URL answered.
    pub withheld: BTreeSet<String>,
    /// The verdict; `None` where the policy failed, which means no.
    pub verdict: Option<Verdict>,
}

impl Settings {
    /// What a log may hold of a configuration: all of it, but for `auth` only the digest of one that says anything.
    pub fn of(kind: Kind, config: &Arc<Value>) -> Self {
        let is_empty =
            config.is_null() || config.as_object().is_some_and(serde_json::Map::is_empty);
        if kind == Kind::Auth && !is_empty {
            return Self::Withheld(digest(config));
        }
        Self::Known(Arc::clone(config))
    }

    /// Whether `config` is what this stands for.
    pub fn is(&self, config: &Value) -> bool {
        match self {
            Self::Known(known) => **known == *config,
            Self::Withheld(known) => *known == digest(config),
        }
    }
}

impl Asked {
    /// What a log may hold of a request: the claims on the list.
    pub fn of(mut request: Request, verdict: Option<Verdict>, claims: &[String]) -> Self {
        let mut withheld = BTreeSet::new();
        request.claims.retain(|name, _| {
            let is_listed = claims.contains(name);
            if !is_listed {
                withheld.insert(name.clone());
            }
            is_listed
        });
        if request.answered.take().is_some() {
            withheld.insert("answered".to_owned());
        }
        let verdict = verdict.map(|verdict| match verdict {
            Verdict::Ask { url } => {
                let plain = url.split(['?', '#']).next().unwrap_or_default();
                if plain.len() < url.len() || plain.contains('@') {
                    withheld.insert("url".to_owned());
                }
                // A user and password stand before the last @ of the authority.
                let (scheme, rest) = plain.split_once("://").unwrap_or(("", plain));
                let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
                let host = authority.rsplit('@').next().unwrap_or_default();
                Verdict::Ask {
                    url: format!("{scheme}://{host}/{path}"),
                }
            }
            other => other,
        });
        Self {
            request,
            withheld,
            verdict,
        }
    }
}

impl Ladder {
    /// One column of all rungs.
    pub fn column(&self, name: &str) -> Vec<f64> {
        let at = column::place(column::RUNG, name).unwrap_or(usize::MAX);
        self.columns
            .chunks_exact(column::width(column::RUNG).max(1))
            .map(|rung| rung.get(at).copied().unwrap_or(f64::NAN))
            .collect()
    }
}

impl Row {
    /// A number of the answer; NaN where it is absent.
    pub fn answer(&self, kind: Kind, name: &str) -> f64 {
        number(kind.outputs(), &self.output, name)
    }

    /// A number of the question; NaN where it is absent.
    pub fn asked(&self, kind: Kind, name: &str) -> f64 {
        number(kind.inputs(), &self.input, name)
    }
}

/// A number of a row by the name of its column; NaN where it is absent.
pub fn number(columns: &[column::Column], row: &[f64], name: &str) -> f64 {
    column::place(columns, name)
        .and_then(|at| row.get(at))
        .copied()
        .unwrap_or(f64::NAN)
}

/// SHA-256 of a value's JSON, whose keys stand in order.
fn digest(config: &Value) -> String {
    let mut text = String::new();
    for byte in Sha256::digest(config.to_string().as_bytes()) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The version of a line's form.
const FORM: u32 = 1;
