//! Who may know whom, over `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

/// Which of our crates each of our crates may depend on. A crate that is missing here fails the test: a new crate,
/// like a new line here, is a decision.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("media", &[]),
    ("broadcast", &["media"]),
    ("ports", &["broadcast", "media"]),
    ("policy", &["media"]),
    ("simulate", &["media", "policy"]),
    ("cases", &["policy"]),
    ("policy-luau", &["policy"]),
    ("policy-wasm", &["policy"]),
    ("fetch", &[]),
    ("store", &["ports"]),
    ("telemetry", &["fetch", "ports"]),
    ("hls", &["media"]),
    ("transcode", &["broadcast", "media", "ports"]),
    ("dtls", &[]),
    ("transport", &["broadcast", "dtls", "media", "ports"]),
    ("rtmp", &["ports"]),
    ("srt", &["ports"]),
    ("session", &["broadcast", "hls", "media", "policy", "ports"]),
    ("web", &[]),
    ("check", &["fetch"]),
    ("load", &["dtls", "fetch"]),
    ("api", &["fetch", "media", "ports", "session", "web"]),
    (
        "server",
        &[
            "api",
            "broadcast",
            "cases",
            "check",
            "fetch",
            "hls",
            "load",
            "media",
            "policy",
            "policy-luau",
            "policy-wasm",
            "ports",
            "rtmp",
            "session",
            "simulate",
            "srt",
            "store",
            "telemetry",
            "transcode",
            "transport",
            "web",
        ],
    ),
    ("tests-tidy", &[]),
    ("tests-hostile", &[]),
    ("tests-fuzz", &[]),
    ("tests-peer", &["load", "media"]),
    (
        "tests-bench",
        &[
            "broadcast",
            "load",
            "media",
            "policy",
            "policy-luau",
            "policy-wasm",
            "ports",
            "session",
            "store",
            "tests-peer",
            "transcode",
            "transport",
        ],
    ),
];

/// Foreign crates that only one of ours may name.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("webrtc", &["transport", "tests-peer"]),
    ("rtc", &["dtls", "load", "transport", "tests-peer"]),
    ("ffmpeg-next", &["transcode"]),
    ("ffmpeg-sys-next", &["transcode"]),
    ("landlock", &["transcode"]),
    ("libseccomp", &["transcode"]),
    ("wasmtime", &["policy-wasm"]),
    ("mlua", &["policy-luau"]),
    ("reqwest", &["fetch"]),
    ("sled", &["store"]),
    ("redb", &["tests-bench"]),
    ("tokio-tungstenite", &["tests-bench", "tests-peer"]),
    ("redis", &["cluster"]),
    ("object_store", &["cluster"]),
    ("axum", &["api"]),
    ("jsonwebtoken", &["api"]),
    ("rustls", &["api"]),
    ("instant-acme", &["api"]),
    ("argon2", &["api"]),
    ("governor", &["api"]),
    ("socketioxide", &["api"]),
    ("prometheus-client", &["api"]),
    ("clap", &["server"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry-otlp", &["telemetry"]),
    ("tracing-opentelemetry", &["telemetry"]),
    ("tracing-subscriber", &["telemetry", "transport"]),
    ("sd-notify", &["server"]),
    ("mp4-atom", &["hls"]),
];

/// Crates that are pure: no runtime, no sockets.
const PURE: &[&str] = &["media", "policy", "cases", "hls"];

fn metadata() -> Metadata {
    MetadataCommand::new()
        .no_deps()
        .exec()
        .expect("cargo metadata runs in a cargo test")
}

/// Our crates with the names of all they depend on; development dependencies apart.
fn dependencies(metadata: &Metadata, with_dev: bool) -> BTreeMap<String, BTreeSet<String>> {
    let short = |name: &str| name.strip_prefix("lockgate-").unwrap_or(name).to_owned();
    metadata
        .packages
        .iter()
        .map(|package| {
            let names = package
                .dependencies
                .iter()
                .filter(|dependency| with_dev || dependency.kind != DependencyKind::Development)
                .map(|dependency| short(&dependency.name))
                .collect();
            (short(&package.name), names)
        })
        .collect()
}

#[test]
fn crates_know_only_whom_they_may() {
    let metadata = metadata();
    let ours: BTreeSet<String> = dependencies(&metadata, false).into_keys().collect();
    let allowed: BTreeMap<&str, &[&str]> = MAY_KNOW.iter().copied().collect();
    let mut wrong = Vec::new();
    for (name, known) in dependencies(&metadata, false) {
        let Some(may) = allowed.get(name.as_str()) else {
            wrong.push(format!("{name} is not in MAY_KNOW"));
            continue;
        };
        for other in known
            .iter()
            .filter(|other| ours.contains(*other) && !may.contains(&other.as_str()))
        {
            wrong.push(format!("{name} → {other}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "these dependencies are not allowed: {wrong:#?}"
    );
}

#[test]
fn foreign_crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    for (name, known) in dependencies(&metadata(), true) {
        for (foreign, homes) in ONLY_IN {
            if known.contains(*foreign) && !homes.contains(&name.as_str()) {
                wrong.push(format!("{name} names {foreign}, which only {homes:?} may"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_crates_know_no_runtime() {
    let all = dependencies(&metadata(), false);
    for pure in PURE {
        let known = all
            .get(*pure)
            .unwrap_or_else(|| panic!("there is no crate {pure}"));
        for impure in ["tokio", "hyper", "axum", "mio", "tokio-util", "tracing"] {
            assert!(
                !known.contains(impure),
                "{pure} is pure and must not know {impure}"
            );
        }
    }
}
