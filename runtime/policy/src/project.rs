//! From the whole contract to the columns one policy asked for.

use crate::{
    Batch, Kind, Manifest,
    column::{self, Column},
};

/// How rows of the whole contract become rows of one policy's columns. Made once for each policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Projection {
    rows: Vec<Span>,
    rungs: Vec<Span>,
    row_width: usize,
    rung_width: usize,
    memo: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: usize,
    width: usize,
}

impl Projection {
    /// The projection for a policy's answers to `kind`.
    pub fn new(manifest: &Manifest, kind: Kind) -> Self {
        let spans = |wanted: &[Column], known: &[Column]| {
            let mut spans: Vec<Span> = Vec::with_capacity(wanted.len());
            for column in wanted {
                let Some(from) = column::place(known, column.name) else {
                    continue;
                };
                match spans.last_mut() {
                    Some(last) if last.from + last.width == from => last.width += column.width,
                    _ => spans.push(Span {
                        from,
                        width: column.width,
                    }),
                }
            }
            spans
        };
        Self {
            rows: spans(&manifest.columns(kind), kind.inputs()),
            rungs: spans(&manifest.rung_columns(kind), column::RUNG),
            row_width: column::width(kind.inputs()),
            rung_width: column::width(column::RUNG),
            memo: manifest.memo(kind),
        }
    }

    /// Numbers carried for each row.
    pub fn memo(&self) -> usize {
        self.memo
    }

    /// Writes `full`, whose rows have the whole contract, into `out` with this policy's columns. `out.memo` is left as
    /// it is. What is not finite becomes the one NaN that means absent.
    pub fn apply(&self, full: &Batch, out: &mut Batch) {
        out.tick = full.tick;
        out.rung_count = full.rung_count;
        out.row_count = full.row_count;
        out.rung_names.clone_from(&full.rung_names);
        copy(&full.rows, self.row_width, &self.rows, &mut out.rows);
        copy(&full.rungs, self.rung_width, &self.rungs, &mut out.rungs);
    }
}

fn copy(from: &[f64], width: usize, spans: &[Span], to: &mut Vec<f64>) {
    to.clear();
    for row in from.chunks_exact(width.max(1)) {
        for span in spans {
            let numbers = row
                .get(span.from..span.from + span.width)
                .unwrap_or_default();
            to.extend(numbers.iter().map(|number| {
                if number.is_finite() {
                    *number
                } else {
                    f64::NAN
                }
            }));
        }
    }
}
