//! Policy files that are wrong, from outside: the old policy stays, and the message says what, where, and what to do.

use std::time::Duration;

use hyper::Method;

use crate::support::{Server, lockgate, until};

const GOOD: &str = "local policy = {}\nfunction policy.score(viewer)\n\treturn 50, nil, \"well\"\nend\nreturn policy\n";

/// What decides `score`.
async fn active(server: &Server) -> serde_json::Value {
    let answer = server
        .send_as(&server.mint("admin"), Method::GET, "/api/policies", "")
        .await;
    let all = answer.json()["policies"].clone();
    let score = all
        .as_array()
        .into_iter()
        .flatten()
        .find(|slot| slot["kind"] == "score");
    score.map_or(serde_json::Value::Null, |slot| slot["active"].clone())
}

fn reference(kind: &str) -> Vec<u8> {
    let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/../../plugins");
    std::fs::read(format!("{plugins}/{kind}-reference/{kind}-reference.wasm"))
        .expect("the component is in the repository")
}

/// A custom section of a core module.
fn section(name: &str, data: &[u8]) -> Vec<u8> {
    let named = [
        &[u8::try_from(name.len()).expect("short")],
        name.as_bytes(),
        data,
    ]
    .concat();
    let (low, high) = (named.len() & 0x7f | 0x80, named.len() >> 7);
    let length = [low, high].map(|part| u8::try_from(part).expect("short"));
    [&[0], &length[..], &named].concat()
}

/// A core module with a manifest and nothing else.
fn module(manifest: &str) -> Vec<u8> {
    [
        b"\0asm\x01\0\0\0".to_vec(),
        section("lockgate:manifest", manifest.as_bytes()),
    ]
    .concat()
}

/// Each wrong file with words of its message.
fn cases() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let said = |rest: &str| module(&format!("{{\"name\":\"x\",\"version\":\"1.0.0\",{rest}}}"));
    let long = format!("-- {}\n{GOOD}", "x".repeat(70_000));
    vec![
        ("empty", Vec::new(), &["is empty", "returns a table"]),
        ("only white", b" \n\t\n".to_vec(), &["is empty"]),
        (
            "bytecode",
            b"\x06\x03\xff\xfe".to_vec(),
            &["UTF-8", "Luau source"],
        ),
        ("wrong magic", b"\0ASM\x01\0\0\0".to_vec(), &["UTF-8"]),
        (
            "syntax",
            b"local policy = {}\nfunction policy.score(\n".to_vec(),
            &[":3:", "Expected"],
        ),
        ("too long", long.into_bytes(), &["bytes", "may have 65536"]),
        (
            "no table",
            b"return 7".to_vec(),
            &["where a table", "return policy"],
        ),
        (
            "another kind",
            b"return { plan = function() end }".to_vec(),
            &["does not answer score", "answers ladder"],
        ),
        (
            "a component of another kind",
            reference("abr"),
            &["does not answer score", "answers abr"],
        ),
        (
            "cut short",
            reference("score")[..2000].to_vec(),
            &["broken"],
        ),
        (
            "no manifest",
            b"\0asm\x01\0\0\0".to_vec(),
            &["no manifest", "plugin.toml"],
        ),
        (
            "no JSON",
            module("{"),
            &["manifest cannot be read", "line 1"],
        ),
        (
            "an unknown key",
            said("\"api\":\"0.1\",\"kinds\":{},\"colour\":1"),
            &["colour", "expected one of"],
        ),
        (
            "another major",
            said("\"api\":\"1.0\",\"kinds\":{\"score\":{}}"),
            &["speaks 0.1", "contract 1.0", "SDK"],
        ),
        (
            "a column twice",
            said("\"api\":\"0.1\",\"kinds\":{\"score\":{\"columns\":[\"rtt_ms\",\"rtt_ms\"]}}"),
            &["\"rtt_ms\" twice"],
        ),
        (
            "a column nobody knows",
            said("\"api\":\"0.1\",\"kinds\":{\"score\":{\"columns\":[\"rtt\"]}}"),
            &["does not exist"],
        ),
        (
            "an import nobody offers",
            said("\"api\":\"0.1\",\"kinds\":{\"score\":{}},\"imports\":[\"host-clock\"]"),
            &["host-clock", "host-log"],
        ),
        (
            "a bad schema",
            said(
                "\"api\":\"0.1\",\"kinds\":{\"score\":{}},\"config_schema\":{\"type\":\"nmuber\"}",
            ),
            &["config_schema", "nmuber"],
        ),
        (
            "a schema from elsewhere",
            said(
                "\"api\":\"0.1\",\"kinds\":{\"score\":{}},\"config_schema\":{\"$ref\":\"http://127.0.0.1:1/x\"}",
            ),
            &["outside of it", "$defs"],
        ),
        (
            "named but not exported",
            said("\"api\":\"0.1\",\"kinds\":{\"score\":{}}"),
            &["does not export"],
        ),
    ]
}

