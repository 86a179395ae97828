//! Probes: for a short time more is sent than media needs, and what comes of it is looked at.
//!
//! A stream that sends less than its link carries learns nothing of the rest. A probe fills up with packets that were
//! sent already, to the rate in question. It lasts long enough to outlive the bucket of a shaper, and ends early when
//! a queue builds up.

use std::time::Duration;

/// A probe that is under way, or waits for its last packets to be reported.
#[derive(Debug)]
struct Probe {
    rate_bps: f64,
    began: Duration,
    /// When to stop filling up.
    until: Duration,
    bytes: usize,
    /// Bytes that arrived before and since the first part was over.
    skipped: usize,
    arrived: usize,
    first: Option<Duration>,
    last: Duration,
}

/// What became of a probe.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    /// What arrived in bit/s.
    pub(super) carried_bps: f64,
    /// Whether that was all that was sent.
    pub(super) passed: bool,
}

/// When to probe, and the probe itself.
#[derive(Debug, Default)]
pub(super) struct Probing {
    probe: Option<Probe>,
    next: Duration,
    failures: u32,
}

impl Probing {
    /// Whether a probe is under way or not yet judged.
    pub(super) fn busy(&self) -> bool {
        self.probe.is_some()
    }

    /// Whether the next one may begin.
    pub(super) fn due(&self, now: Duration) -> bool {
        self.probe.is_none() && now >= self.next
    }

    /// Not before this time from now.
    pub(super) fn wait(&mut self, now: Duration, pause: Duration) {
        self.next = self.next.max(now + pause);
    }

    /// Whether the last one failed.
    pub(super) fn failed(&self) -> bool {
        self.failures > 0
    }

    /// Begins one.
    pub(super) fn begin(&mut self, now: Duration, rate_bps: f64) {
        self.probe = Some(Probe {
            rate_bps,
            began: now,
            until: now + LENGTH,
            bytes: 0,
            skipped: 0,
            arrived: 0,
            first: None,
            last: Duration::ZERO,
        });
    }

    /// The rate to fill up to.
    pub(super) fn rate_bps(&self, now: Duration) -> Option<f64> {
        let probe = self.probe.as_ref()?;
        (now < probe.until).then_some(probe.rate_bps)
    }

    /// Bytes that are missing to the rate at this moment.
    pub(super) fn missing(&self, now: Duration) -> usize {
        let Some(probe) = self.probe.as_ref().filter(|probe| now < probe.until) else {
            return 0;
        };
        let due = probe.rate_bps / 8.0 * now.saturating_sub(probe.began).as_secs_f64();
        (due as usize).saturating_sub(probe.bytes)
    }

    /// Something was sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        if let Some(probe) = &mut self.probe {
            probe.bytes += bytes;
        }
    }

    /// A packet arrived that was sent at `sent`.
    pub(super) fn arrived(&mut self, sent: Duration, arrived: Duration, bytes: usize) {
        let Some(probe) = &mut self.probe else {
            return;
        };
        if sent < probe.began || sent > probe.until {
            return;
        }
        // The first part may be what a token bucket had saved up.
        if sent < probe.began + LENGTH / 4 {
            probe.skipped += bytes;
            probe.first = Some(probe.first.map_or(arrived, |first| first.max(arrived)));
        } else {
            probe.arrived += bytes;
        }
        probe.last = probe.last.max(arrived);
    }

    /// A queue has built up: no more is needed to know.
    pub(super) fn stop(&mut self, now: Duration) {
        if let Some(probe) = &mut self.probe {
            probe.until = probe.until.min(now);
        }
    }

    /// What became of it, once all of it was reported or should have been.
    pub(super) fn judge(&mut self, now: Duration, rtt: Duration) -> Option<Outcome> {
        let probe = self.probe.as_ref()?;
        if now < probe.until + rtt + PATIENCE {
            return None;
        }
        let probe = self.probe.take()?;
        let span = probe
            .last
            .saturating_sub(probe.first.unwrap_or(probe.last))
            .max(Duration::from_millis(1));
        #[expect(clippy::cast_precision_loss, reason = "bytes of one probe")]
        let carried_bps = probe.arrived as f64 * 8.0 / span.as_secs_f64();
        let whole = probe.until == probe.began + LENGTH && probe.first.is_some();
        let passed = whole && carried_bps >= PASS * probe.rate_bps;
        self.failures = if passed {
            0
        } else {
            (self.failures + 1).min(FAILURES_MAX)
        };
        let pause = if passed {
            Duration::ZERO
        } else {
            AGAIN + AGAIN / 2 * (self.failures - 1)
        };
        self.next = now + pause;
        Some(Outcome {
            carried_bps: carried_bps.min(probe.rate_bps),
            passed,
        })
    }
}

/// A shaper with a bucket of 16 kB at 1 Mbit/s is found out by 2 Mbit/s in half of this.
const LENGTH: Duration = Duration::from_millis(200);
/// Reports come every 50 to 100 ms.
const PATIENCE: Duration = Duration::from_millis(120);
const PASS: f64 = 0.85;
/// After the first failure; half as long again after further ones.
const AGAIN: Duration = Duration::from_secs(2);
const FAILURES_MAX: u32 = 2;
