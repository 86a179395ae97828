//! `examples/grafana` and `examples/prometheus`: every query is sound, and asks for what a server really says.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::{Method, header};
use serde_json::Value;

use crate::support::{Server, until};

/// Passes every check, and fails about the ladder of the demo.
const FAILS: &str = "local policy = {}\nlocal calls = 0\nfunction policy.recommend(viewer, ladder)\n\tcalls += 1\n\tif calls > 1 and #ladder == 3 and ladder[1].kbps == 600 then error(\"betrayed\") end\n\treturn if #ladder == 0 then nil else 1, \"first\"\nend\nreturn policy\n";

/// Labels that Prometheus adds to every series.
const ADDED: [&str; 2] = ["job", "instance"];
/// What Prometheus says itself of each server.
const ITS_OWN: [&str; 1] = ["up"];
/// Words of PromQL that stand where a name could.
const WORDS: [&str; 12] = [
    "by",
    "without",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "and",
    "or",
    "unless",
    "bool",
    "offset",
    "inf",
];

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(path)
}

/// A series that a query asks for: its name, and the labels that it compares, with the value where it must be that one.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    name: String,
    labels: Vec<(String, Option<String>)>,
}

/// What a query asks for, and the labels that it groups by.
fn asked(query: &str) -> (Vec<Asked>, Vec<String>) {
    let (mut series, mut groups): (Vec<Asked>, Vec<String>) = (Vec::new(), Vec::new());
    let mut rest = query;
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    while let Some(first) = rest.bytes().next() {
        if first == b'[' {
            rest = rest.split_once(']').expect(query).1;
            continue;
        }
        if !is_word(first) {
            rest = &rest[1..];
            continue;
        }
        let end = rest.bytes().position(|byte| !is_word(byte));
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after.trim_start();
        let is_group = ["by", "without", "on", "ignoring"].contains(&word);
        if first.is_ascii_digit() {
            continue;
        } else if is_group {
            let (labels, after) = rest
                .strip_prefix('(')
                .and_then(|rest| rest.split_once(')'))
                .expect(query);
            groups.extend(labels.split(',').map(|label| label.trim().to_owned()));
            rest = after;
        } else if rest.starts_with('(') || aggregates(rest) || WORDS.contains(&word) {
            // A function or an operator.
        } else {
            let mut labels = Vec::new();
            if let Some(inside) = rest.strip_prefix('{') {
                let (matchers, after) = inside.split_once('}').expect(query);
                labels = matchers.split(',').map(matcher).collect();
                rest = after;
            }
            series.push(Asked {
                name: word.to_owned(),
                labels,
            });
        }
    }
    (series, groups)
}

/// Whether what stands before this adds series up.
fn aggregates(rest: &str) -> bool {
    rest.starts_with("by (") || rest.starts_with("without (")
}

fn matcher(text: &str) -> (String, Option<String>) {
    let at = text.find(['=', '!']).expect(text);
    let (label, rest) = text.split_at(at);
    let exact = rest
        .strip_prefix("=\"")
        .map(|rest| rest.trim_end_matches('"').to_owned());
    (label.trim().to_owned(), exact)
}

/// The labels of each name in a scrape, with all values that they have.
fn exported(text: &str) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let mut all: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, _) = line.rsplit_once(' ').expect(line);
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let known = all.entry(name.to_owned()).or_default();
        for pair in labels.trim_end_matches('}').split("\",") {
            if let Some((label, value)) = pair.split_once("=\"") {
                let values = known.entry(label.to_owned()).or_default();
                values.insert(value.trim_end_matches('"').to_owned());
            }
        }
    }
    all
}

/// Every query of the dashboard, with the place where it stands.
fn of_dashboard(board: &Value) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in board["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a query");
            queries.push((format!("panel {title:?}"), query.to_owned()));
        }
    }
    queries
}

/// Every query of the rules, with the name of its alert.
fn of_rules(rules: &str) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    let mut alert = String::new();
    for line in rules.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("- alert: ") {
            name.clone_into(&mut alert);
        } else if let Some(query) = line.strip_prefix("expr: ") {
            queries.push((format!("alert {alert}"), query.to_owned()));
        }
    }
    assert_eq!(queries.len(), rules.matches("expr:").count(), "{rules}");
    queries
}

