//! Policies that bring an interpreter along: the JavaScript example, built by `make fixtures`.

use serde_json::{Value, json};

use super::*;

fn bytes() -> Vec<u8> {
    let folder = env::var_os("LOCKGATE_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/fixtures"),
        PathBuf::from,
    );
    fs::read(folder.join("js-buffer.wasm")).expect("`make fixtures` builds it")
}

/// Compiled once: it takes seconds.
static SCRIPT: LazyLock<WasmArtifact> =
    LazyLock::new(|| HOST.load("js-buffer", &bytes(), Limits::LARGE).unwrap());

#[test]
fn the_key_that_grants_more_is_named() {
    let refused = |limits: Limits| {
        let error = HOST.load("js-buffer", &bytes(), limits).err().unwrap();
        error.to_string()
    };
    let small = refused(Limits::default());
    assert!(
        small.contains("policies.limits.abr") || small.contains("large = true in [policies.limits"),
        "{small}"
    );
    let short = refused(Limits {
        artifact_bytes: 1 << 20,
        ..Limits::LARGE
    });
    assert!(short.contains("size_mb = 2"), "{short}");
    let few = refused(Limits {
        steps_per_row: 1000,
        ..Limits::LARGE
    });
    assert!(
        few.contains("steps_per_row = 200000 in [policies.limits.abr]"),
        "{few}"
    );
}

#[test]
fn a_script_decides_by_the_buffer_and_the_same_every_time() {
    // bandwidth_kbps, loss_pct, buffer_s, in_stall, current
    let rows = [
        [5000.0, 0.0, 1.0, 0.0, 2.0],
        [500.0, 0.0, 60.0, 0.0, 0.0],
        [1300.0, 0.0, f64::NAN, f64::NAN, f64::NAN],
    ];
    let mut batch = blank(Kind::Abr, SCRIPT.manifest(), 3, rows.len());
    batch.rungs = vec![600.0, 1000.0, 2500.0];
    batch.rows = rows.concat();
    let ask = || {
        let mut answer = Answer::default();
        let mut policy = SCRIPT.instantiate(&Value::Null).unwrap();
        let spent = policy.decide(Kind::Abr, &batch, &mut answer).unwrap();
        (answer, spent.steps)
    };
    let (first, steps) = ask();
    let rungs: Vec<f64> = first.rows.chunks(6).map(|row| row[0]).collect();
    assert_eq!(rungs, [0.0, 2.0, 1.0]);
    let (second, again) = ask();
    assert!(lockgate_policy::conformance::same(&first, &second));
    assert_eq!(steps, again, "an interpreter's steps are counted, too");
}

#[test]
fn a_script_tells_what_is_wrong_with_its_configuration() {
    let fault = SCRIPT
        .instantiate(&json!({ "reservoir_s": "long" }))
        .err()
        .unwrap();
    assert_eq!(
        fault,
        lockgate_policy::Fault::Configuration("reservoir_s must be a number".to_owned())
    );
    a_good_one_still_works();
}
