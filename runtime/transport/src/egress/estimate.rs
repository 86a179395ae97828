//! How much a viewer's link carries, from what it reports about every packet (transport-wide congestion control).

use std::{collections::VecDeque, time::Duration};

use super::{
    probe::Probing,
    trend::{Trend, Usage},
};

/// One packet as the viewer reported it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// When it left here, from any zero.
    pub(crate) sent: Duration,
    /// When it arrived, on the viewer's clock from any zero; `None` if it did not.
    pub(crate) arrived: Option<Duration>,
    /// Its bytes.
    pub(crate) bytes: usize,
}

/// A send-side estimate of bandwidth in the manner of draft-ietf-rmcat-gcc-02: a queue that grows brings it down to a
/// part of what arrived, so does loss that rises; otherwise it creeps up, and probes take it up in steps.
///
/// Sending little is no objection: an estimate is never lowered for want of something to send.
#[derive(Debug)]
pub(crate) struct Estimate {
    bps: f64,
    /// What would be of use; probes go no further.
    goal_bps: f64,
    /// Whether there is anything to probe with.
    can_probe: bool,
    trend: Trend,
    probing: Probing,
    /// What arrived in the last [`RATE_WINDOW`], its bytes, and the newest of it.
    window: VecDeque<(Duration, u32)>,
    window_bytes: u64,
    newest: Duration,
    /// Least difference between the clocks seen in this and in the last [`BASE_WINDOW`], in s.
    base: [f64; 2],
    base_since: Option<Duration>,
    queue_s: f64,
    /// Since when the queue stands.
    standing_since: Option<Duration>,
    changed: Option<Duration>,
    reported: Option<Duration>,
    objected: Option<Duration>,
    /// What was carried when the link last objected.
    ceiling_bps: Option<f64>,
    loss: Loss,
    rtt: Duration,
}

/// Loss over windows of a second.
#[derive(Debug, Default)]
struct Loss {
    sent: u32,
    lost: u32,
    since: Option<Duration>,
    /// The shares of the last windows: the least of them is what the link always loses.
    shares: VecDeque<f64>,
}

impl Default for Estimate {
    fn default() -> Self {
        Self {
            bps: START_BPS,
            goal_bps: START_BPS,
            can_probe: false,
            trend: Trend::default(),
            probing: Probing::default(),
            window: VecDeque::new(),
            window_bytes: 0,
            newest: Duration::ZERO,
            base: [f64::INFINITY; 2],
            base_since: None,
            queue_s: 0.0,
            standing_since: None,
            changed: None,
            reported: None,
            objected: None,
            ceiling_bps: None,
            loss: Loss::default(),
            rtt: Duration::from_millis(100),
        }
    }
}

impl Estimate {
    /// The estimate in bit/s.
    pub(crate) fn bps(&self) -> f64 {
        self.bps
    }

    /// How fast packets may leave in bit/s: above the estimate, so that a keyframe is through soon, but not while a
    /// queue drains.
    pub(crate) fn pace_bps(&self, now: Duration) -> f64 {
        let factor = if self.is_calm(now, DRAIN) {
            PACE
        } else {
            PACE_DRAINING
        };
        (self.bps * factor).max(self.probing.rate_bps(now).unwrap_or(0.0))
    }

    /// What the viewer could use in bit/s; probes go that far and no further.
    pub(crate) fn set_goal(&mut self, bps: f64) {
        self.goal_bps = bps.clamp(MIN_BPS, MAX_BPS);
    }

    /// Whether there is anything to fill probes with.
    pub(crate) fn set_can_probe(&mut self, can: bool) {
        self.can_probe = can;
    }

