//! What an author does with cases, through the real binary.

use std::path::Path;

use serde_json::Value;

use crate::support::lockgate;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Runs the command line in a folder: exit code, and all it told.
fn run(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = lockgate(folder)
        .args(arguments)
        .output()
        .expect("the binary runs");
    let told =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), told.concat())
}

#[test]
fn the_reference_policies_hold_their_cases_as_script_and_as_component() {
    let root = Path::new(ROOT);
    for kind in ["abr", "auth"] {
        let script = format!("policies/{kind}/reference.luau");
        let (code, told) = run(root, &["policy", "test", &script]);
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("cases hold\nkeeps every rule"), "{told}");
    }
    let component = "plugins/abr-reference/abr-reference.wasm";
    let cases = "policies/abr/reference.cases.toml";
    let (code, told) = run(root, &["policy", "test", component, "--cases", cases]);
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn cases_that_do_not_hold_are_told_and_a_wrong_file_is_used_wrongly() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = folder.path();
    let write = |name: &str, text: &str| {
        std::fs::write(at.join(name), text).expect("a file is written");
    };
    write(
        "mine.luau",
        "return { recommend = function(viewer, ladder)\n\
         \treturn if #ladder > 0 then 1 else nil, \"always the lowest\"\nend }",
    );
    let (code, told) = run(at, &["policy", "test", "mine.luau"]);
    assert!(
        code == Some(2) && told.contains("mine.cases.toml cannot be read"),
        "{told}"
    );
    let (_, told) = run(at, &["policy", "check", "mine.luau"]);
    assert!(told.contains("has no cases: mine.cases.toml"), "{told}");

    let rungs = "kind = \"abr\"\nrungs = [{ name = \"low\" }, { name = \"high\" }]\n";
    let case = "[[case]]\nname = \"wide\"\nviewer = { bandwidth_kbps = 9000 }\n";
    write(
        "mine.cases.toml",
        &format!("{rungs}{case}expect = {{ rung = \"hi\" }}\n"),
    );
    let (code, told) = run(at, &["policy", "test", "mine.luau"]);
    let wanted = "mine.cases.toml, line 6: there is no rung \"hi\"";
    assert!(code == Some(2) && told.contains(wanted), "{told}");

    write(
        "mine.cases.toml",
        &format!("{rungs}{case}expect = {{ rung = \"high\" }}\n"),
    );
    let (code, told) = run(at, &["policy", "test", "mine.luau"]);
    assert_eq!(code, Some(1), "{told}");
    for part in [
        "FAILED abr: wide",
        "line 6, step 1: rung",
        "given     bandwidth_kbps 9000, 2 rungs, now_ms 0",
        "expected  high",
        "got       low, because \"always the lowest\"",
        "0 of 1 cases hold",
    ] {
        assert!(told.contains(part), "{part:?} is not in\n{told}");
    }
    let (code, told) = run(at, &["policy", "test", "mine.luau", "--json"]);
    let told: Value = serde_json::from_str(&told).expect("it is JSON");
    assert_eq!(code, Some(1));
    assert_eq!(told["holds"], false);
    assert_eq!(
        told["cases"][0]["failures"][0]["got"],
        "low, because \"always the lowest\""
    );
}