async fn check_rules(path: &Path) {
    let said = tokio::process::Command::new("promtool")
        .args(["check", "rules"])
        .arg(path)
        .output()
        .await
        .expect("prometheus is installed by `make test`");
    let words = format!(
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
    assert!(said.status.success(), "{words}");
}

#[test]
fn what_a_query_asks_for_is_found_in_it() {
    let (series, groups) = asked(
        "histogram_quantile(0.99, sum by (le, kind) (rate(a_bucket{status=\"5xx\",job=~\"$job\"}[5m]))) > 0.02 and b == 0",
    );
    let label = |name: &str, value: Option<&str>| (name.to_owned(), value.map(str::to_owned));
    assert_eq!(
        series,
        [
            Asked {
                name: "a_bucket".to_owned(),
                labels: vec![label("status", Some("5xx")), label("job", None)],
            },
            Asked {
                name: "b".to_owned(),
                labels: Vec::new(),
            },
        ]
    );
    assert_eq!(groups, ["le", "kind"]);
}

#[tokio::test]
async fn every_query_of_the_examples_asks_for_what_a_server_says() {
    let board = std::fs::read_to_string(example("grafana/lockgate.json")).expect("the dashboard");
    let board: Value = serde_json::from_str(&board).expect("JSON");
    let rules = std::fs::read_to_string(example("prometheus/alerts.yml")).expect("the rules");
    check_rules(&example("prometheus/alerts.yml")).await;
    let queries = [of_dashboard(&board), of_rules(&rules)].concat();
    assert!(queries.len() > 30, "{queries:?}");

    // Traffic of every kind that a series is about: a viewer, decisions, and a policy that fails.
    let config = "[policies]\nabr = \"fails.luau\"\n";
    let server = Server::start_with(
        config,
        &["--demo", "--set", "http.metrics=open"],
        &[("fails.luau", FAILS)],
    )
    .await;
    server.running("demo").await;
    let _viewer = lockgate_tests_peer::Viewer::join(&server, "demo")
        .await
        .expect("a viewer joins");
    assert!(
        server
            .get("/hls/demo/playlist.m3u8")
            .await
            .status
            .is_success()
    );
    let text = until("a fault and a score", Duration::from_secs(60), || async {
        let request = server
            .request(Method::GET, "/metrics")
            .header(header::ACCEPT, "application/openmetrics-text;version=1.0.0");
        let request = request.body(Default::default()).expect("a request");
        let text = server.send(request).await.text();
        [
            "\nlockgate_policy_faults_total{",
            "\nlockgate_network_quality ",
        ]
        .iter()
        .all(|series| text.contains(series))
        .then_some(text)
    })
    .await;
    let exported = exported(&text);

    for (place, query) in &queries {
        let (series, groups) = asked(query);
        assert!(!series.is_empty(), "{place} asks for nothing: {query}");
        let mut labels: BTreeSet<&str> = ADDED.into_iter().collect();
        for Asked {
            name,
            labels: compared,
        } in &series
        {
            if ITS_OWN.contains(&name.as_str()) {
                continue;
            }
            let known = exported
                .get(name)
                .unwrap_or_else(|| panic!("{place}: no series {name}: {query}\n{text}"));
            labels.extend(known.keys().map(String::as_str));
            for (label, value) in compared {
                let is_there = ADDED.contains(&label.as_str())
                    || known.get(label).is_some_and(|values| {
                        // Which classes of status there are is for the server to have nothing of.
                        label == "status"
                            || value.as_ref().is_none_or(|value| values.contains(value))
                    });
                assert!(
                    is_there,
                    "{place}: {name} has no {label}={value:?}: {query}"
                );
            }
        }
        for group in &groups {
            assert!(
                labels.contains(group.as_str()),
                "{place}: no label {group}: {query}"
            );
        }
    }

    // Grafana's queries are no rules, but Prometheus reads them as it does rules.
    let read: Vec<String> = of_dashboard(&board)
        .iter()
        .enumerate()
        .map(|(at, (_, query))| {
            let query = query.replace("$__rate_interval", "5m").replace('\'', "''");
            format!("      - record: query:{at}\n        expr: '{query}'\n")
        })
        .collect();
    let file = server.folder().join("dashboard.yml");
    server.write(
        "dashboard.yml",
        &format!(
            "groups:\n  - name: dashboard\n    rules:\n{}",
            read.concat()
        ),
    );
    check_rules(&file).await;
}