#[tokio::test]
async fn a_wrong_policy_by_the_api_or_by_file_is_refused_in_clear_words_and_the_old_one_stays() {
    let config = "[policies]\nscore = \"score.luau\"\n";
    let server = Server::start_with(config, &[], &[("score.luau", GOOD)]).await;
    let token = server.mint("admin");
    let before = active(&server).await;
    assert_eq!(before["generation"], 1, "{before}");
    for (what, bytes, words) in cases() {
        let by_api = server
            .send_as(&token, Method::PUT, "/api/policies/score", bytes.clone())
            .await
            .problem(422);
        server.write_bytes("score.luau", &bytes);
        let by_file = until(what, Duration::from_secs(10), || async {
            let log = server.log();
            let mut lines = log.lines().rev();
            lines
                .find(|line| {
                    line.contains("refused")
                        && words.iter().all(|word| {
                            line.contains(&word.replace('"', "\\\"")) || line.contains(word)
                        })
                })
                .map(str::to_owned)
        })
        .await;
        for word in words {
            assert!(by_api.contains(word), "{what}: {by_api}");
        }
        assert!(
            by_file.contains("score.luau") && by_file.contains("the old one stays"),
            "{by_file}"
        );
        let now = active(&server).await;
        assert_eq!(
            (&now["digest"], &now["generation"]),
            (&before["digest"], &before["generation"]),
            "{what}"
        );
    }
    // Gone, it still decides; back, it is taken.
    server.remove("score.luau");
    until("the loss to be told", Duration::from_secs(10), || async {
        server
            .log()
            .contains("the policy file is gone")
            .then_some(())
    })
    .await;
    assert_eq!(active(&server).await["digest"], before["digest"]);
    server.write("score.luau", GOOD);
    until("the file to be taken", Duration::from_secs(10), || async {
        (active(&server).await["generation"] == 2).then_some(())
    })
    .await;
    assert_eq!(active(&server).await["digest"], before["digest"]);
}

const SCHEMED: &str = "name = \"mine\"\nversion = \"1.0.0\"\napi = \"0.1\"\nimports = [\"host-log\"]\n[kinds.score]\n\
    [config_schema]\nadditionalProperties = false\nproperties.patience_s = { type = \"number\", minimum = 0 }\n";

const LOGGING: &str = "local policy = {}\nfunction policy.configure() host.log.info(\"configured\") end\n\
    function policy.score(viewer)\n\treturn 50, nil, \"well\"\nend\nreturn policy\n";

#[tokio::test]
async fn a_policy_gets_what_is_granted_and_configured_and_says_what_is_missing() {
    let files = [("score.luau", LOGGING), ("score.toml", SCHEMED)];
    let refused = async |config: &str, words: &[&str]| {
        let config = format!("[policies]\nscore = \"score.luau\"\n{config}");
        let server = Server::start_with(&config, &[], &files).await;
        let log = server.log();
        let line = log
            .lines()
            .find(|line| line.contains("is refused"))
            .unwrap_or_default();
        for word in words {
            assert!(line.replace('\\', "").contains(word), "{word}: {log}");
        }
        assert_eq!(active(&server).await["digest"], "builtin");
    };
    refused(
        "",
        &[
            "mine imports host-log, which is not granted",
            "`score = [\"host-log\"]` under [policies.grants]",
        ],
    )
    .await;
    let granted = "[policies.grants]\nscore = [\"host-log\"]\n[policies.parameters.score]\n";
    refused(
        &format!("{granted}patience = 1\n"),
        &[
            "did you mean \"patience_s\"?",
            "[policies.parameters.score]",
        ],
    )
    .await;
    refused(
        &format!("{granted}patience_s = -1\n"),
        &["/patience_s: -1", "from 0"],
    )
    .await;
    let config = format!("[policies]\nscore = \"score.luau\"\n{granted}patience_s = 2\n");
    let server = Server::start_with(&config, &[], &files).await;
    let now = active(&server).await;
    assert_eq!(
        (&now["name"], &now["host"]["imports"][0]),
        (&"mine".into(), &"host-log".into()),
        "{now}"
    );
}

#[test]
fn a_check_tells_a_bad_configuration_and_the_grants_that_are_needed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in [("score.luau", LOGGING), ("score.toml", SCHEMED)] {
        std::fs::write(folder.path().join(name), text).expect("a file is written");
    }
    let check = |config: &str| {
        let output = lockgate(folder.path())
            .args(["policy", "check", "score.luau", "--config", config])
            .output()
            .expect("the binary runs");
        let told = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), told.concat())
    };
    let (code, told) = check("{}");
    assert!(
        code == Some(0) && told.contains("`score = [\"host-log\"]` under [policies.grants]"),
        "{told}"
    );
    let (code, told) = check("{\"patience_s\": \"long\"}");
    assert!(
        code == Some(1) && told.contains("/patience_s: \"long\"") && told.contains("number"),
        "{told}"
    );
}
