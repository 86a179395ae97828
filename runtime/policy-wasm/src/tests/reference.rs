//! The reference plugins answer what the built-in answers, bit for bit.

use std::collections::BTreeMap;

use lockgate_policy::{Builtin, auth};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use super::*;

const SEED: u64 = 0x10c4_9a7e;
const ROUNDS: usize = 1000;

/// A number that is telling for a column: mostly in its range, at times on a threshold, absent or absurd.
fn number(rng: &mut StdRng, name: &str, rungs: usize) -> f64 {
    match rng.random_range(0..40) {
        0..6 => return f64::NAN,
        6 => return f64::INFINITY,
        7 => return -1.0,
        8 => return 0.0,
        9 => return f64::from_bits(rng.random()),
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
        "passable" => &[0.0, 1.0],
        "width" => &[640.0, 854.0, 1280.0, 1920.0, 3840.0],
        "height" => &[360.0, 480.0, 720.0, 1080.0, 2160.0],
        "fps" => &[24.0, 29.97, 30.0, 50.0, 60.0],
        "current" => return f64::from(rng.random_range(0..=rungs as u32 + 1)),
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

/// Fills rows of all columns, and returns them with those of only some of them.
fn rows(
    rng: &mut StdRng,
    all: &[Column],
    wanted: &[Column],
    count: usize,
    rungs: usize,
) -> (Vec<f64>, Vec<f64>) {
    let (mut full, mut part) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let start = full.len();
        for column in all {
            full.extend((0..column.width).map(|_| number(rng, column.name, rungs)));
        }
        for column in wanted {
            let at = start + column::place(all, column.name).unwrap();
            part.extend_from_slice(&full[at..at + column.width]);
        }
    }
    (full, part)
}

fn batches(rng: &mut StdRng, kind: Kind, manifest: &Manifest) -> (Batch, Batch) {
    let rungs = rng.random_range(0..7);
    let count = match rng.random_range(0..20) {
        0 => 0,
        1 => 60,
        _ => rng.random_range(1..6),
    };
    let mut full = blank(kind, manifest, rungs, count);
    full.tick.now_ms = rng.random_range(0..1 << 40);
    let mut part = full.clone();
    let (all, wanted) = (kind.inputs(), manifest.columns(kind));
    (full.rows, part.rows) = rows(rng, all, &wanted, count, rungs);
    let wanted = manifest.rung_columns(kind);
    (full.rungs, part.rungs) = rows(rng, column::RUNG, &wanted, rungs, rungs);
    for memo in &mut full.memo {
        if rng.random_bool(0.7) {
            *memo = full.tick.now_ms as f64 - rng.random_range(-1000.0..10_000.0_f64).round();
        }
    }
    part.memo.clone_from(&full.memo);
    (full, part)
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    let canonical = |number: &f64| if number.is_nan() { f64::NAN } else { *number };
    numbers
        .iter()
        .map(|number| canonical(number).to_bits())
        .collect()
}

fn check(kind: Kind, config: &Value) {
    let plugin = reference(kind);
    let mut theirs = plugin.instantiate(config).unwrap();
    let mut ours = Builtin::default().instantiate(config).unwrap();
    let mut rng = StdRng::seed_from_u64(SEED ^ kind as u64);
    let (mut expected, mut given) = (Answer::default(), Answer::default());
    for round in 0..ROUNDS {
        let (full, part) = batches(&mut rng, kind, plugin.manifest());
        ours.decide(kind, &full, &mut expected).unwrap();
        let spent = theirs.decide(kind, &part, &mut given).unwrap();
        assert!(spent.steps > 0 && spent.memory_bytes > 0);
        assert_eq!(
            bits(&given.rows),
            bits(&expected.rows),
            "{kind}, round {round}: {full:?}"
        );
        assert_eq!(
            bits(&given.memo),
            bits(&expected.memo),
            "{kind}, round {round}: {full:?}"
        );
    }
}

#[test]
fn abr_is_the_built_in_bit_for_bit() {
    check(Kind::Abr, &Value::Null);
    check(Kind::Abr, &json!({ "up_after_s": 2.5, "start_kbps": 900 }));
}

#[test]
fn optimize_is_the_built_in_bit_for_bit() {
    check(Kind::Optimize, &Value::Null);
    check(Kind::Optimize, &json!({ "fec_loss_pct": 0.1 }));
}

#[test]
fn score_is_the_built_in_bit_for_bit() {
    check(Kind::Score, &Value::Null);
}

#[test]
fn ladder_is_the_built_in_bit_for_bit() {
    check(Kind::Ladder, &Value::Null);
    check(Kind::Ladder, &json!({ "megapixel_cost": 0.0212 }));
}

#[test]
fn auth_is_the_built_in() {
    let mut theirs = reference(Kind::Auth).instantiate(&Value::Null).unwrap();
    let mut ours = Builtin::default().instantiate(&Value::Null).unwrap();
    let mut rng = StdRng::seed_from_u64(SEED);
    let actions = [
        auth::Action::Publish,
        auth::Action::Play,
        auth::Action::Join,
        auth::Action::Admin,
    ];
    let streams = ["", "demo", "demo-2", "de", "*", "Ünïcode 🎥", "a:b"];
    let scopes = [
        "play",
        "play:demo",
        "play:de*",
        "publish:*",
        "join:a:b",
        "admin",
        "admin:x",
        "",
        " ",
        ":",
        "play:",
        "publish:Ünï*",
        "\"}{\u{0}",
    ];
    for round in 0..2 * ROUNDS {
        let mut some = || {
            let count = rng.random_range(0..4);
            let words: Vec<&str> = (0..count)
                .map(|_| scopes[rng.random_range(0..scopes.len())])
                .collect();
            words.join(" ")
        };
        let (scope, other) = (some(), some());
        let claims: BTreeMap<String, Value> = match rng.random_range(0..8) {
            0 => BTreeMap::new(),
            1 => BTreeMap::from([("sub".to_owned(), json!({ "deep": [1, 2.5, null, other] }))]),
            2 => BTreeMap::from([("scope".to_owned(), json!(["play"]))]),
            3 => BTreeMap::from([
                ("scope".to_owned(), json!(scope)),
                ("exp".to_owned(), json!(1.7e9)),
            ]),
            _ => BTreeMap::from([("scope".to_owned(), json!(scope))]),
        };
        let request = auth::Request {
            action: actions[rng.random_range(0..actions.len())],
            stream: streams[rng.random_range(0..streams.len())].to_owned(),
            peer: "192.0.2.1".to_owned(),
            claims,
            now_s: rng.random(),
            answered: None,
        };
        let (given, spent) = theirs.authorize(&request).unwrap();
        let (expected, _) = ours.authorize(&request).unwrap();
        assert_eq!(given, expected, "round {round}: {request:?}");
        assert!(spent.steps > 0);
    }
}

#[test]
fn the_same_question_costs_the_same_steps_in_every_instance() {
    let plugin = reference(Kind::Abr);
    let batch = blank(Kind::Abr, plugin.manifest(), 5, 100);
    let steps = || {
        let mut policy = plugin.instantiate(&Value::Null).unwrap();
        policy
            .decide(Kind::Abr, &batch, &mut Answer::default())
            .unwrap()
            .steps
    };
    let first = steps();
    assert_eq!(first, steps());
    assert!(first < 100 * 1000, "{first} steps for 100 viewers");
}

#[test]
fn a_configuration_it_does_not_like_is_refused_in_words() {
    let fault = reference(Kind::Abr)
        .instantiate(&json!({ "up_after_s": -1 }))
        .err()
        .unwrap();
    let lockgate_policy::Fault::Configuration(what) = fault else {
        panic!("{fault}");
    };
    assert!(what.contains("from 0 on"), "{what}");
}
