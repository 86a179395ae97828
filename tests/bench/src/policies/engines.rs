//! The reference policies in each of the three engines, and what they are asked.

use std::sync::Arc;

use anyhow::Context as _;
use lockgate_policy::{
    Artifact, Batch, Builtin, Kind, Limits, Tick, auth, column,
    engine::{Cause, Mode},
};
use lockgate_policy_luau::Luau;
use lockgate_policy_wasm::{Host, HostConfig};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;

/// What a rule is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Engine {
    /// Rust, within the server.
    Native,
    /// A Wasm component, limits on.
    Wasm,
    /// A Luau script, limits on.
    Luau,
}

impl Engine {
    pub(super) const ALL: [Self; 3] = [Self::Native, Self::Wasm, Self::Luau];
    /// Those that policies come in.
    pub(super) const GUESTS: [Self; 2] = [Self::Wasm, Self::Luau];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Wasm => "Wasm",
            Self::Luau => "Luau",
        }
    }
}

/// A reference policy as its files are.
pub(super) struct Files {
    pub(super) wasm: &'static [u8],
    pub(super) script: &'static str,
    pub(super) manifest: &'static str,
}

macro_rules! files {
    ($kind:literal) => {
        Files {
            wasm: include_bytes!(concat!(
                "../../../../plugins/",
                $kind,
                "-reference/",
                $kind,
                "-reference.wasm"
            )),
            script: include_str!(concat!("../../../../policies/", $kind, "/reference.luau")),
            manifest: include_str!(concat!("../../../../policies/", $kind, "/reference.toml")),
        }
    };
}

pub(super) fn files(kind: Kind) -> Files {
    match kind {
        Kind::Abr => files!("abr"),
        Kind::Optimize => files!("optimize"),
        Kind::Score => files!("score"),
        Kind::Ladder => files!("ladder"),
        Kind::Auth => files!("auth"),
    }
}

/// What makes policies ready to run.
pub(super) struct Engines {
    host: Host,
}

impl Engines {
    pub(super) fn start() -> anyhow::Result<Self> {
        let host = Host::new(HostConfig::default()).context("Wasm cannot be run here")?;
        Ok(Self { host })
    }

    pub(super) fn load(&self, engine: Engine, kind: Kind) -> anyhow::Result<Arc<dyn Artifact>> {
        let limits = Limits::default();
        Ok(match engine {
            Engine::Native => Arc::new(Builtin::default()),
            Engine::Wasm => Arc::new(self.host.load(kind.name(), files(kind).wasm, limits)?),
            Engine::Luau => Arc::new(script(kind, "")?),
        })
    }
}

/// The reference script with a remark at its end, which makes it another file.
pub(super) fn script(kind: Kind, remark: &str) -> anyhow::Result<impl Artifact> {
    let Files {
        script, manifest, ..
    } = files(kind);
    let source = format!("{script}\n-- {remark}\n");
    let (name, limits) = ("reference.luau", Limits::default());
    Ok(Luau::load(name, source.as_bytes(), Some(manifest), limits)?)
}

/// What is known of so many viewers, no two alike, on a ladder of five; or of one source. With all columns there are,
/// and what a server that sends WebRTC does not know left out. The same each time.
pub(super) fn batch(kind: Kind, count: usize) -> Batch {
    let mut random = StdRng::seed_from_u64(7);
    let mut rows = Vec::new();
    for _ in 0..count {
        let values = match kind {
            Kind::Ladder => vec![
                ("width", 1920.0),
                ("height", 1080.0),
                ("fps", 30.0),
                ("kbps", 6000.0),
                ("cpu_budget", 2.0),
                ("viewers", 40.0),
            ],
            _ => vec![
                ("bandwidth_kbps", random.random_range(300.0..8000.0)),
                ("loss_pct", random.random_range(0.0..4.0)),
                ("jitter_ms", random.random_range(0.0..120.0)),
                ("rtt_ms", random.random_range(5.0..200.0)),
                ("queue_ms", random.random_range(0.0..100.0)),
                ("buffer_s", random.random_range(0.0..10.0)),
                ("current", f64::from(random.random_range(0..5u8))),
                ("since_switch_ms", random.random_range(0.0..60_000.0)),
            ],
        };
        let values: Vec<_> = values
            .into_iter()
            .map(|(name, value)| (name, Some(value)))
            .collect();
        column::append(&mut rows, kind.inputs(), &values);
    }
    let mut rungs = Vec::new();
    for (kbps, height) in RUNGS {
        let values = [
            ("need_kbps", kbps),
            ("kbps", kbps),
            ("width", (height * 16.0_f64 / 9.0).round()),
            ("height", height),
            ("fps", 30.0),
            ("codec", 0.0),
            ("active", 1.0),
        ];
        column::append(
            &mut rungs,
            column::RUNG,
            &values.map(|(name, value)| (name, Some(value))),
        );
    }
    Batch {
        tick: Tick {
            now_ms: 10_000,
            seed: 1,
            mode: Mode::Webrtc,
            cause: Cause::Tick,
        },
        rungs,
        rung_count: RUNGS.len(),
        rung_names: RUNGS
            .iter()
            .map(|(_, height)| format!("{height}p30").into())
            .collect(),
        rows,
        row_count: count,
        memo: Vec::new(),
    }
}

/// A viewer with a token that lets it in.
pub(super) fn request() -> auth::Request {
    auth::Request {
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
    }
}

/// Kbit/s and height of each rung.
const RUNGS: [(f64, f64); 5] = [
    (600.0, 360.0),
    (1000.0, 480.0),
    (2500.0, 720.0),
    (5000.0, 1080.0),
    (20_000.0, 2160.0),
];
