//! `lockgate policy replay`: asks again what a decision log says was asked, and shows what would differ.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context as _;
use clap::Args;
use lockgate_policy::{
    Artifact, Builtin, Kind,
    auth::Verdict,
    column,
    decision::{About, Entry, Ladder, Mode, Redecided, Settings, number, redecide, same_answer},
};
use serde_json::{Value, json};

use super::{
    read,
    report::{Difference, Report},
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Decision logs: files, folders of them, or - for standard input.
    #[arg(required = true, value_name = "LOG")]
    logs: Vec<PathBuf>,
    /// The policy that is to decide: a Luau script, a Wasm component, or `builtin`.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Gives it the limits of a large policy, as `large = true` does in [policies.limits].
    #[arg(long)]
    large: bool,
    /// Its configuration, as JSON. Without it, the one in the log where that is of the same policy, and else none.
    #[arg(long, value_name = "JSON")]
    config: Option<String>,
    /// Most differences shown.
    #[arg(long, default_value_t = 20)]
    limit: usize,
    /// For machines.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let artifact: Arc<dyn Artifact> = if arguments.policy == Path::new("builtin") {
        Arc::new(Builtin::default())
    } else {
        read(&arguments.policy, arguments.large)?
    };
    let config = match &arguments.config {
        Some(text) => Some(serde_json::from_str(text).context("--config is not JSON")?),
        None => None,
    };
    let mut replay = Replay {
        report: Report::new(&*artifact, arguments.limit),
        artifact,
        config,
        carried: HashMap::new(),
        picked: HashMap::new(),
    };
    for path in &arguments.logs {
        if path == Path::new("-") {
            replay.lines("standard input", io::stdin().lock())?;
            continue;
        }
        for file in files(path)? {
            let place = file.display().to_string();
            let opened = File::open(&file).with_context(|| format!("{place} cannot be read"))?;
            replay.lines(&place, BufReader::new(opened))?;
        }
    }
    let report = replay.report;
    report.print(&mut io::stdout().lock(), arguments.json)?;
    Ok(report.code())
}

/// A file, or what a folder has of decision logs, oldest first.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let told = || format!("{} cannot be read", path.display());
    let mut files = Vec::new();
    for found in fs::read_dir(path).with_context(told)? {
        let file = found.with_context(told)?.path();
        if file.extension().is_some_and(|ending| ending == "ndjson") {
            files.push(file);
        }
    }
    anyhow::ensure!(
        !files.is_empty(),
        "there is no decision log (*.ndjson) in {}",
        path.display()
    );
    files.sort();
    Ok(files)
}

/// Names a row from entry to entry.
type Key = (Kind, Arc<str>, String);

struct Replay {
    artifact: Arc<dyn Artifact>,
    config: Option<Value>,
    /// What the policy has carried for each row, where the log's own memo is another policy's.
    carried: HashMap<Key, Vec<f64>>,
    /// The last rung of each viewer, then and now.
    picked: HashMap<Key, [Option<String>; 2]>,
    report: Report,
}

impl Replay {
    fn lines(&mut self, place: &str, mut input: impl BufRead) -> anyhow::Result<()> {
        let mut line = Vec::new();
        for number in 1u64.. {
            line.clear();
            let len = input
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line)
                .with_context(|| format!("{place} cannot be read"))?;
            if len == 0 {
                break;
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            match Entry::parse(text) {
                Ok(entry) => self.entry(&format!("{place}:{number}"), &entry),
                // What a slow reader of the API was told.
                Err(error) => match serde_json::from_slice::<Value>(text) {
                    Ok(Value::Object(map)) if map.contains_key("lost") => {
                        self.report.lost += map.get("lost").and_then(Value::as_u64).unwrap_or(0);
                    }
                    _ => self.report.unreadable(format!("{place}:{number}: {error}")),
                },
            }
        }
        Ok(())
    }

