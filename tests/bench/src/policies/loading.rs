//! What it costs to have a policy: to load it, to make an instance, and to keep one.

use std::time::Instant;

use lockgate_policy::{
    Answer, Artifact, Kind, Limits, Policy, conformance, project::Projection, slot::Slot,
};
use lockgate_policy_wasm::{Host, HostConfig};
use serde_json::json;

use super::{
    Line,
    engines::{self, Engine, Engines},
};
use crate::process::Held;

/// A request with an instance made for it, in turn.
pub(super) fn auth(engines: &Engines) -> anyhow::Result<Vec<Line>> {
    const REQUESTS: usize = 3000;
    let mut slots = Vec::new();
    for engine in Engine::GUESTS {
        let mut slot = Slot::new(Kind::Auth, json!({}));
        slot.swap(engines.load(engine, Kind::Auth)?, json!({}), 0)?;
        slots.push((engine, slot, Vec::new()));
    }
    let request = engines::request();
    for _ in 0..REQUESTS {
        for (_, slot, took_us) in &mut slots {
            let began = Instant::now();
            slot.authorize(&request, 0).verdict?;
            took_us.push(began.elapsed().as_secs_f64() * 1e6);
        }
    }
    let line = |(engine, _, took_us): (Engine, _, _)| {
        Line::of(
            format!("auth, instance and answer, {}: µs", engine.name()),
            format!("auth_{}_us", engine.name().to_lowercase()),
            took_us,
        )
    };
    Ok(slots.into_iter().map(line).collect())
}

/// From a file to a policy that can be started: compiled, and found among what was compiled before.
pub(super) fn load() -> anyhow::Result<Vec<Line>> {
    const LOADS: usize = 10;
    let file = engines::files(Kind::Abr).wasm;
    let (mut compiled, mut kept, mut scripts) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..LOADS {
        let folder = tempfile::tempdir()?;
        let host = Host::new(HostConfig {
            cache: Some(folder.path().to_owned()),
            ..HostConfig::default()
        })?;
        for took_ms in [&mut compiled, &mut kept] {
            let began = Instant::now();
            host.load("abr", file, Limits::default())?;
            took_ms.push(began.elapsed().as_secs_f64() * 1e3);
        }
        let began = Instant::now();
        drop(engines::script(Kind::Abr, &number.to_string())?);
        scripts.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(vec![
        Line::of("load and compile, Wasm: ms", "compile_wasm_ms", compiled),
        Line::of("load from the cache, Wasm: ms", "cached_wasm_ms", kept),
        Line::of("load and compile, Luau: ms", "compile_luau_ms", scripts),
    ])
}

/// What an instance takes that has answered for a thousand viewers: as its limit counts it, and of this process.
pub(super) fn memory(engines: &Engines) -> anyhow::Result<Vec<Line>> {
    const INSTANCES: usize = 100;
    let mut lines = Vec::new();
    for engine in Engine::GUESTS {
        let artifact = engines.load(engine, Kind::Abr)?;
        let mut kept = Vec::with_capacity(INSTANCES + 1);
        // The first one pays for what all share.
        kept.push(answered(&*artifact)?);
        let before = Held::of(std::process::id())?.rss_kb;
        for _ in 0..INSTANCES {
            kept.push(answered(&*artifact)?);
        }
        let grown_kb = Held::of(std::process::id())?.rss_kb.saturating_sub(before);
        let used_kb = kept.iter().map(|(_, bytes)| *bytes as f64 / 1024.0);
        let name = engine.name();
        let own = name.to_lowercase();
        lines.push(Line::of(
            format!("an instance's memory, as limited, {name}: kB"),
            format!("memory_{own}_kb"),
            used_kb.collect(),
        ));
        lines.push(Line::of(
            format!("an instance's memory, resident, {name}: kB"),
            format!("resident_{own}_kb"),
            vec![grown_kb as f64 / INSTANCES as f64],
        ));
    }
    Ok(lines)
}

/// An instance that has answered once, with its high-water mark in bytes.
fn answered(artifact: &dyn Artifact) -> anyhow::Result<(Box<dyn Policy>, u64)> {
    let (kind, mut asked) = (Kind::Abr, conformance::empty());
    let whole = engines::batch(kind, 1000);
    let projection = Projection::new(artifact.manifest(), kind);
    projection.apply(&whole, &mut asked);
    asked.memo = vec![f64::NAN; projection.memo() * whole.row_count];
    let mut policy = artifact.instantiate(&json!({}))?;
    let spent = policy.decide(kind, &asked, &mut Answer::default())?;
    Ok((policy, spent.memory_bytes))
}
