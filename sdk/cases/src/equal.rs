//! Two editions of one rule held to each other: the same answers to the bit, on questions made from a seed.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use lockgate_policy::{
    Answer, Artifact, Batch, Kind, Policy, Tick,
    auth::{Action, Request},
    column::{self, Column},
    conformance,
    engine::{Cause, Mode},
    project::Projection,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

/// Where two editions differ.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, question {question}: {what}")]
pub struct Difference {
    /// The kind asked.
    pub kind: Kind,
    /// Which question; the same number is the same question again.
    pub question: usize,
    /// What was asked, and what each answered.
    pub what: String,
}

/// Puts `count` questions of a kind to both: ordinary numbers, thresholds of the reference rules, absent and absurd ones.
/// They must carry the same, name the same reasons, and answer the same to the bit.
///
/// # Errors
/// The first difference.
pub fn equal(
    one: &dyn Artifact,
    other: &dyn Artifact,
    kind: Kind,
    config: &Value,
    count: usize,
) -> Result<(), Difference> {
    let differ = |question, what: String| Difference {
        kind,
        question,
        what,
    };
    let claims = |artifact: &dyn Artifact| {
        let wants = artifact.manifest().kinds.get(&kind);
        wants.map(|wants| (wants.memo, wants.reasons.clone()))
    };
    same(&"the manifest", &claims(one), &claims(other)).map_err(|what| differ(0, what))?;
    let start = |artifact: &dyn Artifact| {
        let started = artifact.instantiate(config);
        started.map_err(|fault| differ(0, format!("{}: {fault}", artifact.manifest().name)))
    };
    let (mut ones, mut others) = (start(one)?, start(other)?);
    let projections = [one, other].map(|edition| Projection::new(edition.manifest(), kind));
    for question in 0..count {
        let mut rng = StdRng::seed_from_u64(question as u64);
        let outcome = if kind == Kind::Auth {
            let request = request(&mut rng);
            let answers = [&mut ones, &mut others].map(|policy| {
                let answer = policy.authorize(&request);
                answer
                    .map(|(verdict, _)| verdict)
                    .map_err(|fault| fault.to_string())
            });
            same(&request, &answers[0], &answers[1])
        } else {
            let full = batch(&mut rng, kind, projections[0].memo());
            let [a, b] = &projections;
            let answers = (
                ask(&mut *ones, a, kind, &full),
                ask(&mut *others, b, kind, &full),
            );
            same(&full, &answers.0, &answers.1)
        };
        outcome.map_err(|what| differ(question, what))?;
    }
    Ok(())
}

fn same<T: PartialEq + Debug>(asked: &dyn Debug, one: &T, other: &T) -> Result<(), String> {
    if one == other {
        return Ok(());
    }
    Err(format!("{one:?} is not {other:?}; asked {asked:?}"))
}

/// The bits of an answer and of what is carried, one NaN being as good as another.
fn ask(
    policy: &mut dyn Policy,
    projection: &Projection,
    kind: Kind,
    full: &Batch,
) -> Result<[Vec<u64>; 2], String> {
    let mut asked = conformance::empty();
    projection.apply(full, &mut asked);
    asked.memo.clone_from(&full.memo);
    let mut answer = Answer::default();
    policy
        .decide(kind, &asked, &mut answer)
        .map_err(|fault| fault.to_string())?;
    if let Some(refusal) = answer.refused.first() {
        return Err(format!("row {}: {}", refusal.row, refusal.fault));
    }
    let bits = |numbers: &[f64]| {
        let canonical = |number: &f64| if number.is_nan() { f64::NAN } else { *number };
        numbers
            .iter()
            .map(|number| canonical(number).to_bits())
            .collect()
    };
    Ok([bits(&answer.rows), bits(&answer.memo)])
}

#[expect(clippy::cast_precision_loss, reason = "times and counts far below 2⁵³")]
fn batch(rng: &mut StdRng, kind: Kind, memo: usize) -> Batch {
    let rung_count = rng.random_range(0..8);
    let row_count = [0, 1, 2, 3, 5, 8, 13, 65][rng.random_range(0..8)];
    let mut rungs = rows(rng, column::RUNG, rung_count, rung_count);
    if rng.random_bool(0.7) {
        // A ladder as it should be: everything rises.
        let width = column::width(column::RUNG);
        for (at, rung) in rungs.chunks_exact_mut(width).enumerate() {
            let step = at as f64 + 1.0;
            let fps = if at < 2 { 30.0 } else { 60.0 };
            for (name, value) in [
                ("need_kbps", (910.0 * step).round()),
                ("kbps", (845.0 * step).round()),
                ("width", 416.0 * step),
                ("height", 234.0 * step),
                ("fps", fps),
            ] {
                let place = column::place(column::RUNG, name).and_then(|at| rung.get_mut(at));
                place.into_iter().for_each(|place| *place = value);
            }
        }
    }
    let now_ms: u64 = rng.random_range(0..1 << 40);
    let carried = |rng: &mut StdRng| match rng.random_range(0..4) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        _ => now_ms as f64 - rng.random_range(-1000.0..12_000.0_f64).round(),
    };
    Batch {
        tick: Tick {
            now_ms,
            seed: rng.random(),
            mode: Mode::Hls,
            cause: Cause::Tick,
        },
        rungs,
        rung_count,
        rung_names: (0..rung_count)
            .map(|at| Arc::from(at.to_string()))
            .collect(),
        rows: rows(rng, kind.inputs(), row_count, rung_count),
        row_count,
        memo: (0..row_count * memo).map(|_| carried(rng)).collect(),
    }
}

