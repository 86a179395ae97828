//! The reference rule of `ladder`: no rung that enlarges; the source itself in place of the rung it fits; the rest
//! from below as far as the CPU budget carries. One rung is always encoded unless the source is passed through.

use super::Reader;
use crate::{
    column,
    engine::{Answer, Batch},
};

#[derive(Debug, Clone, Copy)]
pub(super) struct Config {
    /// CPU seconds that a million pixels cost to encode.
    pub(super) megapixel_cost: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            megapixel_cost: 0.0065,
        }
    }
}

pub(super) const REASONS: &[&str] = &[
    "every rung that does not enlarge",
    "the source stands in for the top rung",
    "rungs were shed from the top for the CPU budget",
    "the source is smaller than every rung",
];

pub(super) fn decide(config: &Config, batch: &Batch, answer: &mut Answer) {
    let source = |name| Reader::new(&batch.rows, column::SOURCE, name);
    let rung = |name| Reader::new(&batch.rungs, column::RUNG, name);
    let (widths, heights, rates, needs) =
        (rung("width"), rung("height"), rung("fps"), rung("kbps"));
    for row in 0..batch.row_count {
        let width = source("width").get(row).unwrap_or(0.0);
        let height = source("height").get(row).unwrap_or(0.0);
        let fps = source("fps").get(row).unwrap_or(30.0);
        let kbps = source("kbps").get(row);
        let passable = source("passable").get(row) == Some(1.0);
        let budget = source("cpu_budget").get(row);
        let of = |column: Reader<'_>, rung: usize| column.get(rung).unwrap_or(0.0);

        let mut reason = 0.0;
        let fitting = |rung: &usize| !(of(widths, *rung) > width && of(heights, *rung) > height);
        let mut keep: Vec<bool> = (0..batch.rung_count).map(|rung| fitting(&rung)).collect();
        if !keep.contains(&true) && !keep.is_empty() {
            keep[0] = true;
            reason = 3.0;
        }
        let mut passthrough = 0.0;
        if let Some(top) = keep.iter().rposition(|kept| *kept) {
            let fits = width <= of(widths, top)
                && height <= of(heights, top)
                && fps <= of(rates, top) + 0.5
                && kbps.is_some_and(|kbps| kbps <= of(needs, top));
            if passable && fits {
                keep[top] = false;
                passthrough = 1.0;
                reason = 1.0;
            }
        }
        let cost_of = |rung: usize| {
            let pixels = of(widths, rung).min(width) * of(heights, rung).min(height);
            pixels * fps.min(of(rates, rung)) / 1_000_000.0 * config.megapixel_cost
        };
        let mut cost = 0.0;
        let mut kept = 0;
        for (rung, kept_here) in keep.iter_mut().enumerate() {
            if *kept_here {
                cost += cost_of(rung);
                // The lowest is always affordable where nothing else would be left.
                let is_last_resort = kept == 0 && passthrough == 0.0;
                if budget.is_some_and(|budget| cost > budget) && !is_last_resort {
                    *kept_here = false;
                    reason = 2.0;
                } else {
                    kept += 1;
                }
            }
        }
        answer.rows.extend([passthrough, f64::NAN, reason]);
        answer
            .rows
            .extend(keep.iter().map(|kept| if *kept { 1.0 } else { 0.0 }));
    }
}
