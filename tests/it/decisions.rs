//! The decision log: followed while somebody watches, in files, and asked again.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use hyper::Method;
use serde_json::Value;

use crate::{
    policies::always,
    refused::OFFER,
    support::{Server, lockgate, until},
};

const ALL: &str = "[policies]\nabr = \"abr.luau\"\n[policies.log]\nrecord = \"all\"\n";

/// Runs `policy replay` in a folder: the exit code and what it said.
fn replay(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = lockgate(folder)
        .args(["policy", "replay"])
        .args(arguments)
        .output()
        .expect("the binary runs");
    let told = [output.stdout, output.stderr];
    let told = told.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), told.concat())
}

fn json(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"))
}

/// What the files hold, oldest first.
fn written(folder: &Path) -> String {
    let found = fs::read_dir(folder.join("data/decisions")).expect("the log has a folder");
    let mut files: Vec<_> = found.map(|file| file.expect("a file").path()).collect();
    files.sort();
    let read = |file| fs::read_to_string(file).expect("a log is text");
    files.into_iter().map(read).collect()
}

#[tokio::test]
async fn a_log_is_followed_and_asked_again_to_the_bit() {
    let first = always(1, "first");
    let mut server = Server::start_with(ALL, &["--demo"], &[("abr.luau", &first)]).await;
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    assert_eq!(server.offer("/whep/demo", &offer).await.status, 201);
    let token = server.mint("admin");
    let path = "/api/policies/abr/decisions?follow=1&stream=demo&limit=0";
    let mut lines = server.open(&token, path).await;
    let entry = json(&lines.next().await.expect("a decision comes"));
    assert_eq!(
        (&entry["stream"], &entry["reason"], &entry["mode"]),
        (&"demo".into(), &"first".into(), &"active".into())
    );
    let shadow = server
        .send_as(
            &token,
            Method::PUT,
            "/api/policies/abr/shadow",
            always(2, "second"),
        )
        .await;
    assert_eq!(shadow.status, 204, "{}", shadow.text());
    let beside = loop {
        let entry = json(&lines.next().await.expect("decisions go on"));
        if entry["mode"] == "shadow" {
            break entry;
        }
    };
    assert_eq!(
        (&beside["output"]["rung"], &beside["active_output"]["rung"]),
        (&1.0.into(), &0.0.into()),
        "{beside}"
    );
    assert_eq!(server.terminate().await, Some(0));
    while lines.next().await.is_some() {}

    let folder = server.folder();
    server.write("other.luau", &always(2, "second"));
    let log = written(folder);
    let of_abr = log
        .lines()
        .filter(|line| json(line)["kind"] == "abr")
        .count();
    let (code, told) = replay(folder, &["data/decisions", "--policy", "abr.luau"]);
    let shadows = log
        .lines()
        .filter(|line| json(line)["mode"] == "shadow")
        .count();
    let asked = of_abr - shadows;
    assert!(asked >= 2 && shadows >= 1, "{log}");
    assert!(
        told.starts_with(&format!("{asked} decisions, 0 differ\n")),
        "{told}"
    );
    assert_eq!(code, Some(0), "{told}");

    let (code, told) = replay(
        folder,
        &["data/decisions", "--policy", "other.luau", "--limit", "1"],
    );
    assert_eq!(code, Some(1), "{told}");
    for words in [
        "(first) by abr",
        "(second)",
        "mean kbit/s",
        "--limit shows more",
    ] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    let (code, told) = replay(
        folder,
        &["data/decisions", "--policy", "other.luau", "--json"],
    );
    let report = json(&told);
    assert_eq!(
        (code, &report["differ"], &report["not_deterministic"]),
        (Some(1), &report["kinds"]["abr"]["differ"], &0.into()),
        "{told}"
    );
    let cost = &report["kinds"]["abr"]["cost"]["mean kbit/s"];
    assert!(cost["was"].as_f64() < cost["now"].as_f64(), "{told}");

    // What the built-in said of scores and savings it says again.
    let built_in = log.lines().filter(|line| json(line)["digest"] == "builtin");
    let text = built_in.fold(String::new(), |mut text, line| {
        writeln!(text, "{line}").expect("text grows");
        text
    });
    fs::write(folder.join("builtin.ndjson"), text).expect("a file is written");
    let (code, told) = replay(folder, &["builtin.ndjson", "--policy", "builtin"]);
    assert!(code == Some(0) && told.contains(", 0 differ"), "{told}");

    // A kill has torn a line, and somebody has changed another: both are told with their place.
    let forged = log.replacen("\"memo_after\":[null", "\"memo_after\":[7.5", 1);
    assert_ne!(forged, log);
    let torn = &forged[..forged.len() - 20];
    fs::write(folder.join("torn.ndjson"), torn).expect("a file is written");
    let (code, told) = replay(folder, &["torn.ndjson", "--policy", "abr.luau"]);
    assert_eq!(code, Some(1), "{told}");
    let last = format!("torn.ndjson:{}: ", log.lines().count());
    for words in ["NOT DETERMINISTIC", "1 lines cannot be read", &last] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
}

