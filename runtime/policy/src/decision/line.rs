//! An entry as a line of a log, and back.

use std::{collections::BTreeSet, sync::Arc};

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap as _};
use serde_json::Value;

use super::{
    About, Asked, Author, Call, Entry, FORM, Failure, Ladder, Mode, Row, Settings,
    number::{Cell, Cells, Exact, List, Named, row},
};
use crate::{
    Kind, Tick,
    auth::{Request, Verdict},
    column,
    host::Reads,
    slot::Level,
};

/// Why a line of a log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LineError(String);

impl Entry {
    /// Reads a line. What is known is checked: an entry that comes out can be asked again.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        let wire: Wire =
            serde_json::from_slice(line).map_err(|error| LineError(error.to_string()))?;
        wire.entry().map_err(LineError)
    }
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (call, author) = (&*self.call, &*self.author);
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("v", &FORM)?;
        map.serialize_entry("unix_ms", &call.unix_ms)?;
        map.serialize_entry("kind", &self.kind)?;
        map.serialize_entry("stream", &call.stream)?;
        map.serialize_entry("row", &self.row)?;
        map.serialize_entry("reason", &self.reason)?;
        match &self.about {
            About::Row(row) => {
                map.serialize_entry("output", &Output(self.kind, &row.output))?;
                if let Some(active) = &row.active {
                    map.serialize_entry("active_output", &Output(self.kind, active))?;
                }
                map.serialize_entry("input", &Named(self.kind.inputs(), &row.input))?;
                map.serialize_entry("rungs", &Rungs(&call.ladder))?;
                map.serialize_entry("memo", &List(&row.memo))?;
                map.serialize_entry("memo_after", &List(&row.memo_after))?;
            }
            About::Request(asked) => {
                map.serialize_entry("verdict", &asked.verdict)?;
                map.serialize_entry("request", &asked.request)?;
                map.serialize_entry("withheld", &asked.withheld)?;
            }
        }
        map.serialize_entry("tick", &call.tick)?;
        map.serialize_entry("mode", &author.mode)?;
        map.serialize_entry("level", &author.level)?;
        map.serialize_entry("name", &author.name)?;
        map.serialize_entry("version", &author.version)?;
        map.serialize_entry("digest", &author.digest)?;
        map.serialize_entry("generation", &author.generation)?;
        match &author.config {
            Settings::Known(config) => map.serialize_entry("config", config)?,
            Settings::Withheld(digest) => map.serialize_entry("config_digest", digest)?,
        }
        if !author.reads.is_empty() {
            map.serialize_entry("reads", &author.reads)?;
        }
        let faults: Vec<&Failure> = call.faults.iter().chain(&self.refused).collect();
        if !faults.is_empty() {
            map.serialize_entry("faults", &faults)?;
        }
        map.serialize_entry("refused", &self.refused.is_some())?;
        map.serialize_entry("late", &call.late)?;
        map.serialize_entry("took_us", &call.took_us)?;
        map.serialize_entry("steps", &author.steps)?;
        map.serialize_entry("rows", &call.rows)?;
        map.end()
    }
}

/// An answer by column; `ladder` adds which rungs to encode.
struct Output<'a>(Kind, &'a [f64]);

impl Serialize for Output<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(kind, numbers) = *self;
        let mut map = serializer.serialize_map(None)?;
        Named(kind.outputs(), numbers).write(&mut map)?;
        let more = numbers
            .get(column::width(kind.outputs())..)
            .unwrap_or_default();
        if !more.is_empty() {
            map.serialize_entry(ENCODE, &List(more))?;
        }
        map.end()
    }
}

struct Rungs<'a>(&'a Ladder);

impl Serialize for Rungs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let width = column::width(column::RUNG).max(1);
        let rungs = self.0.columns.chunks_exact(width).zip(&self.0.names);
        serializer.collect_seq(rungs.map(|(columns, name)| Rung { name, columns }))
    }
}

struct Rung<'a> {
    name: &'a str,
    columns: &'a [f64],
}

impl Serialize for Rung<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.name)?;
        Named(column::RUNG, self.columns).write(&mut map)?;
        map.end()
    }
}

