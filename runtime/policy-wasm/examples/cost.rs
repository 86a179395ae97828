//! What Wasm policies cost, limits on, beside the built-in: `cargo run --release -p lockgate-policy-wasm --example cost`.
#![allow(clippy::print_stdout, reason = "a command speaks to a terminal")]
#![allow(
    clippy::cast_precision_loss,
    reason = "numbers for a reader, far below 2⁵³"
)]

use std::{
    env,
    error::Error,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use lockgate_policy::{
    Answer, Artifact, Batch, Builtin, Kind, Limits, Manifest, Policy, Tick, auth, column,
    engine::{Cause, Mode},
};
use lockgate_policy_wasm::{Host, HostConfig};
use serde_json::{Value, json};

const VIEWERS: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let host = Host::new(HostConfig::default())?;
    println!("kind      built-in ns  wasm ns  ratio  steps     per row of {VIEWERS}");
    for kind in [Kind::Abr, Kind::Optimize, Kind::Score, Kind::Ladder] {
        let plugin = host.load(kind.name(), &bytes(kind)?, Limits::default())?;
        let builtin = Builtin::default();
        let ours = measure(
            &mut *builtin.instantiate(&Value::Null)?,
            kind,
            builtin.manifest(),
        )?;
        let theirs = measure(
            &mut *plugin.instantiate(&Value::Null)?,
            kind,
            plugin.manifest(),
        )?;
        println!(
            "{:9} {:11.1} {:8.1} {:6.1} {:6}",
            kind.name(),
            ours.0,
            theirs.0,
            theirs.0 / ours.0,
            theirs.1 / VIEWERS as u64
        );
    }
    auth_cost(&host)?;
    load_cost()
}

fn bytes(kind: Kind) -> std::io::Result<Vec<u8>> {
    let name = format!("{kind}-reference");
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins");
    fs::read(plugins.join(&name).join(name + ".wasm"))
}

/// Least ns for a row over many calls, and steps for all rows.
fn measure(
    policy: &mut dyn Policy,
    kind: Kind,
    manifest: &Manifest,
) -> Result<(f64, u64), Box<dyn Error>> {
    let batch = batch(kind, manifest);
    let mut answer = Answer::default();
    let mut least = Duration::MAX;
    let mut steps = 0;
    for _ in 0..1000 {
        let start = Instant::now();
        steps = policy.decide(kind, &batch, &mut answer)?.steps;
        least = least.min(start.elapsed());
    }
    Ok((least.as_nanos() as f64 / VIEWERS as f64, steps))
}

/// Rows that differ, with five rungs.
fn batch(kind: Kind, manifest: &Manifest) -> Batch {
    let fill = |columns: &[column::Column], count: usize, value: &dyn Fn(&str, usize) -> f64| {
        let row = |at: usize| {
            columns
                .iter()
                .flat_map(move |column| std::iter::repeat_n(value(column.name, at), column.width))
        };
        (0..count).flat_map(row).collect::<Vec<f64>>()
    };
    let viewer = |name: &str, at: usize| match name {
        "bandwidth_kbps" => 300.0 + (at * 7919 % 12_000) as f64,
        "loss_pct" => (at % 5) as f64,
        "jitter_ms" => (at % 90) as f64,
        "buffer_s" => (at % 25) as f64,
        "current" => (at % 5) as f64,
        "width" => 1920.0,
        "height" => 1080.0,
        "fps" => 30.0,
        _ => f64::NAN,
    };
    let rung = |name: &str, at: usize| match name {
        "need_kbps" | "kbps" => [600.0, 1000.0, 2500.0, 5000.0, 20_000.0][at],
        "width" => [640.0, 854.0, 1280.0, 1920.0, 3840.0][at],
        "height" => [360.0, 480.0, 720.0, 1080.0, 2160.0][at],
        "fps" => 30.0,
        _ => f64::NAN,
    };
    Batch {
        tick: Tick {
            now_ms: 10_000,
            seed: 1,
            mode: Mode::Webrtc,
            cause: Cause::Tick,
        },
        rungs: fill(&manifest.rung_columns(kind), 5, &rung),
        rung_count: 5,
        rung_names: Vec::new(),
        rows: fill(&manifest.columns(kind), VIEWERS, &viewer),
        row_count: VIEWERS,
        memo: vec![f64::NAN; VIEWERS * manifest.memo(kind)],
    }
}

fn auth_cost(host: &Host) -> Result<(), Box<dyn Error>> {
    let plugin = host.load("auth", &bytes(Kind::Auth)?, Limits::default())?;
    let mut policy = plugin.instantiate(&Value::Null)?;
    let request = auth::Request {
        action: auth::Action::Play,
        stream: "demo".to_owned(),
        peer: "192.0.2.1".to_owned(),
        claims: [
            ("scope".to_owned(), json!("publish:x play:de*")),
            ("sub".to_owned(), json!("someone")),
            ("exp".to_owned(), json!(1_900_000_000)),
        ]
        .into(),
        now_s: 1_800_000_000,
        answered: None,
    };
    let mut times = Vec::new();
    for _ in 0..5000 {
        let start = Instant::now();
        policy.authorize(&request)?;
        times.push(start.elapsed());
    }
    print_times("auth, fresh instance", times);
    let mut times = Vec::new();
    let plugin = host.load("abr", &bytes(Kind::Abr)?, Limits::default())?;
    for _ in 0..5000 {
        let start = Instant::now();
        drop(plugin.instantiate(&Value::Null)?);
        times.push(start.elapsed());
    }
    print_times("abr, instantiate and configure", times);
    Ok(())
}

fn load_cost() -> Result<(), Box<dyn Error>> {
    let directory = env::temp_dir().join(format!("lockgate-cost-{}", std::process::id()));
    let file = bytes(Kind::Abr)?;
    let (mut compiled, mut kept) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let config = HostConfig {
            cache: Some(directory.clone()),
            ..HostConfig::default()
        };
        let host = Host::new(config)?;
        let start = Instant::now();
        host.load("abr", &file, Limits::default())?;
        compiled.push(start.elapsed());
        let start = Instant::now();
        host.load("abr", &file, Limits::default())?;
        kept.push(start.elapsed());
        fs::remove_dir_all(&directory)?;
    }
    print_times("load and compile", compiled);
    print_times("load from the cache", kept);
    Ok(())
}

fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let micros = |at: usize| times[at.min(times.len() - 1)].as_nanos() as f64 / 1000.0;
    println!(
        "{what}: least {:.1} µs, median {:.1} µs, p99 {:.1} µs",
        micros(0),
        micros(times.len() / 2),
        micros(times.len() * 99 / 100)
    );
}