#[tokio::test]
async fn auth_is_logged_without_the_token_and_asked_again() {
    let script = "local policy = {}\nfunction policy.authorize(request)\n\
                  \tif request.stream == \"closed\" then return { deny = true, status = 403, reason = \"closed\" } end\n\
                  \treturn { allow = true, ttl_s = request.claims.exp - request.claims.iat }\nend\nreturn policy\n";
    let config = "[policies]\nauth = \"auth.luau\"\n";
    let mut server = Server::start_with(config, &[], &[("auth.luau", script)]).await;
    server.offer("/whip/closed", OFFER).await.problem(403);
    assert_eq!(server.offer("/whip/open", OFFER).await.status, 201);
    let path = "/api/policies/auth/decisions?stream=closed";
    let answer = server.send_as(&server.token, Method::GET, path, "").await;
    let entry = json(answer.text().trim());
    assert_eq!(
        (&entry["row"], &entry["reason"], &entry["verdict"]["status"]),
        (&"publish".into(), &"closed".into(), &403.into()),
        "{entry}"
    );
    assert!(entry["request"]["claims"]["scope"].is_string(), "{entry}");
    for (query, word) in [
        ("follow=maybe", "follow"),
        ("limit=many", "limit"),
        ("stream=", "stream"),
        ("since=1", "since"),
    ] {
        let path = format!("/api/policies/auth/decisions?{query}");
        let answer = server.send_as(&server.token, Method::GET, &path, "").await;
        assert!(answer.problem(400).contains(word), "{query}");
    }
    assert_eq!(server.terminate().await, Some(0));
    let log = written(server.folder());
    let signature = server.token.rsplit('.').next().expect("a token has parts");
    assert!(!log.contains(signature), "the token is in the log");
    let (code, told) = replay(
        server.folder(),
        &["data/decisions", "--policy", "auth.luau"],
    );
    assert!(code == Some(0) && told.contains(", 0 differ"), "{told}");
    let other = script.replace("\"closed\" then", "\"open\" then");
    server.write("other.luau", &other);
    let (code, told) = replay(
        server.folder(),
        &["data/decisions", "--policy", "other.luau"],
    );
    assert!(
        code == Some(1)
            && told.contains("was denied with 403 (closed)")
            && told.contains("now allowed for"),
        "{told}"
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_written_is_told_once_and_stops_nobody() {
    let config = format!("{ALL}path = \"lockgate.toml\"\n");
    let first = always(1, "first");
    let server = Server::start_with(&config, &["--demo"], &[("abr.luau", &first)]).await;
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    assert_eq!(server.offer("/whep/demo", &offer).await.status, 201);
    let token = server.mint("admin");
    let log = until("decisions to be lost", Duration::from_secs(10), || async {
        let answer = server
            .send_as(&token, Method::GET, "/api/policies", "")
            .await;
        let log = answer.json()["log"].clone();
        (log["dropped"].as_u64() > Some(3)).then_some(log)
    })
    .await;
    assert_eq!(log["written"], 0, "{log}");
    assert!(
        log["trouble"]
            .as_str()
            .is_some_and(|what| what.contains("lockgate.toml")),
        "{log}"
    );
    let path = "/api/policies/abr/decisions?limit=1";
    let newest = server.send_as(&token, Method::GET, path, "").await.text();
    assert_eq!(json(newest.trim())["reason"], "first");
    let told = server.log();
    assert_eq!(
        told.matches("the decision log cannot be written").count(),
        1,
        "{told}"
    );
}

/// A script that remembers how often it was asked, says so and counts, and whose answer follows from what it kept.
const COUNTING: &str = "local policy = {}\nfunction policy.score(viewer, tick)\n\
    \tlocal seen = host.kv.get(\"calls\")\n\tlocal calls = if seen then seen[1] + 0.1 else 0.1\n\
    \tassert(host.kv.put(\"calls\", {calls}, 600))\n\thost.log.info(\"asked again\")\n\
    \thost.metrics.add(\"asked\", 1)\n\treturn calls, nil, \"counted\"\nend\nreturn policy\n";

#[tokio::test]
async fn what_a_policy_keeps_says_and_counts_is_shown_and_what_it_read_is_asked_again() {
    let manifest = "name = \"counting\"\nversion = \"1.0.0\"\napi = \"0.1\"\n\
        imports = [\"host-kv\", \"host-log\", \"host-metrics\"]\n[kinds.score]\ncolumns = [\"rtt_ms\"]\nreasons = [\"counted\"]\n";
    let config = "[policies]\nscore = \"score.luau\"\n[policies.log]\nrecord = \"all\"\n\
        [policies.grants]\nscore = [\"host-kv\", \"host-log\", \"host-metrics\"]\n";
    let files = [("score.luau", COUNTING), ("score.toml", manifest)];
    let mut server = Server::start_with(config, &["--demo"], &files).await;
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    assert_eq!(server.offer("/whep/demo", &offer).await.status, 201);
    let token = server.mint("admin");
    let path = "/api/policies/score/decisions?follow=1&limit=0";
    let mut lines = server.open(&token, path).await;
    let kept = loop {
        let entry = json(&lines.next().await.expect("decisions go on"));
        if entry["output"]["score"].as_f64() > Some(0.15) {
            break entry;
        }
    };
    let read = kept["reads"]["values"]["calls"][0].as_f64();
    let said = kept["output"]["score"].as_f64();
    assert_eq!(read.map(|read| read + 0.1), said, "{kept}");

    let told = server
        .send_as(&token, Method::GET, "/api/policies", "")
        .await
        .json();
    let slots = told["policies"].as_array().into_iter().flatten();
    let mut hosts = slots
        .filter(|slot| slot["kind"] == "score")
        .map(|slot| &slot["active"]["host"]);
    let host = hosts.next().expect("the slot of score");
    assert_eq!(
        (&host["log"][0]["text"], &host["kv"]["keys"]),
        (&"asked again".into(), &1.into()),
        "{host}"
    );
    assert!(host["metrics"].to_string().contains("asked"), "{host}");

    assert_eq!(server.terminate().await, Some(0));
    let (code, told) = replay(
        server.folder(),
        &["data/decisions", "--policy", "score.luau"],
    );
    assert!(
        code == Some(0) && told.contains(" decisions, 0 differ\n"),
        "{told}"
    );
}
