//! The sender's bandwidth estimate, in the manner of Google congestion control: it backs off when the queue grows or
//! much is lost, creeps up otherwise, and jumps by probes of padding.

use std::collections::VecDeque;

use super::TICK_S;
use crate::LinkReport;

#[derive(Debug)]
pub(super) struct Estimator {
    estimate_bps: f64,
    congested_s: f64,
    /// Whether the chooser has asked for a probe.
    pub(super) probe_asked: bool,
    probe_started_s: f64,
    probe: Option<Probe>,
    /// Of each tick, newest last: the queue's delay in s, and bits that arrived, were sent, and were lost.
    queue_s: Window,
    arrived: Window,
    sent: Window,
    lost: Window,
}

/// A probe in progress: padding up to a rate for some ticks, then a look at what came.
#[derive(Debug)]
struct Probe {
    rate_bps: f64,
    ticks_left: usize,
    arrived: Vec<f64>,
}

impl Default for Estimator {
    fn default() -> Self {
        Self {
            estimate_bps: START_BPS,
            congested_s: -9.0,
            probe_asked: false,
            probe_started_s: 0.0,
            probe: None,
            queue_s: Window::of(40),
            arrived: Window::of(25),
            sent: Window::of(50),
            lost: Window::of(50),
        }
    }
}

impl Estimator {
    /// How much padding a probe adds in this tick to what was sent anyway.
    pub(super) fn padding_bits(&mut self, sent: f64) -> f64 {
        match &mut self.probe {
            Some(probe) if probe.ticks_left > 0 => {
                probe.ticks_left -= 1;
                (probe.rate_bps * TICK_S - sent).max(0.0)
            }
            _ => 0.0,
        }
    }

    /// Takes note of a tick.
    pub(super) fn observe(&mut self, sent: f64, arrived: f64, lost: f64, queued: f64, rate: f64) {
        self.arrived.push(arrived);
        self.sent.push(sent);
        self.lost.push(lost);
        self.queue_s
            .push((queued / rate.max(RATE_MIN_BPS)).min(QUEUE_MAX_S));
        if let Some(probe) = &mut self.probe {
            probe.arrived.push(arrived);
        }
    }

    /// Ends a probe whose padding is through: what came of it is the new estimate, if the queue bore it.
    pub(super) fn judge_probe(&mut self, now_s: f64, queued: f64, rate: f64) {
        let through = |probe: &mut Probe| probe.ticks_left == 0 && probe.arrived.len() >= 12;
        let Some(probe) = self.probe.take_if(through) else {
            return;
        };
        let got = probe.arrived[2..12].iter().sum::<f64>() / (10.0 * TICK_S);
        let calm = now_s - 5.0 > self.congested_s;
        if got > 0.9 * probe.rate_bps && queued / rate.max(1.0) < 0.03 {
            self.estimate_bps = self.estimate_bps.max(got.min(probe.rate_bps));
        } else if got > 0.0 {
            self.estimate_bps = if queued < 0.03 * rate {
                (0.95 * got).max(if calm { self.estimate_bps } else { 0.0 })
            } else {
                (0.85 * got).max(self.estimate_bps.min(got))
            };
        }
    }

    /// Moves the estimate by the newest feedback, and starts a probe when one is due.
    pub(super) fn update(&mut self, now_s: f64, next_rung_bps: f64) {
        let got = self.received_bps();
        let loss = self.loss();
        let delay_s = self.queue_s.back(FEEDBACK);
        let rise_s = delay_s - self.queue_s.back(FEEDBACK + 10);
        if delay_s > 0.025 && rise_s > 0.005 {
            self.estimate_bps = self.estimate_bps.min(0.85 * got);
            self.congested_s = now_s;
        } else if delay_s < 0.025 {
            let raised = self.estimate_bps * (1.0 + 0.08 * 0.1);
            // The application's own rate bounds what can be known: never lowered for that, only not raised.
            self.estimate_bps = if raised <= 1.5 * got {
                raised
            } else {
                self.estimate_bps.max(1.5 * got)
            };
        }
        if loss > 0.1 {
            self.estimate_bps *= 1.0 - 0.5 * loss * 0.1;
            self.congested_s = now_s;
        }
        self.estimate_bps = self.estimate_bps.clamp(ESTIMATE_MIN_BPS, ESTIMATE_MAX_BPS);
        let since_probe_s = now_s - self.probe_started_s;
        let by_itself = since_probe_s >= 5.0 && now_s - self.congested_s > 5.0;
        let due = by_itself || (self.probe_asked && since_probe_s >= 1.0);
        if self.probe.is_none() && due && self.estimate_bps < 2.2 * next_rung_bps {
            self.probe = Some(Probe {
                rate_bps: (2.0 * self.estimate_bps).min(2.5 * next_rung_bps),
                ticks_left: 10,
                arrived: Vec::with_capacity(12),
            });
            self.probe_started_s = now_s;
            self.probe_asked = false;
        }
    }

    /// What a chooser may know.
    pub(super) fn report(&self, now_s: f64) -> LinkReport {
        let queue_ms = 1000.0 * self.queue_s.back(FEEDBACK);
        let sent_bps = self.sent.sum() / (self.sent.len() as f64 * TICK_S);
        LinkReport {
            bandwidth_kbps: self.estimate_bps / 1000.0,
            loss_pct: 100.0 * self.loss(),
            rtt_ms: RTT_MS + queue_ms,
            queue_ms,
            jitter_ms: 1000.0 * self.queue_s.mean_step() * 5.0,
            received_kbps: self.received_bps() / 1000.0,
            sent_kbps: sent_bps / 1000.0,
            app_limited: sent_bps < APP_LIMITED * self.estimate_bps,
            since_congested_s: now_s - self.congested_s,
        }
    }

    fn received_bps(&self) -> f64 {
        self.arrived.sum() / (self.arrived.len() as f64 * TICK_S)
    }

    fn loss(&self) -> f64 {
        self.lost.sum() / self.sent.sum().max(1.0)
    }
}

/// The newest numbers, always as many; zero before there were any.
#[derive(Debug)]
struct Window(VecDeque<f64>);

impl Window {
    fn of(length: usize) -> Self {
        Self(VecDeque::from(vec![0.0; length]))
    }

    fn push(&mut self, value: f64) {
        self.0.pop_front();
        self.0.push_back(value);
    }

    /// The number `places` from the end, 1 being the newest.
    fn back(&self, places: usize) -> f64 {
        self.0[self.0.len() - places]
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn sum(&self) -> f64 {
        self.0.iter().sum()
    }

    /// The mean distance between neighbours.
    fn mean_step(&self) -> f64 {
        let steps = self.0.iter().zip(self.0.iter().skip(1));
        let sum: f64 = steps.map(|(a, b)| (b - a).abs()).sum();
        sum / (self.0.len() - 1) as f64
    }
}

const START_BPS: f64 = 1000e3;
const ESTIMATE_MIN_BPS: f64 = 100e3;
const ESTIMATE_MAX_BPS: f64 = 100e6;
const RATE_MIN_BPS: f64 = 20e3;
const QUEUE_MAX_S: f64 = 3.0;
const RTT_MS: f64 = 80.0;
/// Feedback is this many ticks old: a hundred ms.
const FEEDBACK: usize = 6;
/// A sender that sends less than this share of the estimate could have sent more.
const APP_LIMITED: f64 = 0.8;
