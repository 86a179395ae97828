//! How much a viewer's link carries, from what it reports about every packet (transport-wide congestion control).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// One packet as the viewer reported it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// When it left here.
    pub(crate) sent: Instant,
    /// When it arrived, on the viewer's clock from any zero; `None` if it did not.
    pub(crate) arrived: Option<Duration>,
    /// Its bytes.
    pub(crate) bytes: usize,
}

/// A send-side estimate of bandwidth without probes.
///
/// It believes in more until the link objects: while packets arrive without queueing the estimate grows, up to a few
/// times of what was really carried. A queue that stands, or heavy loss, brings it down to what arrived. Sending
/// little is no objection: an estimate is never lowered for want of something to send.
#[derive(Debug)]
pub(crate) struct Estimate {
    bps: f64,
    /// What arrived in the last [`RATE_WINDOW`].
    window: VecDeque<(Duration, usize)>,
    /// Least difference between the clocks seen in this and in the last [`BASE_WINDOW`], in s.
    base: [f64; 2],
    base_since: Option<Instant>,
    /// Since when the queue stands.
    queued_since: Option<Instant>,
    clock: Option<Instant>,
    changed: Option<Instant>,
    /// What was carried when the link last objected.
    ceiling_bps: Option<f64>,
    /// Packets sent and lost since loss was last judged, and since when.
    judged: (u32, u32, Option<Instant>),
}

impl Default for Estimate {
    fn default() -> Self {
        Self {
            bps: START_BPS,
            window: VecDeque::new(),
            base: [f64::INFINITY; 2],
            base_since: None,
            queued_since: None,
            clock: None,
            changed: None,
            ceiling_bps: None,
            judged: (0, 0, None),
        }
    }
}

impl Estimate {
    /// The estimate in bit/s.
    pub(crate) fn bps(&self) -> f64 {
        self.bps
    }

    /// Takes one report: packets in the order they were sent.
    pub(crate) fn report(&mut self, now: Instant, arrivals: &[Arrival]) {
        let zero = *self
            .clock
            .get_or_insert_with(|| arrivals.first().map_or(now, |first| first.sent));
        let mut least = f64::INFINITY;
        for arrival in arrivals {
            self.judged.0 += 1;
            let Some(arrived) = arrival.arrived else {
                self.judged.1 += 1;
                continue;
            };
            self.window.push_back((arrived, arrival.bytes));
            let sent = arrival.sent.saturating_duration_since(zero);
            least = least.min(arrived.as_secs_f64() - sent.as_secs_f64());
        }
        self.trim();
        if least.is_finite() {
            self.delay(now, least);
        }
        self.loss(now);
        self.grow(now);
    }

    /// What arrived lately in bit/s; `None` before there is a window's worth.
    fn carried_bps(&self) -> Option<f64> {
        let (first, last) = (self.window.front()?.0, self.window.back()?.0);
        let span = last.saturating_sub(first);
        if span < RATE_WINDOW / 2 {
            return None;
        }
        let bytes: usize = self.window.iter().skip(1).map(|(_, bytes)| bytes).sum();
        #[expect(clippy::cast_precision_loss, reason = "bytes of one second")]
        Some(bytes as f64 * 8.0 / span.as_secs_f64())
    }

    fn trim(&mut self) {
        let Some(newest) = self.window.iter().map(|(arrived, _)| *arrived).max() else {
            return;
        };
        while self
            .window
            .front()
            .is_some_and(|(arrived, _)| newest.saturating_sub(*arrived) > RATE_WINDOW)
            || self.window.len() > WINDOW_MAX
        {
            self.window.pop_front();
        }
    }

    /// `least_s`: the least delay of this report, up to a constant. The least is not touched by bursts of our own.
    fn delay(&mut self, now: Instant, least_s: f64) {
        let since = *self.base_since.get_or_insert(now);
        if now.saturating_duration_since(since) > BASE_WINDOW {
            self.base = [f64::INFINITY, self.base[0]];
            self.base_since = Some(now);
        }
        self.base[0] = self.base[0].min(least_s);
        let queue_s = least_s - self.base[0].min(self.base[1]);
        if queue_s < QUEUE_MAX_S {
            self.queued_since = None;
            return;
        }
        let since = *self.queued_since.get_or_insert(now);
        if now.saturating_duration_since(since) >= QUEUE_PATIENCE {
            self.queued_since = None;
            self.object(now, 0.85);
        }
    }

    fn loss(&mut self, now: Instant) {
        let (sent, lost, since) = &mut self.judged;
        let since = *since.get_or_insert(now);
        if now.saturating_duration_since(since) < LOSS_WINDOW || *sent < LOSS_PACKETS_MIN {
            return;
        }
        let share = f64::from(*lost) / f64::from(*sent);
        self.judged = (0, 0, Some(now));
        if share > LOSS_MAX {
            self.object(now, 1.0 - share / 2.0);
        }
    }