    /// The least time from a packet to the report about it.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Something was sent.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.probing.sent(bytes);
    }

    /// Begins a probe if one is due; the bytes that are missing to its rate now.
    pub(crate) fn fill(&mut self, now: Duration) -> usize {
        let fresh = self
            .reported
            .is_some_and(|at| now.saturating_sub(at) < FRESH);
        if self.can_probe
            && fresh
            && self.probing.due(now)
            && self.bps * 1.05 < self.goal_bps
            && self.queue_s < QUEUE_LOW_S
            && self.is_calm(now, CALM)
        {
            // Where a large step did not pass, a small one may.
            let step = if self.probing.failed() {
                PROBE_STEP_SMALL
            } else {
                PROBE_STEP
            };
            let rate = (self.bps * step).min(self.goal_bps * PROBE_ABOVE);
            self.probing.begin(now, rate);
        }
        self.probing.missing(now)
    }

    /// Whether a probe is being filled.
    pub(crate) fn is_probing(&self, now: Duration) -> bool {
        self.probing.rate_bps(now).is_some()
    }

    /// Takes one report: packets in the order they were sent. True if the link objected to what is sent.
    pub(crate) fn report(&mut self, now: Duration, arrivals: &[Arrival]) -> bool {
        self.reported = Some(now);
        let mut least = f64::INFINITY;
        let mut newest = None;
        for arrival in arrivals {
            self.loss.sent += 1;
            let Some(arrived) = arrival.arrived else {
                self.loss.lost += 1;
                continue;
            };
            newest = Some(arrival.sent);
            let bytes = u32::try_from(arrival.bytes).unwrap_or(u32::MAX);
            if self.newest.saturating_sub(arrived) > CLOCK_BACK {
                // The viewer's clock has begun anew, as it does every twelve days.
                self.window.clear();
                self.window_bytes = 0;
                self.newest = arrived;
            }
            self.window.push_back((arrived, bytes));
            self.window_bytes += u64::from(bytes);
            self.newest = self.newest.max(arrived);
            self.trend.push(arrival.sent, arrived);
            self.probing.arrived(arrival.sent, arrived, arrival.bytes);
            least = least.min(arrived.as_secs_f64() - arrival.sent.as_secs_f64());
        }
        if let Some(sent) = newest {
            let sample = now.saturating_sub(sent);
            self.rtt = sample.min(self.rtt + (sample.saturating_sub(self.rtt)) / 16);
        }
        self.trim();
        let before = self.bps;
        if least.is_finite() {
            self.delay(now, least);
        }
        self.weigh_loss(now);
        if let Some(outcome) = self.probing.judge(now, self.rtt) {
            self.bps = self
                .bps
                .max(outcome.carried_bps * if outcome.passed { 1.0 } else { 0.85 })
                .min(MAX_BPS);
        }
        let objected = self.bps < before;
        self.grow(now);
        objected
    }

    /// What arrived in the last [`RATE_WINDOW`] in bit/s; `None` before there is half of that.
    fn carried_bps(&self) -> Option<f64> {
        let (first, bytes) = *self.window.front()?;
        let covered = self.newest.saturating_sub(first);
        if covered < RATE_WINDOW / 2 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "bytes of a second")]
        let bits = self.window_bytes.saturating_sub(u64::from(bytes)) as f64 * 8.0;
        Some(bits / covered.as_secs_f64())
    }

    /// The same of the last `span`, which is shorter.
    fn carried_within_bps(&self, span: Duration) -> Option<f64> {
        let newest = self.window.back()?.0;
        let from = newest.saturating_sub(span);
        let within = || self.window.iter().filter(|(arrived, _)| *arrived >= from);
        let first = within().map(|(arrived, _)| *arrived).min()?;
        let covered = newest.saturating_sub(first);
        if covered < span / 2 {
            return None;
        }
        let bytes: u32 = within()
            .skip(1)
            .fold(0, |sum: u32, (_, bytes)| sum.saturating_add(*bytes));
        Some(f64::from(bytes) * 8.0 / covered.as_secs_f64())
    }

    /// What arrived in so short a time that a link which got narrower a moment ago shows its new rate.
    fn carried_lately_bps(&self) -> Option<f64> {
        let from = self.window.len().checked_sub(RATE_PACKETS)?;
        let newest = self.window.back()?.0;
        let since = self
            .window
            .get(from)?
            .0
            .min(newest.saturating_sub(RATE_SHORT));
        let span = newest.saturating_sub(since);
        self.carried_within_bps(span)
    }

    /// Whether what was just sent is more than the link carries, so that its queue is to drain.
    pub(crate) fn is_draining(&self, now: Duration) -> bool {
        !self.is_calm(now, DRAIN)
    }

    fn trim(&mut self) {
        while let Some((arrived, bytes)) = self.window.front().copied() {
            let old = self.newest.saturating_sub(arrived) > RATE_WINDOW;
            if !old && self.window.len() <= WINDOW_MAX {
                return;
            }
            self.window.pop_front();
            self.window_bytes -= u64::from(bytes);
        }
    }

    /// `least_s`: the least delay of this report, up to a constant. The least is not touched by bursts of our own.
    fn delay(&mut self, now: Duration, least_s: f64) {
        let since = *self.base_since.get_or_insert(now);
        if now.saturating_sub(since) > BASE_WINDOW {
            self.base = [f64::INFINITY, self.base[0]];
            self.base_since = Some(now);
        }
        self.base[0] = self.base[0].min(least_s);
        self.queue_s = least_s - self.base[0].min(self.base[1]);
        if self.queue_s < QUEUE_STANDING_S {
            self.standing_since = None;
        }
        if self.probing.busy() {
            // The queue of a probe says what the probe says; but it must not become long.
            if self.queue_s > QUEUE_LOW_S {
                self.probing.stop(now);
            }
            if self.queue_s < QUEUE_STANDING_S {
                return;
            }
        }
        let growing = self.trend.usage() == Usage::Over && self.queue_s > QUEUE_MIN_S;
        let standing = self.queue_s >= QUEUE_STANDING_S && {
            let since = *self.standing_since.get_or_insert(now);
            now.saturating_sub(since) >= QUEUE_PATIENCE
        };
        if (growing || standing) && self.is_calm(now, self.rtt + OBJECT_AGAIN) {
            self.standing_since = None;
            let carried = self.carried_lately_bps().or_else(|| self.carried_bps());
            if let Some(carried) = carried {
                self.object(now, carried * BACK_OFF, carried);
            }
        }
    }

    fn weigh_loss(&mut self, now: Duration) {
        let since = *self.loss.since.get_or_insert(now);
        if now.saturating_sub(since) < LOSS_WINDOW || self.loss.sent < LOSS_PACKETS_MIN {
            return;
        }
        let share = f64::from(self.loss.lost) / f64::from(self.loss.sent);
        (self.loss.sent, self.loss.lost) = (0, 0);
        self.loss.since = Some(now);
        let always = self
            .loss
            .shares
            .iter()
            .copied()
            .reduce(f64::min)
            .unwrap_or(0.0);
        if self.loss.shares.len() == LOSS_WINDOWS {
            self.loss.shares.pop_front();
        }
        self.loss.shares.push_back(share);
        if share - always <= LOSS_MAX {
            return;
        }
        let Some(carried) = self.carried_bps() else {
            return;
        };
        let to = if share > LOSS_HEAVY {
            carried
        } else {
            self.bps * (1.0 - share / 2.0)
        };
        self.object(now, to, carried);
    }

    /// The link carries no more than it just did.
    fn object(&mut self, now: Duration, to_bps: f64, carried_bps: f64) {
        self.ceiling_bps = Some(carried_bps);
        self.bps = self.bps.min(to_bps).clamp(MIN_BPS, MAX_BPS);
        self.changed = Some(now);
        self.objected = Some(now);
        self.probing.stop(now);
        self.probing.wait(now, CALM);
    }

    fn is_calm(&self, now: Duration, span: Duration) -> bool {
        self.objected
            .is_none_or(|objected| now.saturating_sub(objected) >= span)
    }

    fn grow(&mut self, now: Duration) {
        let last = *self.changed.get_or_insert(now);
        let elapsed = now.saturating_sub(last);
        // After an objection the queue needs time to drain, or it would be counted again.
        let still = self.trend.usage() == Usage::Normal && self.queue_s < QUEUE_MIN_S;
        if elapsed < GROW_INTERVAL || !still {
            return;
        }
        self.changed = Some(now);
        let Some(carried) = self.carried_bps() else {
            return;
        };
        let seconds = elapsed.as_secs_f64().min(1.0);
        let near = self
            .ceiling_bps
            .is_some_and(|ceiling| (0.8..1.2).contains(&(self.bps / ceiling)));
        let rate: f64 = if near { 1.02 } else { 1.08 };
        let times = if self.can_probe { REACH } else { REACH_BLIND };
        let reach = carried * times;
        if self.bps < reach {
            self.bps = (self.bps * rate.powf(seconds))
                .min(reach)
                .clamp(MIN_BPS, MAX_BPS);
        }
    }
}

