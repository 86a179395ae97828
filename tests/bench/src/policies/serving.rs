//! Policies at their desk: a swap under load, ten thousand viewers, and the decision log.

use std::{fs, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use lockgate_policy::{Batch, Kind};
use lockgate_session::desk::{About, Desk, DeskError, FilesConfig, LogConfig, Record};
use serde_json::json;
use tokio::time::{Instant, interval};

use super::{
    Line,
    engines::{self, Engine, Engines},
};

/// As the server's own: see `policies.deadline_ms`.
const DEADLINE: Duration = Duration::from_millis(20);
const VIEWERS: usize = 1000;

/// A desk where a reference policy decides.
async fn desk(
    engines: &Engines,
    engine: Engine,
    kind: Kind,
    log: LogConfig,
) -> anyhow::Result<Desk> {
    let desk = Desk::start(DEADLINE, log, |_| json!({}), |_| Default::default())?;
    if engine != Engine::Native {
        desk.swap(kind, engines.load(engine, kind)?, json!({}))
            .await?;
    }
    // Answered once its thread runs and has its name.
    desk.info().await?;
    Ok(desk)
}

/// A broadcast with its viewers.
struct Broadcast {
    batch: Batch,
    keys: Vec<u64>,
    about: About,
}

impl Broadcast {
    fn new(number: usize) -> Self {
        let viewers = number * VIEWERS..(number + 1) * VIEWERS;
        let keys = viewers.map(|viewer| viewer as u64).collect();
        Self {
            batch: engines::batch(Kind::Abr, VIEWERS),
            about: About {
                stream: Arc::from(format!("broadcast-{number}")),
                rows: (0..VIEWERS)
                    .map(|row| format!("{number:016x}{row:016x}"))
                    .collect(),
            },
            keys,
        }
    }

    /// Has every viewer decided about once; false where the desk was late and the last decision holds.
    async fn tick(&mut self, desk: &Desk) -> anyhow::Result<bool> {
        self.batch.tick.now_ms = desk.now_ms();
        let (batch, keys, about) = (self.batch.clone(), self.keys.clone(), self.about.clone());
        match desk.decide(Kind::Abr, batch, keys, about).await {
            Ok(decided) => {
                ensure!(decided.refused.is_empty(), "{:?}", decided.refused.first());
                Ok(true)
            }
            Err(DeskError::Late) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What `auth` costs those who wait for it: a request at a time, as many as a busy server has in a second.
pub(super) async fn auth(engines: &Engines) -> anyhow::Result<Vec<Line>> {
    const REQUESTS: usize = 1000;
    const PAUSE: Duration = Duration::from_millis(1);
    let mut lines = Vec::new();
    for engine in Engine::GUESTS {
        let desk = desk(engines, engine, Kind::Auth, LogConfig::default()).await?;
        let mut took_us = Vec::new();
        let mut pauses = interval(PAUSE);
        for _ in 0..REQUESTS {
            pauses.tick().await;
            let began = Instant::now();
            desk.authorize(engines::request()).await?;
            took_us.push(began.elapsed().as_secs_f64() * 1e6);
        }
        lines.push(Line::of(
            format!("auth, asked at the desk, {}: µs", engine.name()),
            format!("auth_desk_{}_us", engine.name().to_lowercase()),
            took_us,
        ));
    }
    Ok(lines)
}

/// Batches go on while policies are swapped: how long nobody was answered, with swaps and without.
pub(super) async fn swap(engines: &Engines) -> anyhow::Result<Vec<Line>> {
    const SWAPS: usize = 20;
    const BETWEEN: Duration = Duration::from_millis(200);
    const EVERY: Duration = Duration::from_millis(5);
    let policies = [
        engines.load(Engine::Wasm, Kind::Abr)?,
        engines.load(Engine::Luau, Kind::Abr)?,
    ];
    let mut lines = Vec::new();
    for (what, with_swaps) in [("alone", false), ("while policies are swapped", true)] {
        let desk = desk(engines, Engine::Luau, Kind::Abr, LogConfig::default()).await?;
        let swapping = async {
            let (mut took_ms, mut pauses) = (Vec::new(), interval(BETWEEN));
            pauses.tick().await;
            for artifact in policies.iter().cycle().take(SWAPS) {
                pauses.tick().await;
                let began = Instant::now();
                if with_swaps {
                    let artifact = Arc::clone(artifact);
                    desk.swap(Kind::Abr, artifact, json!({})).await?;
                    took_ms.push(began.elapsed().as_secs_f64() * 1e3);
                }
            }
            pauses.tick().await;
            anyhow::Ok(took_ms)
        };
        let mut broadcast = Broadcast::new(0);
        let (mut gaps_ms, mut lost) = (Vec::new(), 0);
        let ticking = async {
            let (mut ticks, mut answered) = (interval(EVERY), None::<Instant>);
            loop {
                ticks.tick().await;
                match broadcast.tick(&desk).await {
                    Ok(true) => (),
                    Ok(false) => {
                        lost += 1;
                        continue;
                    }
                    Err(error) => break Err(error),
                }
                let gap = answered.replace(Instant::now()).map(|last| last.elapsed());
                gaps_ms.extend(gap.map(|gap| gap.as_secs_f64() * 1e3));
            }
        };
        let took_ms = tokio::select! {
            done = swapping => done?,
            failed = ticking => failed?,
        };
        let every = EVERY.as_millis();
        lines.push(Line::of(
            format!("between answers, asked for every {every} ms, {what}: ms"),
            if with_swaps {
                "gap_swaps_ms"
            } else {
                "gap_alone_ms"
            },
            gaps_ms,
        ));
        let lost = vec![f64::from(lost)];
        if with_swaps {
            lines.push(
                Line::of("ticks lost while policies are swapped", "lost_swaps", lost).at_most(0.0),
            );
            lines.push(Line::of("a swap with its checks: ms", "swap_ms", took_ms));
        } else {
            lines.push(Line::of("ticks lost, alone", "lost_alone", lost));
        }
    }
    Ok(lines)
}

/// The share of a core, in percent, that the desk takes for ten thousand viewers who are decided about once a second.
pub(super) async fn ten_thousand(engines: &Engines) -> anyhow::Result<Vec<Line>> {
    const BROADCASTS: usize = 10;
    const ROUNDS: usize = 5;
    const SECONDS: u32 = 2;
    let mut seats = Vec::new();
    for (engine, most) in [
        (Engine::Native, None),
        (Engine::Wasm, Some(1.0)),
        (Engine::Luau, Some(1.5)),
    ] {
        let before = desks()?;
        let desk = desk(engines, engine, Kind::Abr, LogConfig::default()).await?;
        let thread = desks()?.into_iter().find(|thread| !before.contains(thread));
        let thread = thread.context("a desk has a thread")?;
        seats.push((engine, most, desk, thread, Vec::new()));
    }
    let mut broadcasts: Vec<Broadcast> = (0..BROADCASTS).map(Broadcast::new).collect();
    for _ in 0..ROUNDS {
        for (_, _, desk, thread, shares) in &mut seats {
            // The first second is for the caches, and whoever is new is logged.
            let mut began = (Instant::now(), cpu_s(*thread)?);
            let mut ticks = interval(Duration::from_secs(1) / u32::try_from(BROADCASTS)?);
            for second in 0..=SECONDS {
                for broadcast in &mut broadcasts {
                    ticks.tick().await;
                    broadcast.tick(desk).await?;
                }
                if second == 0 {
                    began = (Instant::now(), cpu_s(*thread)?);
                }
            }
            let cpu_s = cpu_s(*thread)? - began.1;
            shares.push(cpu_s / began.0.elapsed().as_secs_f64() * 100.0);
        }
    }
    let line = |(engine, most, _, _, shares): (Engine, Option<f64>, _, _, Vec<f64>)| {
        let what = format!("10,000 viewers at 1 Hz, {}: % of a core", engine.name());
        let name = format!("ten_thousand_{}_pct", engine.name().to_lowercase());
        let line = Line::of(what, name, shares);
        match most {
            Some(most) => line.at_most(most),
            None => line,
        }
    };
    Ok(seats.into_iter().map(line).collect())
}

/// What a logged decision costs its desk, and who waits for it. In turn, with each way to record.
pub(super) async fn log(engines: &Engines) -> anyhow::Result<Vec<Line>> {
    const BATCHES: u32 = 60;
    let folder = tempfile::tempdir()?;
    let files = FilesConfig {
        folder: folder.path().to_owned(),
        file_bytes: 16_000_000,
        files: 100,
    };
    let mut seats = Vec::new();
    for (what, record, sample, files) in [
        ("changes alone", Record::Changes, 0.0, None),
        ("all, in memory", Record::All, 1.0, None),
        ("all, in files", Record::All, 1.0, Some(files)),
    ] {
        let config = LogConfig {
            record,
            sample,
            claims: Vec::new(),
            files,
        };
        let desk = desk(engines, Engine::Native, Kind::Abr, config).await?;
        seats.push((what, desk, Vec::new(), Vec::new()));
    }
    let mut broadcast = Broadcast::new(0);
    for _ in 0..BATCHES {
        for (_, desk, waited_us, busy_us) in &mut seats {
            let began = Instant::now();
            broadcast.tick(desk).await?;
            waited_us.push(began.elapsed().as_secs_f64() * 1e6 / VIEWERS as f64);
            // Answered once the log of this batch is done.
            desk.info().await?;
            busy_us.push(began.elapsed().as_secs_f64() * 1e6 / VIEWERS as f64);
        }
    }
    let (mut lines, mut bytes) = (Vec::new(), 0);
    for (what, desk, waited_us, busy_us) in seats {
        let own = what.replace(", ", "_").replace(' ', "_");
        for (part, name, sample) in [
            ("until it is answered", "waited", waited_us),
            ("until it is logged", "busy", busy_us),
        ] {
            let what = format!("record {what}, {part}: µs a decision");
            lines.push(Line::of(what, format!("record_{own}_{name}_us"), sample));
        }
        // Dropped with its last handle: what was logged is on the disk then.
        drop(desk);
    }
    for file in fs::read_dir(&folder)? {
        bytes += file?.metadata()?.len();
    }
    let each = bytes as f64 / f64::from(BATCHES) / VIEWERS as f64;
    let what = "record all, in files: bytes a decision";
    lines.push(Line::of(what, "record_bytes", vec![each]));
    Ok(lines)
}

/// The threads of this process that desks run on, by their numbers.
fn desks() -> anyhow::Result<Vec<u32>> {
    let mut threads = Vec::new();
    for thread in fs::read_dir("/proc/self/task")? {
        let path = thread?.path();
        // One that has ended meanwhile is none.
        if fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim_end() == "policies") {
            let number = path.file_name().and_then(|name| name.to_str());
            threads.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
    }
    Ok(threads)
}

/// How long a thread has run, in s: the first field of its `schedstat`, in ns.
fn cpu_s(thread: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat"))?;
    let field = stat.split_ascii_whitespace().next();
    let ns: f64 = field.context("schedstat is empty")?.parse()?;
    Ok(ns / 1e9)
}
