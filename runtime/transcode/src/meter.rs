//! How fast the encoding runs, and what it costs.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use crate::{
    out::{Counts, Out},
    pipeline::Switchboard,
    wire::Stats,
};

/// Turns counters into a report about the time since the last one.
pub(crate) struct Meter<'a> {
    counts: Arc<Counts>,
    switchboard: &'a Switchboard,
    last: Option<(Instant, i64)>,
    /// Frames offered and dropped of each rung at the last report.
    rungs: Vec<(u64, u64)>,
    source_dropped: u64,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(out: &Out, switchboard: &'a Switchboard) -> Self {
        Self {
            counts: Arc::clone(out.counts()),
            switchboard,
            last: None,
            rungs: Vec::new(),
            source_dropped: 0,
        }
    }

    /// The report. Speed is media time by real time, times the share of frames that the slowest rung really encoded.
    pub(crate) fn read(&mut self, now: Instant) -> Stats {
        let counts = &self.counts;
        let media_90k = counts.media_90k.load(Ordering::Relaxed);
        let source_dropped = counts.source_dropped.load(Ordering::Relaxed);
        let mut stats = Stats {
            cpu_s: cpu_s(),
            media_90k,
            frames_dropped: source_dropped,
            decode_errors: counts.decode_errors.load(Ordering::Relaxed),
            ..Stats::default()
        };
        let all = self.switchboard.all();
        self.rungs.resize(all.len(), (0, 0));
        let mut share = 1.0f64;
        for (asked, before) in all.iter().zip(&mut self.rungs) {
            let offered = asked.offered.load(Ordering::Relaxed);
            let dropped = asked.dropped.load(Ordering::Relaxed);
            stats.frames_dropped += dropped;
            stats.rungs_active += usize::from(asked.active.load(Ordering::Relaxed));
            let missed = (dropped - before.1) + (source_dropped - self.source_dropped);
            let due = (offered - before.0) + (source_dropped - self.source_dropped);
            if due > 0 {
                share = share.min(1.0 - missed as f64 / due as f64);
            }
            *before = (offered, dropped);
        }
        self.source_dropped = source_dropped;
        stats.kept = share.max(0.0);
        if counts.started.load(Ordering::Relaxed) && media_90k > 0 {
            if let Some((then, before_90k)) = self.last {
                let real_s = now.duration_since(then).as_secs_f64().max(0.001);
                let media_s = (media_90k - before_90k).max(0) as f64 / 90_000.0;
                stats.speed = (media_s / real_s * share).max(0.0);
            }
            self.last = Some((now, media_90k));
        }
        stats
    }
}

/// User and system CPU seconds of this process; 0 where `/proc` does not say.
pub(crate) fn cpu_s() -> f64 {
    fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|stat| parse_stat(&stat))
        .unwrap_or(0.0)
}

/// `utime` and `stime` (fields 14 and 15) of `/proc/PID/stat`, in hundredths of a second on every Linux.
fn parse_stat(stat: &str) -> Option<f64> {
    // The name in parentheses may hold blanks and parentheses itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_stands_after_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 1 0 5 0 0";
        assert_eq!(parse_stat(stat), Some(3.0));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert!(cpu_s() >= 0.0);
    }
}