    fn entry(&mut self, place: &str, entry: &Entry) {
        let manifest = self.artifact.manifest();
        let author = &entry.author;
        let is_same = author.digest == self.artifact.digest()
            && (author.name.as_str(), author.version.as_str())
                == (manifest.name.as_str(), manifest.version.as_str());
        if !manifest.kinds.contains_key(&entry.kind) {
            return self.report.skip("of kinds that it does not answer");
        }
        if author.mode == Mode::Shadow && !is_same {
            return self.report.skip("of another candidate, without effect");
        }
        let is_of_it = author.name == manifest.name;
        let config = match (&self.config, &author.config) {
            (Some(config), _) => config.clone(),
            (None, Settings::Known(config)) if is_of_it => Value::clone(config),
            (None, Settings::Withheld(_)) if is_of_it => {
                return self
                    .report
                    .skip("whose configuration the log withholds; give it as --config");
            }
            (None, _) => json!({}),
        };
        let key = (
            entry.kind,
            Arc::clone(&entry.call.stream),
            entry.row.clone(),
        );
        let memo = match &entry.about {
            About::Request(asked) if !asked.withheld.is_empty() => {
                return self.report.skip(
                    "whose claims the log withholds; policies.log.claims lists those it keeps",
                );
            }
            About::Request(_) => Vec::new(),
            About::Row(row) if is_of_it && row.memo.len() == manifest.memo(entry.kind) => {
                row.memo.clone()
            }
            About::Row(_) => self.carried.get(&key).cloned().unwrap_or_default(),
        };
        let now = redecide(entry, &*self.artifact, &config, &memo);
        if let Redecided::Row { memo, .. } = &now {
            self.carried.insert(key.clone(), memo.clone());
        }
        let has_failed = self.report.has_failed(entry);
        let is_exact = is_same && author.config.is(&config);
        let differs = match (&entry.about, &now) {
            (_, Redecided::Failed(_)) => !has_failed,
            (About::Row(row), Redecided::Row { output, memo }) => {
                !same_answer(entry.kind, &row.output, output)
                    || (is_exact && !(same(&row.output, output) && same(&row.memo_after, memo)))
            }
            (About::Request(asked), Redecided::Verdict(verdict)) => {
                asked.verdict.as_ref() != Some(verdict)
            }
            _ => true,
        };
        self.cost(entry, &key, &now);
        self.report.decided(entry.kind, differs);
        if differs {
            let (was, now) = (self.was(entry), self.now(entry, &now));
            self.report.differ(Difference {
                at: place.to_owned(),
                unix_ms: entry.call.unix_ms,
                kind: entry.kind,
                stream: entry.call.stream.to_string(),
                row: entry.row.clone(),
                by: format!("{} {}", author.name, author.version),
                was,
                now,
                is_exact,
            });
        }
    }

    fn was(&self, entry: &Entry) -> String {
        match &entry.about {
            About::Row(row) => say(entry.kind, &entry.call.ladder, &row.output, &entry.reason),
            About::Request(asked) => verdict(asked.verdict.as_ref()),
        }
    }

    fn now(&self, entry: &Entry, now: &Redecided) -> String {
        let kind = entry.kind;
        match now {
            Redecided::Row { output, .. } => {
                let code = number(kind.outputs(), output, "reason");
                let reason = self.artifact.manifest().reason(kind, code);
                say(kind, &entry.call.ladder, output, &reason)
            }
            Redecided::Verdict(said) => verdict(Some(said)),
            Redecided::Failed(fault) => format!("no answer: {fault}"),
        }
    }

    /// What the answers would have cost, then and now.
    fn cost(&mut self, entry: &Entry, key: &Key, now: &Redecided) {
        let kind = entry.kind;
        let mut note = |what, was, now| self.report.measure(kind, what, was, now);
        match (&entry.about, now) {
            (About::Request(asked), Redecided::Verdict(verdict)) => {
                let allows = |verdict: Option<&Verdict>| match verdict {
                    Some(Verdict::Allow { .. }) => 100.0,
                    _ => 0.0,
                };
                note(
                    "% allowed",
                    allows(asked.verdict.as_ref()),
                    allows(Some(verdict)),
                );
            }
            (About::Row(row), Redecided::Row { output, .. }) => {
                let both = |name: &str| {
                    [&row.output, output].map(|output| number(kind.outputs(), output, name))
                };
                match kind {
                    Kind::Abr => {
                        let ladder = &entry.call.ladder;
                        let picks = both("rung").map(|rung| pick(ladder, rung));
                        let [was, now] = picks.each_ref().map(|pick| pick.kbps);
                        note("mean kbit/s", was, now);
                        let [was, now] = picks.each_ref().map(|pick| share(pick.name.is_none()));
                        note("% video paused", was, now);
                        let bandwidth = row.asked(kind, "bandwidth_kbps");
                        if !bandwidth.is_nan() {
                            let over = picks.each_ref().map(|pick| share(pick.needs > bandwidth));
                            note("% above the estimated bandwidth", over[0], over[1]);
                        }
                        let names = picks.map(|pick| pick.name);
                        if let Some(before) = self.picked.insert(key.clone(), names.clone()) {
                            let [was, now] =
                                [0, 1].map(|at| share(before.get(at) != names.get(at)));
                            note("% switches", was, now);
                        }
                    }
                    Kind::Optimize => {
                        for (what, name) in [
                            ("mean level", "level"),
                            ("% saved", "reduction_pct"),
                            ("mean cap in kbit/s", "cap_kbps"),
                        ] {
                            let [was, now] = both(name);
                            note(what, was, now);
                        }
                    }
                    Kind::Score => {
                        let [was, now] = both("score");
                        note("mean score", was, now);
                    }
                    _ => {
                        let [was, now] =
                            [&row.output, output].map(|output| encoded(&entry.call.ladder, output));
                        note("rungs encoded", was.0, now.0);
                        note("megapixels a second encoded", was.1, now.1);
                    }
                }
            }
            _ => {}
        }
    }
}

