//! What was found, for people and for machines.

use std::fmt;

use serde::Serialize;

use crate::Outcome;

/// What came of one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The rule's name.
    pub rule: &'static str,
    /// Where it is written.
    pub clause: &'static str,
    /// What it says.
    pub says: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What was seen.
    pub seen: String,
}

/// What came of all rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What was looked at.
    pub url: String,
    /// One entry for each rule, in order.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether no rule is broken, and at least one could be looked at.
    pub fn is_fine(&self) -> bool {
        let any = |outcome| {
            self.findings
                .iter()
                .any(|finding| finding.outcome == outcome)
        };
        any(Outcome::Pass) && !any(Outcome::Fail)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |of: fn(&Finding) -> &str| {
            let widths = self.findings.iter().map(|finding| of(finding).len());
            widths.max().unwrap_or(0)
        };
        let (rules, clauses) = (width(|one| one.rule), width(|one| one.clause));
        for finding in &self.findings {
            let Finding {
                rule,
                clause,
                says,
                outcome,
                seen,
            } = finding;
            let word = match outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "FAIL",
                Outcome::Skip => "skip",
            };
            writeln!(f, "{rule:rules$}  {clause:clauses$}  {word}  {says}")?;
            writeln!(f, "{:rules$}  {:clauses$}        {seen}", "", "")?;
        }
        let count = |outcome| {
            let found = self.findings.iter();
            found.filter(|finding| finding.outcome == outcome).count()
        };
        write!(
            f,
            "{}: {} kept, {} broken, {} not looked at",
            self.url,
            count(Outcome::Pass),
            count(Outcome::Fail),
            count(Outcome::Skip)
        )
    }
}
