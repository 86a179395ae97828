use super::*;
use crate::engine::{Cause, Mode, Tick};

fn batch(kind: Kind, rungs: &[&[(&str, f64)]], rows: &[&[(&str, f64)]], memo: &[f64]) -> Batch {
    let flat = |columns: &[Column], rows: &[&[(&str, f64)]]| {
        let width = column::width(columns);
        let mut numbers = vec![f64::NAN; width * rows.len()];
        for (at, row) in rows.iter().enumerate() {
            for (name, value) in *row {
                numbers[at * width + column::place(columns, name).unwrap()] = *value;
            }
        }
        numbers
    };
    Batch {
        tick: Tick {
            now_ms: 10_000,
            seed: 1,
            mode: Mode::Webrtc,
            cause: Cause::Tick,
        },
        rungs: flat(column::RUNG, rungs),
        rung_count: rungs.len(),
        rung_names: Vec::new(),
        rows: flat(kind.inputs(), rows),
        row_count: rows.len(),
        memo: memo.to_vec(),
    }
}

fn decide(kind: Kind, batch: &Batch) -> Answer {
    let mut answer = Answer::default();
    let mut policy = Builtin::default().instantiate(&Value::Null).unwrap();
    policy.decide(kind, batch, &mut answer).unwrap();
    assert_eq!(
        answer.rows.len(),
        kind.output_width(batch.rung_count) * batch.row_count
    );
    assert_eq!(answer.memo.len(), batch.memo.len());
    answer
}

const RUNGS: &[&[(&str, f64)]] = &[
    &[
        ("need_kbps", 600.0),
        ("kbps", 600.0),
        ("width", 640.0),
        ("height", 360.0),
        ("fps", 30.0),
    ],
    &[
        ("need_kbps", 1000.0),
        ("kbps", 1000.0),
        ("width", 854.0),
        ("height", 480.0),
        ("fps", 30.0),
    ],
    &[
        ("need_kbps", 2500.0),
        ("kbps", 2500.0),
        ("width", 1280.0),
        ("height", 720.0),
        ("fps", 60.0),
    ],
    &[
        ("need_kbps", 5000.0),
        ("kbps", 5000.0),
        ("width", 1920.0),
        ("height", 1080.0),
        ("fps", 60.0),
    ],
];

#[test]
fn abr_follows_its_table() {
    let rung = |row: &[(&str, f64)]| {
        let answer = decide(Kind::Abr, &batch(Kind::Abr, RUNGS, &[row], &[f64::NAN]));
        (answer.rows[0], answer.rows[1])
    };
    assert_eq!(rung(&[("bandwidth_kbps", 0.0)]), (0.0, 4.0));
    assert_eq!(rung(&[("bandwidth_kbps", 3125.0)]), (2.0, 4.0));
    assert_eq!(rung(&[("bandwidth_kbps", 3124.0)]), (1.0, 4.0));
    assert_eq!(
        rung(&[("bandwidth_kbps", 6250.0), ("loss_pct", 20.0)]),
        (2.0, 4.0)
    );
    assert_eq!(
        rung(&[("bandwidth_kbps", 6250.0), ("jitter_ms", 2000.0)]),
        (0.0, 4.0)
    );
    assert_eq!(
        rung(&[("bandwidth_kbps", 5556.0), ("buffer_s", 30.0)]),
        (3.0, 4.0)
    );
    assert_eq!(rung(&[]), (2.0, 5.0));
    assert_eq!(
        rung(&[("bandwidth_kbps", 900.0), ("current", 3.0)]),
        (0.0, 3.0)
    );
    assert_eq!(
        rung(&[("bandwidth_kbps", 9000.0), ("current", 1.0)]),
        (1.0, 1.0)
    );
    assert_eq!(
        rung(&[("bandwidth_kbps", 9000.0), ("current", 7.0)]),
        (3.0, 4.0)
    );
}

#[test]
fn abr_goes_up_one_step_after_its_time() {
    let row: &[(&str, f64)] = &[("bandwidth_kbps", 9000.0), ("current", 1.0)];
    let after = |since: f64| {
        let answer = decide(Kind::Abr, &batch(Kind::Abr, RUNGS, &[row], &[since]));
        (answer.rows[0], answer.memo[0])
    };
    assert_eq!(after(f64::NAN), (1.0, 10_000.0));
    assert_eq!(after(5_001.0), (1.0, 5_001.0));
    assert_eq!(after(5_000.0), (2.0, 10_000.0));
}

