//! Cases put to a policy, as its host would put them.

use lockgate_policy::{
    Answer, Artifact, Batch, Fault, Kind, Policy, column, conformance, project::Projection,
};
use serde_json::Value;

use crate::{
    Case, Cases, Expectation, Failure, Outcome, Question, Report, Row, Step, Unreached, Wanted,
    expect::same,
    report::{number, numbers, shown},
};

/// Puts every case to a policy. Each case has an instance of its own; from step to step it carries what a host carries:
/// the memo, and as `current` the rung that was picked. `config` is for cases that bring none.
pub fn run(artifact: &dyn Artifact, config: &Value, cases: &Cases) -> Report {
    let mut reached = Vec::new();
    let outcomes = cases
        .cases
        .iter()
        .map(|case| run_one(artifact, config, case, &mut reached))
        .collect();
    let manifest = artifact.manifest();
    let unreached = manifest.kinds.iter().map(|(kind, wants)| {
        let of = |text: &&String| !reached.contains(&(*kind, (*text).clone()));
        Unreached {
            kind: *kind,
            reasons: wants.reasons.iter().filter(of).cloned().collect(),
        }
    });
    Report {
        policy: manifest.name.clone(),
        version: manifest.version.clone(),
        digest: artifact.digest().to_owned(),
        cases: outcomes,
        unreached: unreached.filter(|one| !one.reasons.is_empty()).collect(),
    }
}

/// What is carried from step to step.
#[derive(Default)]
struct Carried {
    memo: Option<Vec<f64>>,
    current: Option<f64>,
}

fn run_one(
    artifact: &dyn Artifact,
    config: &Value,
    case: &Case,
    reached: &mut Vec<(Kind, String)>,
) -> Outcome {
    let mut outcome = Outcome {
        name: case.name.clone(),
        kind: case.kind,
        line: case.line,
        steps: 0,
        failures: Vec::new(),
    };
    if !artifact.manifest().kinds.contains_key(&case.kind) {
        let fault = Fault::NotAnswered(case.kind);
        if let Some(step) = case.steps.first() {
            settle_fault(artifact, &fault, 1, step, &mut outcome);
        }
        return outcome;
    }
    let config = case.config.as_ref().unwrap_or(config);
    let mut policy = match artifact.instantiate(config) {
        Ok(policy) => policy,
        Err(fault) => {
            if let Some(step) = case.steps.first() {
                settle_fault(artifact, &fault, 1, step, &mut outcome);
            }
            return outcome;
        }
    };
    let mut carried = Carried::default();
    for (step, at) in case.steps.iter().zip(1..) {
        let asked = ask(
            artifact,
            case.kind,
            step,
            &mut *policy,
            &mut carried,
            &mut outcome.steps,
        );
        match asked {
            Ok(answered) => {
                if let Some(reason) = answered.reason.clone() {
                    reached.push((case.kind, reason));
                }
                for expected in &step.expect {
                    let got = answered.got(artifact, case.kind, expected);
                    if let Err((wanted, got)) = got {
                        outcome.failures.push(Failure {
                            step: at,
                            line: expected.line,
                            what: expected.name.clone(),
                            given: answered.given.clone(),
                            expected: wanted,
                            got,
                        });
                    }
                }
            }
            Err(fault) => {
                settle_fault(artifact, &fault, at, step, &mut outcome);
                break;
            }
        }
    }
    outcome
}

/// A fault is what was expected, or fails the case.
fn settle_fault(
    artifact: &dyn Artifact,
    fault: &Fault,
    at: usize,
    step: &Step,
    outcome: &mut Outcome,
) {
    let expected = step.expect.iter().find(|one| one.name == "fault");
    let wanted = match expected.map(|one| &one.wanted) {
        Some(Wanted::Text(word)) if word == fault.word() => return,
        Some(Wanted::Text(word)) => format!("the fault {word}"),
        _ => "an answer".to_owned(),
    };
    outcome.failures.push(Failure {
        step: at,
        line: expected.map_or(step.line, |one| one.line),
        what: "fault".to_owned(),
        given: match &step.question {
            Question::Row(row) => shown(outcome.kind, row, &[]),
            Question::Request(request) => shown_request(request),
        },
        expected: wanted,
        got: format!("{}: {fault} ({})", fault.word(), artifact.manifest().name),
    });
}

fn shown_request(request: &lockgate_policy::auth::Request) -> String {
    serde_json::to_string(request).unwrap_or_default()
}

/// An answer with what was asked.
struct Answered {
    given: String,
    names: Vec<std::sync::Arc<str>>,
    row: Vec<f64>,
    memo: Vec<f64>,
    verdict: Value,
    reason: Option<String>,
}

