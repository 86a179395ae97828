//! The imports of a script: there with the manifest only, and bounded.

use lockgate_policy::{
    Answer, Artifact, Fault, Kind, Limits, Services, conformance, project::Projection,
};
use lockgate_policy_luau::{Luau, LuauArtifact};
use serde_json::Value;

fn load(body: &str, imports: &str) -> Result<LuauArtifact, String> {
    let source = format!(
        "local policy = {{}}\nfunction policy.score(viewer, tick)\n{body}\nreturn 50, nil, \"well\"\nend\nreturn policy\n"
    );
    let manifest = format!(
        "name = \"test\"\nversion = \"1.0.0\"\napi = \"0.1\"\nimports = [{imports}]\n[kinds.score]\ncolumns = [\"rtt_ms\"]\n"
    );
    let limits = Limits::default();
    Luau::load("test.luau", source.as_bytes(), Some(&manifest), limits)
        .map_err(|error| error.to_string())
}

const ALL: &str = "\"host-log\", \"host-kv\", \"host-metrics\"";

fn ask(artifact: &LuauArtifact, services: &Services) -> Result<(), Fault> {
    let mut policy = artifact.instantiate_with(&Value::Null, services)?;
    let projection = Projection::new(artifact.manifest(), Kind::Score);
    let vectors = conformance::vectors(Kind::Score, 30, 1);
    let full = vectors.iter().find(|batch| batch.row_count > 1).unwrap();
    let mut asked = conformance::empty();
    projection.apply(full, &mut asked);
    let mut answer = Answer::default();
    policy.decide(Kind::Score, &asked, &mut answer)?;
    match answer.refused.into_iter().next() {
        Some(refusal) => Err(refusal.fault),
        None => Ok(()),
    }
}

#[test]
fn a_script_has_what_its_manifest_asks_for_and_no_more() {
    for (imports, body) in [
        ("", "assert(host == nil)"),
        (
            "\"host-log\"",
            "assert(host.log and not host.kv and not host.metrics)",
        ),
        (ALL, "assert(host.log and host.kv and host.metrics)"),
        (
            ALL,
            "assert(not pcall(function() host.kv.get = nil end) and not pcall(function() host.x = 1 end))",
        ),
    ] {
        let artifact = load(body, imports).unwrap();
        let services = Services::of(artifact.manifest());
        assert_eq!(ask(&artifact, &services), Ok(()), "{imports}: {body}");
    }
    let artifact = load("", ALL).unwrap();
    assert!(matches!(
        ask(&artifact, &Services::none()),
        Err(Fault::Host(_))
    ));
    let told = load("", "\"host-clock\"").unwrap_err();
    assert!(
        told.contains("host-clock") && told.contains("host-metrics"),
        "{told}"
    );
}

#[test]
fn a_script_logs_keeps_and_counts() {
    let body = "local seen = host.kv.get(\"key\")\n\
        local numbers = seen and table.clone(seen) or {}\n\
        numbers[#numbers + 1] = 7\n\
        assert(host.kv.put(\"key\", numbers, 60))\n\
        host.log.warn(\"hello\\nworld\")\n\
        assert(host.metrics.add(\"asked\", 1) and host.metrics.set(\"level\", -1))\n\
        assert(not host.metrics.set(\"asked\", 1) and not host.kv.put(\"bad\", {0 / 0}, 1))";
    let artifact = load(body, ALL).unwrap();
    let services = Services::of(artifact.manifest());
    for asked in 0..3 {
        ask(&artifact, &services).unwrap();
        // Every row saw the same, and one number was added however many rows there were.
        let read = services.reads().values["key"].clone();
        assert_eq!(
            read.map(|numbers| numbers.len()),
            (asked > 0).then_some(asked)
        );
    }
    let info = services.info().unwrap();
    assert_eq!(info.log[0].text, "hello world");
    assert_eq!((info.kv.keys, info.metrics.len()), (1, 2));
    assert_eq!(conformance::check(&artifact, &Value::Null, 60), Ok(()));
}

#[test]
fn floods_and_huge_keys_are_bounded_by_steps() {
    for body in [
        "while true do host.log.info(\"again\") end",
        "while true do host.kv.get(\"key\") end",
        "while true do host.kv.put(\"key\", {1, 2, 3}, 9) end",
        "while true do host.metrics.add(\"asked\", 1) end",
        "while true do pcall(host.kv.put, \"key\", {\"x\"}, 9) end",
    ] {
        let artifact = load(body, ALL).unwrap();
        let services = Services::of(artifact.manifest());
        let fault = ask(&artifact, &services).unwrap_err();
        assert!(matches!(fault, Fault::Budget(_)), "{body}: {fault}");
        let info = services.info().unwrap();
        assert!(
            info.log.len() <= 20 && info.kv.keys == 0 && info.metrics.len() <= 1,
            "{body}"
        );
    }
    for (body, word) in [
        (
            "for at = 1, 5000 do host.kv.get(tostring(at)) end",
            "1024 keys",
        ),
        ("host.kv.put(\"key\", {\"x\"}, 9)", "list of numbers"),
        ("host.kv.put(\"key\", {}, -1)", "seconds from 0 on"),
        ("host.log.info({})", "string"),
    ] {
        let artifact = load(body, ALL).unwrap();
        let fault = ask(&artifact, &Services::of(artifact.manifest())).unwrap_err();
        let told = fault.to_string();
        assert!(
            matches!(fault, Fault::Trap(_)) && told.contains(word),
            "{body}: {told}"
        );
    }
    let body = "local long = \"k\"\nfor _ = 1, 12 do long ..= long end\n\
        assert(not host.kv.put(long, {1}, 9) and host.kv.get(long) == nil)\n\
        assert(not host.kv.put(\"many\", table.create(65, 1), 9))\n\
        host.log.info(long)";
    let artifact = load(body, ALL).unwrap();
    let services = Services::of(artifact.manifest());
    ask(&artifact, &services).unwrap();
    assert_eq!(services.info().unwrap().log[0].text.len(), 1024);
}
