//! Imports: what is asked for, granted and linked; and guests that make too much of it.

use lockgate_policy::{
    Fault, Services,
    host::{Import, KEY_BYTES_MAX},
};
use serde_json::{Value, json};

use super::{
    guest::{ANSWER, Guest, MODULE, Try, load, manifest},
    *,
};

/// What a guest of all imports declares.
const IMPORTS: &str = r#"
    (import "lockgate:policy/host-log@0.1.0" "log" (func $log (param i32 i32 i32)))
    (import "lockgate:policy/host-kv@0.1.0" "get" (func $get (param i32 i32 i32)))
    (import "lockgate:policy/host-kv@0.1.0" "put" (func $put (param i32 i32 i32 i32 i32) (result i32)))
    (import "lockgate:policy/host-metrics@0.1.0" "define" (func $define (param i32 i32 i32 i32)))
    (import "lockgate:policy/host-metrics@0.1.0" "record-value" (func $record (param i32 f64) (result i32)))
"#;

fn guest(recommend: &str) -> Guest {
    let mut all = manifest();
    all["imports"] = json!(["host-log", "host-kv", "host-metrics"]);
    let texts = r#"(data (i32.const 1024) "hello\0aworld") (data (i32.const 1040) "asked") (data (i32.const 1048) "key")"#;
    Guest {
        manifest: Some(all.to_string()),
        module: format!("{IMPORTS} {MODULE} {texts}"),
        recommend: format!("{recommend} {ANSWER}"),
        ..Guest::default()
    }
}

fn ask(artifact: &WasmArtifact, services: &Services) -> Result<(), Fault> {
    let mut policy = artifact.instantiate_with(&Value::Null, services)?;
    let batch = blank(Kind::Abr, artifact.manifest(), 2, 1);
    policy
        .decide(Kind::Abr, &batch, &mut Answer::default())
        .map(|_| ())
}

#[test]
fn a_guest_logs_keeps_and_counts() {
    // Reads "key" (answer at 96: is there, place, length), puts one number more than it found, counts one.
    let artifact = guest(
        r#"(call $log (i32.const 2) (i32.const 1024) (i32.const 11))
           (call $get (i32.const 1048) (i32.const 3) (i32.const 96))
           (drop (call $put (i32.const 1048) (i32.const 3) (i32.const 2048)
               (i32.add (i32.const 1) (select (i32.load (i32.const 104)) (i32.const 0) (i32.load8_u (i32.const 96))))
               (i32.const 60)))
           (call $define (i32.const 1040) (i32.const 5) (i32.const 0) (i32.const 112))
           (drop (call $record (i32.load (i32.const 116)) (f64.const 1.5)))"#,
    )
    .load()
    .unwrap();
    let services = Services::of(artifact.manifest());
    for asked in 0..3 {
        ask(&artifact, &services).unwrap();
        let read = services.reads().values["key"].clone();
        assert_eq!(
            read.map(|numbers| numbers.len()),
            (asked > 0).then_some(asked)
        );
    }
    let info = services.info().unwrap();
    assert_eq!((info.log.len(), info.kv.keys), (3, 1));
    // A line stays a line.
    assert_eq!(info.log[0].text, "hello world");
    assert_eq!(
        (info.metrics[0].name.as_str(), info.metrics[0].value),
        ("asked", 4.5)
    );
}

#[test]
fn an_import_that_the_manifest_does_not_ask_for_is_refused_and_so_is_one_not_used() {
    let mut lying = guest("");
    let mut fewer = manifest();
    fewer["imports"] = json!(["host-log", "host-kv"]);
    lying.manifest = Some(fewer.to_string());
    let told = load(&lying.build()).unwrap_err();
    assert!(
        told.contains("it imports host-metrics, but its manifest"),
        "{told}"
    );
    let greedy = Guest {
        manifest: Some(fewer.to_string()),
        ..Guest::default()
    };
    let told = load(&greedy.build()).unwrap_err();
    assert!(
        told.contains("asks for host-log, which it does not import"),
        "{told}"
    );
    let mut unknown = guest("");
    unknown.module = unknown
        .module
        .replace("host-metrics@0.1.0", "host-metrics@0.2.0");
    let told = load(&unknown.build()).unwrap_err();
    assert!(
        told.contains("host-metrics@0.2.0") && told.contains("speaks 0.1"),
        "{told}"
    );
}

#[test]
fn an_instance_without_what_it_wants_is_never_made() {
    let artifact = guest("").load().unwrap();
    assert!(matches!(
        ask(&artifact, &Services::none()),
        Err(Fault::Host(_))
    ));
    assert!(
        Import::ALL
            .iter()
            .all(|import| !Services::none().has(*import))
    );
    ask(&artifact, &Services::of(artifact.manifest())).unwrap();
}

#[test]
fn floods_and_huge_keys_are_bounded_by_steps() {
    for (what, body) in [
        (
            "a flood of lines",
            "(loop $l (call $log (i32.const 1) (i32.const 1024) (i32.const 11)) (br $l))",
        ),
        (
            "a flood of reads",
            "(loop $l (call $get (i32.const 1048) (i32.const 3) (i32.const 96)) (br $l))",
        ),
        (
            "a flood of puts",
            "(loop $l (drop (call $put (i32.const 1048) (i32.const 3) (i32.const 2048) (i32.const 8) (i32.const 9))) (br $l))",
        ),
        (
            "a flood of metrics",
            "(loop $l (call $define (i32.const 1040) (i32.const 5) (i32.const 0) (i32.const 112)) (br $l))",
        ),
    ] {
        let artifact = guest(body).load().unwrap();
        let services = Services::of(artifact.manifest());
        let fault = ask(&artifact, &services).unwrap_err();
        assert!(matches!(fault, Fault::Budget(_)), "{what}: {fault}");
        let info = services.info().unwrap();
        // What a failed call has put is not there.
        assert!(
            info.log.len() <= 20 && info.kv.keys == 0 && info.metrics.len() <= 1,
            "{what}: {info:?}"
        );
    }
    // A key of 50000 bytes is no key, and costs what it is long.
    let artifact = guest(&format!(
        "(drop (call $put (i32.const 8192) (i32.const {}) (i32.const 2048) (i32.const 1) (i32.const 9)))\
         (drop (call $put (i32.const 8192) (i32.const 50000) (i32.const 2048) (i32.const 1) (i32.const 9)))",
        KEY_BYTES_MAX + 1
    ))
    .load()
    .unwrap();
    let services = Services::of(artifact.manifest());
    ask(&artifact, &services).unwrap();
    assert_eq!(services.info().unwrap().kv.keys, 0);
    for (what, body) in [
        (
            "beyond its memory",
            "(call $log (i32.const 1) (i32.const 65000) (i32.const 65000))",
        ),
        (
            "more than may be handed over",
            "(drop (call $put (i32.const 1048) (i32.const 3) (i32.const 0) (i32.const 200000) (i32.const 9)))",
        ),
    ] {
        let fault = ask(
            &guest(body).load().unwrap(),
            &Services::of(guest(body).load().unwrap().manifest()),
        )
        .unwrap_err();
        assert!(
            matches!(fault, Fault::BadOutput(_) | Fault::Trap(_)),
            "{what}: {fault}"
        );
    }
    a_good_one_still_works();
}
