//! What every policy must keep before it may decide, tried on vectors made from a seed.

use std::sync::Arc;

use serde_json::Value;

use crate::{
    Answer, Artifact, Batch, Fault, Kind, Services, Tick,
    column::{self, Column},
    engine::{Cause, Mode, Refusal},
    project::Projection,
};

/// A rule a policy broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}, vector {vector}: {what}")]
pub struct Broken {
    /// The kind asked.
    pub kind: Kind,
    /// Which vector; the same seed makes it again.
    pub vector: usize,
    /// The rule, and what was seen.
    pub what: String,
}

/// Batches of a kind with whole-contract rows, without memo: ordinary ones first, then ones at the edges of what can
/// be. The same for the same seed.
pub fn vectors(kind: Kind, count: usize, seed: u64) -> Vec<Batch> {
    let mut dice = Dice(seed ^ 0x9e37_79b9_7f4a_7c15);
    (0..count).map(|at| batch(kind, at, &mut dice)).collect()
}

/// Runs a policy through the vectors of all kinds it answers: one answer a row, rungs that exist, finite memo, the
/// same answer twice, rows that do not depend on their order, within its budget.
pub fn check(artifact: &dyn Artifact, config: &Value, count: usize) -> Result<(), Broken> {
    for kind in artifact
        .manifest()
        .kinds
        .keys()
        .copied()
        .filter(|kind| *kind != Kind::Auth)
    {
        let broken = |vector: usize, what: String| Broken { kind, vector, what };
        let projection = Projection::new(artifact.manifest(), kind);
        let start = |services: &Services| {
            let started = artifact.instantiate_with(config, services);
            started.map_err(|fault| broken(0, fault.to_string()))
        };
        let services = Services::of(artifact.manifest());
        let mut policy = start(&services)?;
        let mut again = start(&Services::of(artifact.manifest()))?;
        for (vector, full) in vectors(kind, count, 1).iter().enumerate() {
            let mut asked = empty();
            projection.apply(full, &mut asked);
            asked.memo = vec![f64::NAN; projection.memo() * full.row_count];
            let (mut first, mut second) = (Answer::default(), Answer::default());
            let fail = |fault: Fault| broken(vector, fault.to_string());
            let kept = services.space().snapshot();
            policy.decide(kind, &asked, &mut first).map_err(fail)?;
            again.decide(kind, &asked, &mut second).map_err(fail)?;
            form(kind, &asked, &first, projection.memo()).map_err(|what| broken(vector, what))?;
            if !same(&first, &second) {
                return Err(broken(
                    vector,
                    "the same question had two answers".to_owned(),
                ));
            }
            if let Some(turned) = reversed(&asked, kind, &projection) {
                // What it keeps is part of the question, so it is asked with what it kept before.
                let since = services.space().snapshot();
                services.space().restore(kept);
                let mut third = Answer::default();
                policy.decide(kind, &turned, &mut third).map_err(fail)?;
                form(kind, &turned, &third, projection.memo())
                    .map_err(|what| broken(vector, what))?;
                services.space().restore(since);
                let width = kind.output_width(full.rung_count);
                if !same_rows(&first.rows, &third.rows, width) {
                    return Err(broken(
                        vector,
                        "an answer depends on the order of the viewers".to_owned(),
                    ));
                }
            }
        }
    }
    Ok(())
}

/// Whether an answer has the form the contract asks for. A row whose numbers make no sense is another matter: it is
/// refused by itself while serving; here it fails the policy.
pub fn form(kind: Kind, asked: &Batch, answer: &Answer, memo: usize) -> Result<(), String> {
    let width = kind.output_width(asked.rung_count);
    if answer.rows.len() != width * asked.row_count {
        return Err(format!(
            "{} numbers for {} rows of {width}",
            answer.rows.len(),
            asked.row_count
        ));
    }
    if answer.memo.len() != memo * asked.row_count {
        return Err(format!(
            "{} carried numbers for {} rows of {memo}",
            answer.memo.len(),
            asked.row_count
        ));
    }
    if let Some(Refusal { row, fault }) = answer.refused.first() {
        return Err(format!("row {row}: {fault}"));
    }
    if answer.memo.iter().any(|number| number.is_infinite()) {
        return Err("a carried number is infinite".to_owned());
    }
    for (at, row) in answer.rows.chunks_exact(width.max(1)).enumerate() {
        if let Err(what) = sensible(kind, row, asked.rung_count) {
            return Err(format!("row {at}: {what}"));
        }
    }
    Ok(())
}

