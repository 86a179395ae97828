//! The reference plugins answer as the built-in policies do: what is written down, and bit for bit.

use lockgate_cases::{Cases, equal, run};
use lockgate_policy::Builtin;
use serde_json::{Value, json};

use super::*;

const QUESTIONS: usize = 1000;

fn compare(kind: Kind, config: &Value) {
    let outcome = equal(
        &reference(kind),
        &Builtin::default(),
        kind,
        config,
        QUESTIONS,
    );
    assert_eq!(outcome.map_err(|different| different.to_string()), Ok(()));
}

#[test]
fn the_reference_cases_hold() {
    for kind in Kind::ALL {
        let path = format!("../../policies/{kind}/reference.cases.toml");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let cases = Cases::parse(&fs::read_to_string(path).unwrap()).unwrap();
        let report = run(&reference(kind), &json!({}), &cases);
        assert!(report.holds() && report.unreached.is_empty(), "{report}");
        let costs = report.cases.iter().filter(|case| case.steps > 0).count();
        assert!(costs > 5, "{report}");
    }
}

#[test]
fn abr_is_the_built_in_bit_for_bit() {
    compare(Kind::Abr, &Value::Null);
    compare(Kind::Abr, &json!({ "up_after_s": 2.5, "start_kbps": 900 }));
}

#[test]
fn optimize_is_the_built_in_bit_for_bit() {
    compare(Kind::Optimize, &Value::Null);
    compare(Kind::Optimize, &json!({ "fec_loss_pct": 0.1 }));
}

#[test]
fn score_is_the_built_in_bit_for_bit() {
    compare(Kind::Score, &Value::Null);
}

#[test]
fn ladder_is_the_built_in_bit_for_bit() {
    compare(Kind::Ladder, &Value::Null);
    compare(Kind::Ladder, &json!({ "megapixel_cost": 0.0212 }));
}

#[test]
fn auth_is_the_built_in() {
    compare(Kind::Auth, &Value::Null);
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

#[test]
fn two_kinds_out_of_one_component_decide_over_one_configuration() {
    let bytes = plugin_bytes("two-kinds");
    let plugin = HOST.load("two-kinds", &bytes, Limits::default()).unwrap();
    let kinds: Vec<Kind> = plugin.manifest().kinds.keys().copied().collect();
    assert_eq!(kinds, [Kind::Abr, Kind::Score]);
    let mut policy = plugin.instantiate(&json!({ "reserve_kbps": 500 })).unwrap();
    let mut decide = |kind| {
        let mut batch = blank(kind, plugin.manifest(), 2, 2);
        batch.rungs.copy_from_slice(&[1000.0, 2000.0]);
        batch.rows.copy_from_slice(&[2600.0, 1500.0]);
        let mut answer = Answer::default();
        policy.decide(kind, &batch, &mut answer).unwrap();
        answer.rows
    };
    let picks = decide(Kind::Abr);
    assert_eq!((picks[0], picks[6]), (1.0, 0.0));
    let grades = decide(Kind::Score);
    assert_eq!((grades[0], grades[5]), (100.0, 50.0));
    let refused = plugin.instantiate(&json!({ "reserve_kbps": -1 })).err();
    let told = refused.map(|fault| fault.to_string()).unwrap_or_default();
    assert!(told.contains("reserve_kbps"), "{told}");
}
