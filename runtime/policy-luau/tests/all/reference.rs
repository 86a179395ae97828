//! The reference scripts answer as the built-in policies do: what is written down, and bit for bit.

use std::path::Path;

use crate::common::read_policy;
use lockgate_cases::{Cases, equal, run};
use lockgate_policy::{Artifact, Builtin, Kind, Limits};
use lockgate_policy_luau::{Luau, LuauArtifact};
use serde_json::{Value, json};

const QUESTIONS: usize = 1000;

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

fn compare(kind: Kind, config: &Value) {
    let outcome = equal(&load(kind), &Builtin::default(), kind, config, QUESTIONS);
    assert_eq!(outcome.map_err(|different| different.to_string()), Ok(()));
}

#[test]
fn the_reference_cases_hold() {
    for kind in Kind::ALL {
        let path = format!("../../policies/{kind}/reference.cases.toml");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        let cases = Cases::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
        let report = run(&load(kind), &Value::Null, &cases);
        assert!(report.holds() && report.unreached.is_empty(), "{report}");
        let costs = report.cases.iter().filter(|case| case.steps > 0).count();
        assert!(costs > 5, "{report}");
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
    compare(Kind::Auth, &Value::Null);
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
