//! The sender: frames of the current rung, and a pacer that spreads them.

use std::collections::VecDeque;

use super::{Config, GOP_TICKS, NOTHING_BITS, TICK_S, link::Piece};
use crate::content::complexity;

#[derive(Debug)]
pub(super) struct Sender<'a> {
    config: &'a Config,
    /// The rung being sent.
    pub(super) rung: usize,
    /// Frames, or what is left of them, not yet sent: number and bits.
    waiting: VecDeque<(usize, f64)>,
    waiting_bits: f64,
    /// The group of pictures whose rest is not sent.
    dropped_gop: Option<usize>,
    /// What is to be sent again, and at which tick.
    again: VecDeque<(usize, Piece)>,
}

impl<'a> Sender<'a> {
    pub(super) fn new(config: &'a Config) -> Self {
        Self {
            config,
            rung: 0,
            waiting: VecDeque::new(),
            waiting_bits: 0.0,
            dropped_gop: None,
            again: VecDeque::new(),
        }
    }

    /// Encodes the frame of this tick. With more than half a second waiting, all of its group but the keyframe is
    /// dropped, and so is the rest to come.
    pub(super) fn capture(&mut self, tick: usize) {
        let (gop, place) = (tick / GOP_TICKS, tick % GOP_TICKS);
        if self.dropped_gop == Some(gop) {
            return;
        }
        let mean = self.bits_per_s() * TICK_S;
        let bits = mean * complexity(self.config.seed, gop as u64) * weight(place);
        self.waiting.push_back((tick, bits));
        self.waiting_bits += bits;
        if self.waiting_bits > self.bits_per_s() * BACKLOG_S && place > 0 {
            self.dropped_gop = Some(gop);
            let key = tick - place;
            while let Some((_, bits)) = self.waiting.pop_back_if(|(frame, _)| *frame > key) {
                self.waiting_bits -= bits;
            }
        }
    }

    /// What goes out in this tick: what must be sent again, then frames as fast as the pacer lets them.
    pub(super) fn release(&mut self, tick: usize) -> Vec<Piece> {
        let mut out = Vec::new();
        while let Some((_, piece)) = self.again.pop_front_if(|(due, _)| *due <= tick) {
            out.push(piece);
        }
        let mut room = self.bits_per_s() * PACE * TICK_S;
        while room > 0.0 {
            let Some((frame, left)) = self.waiting.front_mut() else {
                break;
            };
            let bits = left.min(room);
            *left -= bits;
            room -= bits;
            self.waiting_bits -= bits;
            let last = *left <= NOTHING_BITS;
            out.push(Piece {
                frame: *frame,
                bits,
                last,
            });
            if last {
                self.waiting.pop_front();
            }
        }
        out
    }

    /// Sends a lost piece again once its loss is known.
    pub(super) fn resend(&mut self, tick: usize, piece: Piece) {
        self.again.push_back((tick + RESEND_AFTER_TICKS, piece));
    }

    fn bits_per_s(&self) -> f64 {
        self.config.ladder.kbps()[self.rung] * 1000.0
    }
}

/// A frame's size against the mean, by its place in the group: the keyframe is eight times the mean.
fn weight(place: usize) -> f64 {
    if place == 0 {
        KEY_WEIGHT
    } else {
        (GOP_TICKS as f64 - KEY_WEIGHT) / (GOP_TICKS as f64 - 1.0)
    }
}

const KEY_WEIGHT: f64 = 8.0;
/// How much faster than the rung's bitrate the pacer sends.
const PACE: f64 = 2.5;
const BACKLOG_S: f64 = 0.5;
const RESEND_AFTER_TICKS: usize = 5;
