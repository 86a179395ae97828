//! What a replay has found, for people and for machines.

use std::{collections::BTreeMap, io, process::ExitCode};

use lockgate_policy::{Artifact, Kind, decision::Entry};
use serde::Serialize;

/// What a replay has found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    policy: String,
    version: String,
    digest: String,
    /// Decisions that were asked again.
    decisions: u64,
    differ: u64,
    /// Of them, those that this very policy with this very configuration once decided otherwise.
    not_deterministic: u64,
    kinds: BTreeMap<Kind, OfKind>,
    /// Decisions that were not asked again, by why.
    skipped: BTreeMap<&'static str, u64>,
    unreadable: u64,
    /// The first of them: where, and what is wrong.
    unreadable_lines: Vec<String>,
    /// Decisions that the reader who made this log lost.
    pub(super) lost: u64,
    differences: Vec<Difference>,
    #[serde(skip)]
    limit: usize,
}

#[derive(Debug, Default, Serialize)]
struct OfKind {
    decisions: u64,
    differ: u64,
    /// Means over the decisions asked again, then and now.
    cost: BTreeMap<&'static str, Mean>,
}

#[derive(Debug, Default, Serialize)]
struct Mean {
    was: f64,
    now: f64,
    #[serde(skip)]
    count: f64,
}

/// A decision that would be another now.
#[derive(Debug, Serialize)]
pub(super) struct Difference {
    pub(super) at: String,
    pub(super) unix_ms: u64,
    pub(super) kind: Kind,
    pub(super) stream: String,
    pub(super) row: String,
    /// Who decided then.
    pub(super) by: String,
    pub(super) was: String,
    pub(super) now: String,
    /// The same policy with the same configuration decided then.
    #[serde(rename = "not_deterministic")]
    pub(super) is_exact: bool,
}

impl Report {
    pub(super) fn new(artifact: &dyn Artifact, limit: usize) -> Self {
        let manifest = artifact.manifest();
        Self {
            policy: manifest.name.clone(),
            version: manifest.version.clone(),
            digest: artifact.digest().to_owned(),
            decisions: 0,
            differ: 0,
            not_deterministic: 0,
            kinds: BTreeMap::new(),
            skipped: BTreeMap::new(),
            unreadable: 0,
            unreadable_lines: Vec::new(),
            lost: 0,
            differences: Vec::new(),
            limit,
        }
    }

    pub(super) fn skip(&mut self, why: &'static str) {
        *self.skipped.entry(why).or_default() += 1;
    }

    pub(super) fn unreadable(&mut self, what: String) {
        self.unreadable += 1;
        if self.unreadable_lines.len() < UNREADABLE_SHOWN {
            self.unreadable_lines.push(what);
        }
    }

    /// Whether this very policy failed on the decision then.
    pub(super) fn has_failed(&self, entry: &Entry) -> bool {
        let mut failures = entry.call.faults.iter().chain(&entry.refused);
        failures.any(|failure| failure.digest == self.digest)
    }

    pub(super) fn decided(&mut self, kind: Kind, differs: bool) {
        let of = self.kinds.entry(kind).or_default();
        for (decisions, differ) in [
            (&mut self.decisions, &mut self.differ),
            (&mut of.decisions, &mut of.differ),
        ] {
            *decisions += 1;
            *differ += u64::from(differs);
        }
    }

    pub(super) fn differ(&mut self, difference: Difference) {
        self.not_deterministic += u64::from(difference.is_exact);
        if self.differences.len() < self.limit {
            self.differences.push(difference);
        }
    }

    /// Takes a number into its mean. What is absent on either side is left out.
    pub(super) fn measure(&mut self, kind: Kind, what: &'static str, was: f64, now: f64) {
        if !was.is_finite() || !now.is_finite() {
            return;
        }
        let mean = self
            .kinds
            .entry(kind)
            .or_default()
            .cost
            .entry(what)
            .or_default();
        mean.count += 1.0;
        mean.was += (was - mean.was) / mean.count;
        mean.now += (now - mean.now) / mean.count;
    }

    /// 1 if something differs, or if there was nothing to ask.
    pub(super) fn code(&self) -> ExitCode {
        if self.differ > 0 || self.decisions == 0 {
            ExitCode::from(1)
        } else {
            ExitCode::SUCCESS
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
    pub(super) fn print(&self, out: &mut impl io::Write, json: bool) -> io::Result<()> {
        if json {
            serde_json::to_writer_pretty(&mut *out, self)?;
            return writeln!(out);
        }
        writeln!(out, "{} decisions, {} differ", self.decisions, self.differ)?;
        for (kind, of) in &self.kinds {
            let percent = 100.0 * of.differ as f64 / of.decisions.max(1) as f64;
            writeln!(
                out,
                "  {kind}: {} decisions, {} differ ({percent:.1} %)",
                of.decisions, of.differ
            )?;
            for (what, mean) in &of.cost {
                writeln!(
                    out,
                    "    {what:<32} {:>10.1} → {:>10.1}",
                    mean.was, mean.now
                )?;
            }
        }
        for one in &self.differences {
            let loud = if one.is_exact {
                "NOT DETERMINISTIC: "
            } else {
                ""
            };
            writeln!(
                out,
                "{}: {loud}{} {} {}\n    was {} by {}\n    now {}",
                one.at, one.kind, one.stream, one.row, one.was, one.by, one.now
            )?;
        }
        let shown = self.differences.len() as u64;
        if shown < self.differ {
            writeln!(
                out,
                "{} more differ; --limit shows more",
                self.differ - shown
            )?;
        }
        if self.not_deterministic > 0 {
            writeln!(
                out,
                "NOT DETERMINISTIC: {} {} with this very configuration once decided {} of them otherwise. Whatever it reads besides what it is given must go",
                self.policy, self.version, self.not_deterministic
            )?;
        }
        for (why, count) in &self.skipped {
            writeln!(out, "{count} not asked again: {why}")?;
        }
        if self.lost > 0 {
            writeln!(out, "{} are missing: their reader was too slow", self.lost)?;
        }
        if self.unreadable > 0 {
            writeln!(out, "{} lines cannot be read:", self.unreadable)?;
            for line in &self.unreadable_lines {
                writeln!(out, "  {line}")?;
            }
        }
        if self.decisions == 0 {
            writeln!(
                out,
                "there was nothing in the log that {} can be asked",
                self.policy
            )?;
        }
        Ok(())
    }
}

const UNREADABLE_SHOWN: usize = 20;
