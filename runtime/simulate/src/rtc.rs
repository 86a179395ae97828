//! WebRTC in virtual time: frames through a pacer and a queue to a decoder, and one decision a second.
//!
//! Every rung is always encoded; a choice takes effect at the next keyframe. The link is a drop-tail queue drained at
//! the trace's rate; what is lost is resent for up to a second. The chooser sees the sender's bandwidth estimate, which
//! the model keeps for everyone alike. Quality counts for the seconds shown, less freezes by weight, less each change.

mod estimator;
mod link;
mod receiver;
mod sender;

use self::{
    estimator::Estimator,
    link::{Link, Piece},
    receiver::{Shown, show},
    sender::Sender,
};
use crate::{Chooser, Ladder, Mode, Observation, Outcome, Step, Trace, content::SEED};

/// A session's content and link.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The rungs.
    pub ladder: Ladder,
    /// How long the session is, in s.
    pub seconds: usize,
    /// The share of packets that are lost at random, besides those the queue drops.
    pub loss: f64,
    /// Which content it is: how the sizes of frames vary.
    pub seed: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ladder: Ladder::uhd(),
            seconds: 300,
            loss: 0.0,
            seed: SEED,
        }
    }
}

/// Plays a session over a trace; `chooser` is asked at the end of each second.
pub fn run(config: &Config, trace: &Trace, chooser: &mut dyn Chooser) -> Outcome {
    let mut session = Session::new(config, trace);
    for tick in 0..session.capacity.len() {
        session.tick(tick);
        if tick % TICKS_A_SECOND == TICKS_A_SECOND - 1 {
            session.decide(tick, chooser);
        }
    }
    let shown = show(&session.complete_at, &session.drained, config.seconds);
    session.outcome(trace, &shown)
}

struct Session<'a> {
    config: &'a Config,
    quality: Vec<f64>,
    /// What the link can carry in each tick, in bits.
    capacity: Vec<f64>,
    sender: Sender<'a>,
    link: Link,
    estimator: Estimator,
    chosen: usize,
    chosen_since_s: f64,
    switches: u32,
    /// Which rung each tick's frame is of.
    rungs: Vec<usize>,
    /// For each frame, how much the link must have drained in all until it is complete; `None`: never sent whole.
    complete_at: Vec<Option<f64>>,
    /// How much the link had drained in all after each tick, in bits.
    drained: Vec<f64>,
    /// The queue's delay and the estimate at the end of each second.
    notes: Vec<Note>,
}

struct Note {
    queue_ms: f64,
    bandwidth_kbps: f64,
}

impl<'a> Session<'a> {
    fn new(config: &'a Config, trace: &Trace) -> Self {
        let capacity = capacity_bits(config, trace);
        let ticks = capacity.len();
        Self {
            config,
            quality: config.ladder.log_quality(),
            sender: Sender::new(config),
            link: Link::new(trace.mean_kbps(), config.loss),
            estimator: Estimator::default(),
            chosen: 0,
            chosen_since_s: 0.0,
            switches: 0,
            rungs: Vec::with_capacity(ticks),
            complete_at: vec![None; ticks],
            drained: Vec::with_capacity(ticks),
            notes: Vec::with_capacity(config.seconds),
            capacity,
        }
    }

    fn tick(&mut self, tick: usize) {
        let now_s = tick as f64 * TICK_S;
        if tick.is_multiple_of(GOP_TICKS) {
            self.switches += u32::from(self.chosen != self.sender.rung);
            self.sender.rung = self.chosen;
        }
        self.rungs.push(self.sender.rung);
        self.sender.capture(tick);
        let (mut sent, mut lost) = (0.0, 0.0);
        for piece in self.sender.release(tick) {
            sent += piece.bits;
            lost += self.offer(tick, piece);
        }
        let padding = self.estimator.padding_bits(sent);
        self.link.pad(padding);
        let arrived = self.link.drain(self.capacity[tick]);
        self.drained.push(self.link.drained);
        let near = &self.capacity[tick.saturating_sub(9)..=tick];
        let rate = near.iter().sum::<f64>() / (near.len() as f64 * TICK_S);
        self.estimator
            .observe(sent, arrived, lost, self.link.queued, rate);
        self.estimator.judge_probe(now_s, self.link.queued, rate);
        if tick % FEEDBACK_TICKS == FEEDBACK_TICKS - 1 {
            let ladder = self.config.ladder.kbps();
            let next = (self.sender.rung + 1).min(ladder.len() - 1);
            self.estimator.update(now_s, ladder[next] * 1000.0);
        }
    }

