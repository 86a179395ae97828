//! What a decision costs in each engine: the reference rules, in turn.

use std::{hint::black_box, sync::Arc, time::Instant};

use anyhow::{Context as _, ensure};
use lockgate_policy::{Answer, Artifact, Batch, Kind, Policy, conformance, project::Projection};
use serde_json::{Map, Value, json};

use super::engines::{self, Engine, Engines};
use crate::table::{Distribution, Report, goal};

/// Rounds in which each engine has its turn.
const ROUNDS: usize = 31;
/// Samples in a turn, of which the least counts: other load on the machine only ever adds.
const SAMPLES: usize = 9;
/// Calls are put together until a sample takes so long, in s: a clock has its own cost.
const SAMPLE_S: f64 = 50e-6;
const BATCHES: [usize; 3] = [1, 10, 1000];
/// Most that a decision may cost of what it costs in Rust, in a batch of a thousand.
const WASM_GOAL: f64 = 12.0;
const LUAU_GOAL: f64 = 60.0;

pub(super) fn measure(engines: &Engines) -> anyhow::Result<Report> {
    let (mut rows, mut figures) = (Vec::new(), Map::new());
    for kind in [Kind::Abr, Kind::Optimize, Kind::Score, Kind::Ladder] {
        let artifacts = [
            engines.load(Engine::Native, kind)?,
            engines.load(Engine::Wasm, kind)?,
            engines.load(Engine::Luau, kind)?,
        ];
        for count in BATCHES {
            // `ladder` is asked about one source.
            if kind == Kind::Ladder && count > 1 {
                continue;
            }
            let costs = costs(kind, count, &artifacts)
                .with_context(|| format!("{kind} about {count} rows"))?;
            for (engine, cost) in Engine::ALL.into_iter().zip(&costs) {
                let limit = match engine {
                    _ if count < 1000 => None,
                    Engine::Native => None,
                    Engine::Wasm => Some(WASM_GOAL),
                    Engine::Luau => Some(LUAU_GOAL),
                };
                let mut row = vec![format!("{kind}, {count}, {}", engine.name())];
                row.push(format!("{:.1}", cost.row_ns.min()));
                row.push(format!("{:.1}", cost.row_ns.median()));
                row.push(format!("{:.1}", cost.steps));
                row.extend(match engine {
                    Engine::Native => vec![String::new(); 4],
                    _ => vec![
                        format!("{:.1}", cost.ratio.min()),
                        format!("{:.1}", cost.ratio.median()),
                        format!("{:.1}", cost.ratio.max()),
                        goal(cost.ratio.median(), limit),
                    ],
                });
                rows.push(row);
                let name = format!("{kind}_{count}_{}", engine.name().to_lowercase());
                figures.insert(name, cost.figures(limit));
            }
        }
    }
    Ok(Report {
        title: "A decision, by kind, rows in its batch and engine: ns a row and times the built-in",
        notes: vec![
            format!(
                "the reference rules, limits on; {ROUNDS} rounds in which each engine has its turn; the least of \
                 {SAMPLES} samples of a turn counts; ratios are within a round"
            ),
            format!(
                "goals for the median ratio at 1000: Wasm at most {WASM_GOAL}, Luau at most {LUAU_GOAL}"
            ),
            "steps a row are Wasm fuel or Luau safe points; both answer what the built-in answers"
                .to_owned(),
        ],
        head: vec![
            "",
            "least ns",
            "median ns",
            "steps",
            "ratio min",
            "median",
            "max",
            "goal",
        ],
        rows,
        figures: Value::Object(figures),
    })
}

struct Cost {
    row_ns: Distribution,
    /// Times the built-in, round by round.
    ratio: Distribution,
    steps: f64,
}

impl Cost {
    fn figures(&self, goal: Option<f64>) -> Value {
        json!({
            "row_ns": self.row_ns.figures(),
            "ratio": self.ratio.figures(),
            "steps": self.steps,
            "goal": goal,
        })
    }
}

/// What a row costs in each engine, as they stand in `artifacts`: the built-in first.
fn costs(
    kind: Kind,
    count: usize,
    artifacts: &[Arc<dyn Artifact>; 3],
) -> anyhow::Result<Vec<Cost>> {
    let whole = engines::batch(kind, count);
    let mut seats = artifacts
        .iter()
        .map(|artifact| Seat::new(&**artifact, kind, &whole))
        .collect::<anyhow::Result<Vec<Seat>>>()?;
    let answers: Vec<Vec<u64>> = seats.iter().map(|seat| seat.first_column(count)).collect();
    for (engine, answer) in Engine::ALL.into_iter().zip(&answers) {
        ensure!(
            Some(answer) == answers.first(),
            "{} answers other than the built-in",
            engine.name()
        );
    }
    let mut rounds = vec![Vec::new(); seats.len()];
    for _ in 0..ROUNDS {
        for (seat, rounds) in seats.iter_mut().zip(&mut rounds) {
            rounds.push(seat.turn()? / count as f64);
        }
    }
    let native = rounds.first().cloned().unwrap_or_default();
    Ok(rounds
        .into_iter()
        .zip(seats)
        .map(|(rounds, seat)| Cost {
            ratio: Distribution::new(
                rounds
                    .iter()
                    .zip(&native)
                    .map(|(own, native)| own / native)
                    .collect(),
            ),
            row_ns: Distribution::new(rounds),
            steps: seat.steps as f64 / count as f64,
        })
        .collect())
}

/// An instance with its question.
struct Seat {
    policy: Box<dyn Policy>,
    kind: Kind,
    asked: Batch,
    answer: Answer,
    calls: u32,
    steps: u64,
}

impl Seat {
    /// Starts it and asks it until it is warm.
    fn new(artifact: &dyn Artifact, kind: Kind, whole: &Batch) -> anyhow::Result<Self> {
        let projection = Projection::new(artifact.manifest(), kind);
        let mut asked = conformance::empty();
        projection.apply(whole, &mut asked);
        asked.memo = vec![f64::NAN; projection.memo() * whole.row_count];
        let mut seat = Self {
            policy: artifact.instantiate(&json!({}))?,
            kind,
            asked,
            answer: Answer::default(),
            calls: 1,
            steps: 0,
        };
        // As while serving, a row has carried something before.
        seat.calls()?;
        seat.asked.memo.clone_from(&seat.answer.memo);
        while seat.calls()? < SAMPLE_S {
            seat.calls *= 2;
        }
        ensure!(
            seat.answer.refused.is_empty(),
            "rows were refused: {:?}",
            seat.answer.refused.first()
        );
        Ok(seat)
    }

    /// The first number of each answer: what is decided.
    fn first_column(&self, count: usize) -> Vec<u64> {
        let width = (self.answer.rows.len() / count).max(1);
        let first = self.answer.rows.iter().step_by(width);
        first.map(|number| number.to_bits()).collect()
    }

    /// The time for its calls together, in s.
    fn calls(&mut self) -> anyhow::Result<f64> {
        let began = Instant::now();
        for _ in 0..self.calls {
            let asked = black_box(&self.asked);
            let spent = self.policy.decide(self.kind, asked, &mut self.answer)?;
            self.steps = spent.steps;
        }
        Ok(began.elapsed().as_secs_f64())
    }

    /// The least time for a call, in ns.
    fn turn(&mut self) -> anyhow::Result<f64> {
        let mut least = f64::INFINITY;
        for _ in 0..SAMPLES {
            least = least.min(self.calls()?);
        }
        Ok(least * 1e9 / f64::from(self.calls))
    }
}
