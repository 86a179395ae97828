//! What players saw, for a person and for a program.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::player::Seen;
use crate::{
    histogram::Spread,
    process::Usage,
    report::{Clients, Cost, Table, spread},
};

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How many there are, and how far they came: answered with a playlist, joined with the first media.
    pub clients: Clients,
    /// Of these, play parts (LL-HLS).
    pub low_latency: usize,
    /// How long was measured.
    pub seconds: f64,
    /// From the first request to the first segment or part, in ms.
    pub join_ms: Option<Spread>,
    /// How often a buffer ran dry in this time.
    pub stalls: u64,
    /// Seconds that players stood still in this time, all together.
    pub stalled_s: f64,
    /// Players that fell out of the window and went back to live, in this time.
    pub skips: u64,
    /// From the wall clock of the media to its play, in s, where playlists have `EXT-X-PROGRAM-DATE-TIME`.
    pub live_distance_s: Option<Spread>,
    /// Fetched and not played, in s.
    pub buffer_s: Option<Spread>,
    /// Of the variants that are played, as the playlist declares it, in bit/s.
    pub bandwidth_bps: Option<Spread>,
    /// Bodies of all answers.
    pub mbit_per_s: f64,
    /// Requests for playlists and media.
    pub requests_per_s: f64,
    /// Answers that were refusals, in this time.
    pub errors: u64,
    /// What the load itself took.
    pub own: Cost,
    /// Why players stopped, and how many.
    pub failures: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(
        asked: usize,
        before: &[Seen],
        after: &[Seen],
        (start, usage, now): (&Usage, &Usage, &Usage),
    ) -> Self {
        let (seconds, _) = now.since(usage);
        let sum = |of: fn(&Seen) -> u64| {
            let all = |seen: &[Seen]| seen.iter().map(of).sum::<u64>();
            all(after).saturating_sub(all(before))
        };
        let list = |of: fn(&Seen) -> Option<f64>| {
            let mut list: Vec<f64> = after.iter().filter_map(of).collect();
            Spread::of(&mut list)
        };
        let mut failures: BTreeMap<String, u64> = BTreeMap::new();
        for why in after.iter().filter_map(|one| one.failure.clone()) {
            *failures.entry(why).or_default() += 1;
        }
        let count = |of: fn(&Seen) -> bool| after.iter().filter(|one| of(one)).count();
        let joined = count(|one| one.join_ms.is_some());
        let stalled = |seen: &[Seen]| {
            seen.iter()
                .map(|one| one.stalled.as_secs_f64())
                .sum::<f64>()
        };
        let rate = |count: u64| count as f64 / seconds.max(0.001);
        Self {
            clients: Clients {
                asked,
                answered: count(|one| one.has_playlist),
                connected: joined,
                joined,
                failed: failures.values().sum(),
            },
            low_latency: count(|one| one.low_latency),
            seconds,
            join_ms: list(|one| one.join_ms),
            stalls: sum(|one| one.stalls),
            stalled_s: (stalled(after) - stalled(before)).max(0.0),
            skips: sum(|one| one.skips),
            live_distance_s: list(|one| one.distance_s),
            buffer_s: list(|one| one.join_ms.map(|_| one.buffer_s)),
            bandwidth_bps: list(|one| one.bandwidth_bps.map(|bps| bps as f64)),
            mbit_per_s: rate(sum(|one| one.bytes)) * 8.0 / 1e6,
            requests_per_s: rate(sum(|one| one.requests)),
            errors: sum(|one| one.errors),
            own: Cost::new(start, usage, now, asked),
            failures,
        }
    }

    /// Whether everyone plays.
    pub fn is_fine(&self) -> bool {
        self.clients.joined == self.clients.asked && self.clients.failed == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_seconds = |spread: &Option<Spread>| match spread {
            Some(Spread { p50, p99, max, .. }) => {
                format!("p50 {p50:.2} s, p99 {p99:.2} s, max {max:.2} s")
            }
            None => "-".to_owned(),
        };
        let mut table = Table::default();
        table.row("players", self.clients);
        table.row("low latency", format_args!("{} of them", self.low_latency));
        table.row("measured", format_args!("{:.1} s", self.seconds));
        table.row("join time", spread(&self.join_ms));
        table.row(
            "stalls",
            format_args!(
                "{} ({:.1} s all together), {} players skipped to live",
                self.stalls, self.stalled_s, self.skips
            ),
        );
        table.row("behind live", in_seconds(&self.live_distance_s));
        table.row("buffer", in_seconds(&self.buffer_s));
        let variant = self.bandwidth_bps.map_or_else(
            || "-".to_owned(),
            |Spread { p50, max, .. }| {
                format!("p50 {:.0} kbit/s, max {:.0} kbit/s", p50 / 1e3, max / 1e3)
            },
        );
        table.row("variant", variant);
        table.row(
            "rate",
            format_args!(
                "{:.1} Mbit/s, {:.1} requests/s, {} errors",
                self.mbit_per_s, self.requests_per_s, self.errors
            ),
        );
        table.row("own cost", self.own);
        table.failures(&self.failures);
        write!(f, "{table}")
    }
}