    /// The link carries no more than it just did.
    fn object(&mut self, now: Instant, factor: f64) {
        let Some(carried) = self.carried_bps() else {
            return;
        };
        self.ceiling_bps = Some(carried);
        self.bps = self.bps.min(carried * factor).clamp(MIN_BPS, MAX_BPS);
        self.changed = Some(now);
    }

    fn grow(&mut self, now: Instant) {
        let last = *self.changed.get_or_insert(now);
        let elapsed = now.saturating_duration_since(last);
        // After an objection the queue needs time to drain, or it would be counted again.
        if elapsed < GROW_INTERVAL || self.queued_since.is_some() {
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
        let reach = (carried * REACH).max(START_BPS);
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
/// The estimate may be this many times what is carried: the step from one rung to the next but one.
const REACH: f64 = 5.0;
const RATE_WINDOW: Duration = Duration::from_millis(1000);
/// A second of 60 Mbit/s.
const WINDOW_MAX: usize = 8000;
/// A clock that drifts by 50 ppm moves 1.5 ms in this time.
const BASE_WINDOW: Duration = Duration::from_secs(30);
/// A busy machine or a radio link delays by this much without being full.
const QUEUE_MAX_S: f64 = 0.06;
const QUEUE_PATIENCE: Duration = Duration::from_millis(300);
const LOSS_WINDOW: Duration = Duration::from_secs(1);
const LOSS_PACKETS_MIN: u32 = 20;
const LOSS_MAX: f64 = 0.1;
const GROW_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    /// A link of `link_bps` behind a queue, fed with `send_bps`, reporting every 100 ms.
    fn run(
        estimate: &mut Estimate,
        at: &mut Duration,
        zero: Instant,
        seconds: u64,
        send_bps: f64,
        link_bps: f64,
        lost_every: u32,
    ) -> f64 {
        let bytes = 1200;
        let gap = Duration::from_secs_f64(f64::from(bytes) * 8.0 / send_bps);
        let serial = Duration::from_secs_f64(f64::from(bytes) * 8.0 / link_bps);
        let end = *at + Duration::from_secs(seconds);
        let mut free = *at;
        let mut reported = *at;
        let mut arrivals = Vec::new();
        let mut count = 0;
        while *at < end {
            *at += gap;
            count += 1;
            free = free.max(*at) + serial;
            let dropped = (lost_every > 0 && count % lost_every == 0)
                || free.saturating_sub(*at) > Duration::from_millis(500);
            if dropped {
                free -= serial;
            }
            arrivals.push(Arrival {
                sent: zero + *at,
                arrived: (!dropped)
                    .then(|| Duration::from_secs(77) + free + Duration::from_millis(20)),
                bytes: bytes as usize,
            });
            if *at - reported >= Duration::from_millis(100) {
                reported = *at;
                estimate.report(zero + *at, &arrivals);
                arrivals.clear();
            }
        }
        estimate.bps()
    }

    #[test]
    fn a_clean_link_is_not_held_back_and_little_traffic_is_no_objection() {
        let zero = Instant::now();
        let mut at = Duration::ZERO;
        let mut estimate = Estimate::default();
        let busy = run(&mut estimate, &mut at, zero, 20, 3_000_000.0, 1e9, 0);
        assert!(busy > 9_000_000.0, "{busy}");
        let idle = run(&mut estimate, &mut at, zero, 20, 100_000.0, 1e9, 0);
        assert!(idle >= busy, "{idle} < {busy}");
    }

    #[test]
    fn a_narrow_link_is_found_and_left_behind_when_it_widens() {
        let zero = Instant::now();
        let mut at = Duration::ZERO;
        let mut estimate = Estimate::default();
        let narrow = run(&mut estimate, &mut at, zero, 5, 2_000_000.0, 1_000_000.0, 0);
        assert!((600_000.0..1_100_000.0).contains(&narrow), "{narrow}");
        let sending = run(&mut estimate, &mut at, zero, 20, 700_000.0, 1_000_000.0, 0);
        assert!((700_000.0..2_500_000.0).contains(&sending), "{sending}");
        let wide = run(&mut estimate, &mut at, zero, 30, 700_000.0, 20_000_000.0, 0);
        assert!(wide > 2_500_000.0, "{wide}");
    }

    #[test]
    fn a_little_loss_is_no_objection_and_much_is() {
        let zero = Instant::now();
        let mut at = Duration::ZERO;
        let mut estimate = Estimate::default();
        let little = run(&mut estimate, &mut at, zero, 10, 2_000_000.0, 1e9, 25);
        assert!(little >= START_BPS, "{little}");
        let much = run(&mut estimate, &mut at, zero, 3, 2_000_000.0, 1e9, 4);
        assert!(much < 2_000_000.0, "{much}");
    }
}
