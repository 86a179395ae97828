//! What one policy said, with all it takes to ask it again: what a decision log keeps.

use std::sync::Arc;

use serde_json::Value;

use crate::{Artifact, Fault, auth::Verdict, host::Reads};

/// What one policy said to a batch.
#[derive(Debug, Clone)]
pub struct Said {
    /// Who.
    pub artifact: Arc<dyn Artifact>,
    /// What it is configured with.
    pub config: Arc<Value>,
    /// Its generation.
    pub generation: u64,
    /// `output_width` numbers for each row, as it gave them.
    pub rows: Vec<f64>,
    /// What it carried into the call, for each row.
    pub memo_asked: Vec<f64>,
    /// What it carries on, for each row.
    pub memo: Vec<f64>,
    /// What it read from its key-value space: part of the question.
    pub reads: Reads,
    /// Steps of the whole call.
    pub steps: u64,
}

/// What one policy said to a request.
#[derive(Debug, Clone)]
pub struct Authorized {
    /// Who.
    pub artifact: Arc<dyn Artifact>,
    /// What it is configured with.
    pub config: Arc<Value>,
    /// Its generation; 0 for the built-in.
    pub generation: u64,
    /// The verdict. A fault means no.
    pub verdict: Result<Verdict, Fault>,
    /// What it read from its key-value space: part of the question.
    pub reads: Reads,
    /// Steps of the call.
    pub steps: u64,
}

impl Said {
    /// What was carried into and out of the call for one row.
    pub fn memo_of(&self, row: usize, row_count: usize) -> (&[f64], &[f64]) {
        let width = self.memo_asked.len().checked_div(row_count).unwrap_or(0);
        let range = row * width..(row + 1) * width;
        (
            self.memo_asked.get(range.clone()).unwrap_or_default(),
            self.memo.get(range).unwrap_or_default(),
        )
    }
}