/// Whether one row of an answer can be acted on.
#[expect(clippy::cast_precision_loss, reason = "a number of rungs")]
pub fn sensible(kind: Kind, row: &[f64], rung_count: usize) -> Result<(), String> {
    let outputs = kind.outputs();
    let number = |name: &str| {
        column::place(outputs, name)
            .and_then(|at| row.get(at))
            .copied()
            .unwrap_or(f64::NAN)
    };
    let within = |name: &str, low: f64, high: f64, may_be_absent: bool| {
        let value = number(name);
        if (value.is_nan() && may_be_absent) || (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(format!("{name} is {value}, not within {low} to {high}"))
        }
    };
    within("reason", 0.0, 65_535.0, false)?;
    match kind {
        Kind::Abr => {
            let rung = number("rung");
            let exists = rung.fract() == 0.0 && (0.0..rung_count as f64).contains(&rung);
            if !(rung.is_nan() || exists) {
                return Err(format!(
                    "rung {rung} does not exist; there are {rung_count}"
                ));
            }
            within("cap_kbps", 0.0, 1e6, true)?;
            within("probe_kbps", 0.0, 1e6, true)?;
            within("play_rate", 0.5, 2.0, true)?;
            within("buffer_target_s", 0.0, 600.0, true)
        }
        Kind::Optimize => {
            within("level", 0.0, 2.0, false)?;
            within("reduction_pct", 0.0, 100.0, false)?;
            within("cap_kbps", 0.0, 1e6, true)?;
            within("fps", 1.0, 240.0, false)?;
            within("opus_kbps", 6.0, 510.0, false)?;
            within("opus_hz", 8_000.0, 48_000.0, false)?;
            within("opus_channels", 1.0, 2.0, false)?;
            within("buffer_s", 0.0, 600.0, false)?;
            within("fec", 0.0, 1.0, false)
        }
        Kind::Score => {
            within("score", 0.0, 100.0, false)?;
            for part in ["bandwidth_part", "loss_part", "jitter_part"] {
                within(part, -1e9, 1e9, true)?;
            }
            Ok(())
        }
        Kind::Ladder => {
            within("passthrough", 0.0, 1.0, false)?;
            within("preset", 0.0, 8.0, true)?;
            let keep = row.get(column::width(outputs)..).unwrap_or_default();
            match keep.iter().find(|kept| **kept != 0.0 && **kept != 1.0) {
                Some(kept) => Err(format!(
                    "a rung is kept by {kept}, which is neither 0 nor 1"
                )),
                None => Ok(()),
            }
        }
        Kind::Auth => Ok(()),
    }
}

/// Whether two answers are the same to the bit, one NaN being as good as another.
pub fn same(a: &Answer, b: &Answer) -> bool {
    same_numbers(&a.rows, &b.rows) && same_numbers(&a.memo, &b.memo)
}

fn same_numbers(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
}

fn same_rows(forward: &[f64], backward: &[f64], width: usize) -> bool {
    let turned: Vec<f64> = backward
        .chunks_exact(width.max(1))
        .rev()
        .flatten()
        .copied()
        .collect();
    same_numbers(forward, &turned)
}

/// A batch of nothing.
pub fn empty() -> Batch {
    Batch {
        tick: Tick {
            now_ms: 0,
            seed: 0,
            mode: Mode::Webrtc,
            cause: Cause::Tick,
        },
        rungs: Vec::new(),
        rung_count: 0,
        rung_names: Vec::new(),
        rows: Vec::new(),
        row_count: 0,
        memo: Vec::new(),
    }
}