fn ask(
    artifact: &dyn Artifact,
    kind: Kind,
    step: &Step,
    policy: &mut dyn Policy,
    carried: &mut Carried,
    steps: &mut u64,
) -> Result<Answered, Fault> {
    match &step.question {
        Question::Request(request) => {
            let (verdict, spent) = policy.authorize(request)?;
            *steps += spent.steps;
            Ok(Answered {
                given: shown_request(request),
                names: Vec::new(),
                row: Vec::new(),
                memo: Vec::new(),
                verdict: serde_json::to_value(&verdict).unwrap_or_default(),
                reason: None,
            })
        }
        Question::Row(row) => {
            let projection = Projection::new(artifact.manifest(), kind);
            let full = full(kind, row, carried);
            let mut asked = conformance::empty();
            projection.apply(&full, &mut asked);
            asked.memo = row
                .memo
                .clone()
                .or_else(|| carried.memo.take())
                .unwrap_or_default();
            asked.memo.resize(projection.memo(), f64::NAN);
            let mut answer = Answer::default();
            let spent = policy.decide(kind, &asked, &mut answer)?;
            *steps += spent.steps;
            if let Some(refusal) = answer.refused.first() {
                return Err(refusal.fault.clone());
            }
            conformance::form(kind, &asked, &answer, projection.memo())
                .map_err(Fault::BadOutput)?;
            let of = |name| {
                let at = column::place(kind.outputs(), name)?;
                answer.rows.get(at).copied()
            };
            if kind == Kind::Abr {
                carried.current = of("rung").filter(|rung| !rung.is_nan()).or(carried.current);
            }
            carried.memo = Some(answer.memo.clone());
            let asked_row = Row {
                row: full.rows,
                ..(**row).clone()
            };
            Ok(Answered {
                given: shown(kind, &asked_row, &asked.memo),
                names: row.names.clone(),
                reason: of("reason").map(|code| artifact.manifest().reason(kind, code)),
                row: answer.rows,
                memo: answer.memo,
                verdict: Value::Null,
            })
        }
    }
}

/// The question with all columns.
fn full(kind: Kind, row: &Row, carried: &Carried) -> Batch {
    let mut numbers = row.row.clone();
    if let (Some(current), false, Some(place)) = (
        carried.current,
        row.is_current_given,
        column::place(kind.inputs(), "current").and_then(|at| numbers.get_mut(at)),
    ) {
        *place = current;
    }
    Batch {
        tick: row.tick,
        rungs: row.rungs.clone(),
        rung_count: row.names.len(),
        rung_names: row.names.clone(),
        rows: numbers,
        row_count: 1,
        ..conformance::empty()
    }
}

impl Answered {
    /// Whether an expectation holds; what was expected and what came where it does not.
    fn got(
        &self,
        artifact: &dyn Artifact,
        kind: Kind,
        expected: &Expectation,
    ) -> Result<(), (String, String)> {
        let name = expected.name.as_str();
        if name == "fault" {
            return Err((wanted(&expected.wanted), "an answer".to_owned()));
        }
        if kind == Kind::Auth {
            return self.verdict_is(expected);
        }
        let shown = |number_: f64| match (name, self.named(number_)) {
            ("rung", Some(rung)) => rung.to_owned(),
            ("reason", _) => format!("{:?}", artifact.manifest().reason(kind, number_)),
            _ => number(number_),
        };
        match (&expected.wanted, name) {
            (Wanted::Numbers(wanted), "encode") => {
                let from = column::width(kind.outputs());
                let kept = self.row.get(from..).unwrap_or_default();
                self.numbers_are(wanted, kept, |list| self.encoded(list))
            }
            (Wanted::Numbers(wanted), _) => {
                // What a policy carries beyond what is written down is to be absent.
                let mut padded = wanted.clone();
                padded.resize(self.memo.len().max(wanted.len()), f64::NAN);
                self.numbers_are(&padded, &self.memo, numbers)
            }
            (Wanted::Text(text), _) if self.reason.as_ref() == Some(text) => Ok(()),
            (wanted_, _) => {
                let place = column::place(kind.outputs(), name);
                let got = place.and_then(|at| self.row.get(at)).copied();
                let got = got.unwrap_or(f64::NAN);
                if wanted_.is(got) {
                    return Ok(());
                }
                let told = match wanted_ {
                    Wanted::Number(number) => shown(*number),
                    other => wanted(other),
                };
                let because = match &self.reason {
                    Some(reason) if name != "reason" => format!(", because {reason:?}"),
                    _ => String::new(),
                };
                Err((told, shown(got) + &because))
            }
        }
    }

    fn numbers_are(
        &self,
        wanted: &[f64],
        got: &[f64],
        show: impl Fn(&[f64]) -> String,
    ) -> Result<(), (String, String)> {
        let holds = wanted.len() == got.len() && wanted.iter().zip(got).all(|(a, b)| same(*a, *b));
        if holds {
            Ok(())
        } else {
            Err((show(wanted), show(got)))
        }
    }

    fn verdict_is(&self, expected: &Expectation) -> Result<(), (String, String)> {
        let got = self.verdict.get(&expected.name).unwrap_or(&Value::Null);
        let holds = match &expected.wanted {
            Wanted::Text(text) => got.as_str() == Some(text),
            wanted => wanted.is(got.as_f64().unwrap_or(f64::NAN)),
        };
        if holds {
            return Ok(());
        }
        Err((
            wanted(&expected.wanted),
            format!("{got} in {}", self.verdict),
        ))
    }

    fn named(&self, rung: f64) -> Option<&str> {
        let mut all = (0u32..).zip(&self.names);
        all.find(|(at, _)| same(f64::from(*at), rung))
            .map(|(_, name)| name.as_ref())
    }

    fn encoded(&self, kept: &[f64]) -> String {
        let names = self.names.iter().zip(kept).filter(|(_, kept)| **kept > 0.0);
        let names: Vec<&str> = names.map(|(name, _)| name.as_ref()).collect();
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        }
    }
}

fn wanted(wanted: &Wanted) -> String {
    match wanted {
        Wanted::Number(value) => number(*value),
        Wanted::Near { approx, within } => format!("{approx} within {within}"),
        Wanted::Within { at_least, at_most } => format!("from {at_least} to {at_most}"),
        Wanted::Numbers(list) => numbers(list),
        Wanted::Text(text) => format!("{text:?}"),
    }
}