/// A line as it is read. What it does not know is passed over.
#[derive(Deserialize)]
struct Wire {
    v: u32,
    unix_ms: u64,
    kind: Kind,
    stream: Arc<str>,
    row: String,
    reason: String,
    tick: Tick,
    mode: Mode,
    level: Level,
    name: String,
    version: String,
    digest: String,
    generation: u64,
    #[serde(default)]
    config: Option<Value>,
    #[serde(default)]
    config_digest: Option<String>,
    #[serde(default)]
    reads: Reads,
    #[serde(default)]
    faults: Vec<Failure>,
    #[serde(default)]
    refused: bool,
    #[serde(default)]
    late: bool,
    took_us: u64,
    steps: u64,
    rows: usize,
    #[serde(default)]
    output: Cells,
    #[serde(default)]
    active_output: Option<Cells>,
    #[serde(default)]
    input: Cells,
    #[serde(default)]
    rungs: Vec<WireRung>,
    #[serde(default)]
    memo: Vec<Exact>,
    #[serde(default)]
    memo_after: Vec<Exact>,
    #[serde(default)]
    request: Option<Request>,
    #[serde(default)]
    withheld: BTreeSet<String>,
    #[serde(default)]
    verdict: Option<Verdict>,
}

#[derive(Deserialize)]
struct WireRung {
    name: Arc<str>,
    #[serde(flatten)]
    columns: Cells,
}

impl Wire {
    fn entry(mut self) -> Result<Entry, String> {
        if self.v != FORM {
            return Err(format!("it has form {}; this build reads {FORM}", self.v));
        }
        let mut ladder = Ladder::default();
        for rung in &self.rungs {
            let columns =
                row(column::RUNG, &rung.columns).map_err(|what| format!("rungs: {what}"))?;
            ladder.columns.extend(columns);
            ladder.names.push(Arc::clone(&rung.name));
        }
        let rung_count = ladder.names.len();
        let refused = if self.refused {
            self.faults.pop()
        } else {
            None
        };
        let config = match (self.config, self.config_digest) {
            (_, Some(digest)) => Settings::Withheld(digest),
            (config, None) => Settings::Known(Arc::new(config.unwrap_or_default())),
        };
        let about = match (self.kind, self.request) {
            (Kind::Auth, Some(request)) => About::Request(Box::new(Asked {
                request,
                withheld: self.withheld,
                verdict: self.verdict,
            })),
            (Kind::Auth, None) => return Err("there is no request".to_owned()),
            (kind, _) => {
                let numbers = |list: Vec<Exact>| list.into_iter().map(|Exact(number)| number);
                if self.memo.len() != self.memo_after.len() {
                    return Err("memo and memo_after are not of one length".to_owned());
                }
                About::Row(Row {
                    input: row(kind.inputs(), &self.input)
                        .map_err(|what| format!("input: {what}"))?,
                    memo: numbers(self.memo).collect(),
                    output: output(kind, rung_count, self.output)?,
                    memo_after: numbers(self.memo_after).collect(),
                    active: self
                        .active_output
                        .map(|cells| output(kind, rung_count, cells))
                        .transpose()?,
                })
            }
        };
        Ok(Entry {
            kind: self.kind,
            row: self.row,
            call: Arc::new(Call {
                unix_ms: self.unix_ms,
                stream: self.stream,
                tick: self.tick,
                ladder,
                rows: self.rows,
                faults: self.faults,
                late: self.late,
                took_us: self.took_us,
            }),
            author: Arc::new(Author {
                mode: self.mode,
                level: self.level,
                name: self.name,
                version: self.version,
                digest: self.digest,
                generation: self.generation,
                config,
                reads: self.reads,
                steps: self.steps,
            }),
            about,
            reason: self.reason,
            refused,
        })
    }
}

fn output(kind: Kind, rung_count: usize, mut cells: Cells) -> Result<Vec<f64>, String> {
    let more = match cells.remove(ENCODE) {
        Some(Cell::Many(numbers)) => numbers,
        Some(Cell::One(_)) => return Err(format!("output: {ENCODE} is no list")),
        None => Vec::new(),
    };
    let mut numbers = row(kind.outputs(), &cells).map_err(|what| format!("output: {what}"))?;
    numbers.extend(more);
    let due = kind.output_width(rung_count);
    if numbers.len() == due {
        Ok(numbers)
    } else {
        Err(format!(
            "output: {} numbers where {due} are due",
            numbers.len()
        ))
    }
}

/// What `ladder` answers of each rung: 1 to encode it.
const ENCODE: &str = "encode";
