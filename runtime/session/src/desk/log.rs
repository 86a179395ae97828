//! The decision log: what was asked, what was answered, why, and by whom. A ring in memory, those who follow it, and files.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher as _},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use lockgate_policy::{
    Batch, Fault, Kind, Tick,
    auth::{Request, Verdict},
    column::{self, Column},
    decision::{self, Asked, Author, Call, Entry, Failure, Ladder, Mode, Row, Settings, number},
    engine,
    slot::{Authorized, Decided, Failed, Level, Said},
};
use tokio::sync::broadcast;

use super::{About, files::Writer};

/// What is logged.
#[derive(Debug, Clone, PartialEq)]
pub struct LogConfig {
    /// Which decisions.
    pub record: Record,
    /// The share of decisions that nothing speaks for and that are logged all the same, 0 to 1.
    pub sample: f64,
    /// Claims of a token that are logged with what `auth` decided.
    pub claims: Vec<String>,
    /// Where to; `None` keeps the newest in memory only.
    pub files: Option<FilesConfig>,
}

/// Which decisions are logged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Record {
    /// Changes, faults, where a shadow differs, and a sample.
    #[default]
    Changes,
    /// Every one.
    All,
}

/// The files of a decision log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilesConfig {
    /// The folder; made if it is not there.
    pub folder: std::path::PathBuf,
    /// Size from which on the next file is begun, in bytes.
    pub file_bytes: u64,
    /// Files kept, the one being written included.
    pub files: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            record: Record::Changes,
            sample: 0.01,
            claims: Vec::new(),
            files: None,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy)]
pub(super) struct Told<'a> {
    /// What went out.
    pub(super) decided: &'a Decided,
    /// What the shadow said to the same.
    pub(super) shadow: Option<&'a Said>,
    /// How long what went out took.
    pub(super) took_us: u64,
    /// It went out after the deadline.
    pub(super) late: bool,
}

/// The log of one kind.
pub(super) struct Log {
    kind: Kind,
    config: Arc<LogConfig>,
    writer: Option<Arc<Writer>>,
    ring: VecDeque<Arc<Entry>>,
    followers: broadcast::Sender<Arc<Entry>>,
    /// The last answer about each row and whose it was, to tell a change.
    last: HashMap<(u64, Mode), u64>,
    /// What is due of the sample.
    due: f64,
}

/// What is remembered, and what is to come.
pub type Follow = (Vec<Arc<Entry>>, broadcast::Receiver<Arc<Entry>>);

impl Log {
    pub(super) fn new(kind: Kind, config: Arc<LogConfig>, writer: Option<Arc<Writer>>) -> Self {
        Self {
            kind,
            config,
            writer,
            ring: VecDeque::new(),
            followers: broadcast::Sender::new(BEHIND_MAX),
            last: HashMap::new(),
            due: 0.0,
        }
    }

    pub(super) fn entries(&self) -> Vec<Arc<Entry>> {
        self.ring.iter().cloned().collect()
    }

    /// What is remembered and what comes, without a gap; `None` when too many follow already.
    pub(super) fn follow(&self) -> Option<Follow> {
        (self.followers.receiver_count() < FOLLOWERS_MAX)
            .then(|| (self.entries(), self.followers.subscribe()))
    }

    /// Ends what follows.
    pub(super) fn end_follows(&mut self) {
        self.followers = broadcast::Sender::new(BEHIND_MAX);
    }

    /// Logs what speaks for itself of a decided batch.
    pub(super) fn append(&mut self, batch: &Batch, keys: &[u64], about: &About, told: &Told<'_>) {
        let Told {
            decided,
            shadow,
            took_us,
            late,
        } = *told;
        if self.last.len() > ROWS_MAX {
            self.last.clear();
        }
        let kind = self.kind;
        let width = kind.output_width(batch.rung_count).max(1);
        // Made when the first row needs it: mostly there is nothing to say.
        let mut shared = Shared::new(kind, batch, about, decided, took_us, late);
        for (at, output) in decided.rows.chunks_exact(width).enumerate() {
            let key = keys.get(at).copied().unwrap_or_else(|| hash(&about.stream));
            let refusal = decided.refusal(at);
            let refused = refusal.is_some();
            let speaks = self.has_changed((key, Mode::Active), output, &[decided.generation])
                || refused
                || !decided.faults.is_empty()
                || kind == Kind::Ladder;
            if speaks || self.is_sampled() {
                let said = match &decided.instead {
                    Some(instead) if refused => Speaker::Instead(instead),
                    _ => Speaker::Active,
                };
                self.push(shared.entry(at, output, &said, refusal));
            }
            let Some(shadow) = shadow else {
                continue;
            };
            let other = shadow.rows.get(at * width..(at + 1) * width);
            let Some(other) = other.filter(|other| !decision::same_answer(kind, output, other))
            else {
                continue;
            };
            let both = [said_first(output), said_first(other)];
            if self.has_changed((key, Mode::Shadow), other, &both) || self.is_sampled() {
                self.push(shared.entry(at, other, &Speaker::Shadow(shadow, output), None));
            }
        }
    }

