//! HLS in virtual time: one segment after the other over one connection, on demand or live at a fixed latency.
//!
//! A request costs a round trip with no bits, then the segment comes at the trace's rate. On demand, a request waits
//! until the buffer has room, and what is late makes the picture stand still until it is there. Live, a segment can
//! be fetched from `window_s` before it is due; what is late is frozen and lost, and a segment that is a whole
//! segment late is given up. Quality counts for what was shown, less stalls by weight, less each change of quality.

use crate::{
    Chooser, Ladder, Mode, Observation, Outcome, Sample, Step, Trace,
    chooser::{HISTORY, LOOKAHEAD},
    content::{SEED, complexity},
};

/// A session's content, delivery and measure.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// On demand or live.
    pub delivery: Delivery,
    /// The rungs.
    pub ladder: Ladder,
    /// How quality grows with bitrate.
    pub metric: Metric,
    /// What a second of stall costs, in units of quality.
    pub stall_weight: f64,
    /// How many segments the session has.
    pub segments: usize,
    /// How long each is, in s.
    pub segment_s: f64,
    /// The round trip before each segment's first byte, in s.
    pub rtt_s: f64,
    /// Which content it is: how the sizes of segments vary.
    pub seed: u64,
}

/// How segments come to the player.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delivery {
    /// On demand.
    Vod {
        /// The most the player buffers, in s.
        buffer_max_s: f64,
    },
    /// Live, at a latency that never changes.
    Live {
        /// When the first segment is due, in s.
        startup_s: f64,
        /// How long before it is due a segment can be fetched, in s.
        window_s: f64,
    },
}

/// How quality grows with bitrate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// In Mbit/s (MPC, Pensieve).
    Lin,
    /// By the logarithm: 1 at the lowest rung.
    Log,
}

impl Config {
    /// On demand, a buffer of 30 s, up to 1080p60; quality in Mbit/s, a stall of a second costs 4.3.
    pub fn vod_hd_lin() -> Self {
        Self::of(VOD, Ladder::hd(), Metric::Lin, 4.3)
    }

    /// On demand, a buffer of 30 s, up to 4k60; logarithmic quality, a stall of a second costs 4.3.
    pub fn vod_uhd_log() -> Self {
        Self::of(VOD, Ladder::uhd(), Metric::Log, 4.3)
    }

    /// On demand, a buffer of 30 s, up to 4k60; quality in Mbit/s, a stall of a second costs the top rung's 20.
    pub fn vod_uhd_lin() -> Self {
        Self::of(VOD, Ladder::uhd(), Metric::Lin, 20.0)
    }

    /// Live, 6 s behind, up to 1080p60; quality in Mbit/s, a freeze of a second costs 4.3.
    pub fn live_hd_lin() -> Self {
        Self::of(LIVE, Ladder::hd(), Metric::Lin, 4.3)
    }

    /// Live, 6 s behind, up to 4k60; logarithmic quality, a freeze of a second costs 4.3.
    pub fn live_uhd_log() -> Self {
        Self::of(LIVE, Ladder::uhd(), Metric::Log, 4.3)
    }

