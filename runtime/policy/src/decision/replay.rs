//! Asks again what a log says was asked.

use serde_json::Value;

use super::{About, Entry};
use crate::{
    Answer, Artifact, Batch, Fault, Kind, Policy, Services, auth::Verdict, column, conformance,
    project::Projection,
};

/// What a policy says to a logged question.
#[derive(Debug, Clone, PartialEq)]
pub enum Redecided {
    /// An answer that can be acted on.
    Row {
        /// The answer.
        output: Vec<f64>,
        /// What is carried on.
        memo: Vec<f64>,
    },
    /// A verdict.
    Verdict(Verdict),
    /// It failed, or its answer makes no sense: the next in the chain would decide.
    Failed(Fault),
}

/// Asks a fresh instance what an entry says was asked, with what it had read then from its key-value space. `memo` is what it has carried for this row: as wide as its
/// manifest says, or empty for nothing yet.
///
/// Rows are asked one by one, so that the steps a row may use are those of a batch of one.
pub fn redecide(entry: &Entry, artifact: &dyn Artifact, config: &Value, memo: &[f64]) -> Redecided {
    let services = Services::of(artifact.manifest());
    services.answer_with(entry.author.reads.clone());
    let instance = artifact.instantiate_with(config, &services);
    let answered = match &entry.about {
        About::Request(asked) => instance
            .and_then(|mut policy| policy.authorize(&asked.request))
            .map(|(verdict, _)| Redecided::Verdict(verdict)),
        About::Row(row) => {
            let ladder = &entry.call.ladder;
            let full = Batch {
                tick: entry.call.tick,
                rungs: ladder.columns.clone(),
                rung_count: ladder.names.len(),
                rung_names: ladder.names.clone(),
                rows: row.input.clone(),
                row_count: 1,
                memo: Vec::new(),
            };
            instance.and_then(|policy| decide(entry.kind, &full, artifact, policy, memo))
        }
    };
    answered.unwrap_or_else(Redecided::Failed)
}

fn decide(
    kind: Kind,
    full: &Batch,
    artifact: &dyn Artifact,
    mut policy: Box<dyn Policy>,
    memo: &[f64],
) -> Result<Redecided, Fault> {
    let projection = Projection::new(artifact.manifest(), kind);
    let mut asked = conformance::empty();
    projection.apply(full, &mut asked);
    asked.memo = memo.to_vec();
    asked.memo.resize(projection.memo(), f64::NAN);
    let mut answer = Answer::default();
    policy.decide(kind, &asked, &mut answer)?;
    conformance::form(kind, &asked, &answer, projection.memo()).map_err(Fault::BadOutput)?;
    Ok(Redecided::Row {
        output: answer.rows,
        memo: answer.memo,
    })
}

/// Whether two answers say the same, to the bit. The number of the reason is left out: another policy numbers its
/// reasons otherwise.
pub fn same_answer(kind: Kind, a: &[f64], b: &[f64]) -> bool {
    let reason = column::place(kind.outputs(), "reason");
    a.len() == b.len()
        && a.iter().zip(b).enumerate().all(|(at, (a, b))| {
            Some(at) == reason || a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
        })
}
