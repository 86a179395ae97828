//! Case files: what a policy is to answer, written down beside it as `NAME.cases.toml`.
//!
//! A file is read by [`Cases::parse`] and run by [`run`] against any artifact: a script, a component, the built-in, or
//! a plain Rust function ([`cases!`]). The form of the file is described in `CASES.md`.
#![forbid(unsafe_code)]

mod equal;
mod expect;
mod given;
pub mod native;
mod node;
mod parse;
mod report;
mod run;
#[cfg(test)]
mod tests;

pub use equal::{Difference, equal};
pub use expect::{Expectation, Wanted};
pub use node::BadCases;
pub use report::{Failure, Outcome, Report, Unreached};
pub use run::run;

use std::sync::Arc;

use lockgate_policy::{Kind, Tick, auth};
use serde_json::Value;

/// The cases of a file, in its order.
#[derive(Debug, Clone)]
pub struct Cases {
    /// At least one.
    pub cases: Vec<Case>,
}

/// One case: a question, or several that follow each other in time.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name, unique in the file.
    pub name: String,
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// The kind asked.
    pub kind: Kind,
    /// The configuration; `None` leaves it to whoever runs the case.
    pub config: Option<Value>,
    /// What is asked, in order.
    pub steps: Vec<Step>,
}

/// A question and what is expected of its answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// The question.
    pub question: Question,
    /// What is expected; may be nothing where only time passes.
    pub expect: Vec<Expectation>,
}

/// What is asked.
#[derive(Debug, Clone)]
pub enum Question {
    /// A row of numbers.
    Row(Box<Row>),
    /// A request to be let in.
    Request(Box<auth::Request>),
}

/// A question about one row, with all columns of the contract.
#[derive(Debug, Clone)]
pub struct Row {
    /// When and why.
    pub tick: Tick,
    /// Names of the rungs, lowest bitrate first.
    pub names: Vec<Arc<str>>,
    /// The rungs, row after row.
    pub rungs: Vec<f64>,
    /// What is known of the viewer or the source.
    pub row: Vec<f64>,
    /// Whether the file says which rung is being sent; otherwise it is the one last picked.
    pub is_current_given: bool,
    /// What is carried into the call; `None` carries on what the step before left.
    pub memo: Option<Vec<f64>>,
}