struct Pick {
    name: Option<String>,
    kbps: f64,
    needs: f64,
}

/// The rung of an answer. No rung pauses video, which costs nothing.
fn pick(ladder: &Ladder, rung: f64) -> Pick {
    let at = rung_at(ladder, rung);
    let of = |column: &str| at.and_then(|at| ladder.column(column).get(at).copied());
    let needs = of("need_kbps").unwrap_or(0.0);
    Pick {
        name: at
            .and_then(|at| ladder.names.get(at))
            .map(ToString::to_string),
        kbps: of("kbps").filter(|kbps| !kbps.is_nan()).unwrap_or(needs),
        needs,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a rung's number"
)]
fn rung_at(ladder: &Ladder, rung: f64) -> Option<usize> {
    let at = (rung >= 0.0 && rung.fract() == 0.0).then_some(rung as usize)?;
    (at < ladder.names.len()).then_some(at)
}

/// Rungs that a plan encodes, and their megapixels a second.
fn encoded(ladder: &Ladder, output: &[f64]) -> (f64, f64) {
    let keep = output
        .get(column::width(column::PLAN)..)
        .unwrap_or_default();
    let [width, height, fps] = ["width", "height", "fps"].map(|name| ladder.column(name));
    let mut sum = (0.0, 0.0);
    for (at, _) in keep.iter().enumerate().filter(|(_, keep)| **keep == 1.0) {
        let of = |column: &[f64]| column.get(at).copied().unwrap_or(f64::NAN);
        let pixels = of(&width) * of(&height) * of(&fps) / 1e6;
        sum = (
            sum.0 + 1.0,
            sum.1 + if pixels.is_nan() { 0.0 } else { pixels },
        );
    }
    sum
}

fn share(is: bool) -> f64 {
    if is { 100.0 } else { 0.0 }
}

fn same(a: &[f64], b: &[f64]) -> bool {
    let pairs = || a.iter().zip(b);
    a.len() == b.len()
        && pairs().all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

/// An answer in a line.
fn say(kind: Kind, ladder: &Ladder, output: &[f64], reason: &str) -> String {
    let mut words = Vec::new();
    for column in kind.outputs() {
        let value = number(kind.outputs(), output, column.name);
        match column.name {
            "reason" => {}
            "rung" => words.push(match rung_at(ladder, value) {
                Some(at) => ladder
                    .names
                    .get(at)
                    .map_or_else(String::new, ToString::to_string),
                None => "video paused".to_owned(),
            }),
            name if !value.is_nan() => words.push(format!("{name} {value}")),
            _ => {}
        }
    }
    let keep = output
        .get(column::width(kind.outputs())..)
        .unwrap_or_default();
    if kind == Kind::Ladder {
        let kept = ladder
            .names
            .iter()
            .zip(keep)
            .filter(|(_, keep)| **keep == 1.0);
        let names: Vec<&str> = kept.map(|(name, _)| &**name).collect();
        words.push(format!("encodes {}", names.join(" ")));
    }
    format!("{} ({reason})", words.join(", "))
}

fn verdict(verdict: Option<&Verdict>) -> String {
    match verdict {
        None => "denied, as the policy failed".to_owned(),
        Some(Verdict::Allow {
            ttl_s,
            role,
            cap_kbps,
        }) => {
            let cap = cap_kbps.map_or_else(String::new, |cap| format!(", at most {cap} kbit/s"));
            let role = if role.is_empty() {
                String::new()
            } else {
                format!(" as {role}")
            };
            format!("allowed for {ttl_s} s{role}{cap}")
        }
        Some(Verdict::Deny { status, reason }) => format!("denied with {status} ({reason})"),
        Some(Verdict::Ask { .. }) => "a URL is to be asked".to_owned(),
    }
}

/// Longer lines are no decisions: the longest have some 10 kB.
const LINE_BYTES_MAX: u64 = 4 << 20;