    /// Logs what `auth` decided: always, as each verdict holds for a while.
    pub(super) fn append_request(
        &mut self,
        request: Request,
        authorized: &Authorized,
        took_us: u64,
        late: bool,
        now_ms: u64,
    ) {
        let manifest = authorized.artifact.manifest();
        let level = if authorized.generation == 0 {
            Level::Builtin
        } else {
            Level::Active
        };
        let verdict = authorized.verdict.as_ref().ok().cloned();
        let faults = authorized.verdict.as_ref().err().map(|fault| Failure {
            generation: authorized.generation,
            digest: authorized.artifact.digest().to_owned(),
            fault: fault.word().to_owned(),
            what: fault.to_string(),
        });
        let reason = match &verdict {
            Some(Verdict::Allow { .. }) => "allowed".to_owned(),
            Some(Verdict::Deny { reason, .. }) => reason.clone(),
            Some(Verdict::Ask { .. }) => "a URL is to be asked".to_owned(),
            None => "denied, as the policy failed".to_owned(),
        };
        let tick = Tick {
            now_ms,
            seed: 0,
            mode: engine::Mode::default(),
            cause: engine::Cause::default(),
        };
        self.push(Entry {
            kind: self.kind,
            row: match serde_json::to_value(request.action) {
                Ok(serde_json::Value::String(word)) => word,
                _ => String::new(),
            },
            call: Arc::new(Call {
                unix_ms: unix_ms(),
                stream: request.stream.as_str().into(),
                tick,
                ladder: Ladder::default(),
                rows: 1,
                faults: faults.into_iter().collect(),
                late,
                took_us,
            }),
            author: Arc::new(Author {
                mode: Mode::Active,
                level,
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                digest: authorized.artifact.digest().to_owned(),
                generation: authorized.generation,
                config: Settings::of(self.kind, &authorized.config),
                reads: authorized.reads.clone(),
                steps: authorized.steps,
            }),
            about: decision::About::Request(Box::new(Asked::of(
                request,
                verdict,
                &self.config.claims,
            ))),
            reason,
            refused: None,
        });
    }

    fn push(&mut self, entry: Entry) {
        let entry = Arc::new(entry);
        if let Some(writer) = &self.writer {
            writer.write(Arc::clone(&entry));
        }
        // Nobody follows: that is no error.
        drop(self.followers.send(Arc::clone(&entry)));
        self.ring.push_back(entry);
        if self.ring.len() > ENTRIES_MAX {
            self.ring.pop_front();
        }
    }

    fn has_changed(&mut self, row: (u64, Mode), output: &[f64], besides: &[u64]) -> bool {
        let judged = hash(&(gist(self.kind, output), besides));
        self.last.insert(row, judged) != Some(judged)
    }

    fn is_sampled(&mut self) -> bool {
        if self.config.record == Record::All {
            return true;
        }
        self.due += self.config.sample;
        let is_due = self.due >= 1.0;
        if is_due {
            self.due -= 1.0;
        }
        is_due
    }
}

/// Who speaks of a row.
enum Speaker<'a> {
    Active,
    /// The built-in, where the policy's own answer made no sense.
    Instead(&'a Said),
    /// A candidate, and what took effect.
    Shadow(&'a Said, &'a [f64]),
}

/// What the entries of a batch share, made once.
struct Shared<'a> {
    kind: Kind,
    batch: &'a Batch,
    about: &'a About,
    decided: &'a Decided,
    took_us: u64,
    late: bool,
    call: Option<Arc<Call>>,
    authors: [Option<Arc<Author>>; 3],
}

impl<'a> Shared<'a> {
    fn new(
        kind: Kind,
        batch: &'a Batch,
        about: &'a About,
        decided: &'a Decided,
        took_us: u64,
        late: bool,
    ) -> Self {
        Self {
            kind,
            batch,
            about,
            decided,
            took_us,
            late,
            call: None,
            authors: [None, None, None],
        }
    }

