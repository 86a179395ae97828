//! What several tests need.

use std::path::Path;

use lockgate_policy::{
    Batch, Kind, Manifest,
    column::{self, Column},
};

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
