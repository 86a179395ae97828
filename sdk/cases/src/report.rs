//! What came of the cases, for people and for machines.

use std::fmt;

use lockgate_policy::{Kind, column};
use serde::Serialize;

use crate::Row;

/// What came of all cases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The policy's name.
    pub policy: String,
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// One for each case, in the order of the file.
    pub cases: Vec<Outcome>,
    /// Reasons of the manifest that no case reached.
    pub unreached: Vec<Unreached>,
}

/// What came of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its name.
    pub name: String,
    /// The kind asked.
    pub kind: Kind,
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// What it cost: Luau steps or Wasm fuel, over all its steps.
    pub steps: u64,
    /// What was not as expected.
    pub failures: Vec<Failure>,
}

/// An expectation that did not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// The step of the case, from 1.
    pub step: usize,
    /// Where the expectation stands in the file, from 1.
    pub line: usize,
    /// What of the answer.
    pub what: String,
    /// What was known.
    pub given: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

/// Reasons that no case reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unreached {
    /// The kind.
    pub kind: Kind,
    /// At least one.
    pub reasons: Vec<String>,
}

impl Report {
    /// Cases that hold.
    pub fn held(&self) -> usize {
        self.cases
            .iter()
            .filter(|case| case.failures.is_empty())
            .count()
    }

    /// Whether every case holds.
    pub fn holds(&self) -> bool {
        self.held() == self.cases.len()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for case in &self.cases {
            let word = if case.failures.is_empty() {
                "ok"
            } else {
                "FAILED"
            };
            write!(f, "{word:<7}{}: {}", case.kind, case.name)?;
            if case.steps > 0 {
                write!(f, " ({} steps)", case.steps)?;
            }
            writeln!(f)?;
            for failure in &case.failures {
                let Failure {
                    step,
                    line,
                    what,
                    given,
                    expected,
                    got,
                } = failure;
                writeln!(f, "       line {line}, step {step}: {what}")?;
                writeln!(f, "         given     {given}")?;
                writeln!(f, "         expected  {expected}")?;
                writeln!(f, "         got       {got}")?;
            }
        }
        for Unreached { kind, reasons } in &self.unreached {
            for reason in reasons {
                writeln!(f, "no case reaches the reason of {kind} {reason:?}")?;
            }
        }
        writeln!(f, "{} of {} cases hold", self.held(), self.cases.len())
    }
}

/// What is known of a row, by name.
pub(crate) fn shown(kind: Kind, row: &Row, memo: &[f64]) -> String {
    let mut parts = Vec::new();
    let mut at = 0;
    for column in kind.inputs() {
        let own = row.row.get(at..at + column.width).unwrap_or_default();
        at += column.width;
        let known: Vec<f64> = own
            .iter()
            .copied()
            .filter(|number| !number.is_nan())
            .collect();
        match known.as_slice() {
            [] => {}
            [one] if column.width == 1 => {
                let rung = (column.name == "current")
                    .then(|| (0u32..).zip(&row.names))
                    .and_then(|mut all| {
                        all.find(|(at, _)| f64::from(*at).to_bits() == one.to_bits())
                    })
                    .map_or_else(|| number(*one), |(_, name)| name.to_string());
                parts.push(format!("{} {rung}", column.name));
            }
            many => {
                let count = many.len() / column::SAMPLE_WIDTH;
                parts.push(format!("{count} {}", column.name));
            }
        }
    }
    if memo.iter().any(|number| !number.is_nan()) {
        parts.push(format!("memo {}", numbers(memo)));
    }
    parts.push(format!("{} rungs", row.names.len()));
    parts.push(format!("now_ms {}", row.tick.now_ms));
    parts.join(", ")
}

pub(crate) fn number(number: f64) -> String {
    if number.is_nan() {
        "absent".to_owned()
    } else {
        number.to_string()
    }
}

pub(crate) fn numbers(list: &[f64]) -> String {
    let all: Vec<String> = list.iter().map(|one| number(*one)).collect();
    format!("[{}]", all.join(", "))
}
