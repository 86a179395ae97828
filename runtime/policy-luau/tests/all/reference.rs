//! The reference scripts answer as the built-in policies do, bit for bit.

use crate::common::{Random, project, read_policy};
use lockgate_policy::{
    Answer, Artifact, Batch, Builtin, Kind, Limits, Tick,
    auth::{Action, Request},
    column::{self, Column},
    engine::{Cause, Mode},
};
use lockgate_policy_luau::{Luau, LuauArtifact};
use serde_json::{Value, json};

const BATCHES: usize = 2000;

fn load(kind: Kind) -> LuauArtifact {
    let (source, manifest) = read_policy(kind);
    Luau::load(
        "reference.luau",
        source.as_bytes(),
        Some(&manifest),
        Limits::default(),
    )
    .unwrap()
}

/// A number as a column may hold it, with all that may be wrong with it.
fn number(random: &mut Random, column: &Column) -> f64 {
    match random.below(24) {
        0..4 => f64::NAN,
        4 => 0.0,
        5 => -0.0,
        6 => random.unit() * -5000.0,
        7 => 1e300 * (random.unit() - 0.5),
        8 => [f64::INFINITY, f64::NEG_INFINITY, f64::MIN_POSITIVE, 1e-20][random.below(4)],
        9 => [
            1.0, 500.0, 1000.0, 1500.0, 3000.0, 5000.0, 10_000.0, 50.0, 100.0, 2.0, 5.0, 20.0,
        ][random.below(12)],
        _ => match column.name {
            "current" => random.below(9) as f64 - 1.0,
            "passable" | "active" => random.below(2) as f64,
            name if name.ends_with("_s") || name == "cpu_budget" => random.unit() * 30.0,
            name if name.ends_with("_pct") => random.unit() * 12.0,
            name if name.ends_with("_ms") => (random.unit() * 300.0).round(),
            "fps" => [24.0, 25.0, 29.97, 30.0, 50.0, 60.0][random.below(6)],
            "width" | "height" => (random.unit() * 4000.0).round(),
            _ => random.unit() * 12_000.0,
        },
    }
}

fn numbers(random: &mut Random, columns: &[Column], rows: usize) -> Vec<f64> {
    let mut all = Vec::new();
    for _ in 0..rows {
        for column in columns {
            for _ in 0..column.width {
                all.push(number(random, column));
            }
        }
    }
    all
}

fn batch(random: &mut Random, kind: Kind, memo: usize) -> Batch {
    let rung_count = random.below(8);
    let row_count = [0, 1, 2, 5, 63, 64, 65, 130][random.below(8)];
    let mut rungs = numbers(random, column::RUNG, rung_count);
    if random.below(4) > 0 {
        // A ladder as it should be: everything rises.
        let width = column::width(column::RUNG);
        for (at, rung) in rungs.chunks_exact_mut(width).enumerate() {
            let step = at as f64 + 1.0;
            for (name, value) in [
                ("need_kbps", 700.0),
                ("kbps", 650.0),
                ("width", 320.0),
                ("height", 180.0),
            ] {
                rung[column::place(column::RUNG, name).unwrap()] = (value * step * 1.3).round();
            }
            rung[column::place(column::RUNG, "fps").unwrap()] = if at < 2 { 30.0 } else { 60.0 };
        }
    }
    let now_ms = random.below(100_000) as u64;
    let carried = |random: &mut Random| match random.below(4) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        _ => now_ms as f64 - random.below(12_000) as f64,
    };
    Batch {
        tick: Tick {
            now_ms,
            seed: random.next(),
            mode: Mode::Hls,
            cause: Cause::Tick,
        },
        rungs,
        rung_count,
        rung_names: Vec::new(),
        rows: numbers(random, kind.inputs(), row_count),
        row_count,
        memo: (0..row_count * memo).map(|_| carried(random)).collect(),
    }
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    let canonical = |number: &f64| if number.is_nan() { f64::NAN } else { *number };
    numbers
        .iter()
        .map(|number| canonical(number).to_bits())
        .collect()
}