/// Enough for 720p at once; a link that carries less objects within a second.
const START_BPS: f64 = 4_000_000.0;
const MIN_BPS: f64 = 100_000.0;
const MAX_BPS: f64 = 60_000_000.0;
/// The estimate may be this many times what is carried (gcc §5.5).
const REACH: f64 = 1.5;
/// The same where nothing can be probed with: the step from one rung to the next but one.
const REACH_BLIND: f64 = 5.0;
/// What is left of what arrived when the queue grows (gcc §5.5).
const BACK_OFF: f64 = 0.85;
const PACE: f64 = 1.5;
const PACE_DRAINING: f64 = 1.0;
/// For how long after an objection the queue is left to drain.
const DRAIN: Duration = Duration::from_secs(1);
/// For how long after an objection nothing is probed.
const CALM: Duration = Duration::from_secs(2);
/// Objections closer together than this and a round trip are one.
const OBJECT_AGAIN: Duration = Duration::from_millis(150);
/// Without reports for this long there is nothing to judge a probe by.
const FRESH: Duration = Duration::from_millis(500);
const PROBE_STEP: f64 = 2.0;
const PROBE_STEP_SMALL: f64 = 1.4;
const PROBE_ABOVE: f64 = 1.1;
const RATE_WINDOW: Duration = Duration::from_millis(1000);
/// No packet comes so much later than those sent after it.
const CLOCK_BACK: Duration = Duration::from_secs(10);
/// What a link carries now that carried more a moment ago: over this time, and so many packets. While a queue stands
/// the link is never idle, so this little says it.
const RATE_SHORT: Duration = Duration::from_millis(80);
const RATE_PACKETS: usize = 8;
/// A second of 60 Mbit/s.
const WINDOW_MAX: usize = 8000;
/// A clock that drifts by 50 ppm moves 1.5 ms in this time.
const BASE_WINDOW: Duration = Duration::from_secs(30);
/// A busy machine or a radio link delays by this much without being full.
const QUEUE_MIN_S: f64 = 0.025;
/// Nothing is probed while the queue is longer, and a probe ends when it becomes so.
const QUEUE_LOW_S: f64 = 0.05;
/// A queue of this length that does not drain is too much sent, whether it grows or not.
const QUEUE_STANDING_S: f64 = 0.08;
const QUEUE_PATIENCE: Duration = Duration::from_millis(300);
const LOSS_WINDOW: Duration = Duration::from_secs(1);
const LOSS_WINDOWS: usize = 10;
const LOSS_PACKETS_MIN: u32 = 20;
/// Above what the link always loses.
const LOSS_MAX: f64 = 0.1;
/// With this much the rest is what the link carries.
const LOSS_HEAVY: f64 = 0.3;
const GROW_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
#[path = "estimate_tests.rs"]
mod tests;
