use std::path::Path;

use lockgate_policy::{Artifact, Builtin, Kind};
use serde_json::Value;

use super::*;

fn reference(kind: Kind) -> String {
    let path = format!("../../policies/{kind}/reference.cases.toml");
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn parse(text: &str) -> Cases {
    Cases::parse(text).unwrap_or_else(|bad| panic!("{bad}"))
}

#[test]
fn the_built_in_holds_the_reference_cases_and_they_reach_every_reason() {
    let mut unreached = Vec::new();
    for kind in Kind::ALL {
        let report = run(&Builtin::default(), &Value::Null, &parse(&reference(kind)));
        assert!(report.holds() && report.cases.len() > 5, "{report}");
        unreached.extend(report.unreached.into_iter().filter(|one| one.kind == kind));
    }
    assert_eq!(unreached, []);
}

#[test]
fn what_does_not_hold_is_told_with_what_was_given() {
    let cases = parse(
        r#"
kind = "abr"
rungs = [{ name = "low", need_kbps = 500 }, { name = "high", need_kbps = 2000 }]
[[case]]
name = "up"
[[case.step]]
viewer = { bandwidth_kbps = 9000, current = "low" }
expect = { rung = "low", memo = [0] }
[[case.step]]
expect = { rung = "high", reason = "up: a higher rung has fitted for long enough", memo = [1] }
"#,
    );
    let report = run(&Builtin::default(), &Value::Null, &cases);
    assert!(!report.holds() && report.held() == 0);
    let told = report.to_string();
    for part in [
        "FAILED abr: up",
        "line 10, step 2: rung",
        "bandwidth_kbps 9000, current low, memo [0], 2 rungs, now_ms 1000",
        "expected  high",
        "got       low, because \"wait: a higher rung fits, but not for long enough\"",
        "got       [0]",
        "no case reaches the reason of abr \"there is no rung\"",
        "0 of 1 cases hold",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
}

#[test]
fn expectations_are_exact_unless_they_say_otherwise() {
    let outcome = |expect: &str| {
        let viewer = "viewer = { bandwidth_kbps = 9999 }";
        let text = format!("kind = \"score\"\n[[case]]\nname = \"x\"\n{viewer}\nexpect = {expect}");
        run(&Builtin::default(), &Value::Null, &parse(&text)).holds()
    };
    assert!(outcome("{ bandwidth_part = 0.004 }"));
    assert!(!outcome("{ bandwidth_part = 0.0041 }"));
    assert!(outcome(
        "{ bandwidth_part = { approx = 0.0041, within = 0.001 } }"
    ));
    assert!(!outcome(
        "{ bandwidth_part = { approx = 0.0061, within = 0.001 } }"
    ));
    assert!(outcome("{ score = { at_least = 99 } }") && !outcome("{ score = { at_most = 99 } }"));
    assert!(!outcome("{ score = nan }") && !outcome("{ reason = \"good: 1080p60\" }"));
    assert!(!outcome("{ fault = \"trap\" }"));
}

#[test]
fn a_fault_is_told_unless_it_is_expected() {
    let outcome = |expect: &str| {
        let text = format!(
            "kind = \"abr\"\nconfig = {{ start_kbps = -1 }}\n[[case]]\nname = \"x\"\nexpect = {expect}"
        );
        run(&Builtin::default(), &Value::Null, &parse(&text)).to_string()
    };
    assert!(outcome("{ fault = \"configuration\" }").contains("1 of 1"));
    assert!(outcome("{ fault = \"trap\" }").contains("expected  the fault trap"));
    assert!(outcome("{ rung = 0 }").contains("start_kbps must be a number"));
}

#[test]
fn a_wrong_file_is_refused_with_its_line_and_what_to_do() {
    let head = "kind = \"abr\"\nrungs = [{ name = \"low\", need_kbps = 500 }]\n";
    for (line, told, text) in [
        (1, "no [[case]]", ""),
        (2, "expected `]]`", "kind = \"abr\"\n[[case\n"),
        (3, "has no name", "[[case]]\nexpect = { rung = 0 }"),
        (
            4,
            "no key \"viewr\"; did you mean \"viewer\"?",
            "[[case]]\nviewr = {}",
        ),
        (
            5,
            "no column \"bandwith_kbps\"; did you mean \"bandwidth_kbps\"?",
            "[[case]]\nname = \"x\"\nviewer = { bandwith_kbps = 1 }\nexpect = { rung = 0 }",
        ),
        (
            5,
            "no rung \"hi\"; there are low",
            "[[case]]\nname = \"x\"\nexpect = { rung = \"hi\" }",
        ),
        (
            5,
            "no \"level\"; there are rung",
            "[[case]]\nname = \"x\"\nexpect = { level = 1 }",
        ),
        (3, "expects nothing", "[[case]]\nname = \"x\""),
        (
            5,
            "is to be a number",
            "[[case]]\nname = \"x\"\nviewer = { buffer_s = \"many\" }",
        ),
        (
            5,
            "abr is asked with viewer, not with source",
            "[[case]]\nname = \"x\"\nsource = {}",
        ),
        (
            6,
            "no kind of policy",
            "[[case]]\nname = \"x\"\nexpect = { rung = 0 }\nkind = \"abc\"",
        ),
        (
            6,
            "called \"x\" too",
            "[[case]]\nname = \"x\"\nexpect = { rung = 0 }\n[[case]]\nname = \"x\"\nexpect = { rung = 0 }",
        ),
        (
            4,
            "is to be a text",
            "[[case]]\nname = 1\nexpect = { rung = 0 }",
        ),
        (
            5,
            "expects in its steps",
            "[[case]]\nname = \"x\"\nexpect = { rung = 0 }\n[[case.step]]\nexpect = { rung = 0 }",
        ),
        (
            5,
            "mode",
            "[[case]]\nname = \"x\"\ntick = { mod = \"hls\" }",
        ),
        (
            5,
            "`ll_hls`",
            "[[case]]\nname = \"x\"\ntick = { mode = \"rtmp\" }",
        ),
    ] {
        let text = if text.is_empty() || text.starts_with("kind") {
            text.to_owned()
        } else {
            format!("{head}{text}")
        };
        let bad = Cases::parse(&text).expect_err(&text);
        assert!(bad.what.contains(told), "{told:?} is not in {bad}");
        assert_eq!(bad.line, line, "{bad}\n{text}");
    }
}

#[test]
fn the_built_in_equals_itself_and_not_another_configuration() {
    struct Slower(Builtin);
    impl Artifact for Slower {
        fn manifest(&self) -> &lockgate_policy::Manifest {
            self.0.manifest()
        }
        fn digest(&self) -> &str {
            self.0.digest()
        }
        fn instantiate_with(
            &self,
            _: &Value,
            services: &lockgate_policy::Services,
        ) -> Result<Box<dyn lockgate_policy::Policy>, lockgate_policy::Fault> {
            let config = serde_json::json!({ "up_after_s": 5.1 });
            self.0.instantiate_with(&config, services)
        }
    }
    let (one, other) = (Builtin::default(), Slower(Builtin::default()));
    for kind in Kind::ALL {
        assert_eq!(equal(&one, &one, kind, &Value::Null, 100), Ok(()));
    }
    let difference = equal(&one, &other, Kind::Abr, &Value::Null, 2000).unwrap_err();
    assert!(difference.what.contains("is not"), "{difference}");
}
