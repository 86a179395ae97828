//! What several tests and the example need.

use std::path::Path;

use lockgate_policy::{
    Batch, Kind, Manifest,
    column::{self, Column},
};

/// Repeatable chance: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A whole number below `limit`.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("it is below a usize")
    }

    /// A number from 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The reference script of a kind and its manifest.
pub(crate) fn read_policy(kind: Kind) -> (String, String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../policies")
        .join(kind.name());
    let read = |name| std::fs::read_to_string(folder.join(name)).expect("the reference is there");
    (read("reference.luau"), read("reference.toml"))
}

/// A batch with all columns as a policy's manifest asks for it.
pub(crate) fn project(whole: &Batch, kind: Kind, manifest: &Manifest) -> Batch {
    let columns = |numbers: &[f64], all: &[Column], wanted: &[Column], count: usize| {
        let width = column::width(all);
        let mut projected = Vec::new();
        for row in 0..count {
            for column in wanted {
                let at = row * width + column::place(all, column.name).expect("it is a column");
                projected.extend_from_slice(&numbers[at..at + column.width]);
            }
        }
        projected
    };
    Batch {
        rungs: columns(
            &whole.rungs,
            column::RUNG,
            &manifest.rung_columns(kind),
            whole.rung_count,
        ),
        rows: columns(
            &whole.rows,
            kind.inputs(),
            &manifest.columns(kind),
            whole.row_count,
        ),
        ..whole.clone()
    }
}