#[test]
fn score_and_its_parts() {
    let grade =
        |row: &[(&str, f64)]| decide(Kind::Score, &batch(Kind::Score, &[], &[row], &[])).rows;
    assert_eq!(
        grade(&[("bandwidth_kbps", 10_000.0)]),
        [100.0, 0.0, 0.0, 0.0, 0.0]
    );
    assert_eq!(grade(&[("bandwidth_kbps", 50_000.0)])[0], 100.0);
    let poor = grade(&[
        ("bandwidth_kbps", 0.0),
        ("loss_pct", 50.0),
        ("jitter_ms", 1000.0),
    ]);
    assert_eq!(poor, [0.0, 40.0, 30.0, 30.0, 4.0]);
    assert_eq!(
        grade(&[
            ("bandwidth_kbps", 5000.0),
            ("loss_pct", 1.0),
            ("jitter_ms", 20.0)
        ])[0],
        70.0
    );
}

#[test]
fn optimize_follows_its_tables() {
    let saving = |row: &[(&str, f64)]| {
        decide(Kind::Optimize, &batch(Kind::Optimize, RUNGS, &[row], &[])).rows
    };
    let narrow = saving(&[
        ("bandwidth_kbps", 499.0),
        ("loss_pct", 3.0),
        ("jitter_ms", 60.0),
    ]);
    assert_eq!(
        narrow,
        [
            2.0,
            70.0,
            5000.0 * (1.0 - 0.7),
            15.0,
            12.0,
            8000.0,
            1.0,
            22.0,
            1.0,
            3.0
        ]
    );
    assert_eq!(saving(&[("bandwidth_kbps", 1000.0)])[..2], [1.0, 40.0]);
    assert_eq!(saving(&[("bandwidth_kbps", 5000.0)])[..2], [1.0, 40.0]);
    assert_eq!(saving(&[("bandwidth_kbps", 5001.0)])[..2], [0.0, 30.0]);
    assert_eq!(
        saving(&[("bandwidth_kbps", 800.0), ("latency_target_s", 3.0)])[7],
        5.0
    );
}

#[test]
fn ladder_encodes_what_is_worth_it() {
    let plan = |row: &[(&str, f64)]| {
        let answer = decide(Kind::Ladder, &batch(Kind::Ladder, RUNGS, &[row], &[]));
        (answer.rows[0], answer.rows[3..].to_vec())
    };
    let source = |height: f64| {
        [
            ("width", height * 16.0 / 9.0),
            ("height", height),
            ("fps", 30.0),
        ]
    };
    assert_eq!(plan(&source(2160.0)), (0.0, vec![1.0; 4]));
    assert_eq!(plan(&source(720.0)), (0.0, vec![1.0, 1.0, 1.0, 0.0]));
    assert_eq!(plan(&source(90.0)), (0.0, vec![1.0, 0.0, 0.0, 0.0]));
    let with = |extra: &[(&'static str, f64)]| [&source(720.0)[..], extra].concat();
    assert_eq!(
        plan(&with(&[("kbps", 1500.0), ("passable", 1.0)])),
        (1.0, vec![1.0, 1.0, 0.0, 0.0])
    );
    assert_eq!(
        plan(&with(&[("cpu_budget", 0.2)])),
        (0.0, vec![1.0, 1.0, 0.0, 0.0])
    );
    assert_eq!(
        plan(&with(&[("cpu_budget", 0.0)])),
        (0.0, vec![1.0, 0.0, 0.0, 0.0])
    );
}

#[test]
fn a_score_has_finite_parts_whatever_was_measured() {
    for value in [-f64::MAX, f64::MAX, -1.0, -0.0, 1e300] {
        let row: &[(&str, f64)] = &[
            ("bandwidth_kbps", value),
            ("loss_pct", value),
            ("jitter_ms", value),
        ];
        let answer = decide(Kind::Score, &batch(Kind::Score, RUNGS, &[row], &[]));
        assert!(
            answer.rows.iter().all(|number| number.is_finite()),
            "{value}: {:?}",
            answer.rows
        );
    }
}
