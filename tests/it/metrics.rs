//! `/metrics`, read as strictly as OpenMetrics is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hyper::{Method, header};

use crate::{
    refused::OFFER,
    support::{Server, until},
};

/// Samples by name with labels, as they were written.
type Samples = BTreeMap<String, f64>;

const SCRIPT: &str = "local policy = {}\nfunction policy.recommend(viewer, ladder)\n\tif host then host.metrics.add(\"asked\", 0.5) end\n\treturn if #ladder == 0 then nil else 1, \"first\"\nend\nreturn policy\n";

const MANIFEST: &str = "name = \"picker\"\nversion = \"0.1.0\"\napi = \"0.1\"\nimports = [\"host-metrics\"]\n\n[kinds.abr]\n";

/// Reads an exposition, or says which line breaks which rule (OpenMetrics 1.0, text format).
fn read(text: &str) -> Samples {
    let body = text.strip_suffix("# EOF\n").expect("it ends with EOF");
    assert!(!body.contains("# EOF") && !body.contains("\n\n"), "{body}");
    let (mut samples, mut families) = (Samples::new(), BTreeSet::new());
    let (mut family, mut kind) = (String::new(), String::new());
    for line in body.lines() {
        if let Some(rest) = line.strip_prefix("# ") {
            let (word, rest) = rest.split_once(' ').expect(line);
            let (name, value) = rest.split_once(' ').expect(line);
            match word {
                "HELP" => {
                    assert!(families.insert(name.to_owned()), "twice: {line}");
                    assert!(value.len() > 5, "{line}");
                    family = name.to_owned();
                }
                "TYPE" => {
                    assert_eq!(name, family, "{line}");
                    assert!(
                        ["counter", "gauge", "histogram", "info"].contains(&value),
                        "{line}"
                    );
                    kind = value.to_owned();
                }
                "UNIT" => {
                    assert_eq!(name, family, "{line}");
                    assert!(name.ends_with(&format!("_{value}")), "{line}");
                }
                _ => panic!("no such line: {line}"),
            }
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let suffix = name.strip_prefix(family.as_str()).expect(line);
        let suffixes: &[&str] = match kind.as_str() {
            "counter" => &["_total"],
            "info" => &["_info"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        assert!(suffixes.contains(&suffix), "{line}");
        let mut rest = labels;
        while rest != "}" {
            let (key, after) = rest.split_once("=\"").expect(line);
            let is_name = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            assert!(key.bytes().all(is_name), "{line}");
            let end = closing(after).expect(line);
            rest = &after[end + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        let value: f64 = value.parse().expect(line);
        assert!(value.is_finite() && value >= 0.0, "{line}");
        assert_eq!(
            samples.insert(series.to_owned(), value),
            None,
            "twice: {line}"
        );
    }
    samples
}

/// Where the quote stands that closes a label's value.
fn closing(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices()
        .find(|(_, character)| {
            let ends = *character == '"' && !is_escaped;
            is_escaped = *character == '\\' && !is_escaped;
            ends
        })
        .map(|(at, _)| at)
}

/// The samples of a name whose labels hold this text, added up.
fn sum(samples: &Samples, name: &str, labels: &str) -> f64 {
    let is_one = |series: &str| series.split('{').next() == Some(name) && series.contains(labels);
    samples
        .iter()
        .filter(|(series, _)| is_one(series))
        .map(|(_, value)| value)
        .sum()
}

async fn scrape(server: &Server, token: &str) -> Samples {
    let request = server
        .request(Method::GET, "/metrics")
        .header(header::ACCEPT, "application/openmetrics-text;version=1.0.0")
        .header(header::AUTHORIZATION, format!("Bearer {token}"));
    let answer = server
        .send(request.body(Default::default()).expect("a request"))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(
        answer
            .header(header::CONTENT_TYPE)
            .starts_with("application/openmetrics-text; version=1.0.0")
    );
    read(&answer.text())
}

#[tokio::test]
async fn metrics_are_for_administrators_and_rise_through_a_swap() {
    let config = "[policies]\nabr = \"abr.luau\"\n[policies.grants]\nabr = [\"host-metrics\"]\n";
    let files = [("abr.luau", SCRIPT), ("abr.toml", MANIFEST)];
    let server = Server::start_with(config, &["--demo"], &files).await;
    server.get("/metrics").await.problem(401);
    let token = server.mint("admin");
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    assert_eq!(server.offer("/whep/demo", &offer).await.status, 201);

    let decisions = "lockgate_policy_decisions_total";
    let own = "kind=\"abr\",policy=\"picker";
    let first = until("a decision", Duration::from_secs(15), || async {
        let samples = scrape(&server, &token).await;
        (sum(&samples, decisions, own) >= 1.0).then_some(samples)
    })
    .await;
    assert_eq!(sum(&first, "lockgate_streams", ""), 1.0);
    assert_eq!(sum(&first, "lockgate_viewers", ""), 1.0);
    assert_eq!(sum(&first, "lockgate_build_info", "version="), 1.0);
    let generation = |samples: &Samples| sum(samples, "lockgate_policy_generation", "kind=\"abr\"");
    assert_eq!(generation(&first), 1.0);
    assert!(sum(&first, "lockgate_policy_steps_total", own) > 0.0);
    assert!(sum(&first, "lockgate_policy_memory_bytes", own) > 0.0);
    let custom = "lockgate_policy_custom";
    let asked = format!("{custom}{{{own}\",name=\"asked\"}}");
    assert!(first.get(&asked) >= Some(&0.5), "{first:?}");
    for gauge in [
        "lockgate_policy_breaker_state",
        "lockgate_policy_fallback_level",
    ] {
        assert!(
            first.contains_key(&format!("{gauge}{{kind=\"abr\"}}")),
            "{first:?}"
        );
    }
    let endless = sum(
        &first,
        "lockgate_policy_decision_seconds_bucket",
        "le=\"+Inf\",kind=\"abr\"",
    ) + sum(
        &first,
        "lockgate_policy_decision_seconds_bucket",
        "kind=\"abr\",le=\"+Inf\"",
    );
    assert_eq!(
        endless,
        sum(
            &first,
            "lockgate_policy_decision_seconds_count",
            "kind=\"abr\""
        )
    );

    // One that fails for every viewer, behind checks that it passes.
    let failing = SCRIPT.replace("\treturn if", "\tif viewer.since_switch_ms ~= nil or viewer.buffer_s == nil then error(\"not now\") end\n\treturn if");
    let put = server
        .send_as(
            &token,
            Method::PUT,
            "/api/policies/abr",
            SCRIPT.replace("first", "second"),
        )
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let refused = server
        .send_as(&token, Method::PUT, "/api/policies/abr", failing)
        .await;
    assert!(refused.problem(422).contains("not now"));
    let before = sum(&first, decisions, "kind=\"abr\"");
    let last = until("more decisions", Duration::from_secs(15), || async {
        let samples = scrape(&server, &token).await;
        (sum(&samples, decisions, "kind=\"abr\"") > before + 1.0).then_some(samples)
    })
    .await;
    for (series, value) in &first {
        let name = series.split('{').next().unwrap_or_default();
        let now = last.get(series).copied();
        if name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_bucket") {
            assert!(now >= Some(*value), "{series} went from {value} to {now:?}");
        }
    }
    assert_eq!(generation(&last), 2.0);
    // The one in charge now has no imports.
    assert!(!last.contains_key(&asked), "{last:?}");
}

#[tokio::test]
async fn metrics_can_be_opened_to_everybody_and_promtool_finds_no_fault() {
    let server = Server::start("", &["--demo", "--set", "http.metrics=open"]).await;
    server.running("demo").await;
    let answer = server.get("/metrics").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.header(header::CONTENT_TYPE),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer.text();
    assert!(text.contains("\nlockgate_streams 1\n"), "{text}");
    let mut promtool = tokio::process::Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("prometheus is installed by `make test`");
    let mut into = promtool.stdin.take().expect("its input");
    tokio::io::AsyncWriteExt::write_all(&mut into, text.as_bytes())
        .await
        .expect("it reads");
    drop(into);
    let said = promtool.wait_with_output().await.expect("it ends");
    let words = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(said.status.success() && words.is_empty(), "{words}\n{text}");
}

#[tokio::test]
async fn nothing_that_comes_from_outside_makes_series() {
    let server = Server::start("", &["--demo"]).await;
    server.running("demo").await;
    let admin = server.mint("admin");
    let ask = async |number: u32| {
        for (method, path) in [
            (Method::GET, format!("/hls/name-{number}/playlist.m3u8")),
            (
                Method::GET,
                format!("/hls/demo/rung-{number}/file-{number}.m4s"),
            ),
            (Method::POST, format!("/whep/name-{number}")),
            (Method::GET, format!("/path-{number}/{number}")),
            (
                Method::from_bytes(format!("METHOD{number}").as_bytes()).expect("a method"),
                "/".to_owned(),
            ),
            (Method::GET, "/hls/demo/playlist.m3u8".to_owned()),
        ] {
            let request = server
                .request(method, &path)
                .header(header::USER_AGENT, format!("agent-{number}"));
            let answer = server
                .send(request.body(Default::default()).expect("a request"))
                .await;
            assert!(answer.status.as_u16() < 500, "{path}: {}", answer.text());
        }
    };
    ask(0).await;
    let before = until("a policy that decides", Duration::from_secs(20), || async {
        let samples = scrape(&server, &admin).await;
        (sum(&samples, "lockgate_policy_decisions_total", "") >= 1.0).then_some(samples)
    })
    .await;
    for number in 1..200 {
        ask(number).await;
    }
    let after = scrape(&server, &admin).await;
    let (old, new): (BTreeSet<_>, BTreeSet<_>) = (before.keys().collect(), after.keys().collect());
    // Policies may have met a fault or two in the meantime; what was asked for shows nowhere.
    let more: Vec<_> = new
        .difference(&old)
        .filter(|series| {
            !["policy", "/metrics"]
                .iter()
                .any(|word| series.contains(word))
        })
        .collect();
    assert!(more.is_empty(), "{more:?}");
    for series in &new {
        for word in ["name-", "rung-", "path-", "agent-", "METHOD"] {
            assert!(!series.contains(word), "{series}");
        }
    }
    let route = "method=\"GET\",route=\"/hls/{stream}/playlist.m3u8\",status=\"4xx\"";
    assert_eq!(sum(&after, "lockgate_http_requests_total", route), 200.0);
    let strange = "method=\"other\"";
    assert_eq!(sum(&after, "lockgate_http_requests_total", strange), 200.0);
    assert!(sum(&after, "process_resident_memory_bytes", "") > 1e6);
    assert!(sum(&after, "lockgate_hls_sessions", "") >= 200.0);
}