    fn entry(
        &mut self,
        at: usize,
        output: &[f64],
        speaker: &Speaker<'_>,
        refused: Option<&Fault>,
    ) -> Entry {
        let (kind, batch, decided) = (self.kind, self.batch, self.decided);
        let (said, place, mode, level, active) = match speaker {
            Speaker::Active => (&decided.said, 0, Mode::Active, decided.level, None),
            Speaker::Instead(said) => (*said, 1, Mode::Active, Level::Builtin, None),
            Speaker::Shadow(said, active) => {
                (*said, 2, Mode::Shadow, Level::Active, Some(active.to_vec()))
            }
        };
        let (memo, memo_after) = said.memo_of(at, batch.row_count);
        let input_width = column::width(kind.inputs());
        let code = number(kind.outputs(), output, "reason");
        Entry {
            kind,
            row: self.about.rows.get(at).cloned().unwrap_or_default(),
            call: self.call(),
            author: self.author(place, said, mode, level),
            about: decision::About::Row(Row {
                input: batch
                    .rows
                    .get(at * input_width..(at + 1) * input_width)
                    .unwrap_or_default()
                    .to_vec(),
                memo: memo.to_vec(),
                output: output.to_vec(),
                memo_after: memo_after.to_vec(),
                active,
            }),
            reason: said.artifact.manifest().reason(kind, code),
            refused: refused.map(|fault| Failure {
                generation: decided.generation,
                digest: decided.digest.clone(),
                fault: fault.word().to_owned(),
                what: fault.to_string(),
            }),
        }
    }

    fn call(&mut self) -> Arc<Call> {
        let (batch, decided) = (self.batch, self.decided);
        Arc::clone(self.call.get_or_insert_with(|| {
            Arc::new(Call {
                unix_ms: unix_ms(),
                stream: Arc::clone(&self.about.stream),
                tick: batch.tick,
                ladder: Ladder {
                    names: batch.rung_names.clone(),
                    columns: batch.rungs.clone(),
                },
                rows: batch.row_count,
                faults: decided.faults.iter().map(failure).collect(),
                late: self.late,
                took_us: self.took_us,
            })
        }))
    }

    fn author(&mut self, place: usize, said: &Said, mode: Mode, level: Level) -> Arc<Author> {
        let kind = self.kind;
        let make = || {
            let manifest = said.artifact.manifest();
            Arc::new(Author {
                mode,
                level,
                name: manifest.name.clone(),
                version: manifest.version.clone(),
                digest: said.artifact.digest().to_owned(),
                generation: said.generation,
                config: Settings::of(kind, &said.config),
                reads: said.reads.clone(),
                steps: said.steps,
            })
        };
        match self.authors.get_mut(place) {
            Some(author) => Arc::clone(author.get_or_insert_with(make)),
            None => make(),
        }
    }
}

/// What of an answer counts as a change of it: the rung, the level, the ten of the score.
fn gist(kind: Kind, output: &[f64]) -> u64 {
    match kind {
        Kind::Score => (said_number(output) / 10.0).floor().to_bits(),
        _ => said_first(output),
    }
}

fn said_first(output: &[f64]) -> u64 {
    said_number(output).to_bits()
}

fn said_number(output: &[f64]) -> f64 {
    output.first().copied().unwrap_or(f64::NAN)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn failure(failed: &Failed) -> Failure {
    Failure {
        generation: failed.generation,
        digest: failed.digest.clone(),
        fault: failed.fault.word().to_owned(),
        what: failed.fault.to_string(),
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A row of an answer in words: its numbers by column, and its reason.
pub(crate) fn reading(
    decided: &Decided,
    kind: Kind,
    row: &[f64],
) -> serde_json::Map<String, serde_json::Value> {
    let mut map = named(kind.outputs(), row);
    let code = number(kind.outputs(), row, "reason");
    let reason = decided.artifact.manifest().reason(kind, code);
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
        }
    }
    map
}

/// About a minute of a hundred viewers, if all were logged.
const ENTRIES_MAX: usize = 4096;
/// How far who follows may be behind before it loses entries.
const BEHIND_MAX: usize = 4096;
/// Who may follow a kind at a time.
const FOLLOWERS_MAX: usize = 32;
/// Rows whose last answer is remembered.
const ROWS_MAX: usize = 100_000;