fn rows(rng: &mut StdRng, columns: &[Column], count: usize, rungs: usize) -> Vec<f64> {
    let mut all = Vec::new();
    // Long runs of numbers are read by few rules, and would be most of the work.
    let has_runs = rng.random_range(0..8) == 0;
    for _ in 0..count {
        for column in columns {
            for _ in 0..column.width {
                let is_given = column.width == 1 || has_runs;
                all.push(if is_given {
                    number(rng, column.name, rungs)
                } else {
                    f64::NAN
                });
            }
        }
    }
    all
}

/// A number that is telling for a column: mostly in its range, at times on a threshold, absent or absurd.
fn number(rng: &mut StdRng, name: &str, rungs: usize) -> f64 {
    match rng.random_range(0..40) {
        0..6 => return f64::NAN,
        6 => return f64::INFINITY,
        7 => return [-1.0, -0.0, -5000.0, f64::NEG_INFINITY][rng.random_range(0..4)],
        8 => return 0.0,
        9 => return f64::from_bits(rng.random()),
        10 => return [f64::MIN_POSITIVE, 1e-20, 1e300][rng.random_range(0..3)],
        _ => {}
    }
    let thresholds: &[f64] = match name {
        "bandwidth_kbps" => &[
            500.0, 625.0, 1000.0, 1250.0, 1500.0, 3000.0, 3125.0, 5000.0, 6250.0, 1e4,
        ],
        "buffer_s" => &[2.0, 5.0, 20.0],
        "jitter_ms" => &[50.0, 100.0, 1050.0],
        "loss_pct" => &[2.0, 5.0, 100.0],
        "latency_target_s" => &[3.0, 5.0],
        "passable" | "active" => &[0.0, 1.0],
        "width" => &[640.0, 854.0, 1280.0, 1920.0, 3840.0],
        "height" => &[360.0, 480.0, 720.0, 1080.0, 2160.0],
        "fps" => &[24.0, 25.0, 29.97, 30.0, 50.0, 60.0],
        "current" => {
            let rung = rng.random_range(0..rungs + 2);
            return u32::try_from(rung).map_or(f64::NAN, f64::from);
        }
        _ => &[],
    };
    if !thresholds.is_empty() && rng.random_bool(0.5) {
        return thresholds[rng.random_range(0..thresholds.len())];
    }
    let most = match name {
        "bandwidth_kbps" | "need_kbps" | "kbps" => 20_000.0,
        "loss_pct" => 100.0,
        "buffer_s" | "latency_target_s" => 30.0,
        "cpu_budget" => 2.0,
        "fps" => 60.0,
        _ => 2000.0,
    };
    rng.random_range(0.0..most)
}

fn request(rng: &mut StdRng) -> Request {
    const ACTIONS: [Action; 4] = [Action::Publish, Action::Play, Action::Join, Action::Admin];
    const STREAMS: [&str; 9] = [
        "",
        "demo",
        "demo-2",
        "demo:a",
        "a:b/c",
        "d*mo",
        "de",
        "*",
        "Ünïcode 🎥",
    ];
    const KINDS: [&str; 6] = ["publish", "play", "join", "admin", "", "x"];
    const PATTERNS: [&str; 14] = [
        "",
        ":",
        ":*",
        ":demo",
        ":de*",
        ":demo:a",
        ":a:b*",
        ":*mo",
        ":d*mo",
        ":DEMO",
        ":ä*",
        ":Ünï*",
        "\"}{\u{0}",
        " ",
    ];
    let scopes: Vec<String> = (0..rng.random_range(0..4))
        .map(|_| {
            let kind = KINDS[rng.random_range(0..KINDS.len())];
            format!("{kind}{}", PATTERNS[rng.random_range(0..PATTERNS.len())])
        })
        .collect();
    let scope = json!(scopes.join(" "));
    let claims: BTreeMap<String, Value> = match rng.random_range(0..8) {
        0 => BTreeMap::new(),
        1 => BTreeMap::from([("sub".to_owned(), json!({ "deep": [1, 2.5, null, true] }))]),
        2 => BTreeMap::from([("scope".to_owned(), json!(["play:demo"]))]),
        3 => BTreeMap::from([("scope".to_owned(), json!(7))]),
        4 => BTreeMap::from([
            ("scope".to_owned(), scope),
            ("exp".to_owned(), json!(1.7e9)),
        ]),
        _ => BTreeMap::from([("scope".to_owned(), scope)]),
    };
    Request {
        action: ACTIONS[rng.random_range(0..ACTIONS.len())],
        stream: STREAMS[rng.random_range(0..STREAMS.len())].to_owned(),
        peer: "192.0.2.1".to_owned(),
        claims,
        now_s: rng.random_range(0..1 << 44),
        answered: None,
    }
}
