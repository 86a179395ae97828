use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};

use lockgate_policy::{
    Answer, Artifact, Batch, Kind, Limits, Manifest, Tick,
    column::{self, Column},
    engine::{Cause, Mode},
};

use crate::{Host, HostConfig, WasmArtifact};

mod contract;
mod guest;
mod host;
mod hostile;
mod large;
mod loading;
mod reference;

/// One host for all tests. Its backstop is far away: outcomes must not hang on how busy the machine is.
static HOST: LazyLock<Host> = LazyLock::new(|| Host::new(patient()).unwrap());

fn patient() -> HostConfig {
    HostConfig {
        backstop: Duration::from_secs(600),
        ..HostConfig::default()
    }
}

/// A plugin of the repository: as it stands there, or as built anew in `LOCKGATE_PLUGINS`.
fn plugin_bytes(name: &str) -> Vec<u8> {
    let path = match env::var_os("LOCKGATE_PLUGINS") {
        Some(built) => PathBuf::from(built).join(name),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/{name}/{name}")),
    };
    fs::read(path.with_extension("wasm")).unwrap()
}

fn reference_bytes(kind: Kind) -> Vec<u8> {
    plugin_bytes(&format!("{kind}-reference"))
}

fn reference(kind: Kind) -> WasmArtifact {
    HOST.load(kind.name(), &reference_bytes(kind), Limits::default())
        .unwrap()
}

/// A good policy of `abr` works: asked after each wrong one, on the same host.
fn a_good_one_still_works() {
    static GOOD: LazyLock<WasmArtifact> = LazyLock::new(|| reference(Kind::Abr));
    let mut policy = GOOD.instantiate(&serde_json::Value::Null).unwrap();
    let mut answer = Answer::default();
    let batch = blank(Kind::Abr, GOOD.manifest(), 2, 2);
    policy.decide(Kind::Abr, &batch, &mut answer).unwrap();
    assert_eq!(answer.rows.len(), 12);
}

/// A batch in which nothing is known.
fn blank(kind: Kind, manifest: &Manifest, rungs: usize, rows: usize) -> Batch {
    let absent = |columns: &[Column], count: usize| vec![f64::NAN; column::width(columns) * count];
    Batch {
        tick: Tick {
            now_ms: 10_000,
            seed: 1,
            mode: Mode::Webrtc,
            cause: Cause::Tick,
        },
        rungs: absent(&manifest.rung_columns(kind), rungs),
        rung_count: rungs,
        rung_names: Vec::new(),
        rows: absent(&manifest.columns(kind), rows),
        row_count: rows,
        memo: vec![f64::NAN; manifest.memo(kind) * rows],
    }
}
