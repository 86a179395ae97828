//! What a decision costs in Luau, limits on, beside the same rule in Rust:
//! `cargo run --release -p lockgate-policy-luau --example cost`.

use std::{hint::black_box, time::Instant};

use lockgate_policy::{
    Answer, Artifact, Batch, Builtin, Kind, Limits, Policy, Tick, column,
    engine::{Cause, Mode},
};
use lockgate_policy_luau::Luau;
use serde_json::Value;

#[path = "../tests/all/common.rs"]
mod common;

const VIEWERS: usize = 1000;
const ROUNDS: usize = 400;

/// Repeatable chance: splitmix64.
struct Random(u64);

impl Random {
    /// The next number.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `limit`.
    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("it is below a usize")
    }

    /// A number from 0 to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn batch(memo: usize, kind: Kind) -> Batch {
    let random = &mut Random(7);
    let width = column::width(kind.inputs());
    let mut rows = vec![f64::NAN; VIEWERS * width];
    for row in rows.chunks_exact_mut(width) {
        let mut set = |name, value: f64| {
            if let Some(at) = column::place(kind.inputs(), name) {
                row[at] = value;
            }
        };
        set("bandwidth_kbps", random.unit() * 8000.0);
        set("loss_pct", random.unit() * 4.0);
        set("jitter_ms", random.unit() * 80.0);
        set("buffer_s", random.unit() * 10.0);
        set("current", random.below(5) as f64);
    }
    let rung_width = column::width(column::RUNG);
    let mut rungs = vec![f64::NAN; 5 * rung_width];
    for (rung, kbps) in rungs
        .chunks_exact_mut(rung_width)
        .zip([700.0, 1200.0, 2500.0, 5000.0, 15_000.0])
    {
        rung[0] = kbps;
    }
    Batch {
        tick: Tick {
            now_ms: 10_000,
            seed: 1,
            mode: Mode::Webrtc,
            cause: Cause::Tick,
        },
        rungs,
        rung_count: 5,
        rung_names: Vec::new(),
        rows,
        row_count: VIEWERS,
        memo: vec![f64::NAN; VIEWERS * memo],
    }
}

/// The least time for a row in ns: other load on the machine only ever adds.
fn cost(policy: &mut dyn Policy, kind: Kind, batch: &Batch) -> (f64, u64) {
    let (mut answer, mut least, mut steps) = (Answer::default(), f64::INFINITY, 0);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let spent = policy.decide(kind, black_box(batch), &mut answer);
        least = least.min(start.elapsed().as_secs_f64() * 1e9 / VIEWERS as f64);
        steps = spent.map_or(0, |spent| spent.steps);
    }
    (least, steps)
}

#[expect(clippy::print_stdout, reason = "it is what the example is for")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    for kind in [Kind::Abr, Kind::Optimize, Kind::Score] {
        let (source, manifest) = common::read_policy(kind);
        let with = Luau::load(
            "reference.luau",
            source.as_bytes(),
            Some(&manifest),
            Limits::default(),
        )?;
        let without = Luau::load("reference.luau", source.as_bytes(), None, Limits::default())?;
        let native = Builtin::default();
        let whole = batch(native.manifest().memo(kind), kind);
        let asked = common::project(&whole, kind, with.manifest());
        let everything = batch(without.manifest().memo(kind), kind);
        let (rust, _) = cost(&mut *native.instantiate(&Value::Null)?, kind, &whole);
        let (luau, steps) = cost(&mut *with.instantiate(&Value::Null)?, kind, &asked);
        let (plain, _) = cost(&mut *without.instantiate(&Value::Null)?, kind, &everything);
        println!(
            "{kind}: Rust {rust:.1} ns a viewer, Luau {luau:.0} ns ({:.0} times, {steps} steps), all columns {plain:.0} ns",
            luau / rust
        );
    }
    let (source, manifest) = common::read_policy(Kind::Abr);
    let start = Instant::now();
    let artifact = Luau::load(
        "reference.luau",
        source.as_bytes(),
        Some(&manifest),
        Limits::default(),
    )?;
    println!("load {:.2} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    for _ in 0..100 {
        black_box(artifact.instantiate(&Value::Null)?);
    }
    println!("instantiate {:.3} ms", start.elapsed().as_secs_f64() * 10.0);
    Ok(())
}
