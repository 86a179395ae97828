//! What all reports have in common.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write as _},
};

use serde::Serialize;

use crate::{histogram::Spread, process::Usage};

/// How many clients there are, and how far they came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Clients {
    /// Were to come.
    pub asked: usize,
    /// Have a session.
    pub answered: usize,
    /// Have keys.
    pub connected: usize,
    /// Saw a whole keyframe.
    pub joined: usize,
    /// Are not there, or no longer.
    pub failed: u64,
}

impl Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} asked, {} answered, {} connected, {} joined, {} failed",
            self.asked, self.answered, self.connected, self.joined, self.failed
        )
    }
}

/// What a process takes. Where the load's own `cores` come near to the number of its threads, it is the load that is
/// measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// CPU seconds a second, while it was measured.
    pub cores: Option<f64>,
    /// CPU seconds.
    pub cpu_s: Option<f64>,
    /// Resident memory.
    pub rss_kb: Option<u64>,
    /// Resident memory that each client added.
    pub rss_kb_per_client: Option<f64>,
}

impl Cost {
    /// Over a time; memory since `start`, spread over so many clients.
    pub(crate) fn new(start: &Usage, before: &Usage, after: &Usage, clients: usize) -> Self {
        let (seconds, cpu_s) = after.since(before);
        let each = after
            .rss_kb
            .zip(start.rss_kb)
            .map(|(now, then)| now.saturating_sub(then) as f64 / clients.max(1) as f64);
        Self {
            cores: cpu_s.map(|cpu_s| cpu_s / seconds.max(0.001)),
            cpu_s,
            rss_kb: after.rss_kb,
            rss_kb_per_client: each,
        }
    }
}

impl Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.cores, self.rss_kb, self.rss_kb_per_client) {
            (Some(cores), Some(rss_kb), Some(each)) => write!(
                f,
                "{cores:.2} cores, {:.1} MB ({each:.1} kB a client)",
                rss_kb as f64 / 1000.0
            ),
            _ => f.write_str("-"),
        }
    }
}

/// A distribution of milliseconds in words.
pub(crate) fn spread(spread: &Option<Spread>) -> String {
    spread.map_or_else(
        || "-".to_owned(),
        |Spread { n, p50, p99, max }| {
            format!("p50 {p50:.1} ms, p99 {p99:.1} ms, max {max:.1} ms (n {n})")
        },
    )
}

/// Two columns.
#[derive(Default)]
pub(crate) struct Table(String);

impl Table {
    pub(crate) fn row(&mut self, name: &str, value: impl Display) {
        // A string takes all.
        writeln!(self.0, "{name:<14} {value}").ok();
    }

    /// The most frequent ones.
    pub(crate) fn failures(&mut self, failures: &BTreeMap<String, u64>) {
        let mut sorted: Vec<_> = failures.iter().collect();
        sorted.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        for (why, count) in sorted.iter().take(FAILURES_SHOWN) {
            self.row("failed", format_args!("{count} × {why}"));
        }
        if sorted.len() > FAILURES_SHOWN {
            let others = sorted.len() - FAILURES_SHOWN;
            self.row("failed", format_args!("… and {others} other reasons"));
        }
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.trim_end())
    }
}

const FAILURES_SHOWN: usize = 5;