    /// Puts a piece of a frame on the link and returns the bits that were lost.
    fn offer(&mut self, tick: usize, piece: Piece) -> f64 {
        let lost = self.link.offer(piece.bits);
        if lost > NOTHING_BITS {
            if tick - piece.frame < RESEND_TICKS {
                self.sender.resend(
                    tick,
                    Piece {
                        bits: lost,
                        ..piece
                    },
                );
            }
        } else if piece.last {
            self.complete_at[piece.frame] = Some(self.link.accepted);
        }
        lost
    }

    fn decide(&mut self, tick: usize, chooser: &mut dyn Chooser) {
        let now_s = tick as f64 * TICK_S;
        let report = self.estimator.report(now_s);
        self.notes.push(Note {
            queue_ms: report.queue_ms,
            bandwidth_kbps: report.bandwidth_kbps,
        });
        let observation = Observation {
            mode: Mode::Rtc,
            now_s,
            step: tick / TICKS_A_SECOND,
            ladder_kbps: self.config.ladder.kbps(),
            segment_s: GOP_S,
            current: Some(self.sender.rung),
            chosen: Some(self.chosen),
            since_switch_s: now_s - self.chosen_since_s,
            buffer_s: BUFFER_S,
            buffer_max_s: BUFFER_S,
            waited_s: 0.0,
            due_s: None,
            starting: false,
            stalled_s: 0.0,
            stalls: 0,
            stalls_s: 0.0,
            next_bits: &[],
            history: &[],
            link: Some(&report),
        };
        let chosen = chooser.choose(&observation).min(self.config.ladder.top());
        if chosen != self.chosen {
            self.chosen_since_s = now_s;
        }
        self.chosen = chosen;
        self.estimator.probe_asked = chooser.wants_probe();
    }

    fn outcome(&self, trace: &Trace, shown: &Shown) -> Outcome {
        let kbps = self.config.ladder.kbps();
        let seconds = self.config.seconds;
        let mut course = Vec::with_capacity(seconds);
        let mut before: Option<usize> = None;
        let mut qoe_sum = 0.0;
        for (second, note) in self.notes.iter().enumerate() {
            let middle = second * TICKS_A_SECOND + TICKS_A_SECOND / 2;
            let rung = self.rungs[middle.min(self.rungs.len() - 1)];
            let frozen_s = shown.frozen_s[second].min(1.0);
            let change = before.map_or(0.0, |before| {
                (self.quality[rung] - self.quality[before]).abs()
            });
            let qoe = self.quality[rung] * (1.0 - frozen_s) - FREEZE_WEIGHT * frozen_s - change;
            qoe_sum += qoe;
            before = Some(rung);
            let at_s = second as f64;
            course.push(Step {
                at_s,
                end_s: at_s + 1.0,
                rung,
                kbps: kbps[rung],
                capacity_kbps: trace.mean_kbps_between(at_s, at_s + 1.0),
                bandwidth_kbps: note.bandwidth_kbps,
                buffer_s: BUFFER_S,
                queue_ms: note.queue_ms,
                stalled_s: frozen_s,
                dropped: false,
                qoe,
            });
        }
        let length_s = seconds.max(1) as f64;
        let sent: f64 = self.rungs.iter().map(|rung| kbps[*rung]).sum();
        Outcome {
            mode: Mode::Rtc,
            qoe_sum,
            qoe: qoe_sum / length_s,
            stalled_pct: 100.0 * (shown.gaps_s / length_s).min(1.0),
            stalled_s: shown.gaps_s,
            startup_s: 0.0,
            kbps: sent / self.rungs.len().max(1) as f64,
            switches: self.switches,
            p95_ms: shown.p95_s.map(|delay_s| 1000.0 * delay_s),
            course,
        }
    }
}

/// What the link can carry in each tick of a session, in bits.
pub(crate) fn capacity_bits(config: &Config, trace: &Trace) -> Vec<f64> {
    let ticks = config.seconds * TICKS_A_SECOND;
    let mut before = trace.carried_until(0.0);
    (1..=ticks)
        .map(|tick| {
            let carried = trace.carried_until(tick as f64 * TICK_S);
            carried - std::mem::replace(&mut before, carried)
        })
        .collect()
}

/// A frame, and a step of the model.
pub(crate) const TICK_S: f64 = 0.02;
/// From keyframe to keyframe.
pub(crate) const GOP_S: f64 = 2.0;
pub(crate) const GOP_TICKS: usize = 100;
const TICKS_A_SECOND: usize = 50;
/// How often the receiver's feedback reaches the estimator.
const FEEDBACK_TICKS: usize = 5;
/// For how long after its capture a frame is still resent.
const RESEND_TICKS: usize = 50;
/// The receiver's buffer, which is what the formulas by buffer see.
const BUFFER_S: f64 = 0.1;
/// What a frozen second costs, in units of quality.
const FREEZE_WEIGHT: f64 = 4.3;
/// Less than this is rounding.
const NOTHING_BITS: f64 = 1e-6;