fn compare(kind: Kind, config: &Value) {
    let script = load(kind);
    let mut native = Builtin::default().instantiate(config).unwrap();
    let mut luau = script.instantiate(config).unwrap();
    let memo = script.manifest().memo(kind);
    assert_eq!(memo, Builtin::default().manifest().memo(kind));
    assert_eq!(
        script.manifest().kinds[&kind].reasons,
        Builtin::default().manifest().kinds[&kind].reasons
    );
    let (mut wanted, mut got) = (Answer::default(), Answer::default());
    for seed in 0..BATCHES as u64 {
        let whole = batch(&mut Random(seed), kind, memo);
        native.decide(kind, &whole, &mut wanted).unwrap();
        let asked = project(&whole, kind, script.manifest());
        let spent = luau
            .decide(kind, &asked, &mut got)
            .unwrap_or_else(|fault| panic!("seed {seed}: {fault}\n{asked:?}"));
        let width = kind.output_width(whole.rung_count);
        for row in 0..whole.row_count {
            let range = row * width..(row + 1) * width;
            assert_eq!(
                bits(&got.rows[range.clone()]),
                bits(&wanted.rows[range.clone()]),
                "seed {seed}, row {row}: {:?} is not {:?}; asked {:?}",
                &got.rows[range.clone()],
                &wanted.rows[range],
                &asked.rows[row * asked.rows.len() / asked.row_count
                    ..(row + 1) * asked.rows.len() / asked.row_count],
            );
        }
        assert_eq!(bits(&got.rows), bits(&wanted.rows), "seed {seed}");
        assert_eq!(bits(&got.memo), bits(&wanted.memo), "seed {seed}");
        assert!(spent.memory_bytes > 0 || whole.row_count == 0);
        // The same again takes the same steps and says the same.
        if seed % 16 == 0 {
            let mut again = Answer::default();
            assert_eq!(
                luau.decide(kind, &asked, &mut again).unwrap().steps,
                spent.steps
            );
            assert_eq!(bits(&again.rows), bits(&got.rows));
        }
    }
}

#[test]
fn abr_is_the_built_in() {
    compare(Kind::Abr, &Value::Null);
    compare(Kind::Abr, &json!({"up_after_s": 1.5, "start_kbps": 900}));
}

#[test]
fn optimize_is_the_built_in() {
    compare(Kind::Optimize, &Value::Null);
    compare(Kind::Optimize, &json!({"fec_loss_pct": 5}));
}

#[test]
fn score_is_the_built_in() {
    compare(Kind::Score, &Value::Null);
}

#[test]
fn ladder_is_the_built_in() {
    compare(Kind::Ladder, &Value::Null);
    compare(Kind::Ladder, &json!({"megapixel_cost": 0.02}));
}

#[test]
fn auth_is_the_built_in() {
    let script = load(Kind::Auth);
    let mut luau = script.instantiate(&Value::Null).unwrap();
    let mut native = Builtin::default().instantiate(&Value::Null).unwrap();
    let kinds = ["publish", "play", "join", "admin", "", "x"];
    let patterns = [
        "", ":", ":*", ":demo", ":de*", ":demo:a", ":a:b*", ":*mo", ":d*mo", ":DEMO", ":ä*",
    ];
    let streams = ["", "demo", "demo:a", "a:b/c", "d*mo", "de", "äö"];
    for seed in 0..5000 {
        let random = &mut Random(seed);
        let scope = |random: &mut Random| {
            format!("{}{}", kinds[random.below(6)], patterns[random.below(11)])
        };
        let scopes: Vec<String> = (0..random.below(4)).map(|_| scope(random)).collect();
        let claims = match random.below(8) {
            0 => json!({}),
            1 => json!({"sub": null}),
            2 => json!({"scope": ["play:demo"], "sub": "x"}),
            3 => json!({"scope": 7}),
            _ => json!({"scope": scopes.join(" "), "room": {"a": [1, null, true]}}),
        };
        let request = Request {
            action: [Action::Publish, Action::Play, Action::Join, Action::Admin][random.below(4)],
            stream: streams[random.below(7)].to_owned(),
            peer: "192.0.2.1".to_owned(),
            claims: serde_json::from_value(claims).unwrap(),
            now_s: random.next() >> 20,
            answered: None,
        };
        let (got, _) = luau.authorize(&request).unwrap();
        assert_eq!(
            got,
            native.authorize(&request).unwrap().0,
            "seed {seed}: {request:?}"
        );
    }
}

#[test]
fn configuration_is_refused_by_both() {
    for (kind, config) in [
        (Kind::Abr, json!({"up_after_s": -1})),
        (Kind::Abr, json!({"start_kbps": "many"})),
        (Kind::Optimize, json!({"fec_loss_pct": []})),
        (Kind::Ladder, json!({"megapixel_cost": true})),
    ] {
        let fault = load(kind).instantiate(&config).err().unwrap();
        assert_eq!(fault.word(), "configuration", "{fault}");
        assert!(Builtin::default().instantiate(&config).is_err());
    }
}