    /// All presets by name.
    pub fn presets() -> [(&'static str, Self); 5] {
        [
            ("vod-hd-lin", Self::vod_hd_lin()),
            ("vod-uhd-log", Self::vod_uhd_log()),
            ("vod-uhd-lin", Self::vod_uhd_lin()),
            ("live-hd-lin", Self::live_hd_lin()),
            ("live-uhd-log", Self::live_uhd_log()),
        ]
    }

    fn of(delivery: Delivery, ladder: Ladder, metric: Metric, stall_weight: f64) -> Self {
        Self {
            delivery,
            ladder,
            metric,
            stall_weight,
            segments: 150,
            segment_s: 2.0,
            rtt_s: 0.080,
            seed: SEED,
        }
    }

    /// What each rung is worth while it is shown.
    pub fn quality(&self) -> Vec<f64> {
        match self.metric {
            Metric::Lin => self.ladder.kbps().iter().map(|k| k / 1000.0).collect(),
            Metric::Log => self.ladder.log_quality(),
        }
    }

    /// When a segment is due on screen; on demand nothing is ever due.
    pub(crate) fn due_s(&self, segment: usize) -> Option<f64> {
        match self.delivery {
            Delivery::Vod { .. } => None,
            Delivery::Live { startup_s, .. } => Some(startup_s + self.segment_s * segment as f64),
        }
    }

    /// The sizes of all segments in bits: `[segment * rungs + rung]`.
    pub(crate) fn bits(&self) -> Vec<f64> {
        let mut all = Vec::with_capacity(self.segments * self.ladder.count());
        for segment in 0..self.segments {
            let factor = complexity(self.seed, segment as u64);
            let rungs = self.ladder.kbps().iter();
            all.extend(rungs.map(|kbps| kbps * 1000.0 * self.segment_s * factor));
        }
        all
    }

    fn mode(&self) -> Mode {
        match self.delivery {
            Delivery::Vod { .. } => Mode::Vod,
            Delivery::Live { .. } => Mode::Live,
        }
    }

    fn buffer_max_s(&self) -> f64 {
        match self.delivery {
            Delivery::Vod { buffer_max_s } => buffer_max_s,
            Delivery::Live { window_s, .. } => window_s,
        }
    }
}

/// Plays a session over a trace; `chooser` is asked before each segment.
pub fn run(config: &Config, trace: &Trace, chooser: &mut dyn Chooser) -> Outcome {
    let mut player = Player::new(config, trace);
    for segment in 0..config.segments {
        player.wait_for_room(segment);
        let rung = chooser.choose(&player.observe(segment));
        player.fetch(segment, rung.min(config.ladder.top()));
    }
    player.outcome()
}

struct Player<'a> {
    config: &'a Config,
    trace: &'a Trace,
    quality: Vec<f64>,
    bits: Vec<f64>,
    now_s: f64,
    buffer_s: f64,
    waited_s: f64,
    chosen: Option<usize>,
    chosen_since_s: f64,
    /// The rung of the last segment that was not given up.
    shown: Option<usize>,
    history: Vec<Sample>,
    stalled_s: f64,
    stalls: u32,
    stalls_s: f64,
    startup_s: f64,
    switches: u32,
    qoe: f64,
    kbps: f64,
    kbps_weight: f64,
    course: Vec<Step>,
}

/// What became of a segment.
struct Fate {
    end_s: f64,
    stalled_s: f64,
    /// The part of it that was shown.
    shown: f64,
    dropped: bool,
}

impl<'a> Player<'a> {
    fn new(config: &'a Config, trace: &'a Trace) -> Self {
        Self {
            config,
            trace,
            quality: config.quality(),
            bits: config.bits(),
            now_s: 0.0,
            buffer_s: 0.0,
            waited_s: 0.0,
            chosen: None,
            chosen_since_s: 0.0,
            shown: None,
            history: Vec::with_capacity(HISTORY),
            stalled_s: 0.0,
            stalls: 0,
            stalls_s: 0.0,
            startup_s: 0.0,
            switches: 0,
            qoe: 0.0,
            kbps: 0.0,
            kbps_weight: 0.0,
            course: Vec::with_capacity(config.segments),
        }
    }

    fn wait_for_room(&mut self, segment: usize) {
        match self.config.delivery {
            Delivery::Vod { buffer_max_s } => {
                let room_s = buffer_max_s - self.config.segment_s;
                self.waited_s = if segment > 0 {
                    (self.buffer_s - room_s).max(0.0)
                } else {
                    0.0
                };
                self.now_s += self.waited_s;
                self.buffer_s -= self.waited_s;
            }
            Delivery::Live { window_s, .. } => {
                let due_s = self.config.due_s(segment).unwrap_or_default();
                let available_s = (due_s - window_s).max(0.0);
                self.waited_s = (available_s - self.now_s).max(0.0);
                self.now_s = self.now_s.max(available_s);
                self.buffer_s = (due_s - self.now_s).max(0.0);
            }
        }
    }