fn reversed(asked: &Batch, kind: Kind, projection: &Projection) -> Option<Batch> {
    if asked.row_count < 2 || kind == Kind::Ladder {
        return None;
    }
    let turn = |numbers: &[f64], width: usize| -> Vec<f64> {
        numbers
            .chunks_exact(width.max(1))
            .rev()
            .flatten()
            .copied()
            .collect()
    };
    let width = asked.rows.len() / asked.row_count;
    Some(Batch {
        rows: turn(&asked.rows, width),
        memo: turn(&asked.memo, projection.memo()),
        ..asked.clone()
    })
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn batch(kind: Kind, at: usize, dice: &mut Dice) -> Batch {
    let is_edge = at % 3 == 2;
    let rung_count = if is_edge {
        dice.below(8)
    } else {
        1 + dice.below(6)
    };
    let row_count = if kind == Kind::Ladder {
        1
    } else {
        dice.below(9)
    };
    let mut kbps = 200.0;
    let mut rungs = Vec::new();
    for rung in 0..rung_count {
        kbps *= 1.2 + dice.unit();
        let height = (180 * (rung + 1)) as f64;
        let mut of = |name: &str| match name {
            "need_kbps" => kbps * 1.1,
            "kbps" => kbps,
            "measured_kbps" => kbps * dice.unit(),
            "width" => (height * 16.0 / 9.0).round(),
            "height" => height,
            "fps" => {
                if dice.below(2) == 0 {
                    30.0
                } else {
                    60.0
                }
            }
            "codec" => 0.0,
            "active" => dice.below(2) as f64,
            _ => f64::NAN,
        };
        rungs.extend(column::RUNG.iter().map(|column| of(column.name)));
    }
    let mut rows = Vec::new();
    for _ in 0..row_count {
        for column in kind.inputs() {
            for _ in 0..column.width {
                rows.push(number(column, rung_count, is_edge, dice));
            }
        }
    }
    Batch {
        tick: Tick {
            now_ms: dice.next() % 1_000_000_000,
            seed: dice.next(),
            mode: [Mode::Webrtc, Mode::Hls, Mode::LlHls][dice.below(3)],
            cause: [Cause::Tick, Cause::Segment, Cause::Stall, Cause::Congestion][dice.below(4)],
        },
        rungs,
        rung_count,
        rung_names: (0..rung_count)
            .map(|rung| Arc::from(format!("rung{rung}")))
            .collect(),
        rows,
        row_count,
        memo: Vec::new(),
    }
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn number(column: &Column, rung_count: usize, is_edge: bool, dice: &mut Dice) -> f64 {
    let roll = dice.below(10);
    if roll == 0 {
        return f64::NAN;
    }
    if is_edge && roll < 4 {
        return [0.0, -1.0, 1e300, f64::INFINITY, -0.0, 1e-300][dice.below(6)];
    }
    let unit = dice.unit();
    match column.name {
        "current" => dice.below(rung_count + 2) as f64,
        "app_limited" | "in_stall" | "data_saver" | "passable" => dice.below(2) as f64,
        "width" => [640.0, 1280.0, 1920.0, 3840.0][dice.below(4)],
        "height" => [360.0, 720.0, 1080.0, 2160.0][dice.below(4)],
        "cpu_budget" | "cpu_used" => unit * 4.0,
        name if name.ends_with("_pct") => unit * unit * 100.0,
        name if name.ends_with("_kbps") || name == "kbps" => (unit * 12_000.0).round(),
        name if name.ends_with("_ms") => (unit * 400.0).round(),
        name if name.ends_with("_s") => unit * 30.0,
        _ => (unit * 100.0).round(),
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % (limit.max(1) as u64)).unwrap_or(0)
    }

    #[expect(clippy::cast_precision_loss, reason = "53 bits are what an f64 holds")]
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Builtin;

    #[test]
    fn the_builtin_keeps_every_rule() {
        assert_eq!(check(&Builtin::default(), &Value::Null, 600), Ok(()));
    }

    #[test]
    fn vectors_are_the_same_for_the_same_seed() {
        let show = |seed| format!("{:?}", vectors(Kind::Abr, 20, seed));
        assert_eq!(show(1), show(1));
        assert_ne!(show(1), show(2));
    }
}