    fn observe(&self, segment: usize) -> Observation<'_> {
        let rungs = self.config.ladder.count();
        let ahead = (segment + LOOKAHEAD).min(self.config.segments);
        Observation {
            mode: self.config.mode(),
            now_s: self.now_s,
            step: segment,
            ladder_kbps: self.config.ladder.kbps(),
            segment_s: self.config.segment_s,
            current: self.chosen,
            chosen: self.chosen,
            since_switch_s: self.now_s - self.chosen_since_s,
            buffer_s: self.buffer_s,
            buffer_max_s: self.config.buffer_max_s(),
            waited_s: self.waited_s,
            due_s: self.config.due_s(segment),
            starting: segment == 0,
            stalled_s: self.stalled_s,
            stalls: self.stalls,
            stalls_s: self.stalls_s + self.startup_s,
            next_bits: &self.bits[segment * rungs..ahead * rungs],
            history: &self.history,
            link: None,
        }
    }

    fn fetch(&mut self, segment: usize, rung: usize) {
        let bits = self.bits[segment * self.config.ladder.count() + rung];
        let first_byte_s = self.now_s + self.config.rtt_s;
        let arrival_s = self.trace.arrival_s(first_byte_s, bits);
        let fate = match self.config.due_s(segment) {
            None => self.show_when_there(segment, arrival_s),
            Some(due_s) => self.show_when_due(due_s, arrival_s),
        };
        let qoe = self.score(rung, &fate);
        // A client that gives up knows at least the rate it had: that of the whole download.
        let rate = bits / 1000.0 / (arrival_s - self.now_s - self.config.rtt_s).max(TRANSFER_MIN_S);
        let sample = Sample {
            start_s: self.now_s,
            ttfb_s: self.config.rtt_s,
            transfer_s: fate.end_s - self.now_s - self.config.rtt_s,
            bits,
            kbps: if fate.dropped { rate.max(1.0) } else { rate },
            rung,
            aborted: fate.dropped,
        };
        self.remember(sample);
        self.course.push(Step {
            at_s: self.now_s,
            end_s: fate.end_s,
            rung,
            kbps: self.config.ladder.kbps()[rung],
            capacity_kbps: self.trace.mean_kbps_between(self.now_s, fate.end_s),
            bandwidth_kbps: sample.kbps,
            buffer_s: match self.config.due_s(segment + 1) {
                None => self.buffer_s,
                Some(due_s) => (due_s - fate.end_s).max(0.0),
            },
            queue_ms: 0.0,
            stalled_s: fate.stalled_s,
            dropped: fate.dropped,
            qoe,
        });
        if self.chosen != Some(rung) {
            self.chosen_since_s = self.now_s;
        }
        self.chosen = Some(rung);
        self.now_s = fate.end_s;
    }

    fn show_when_there(&mut self, segment: usize, arrival_s: f64) -> Fate {
        let took_s = arrival_s - self.now_s;
        let stalled_s = (took_s - self.buffer_s).max(0.0);
        self.buffer_s = (self.buffer_s - took_s).max(0.0) + self.config.segment_s;
        if segment == 0 {
            self.startup_s = stalled_s;
        } else {
            self.stalls_s += stalled_s;
        }
        Fate {
            end_s: arrival_s,
            stalled_s,
            shown: 1.0,
            dropped: false,
        }
    }

    fn show_when_due(&mut self, due_s: f64, arrival_s: f64) -> Fate {
        let length_s = self.config.segment_s;
        let stalled_s = (arrival_s - due_s).max(0.0).min(length_s);
        let dropped = arrival_s > due_s + length_s;
        self.stalls_s += stalled_s;
        Fate {
            end_s: if dropped { due_s + length_s } else { arrival_s },
            stalled_s,
            shown: if dropped {
                0.0
            } else {
                1.0 - stalled_s / length_s
            },
            dropped,
        }
    }

    fn score(&mut self, rung: usize, fate: &Fate) -> f64 {
        let mut gain = if fate.dropped {
            0.0
        } else {
            self.quality[rung] * fate.shown
        };
        if !fate.dropped {
            if let Some(before) = self.shown {
                gain -= (self.quality[rung] - self.quality[before]).abs();
                self.switches += u32::from(rung != before);
            }
            self.shown = Some(rung);
        }
        let qoe = gain - self.config.stall_weight * fate.stalled_s;
        self.qoe += qoe;
        self.kbps += self.config.ladder.kbps()[rung] * fate.shown;
        self.kbps_weight += fate.shown;
        self.stalled_s = fate.stalled_s;
        self.stalls += u32::from(fate.stalled_s > 0.0);
        qoe
    }

    fn remember(&mut self, sample: Sample) {
        if self.history.len() == HISTORY {
            self.history.remove(0);
        }
        self.history.push(sample);
    }

    fn outcome(self) -> Outcome {
        let played_s = self.config.segments as f64 * self.config.segment_s;
        let lasted_s = match self.config.delivery {
            Delivery::Vod { .. } => played_s + self.stalls_s,
            Delivery::Live { .. } => played_s,
        };
        Outcome {
            mode: self.config.mode(),
            qoe_sum: self.qoe,
            qoe: self.qoe / self.config.segments.max(1) as f64,
            stalled_pct: 100.0 * self.stalls_s / lasted_s.max(f64::MIN_POSITIVE),
            stalled_s: self.stalls_s,
            startup_s: self.startup_s,
            kbps: self.kbps / self.kbps_weight.max(1e-9),
            switches: self.switches,
            p95_ms: None,
            course: self.course,
        }
    }
}

const VOD: Delivery = Delivery::Vod { buffer_max_s: 30.0 };
const LIVE: Delivery = Delivery::Live {
    startup_s: 1.0,
    window_s: 4.0,
};
/// A transfer counts as at least so long when its rate is taken.
const TRANSFER_MIN_S: f64 = 1e-3;
