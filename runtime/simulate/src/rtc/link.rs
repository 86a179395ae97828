//! The link: a drop-tail queue that may lose packets at random too.

use crate::content::{splitmix64, unit};

/// A part of a frame on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Piece {
    /// The frame's number, which is the tick of its capture.
    pub(super) frame: usize,
    pub(super) bits: f64,
    /// Whether the frame ends with it.
    pub(super) last: bool,
}

#[derive(Debug)]
pub(super) struct Link {
    /// How many bits fit.
    depth: f64,
    loss: f64,
    dice: u64,
    /// Bits waiting.
    pub(super) queued: f64,
    /// All bits that ever got into the queue.
    pub(super) accepted: f64,
    /// All bits that ever left it at the far end.
    pub(super) drained: f64,
}

impl Link {
    /// A link whose queue holds 0.3 s at its mean rate, within bounds.
    pub(super) fn new(mean_kbps: f64, loss: f64) -> Self {
        Self {
            depth: (DEPTH_S * mean_kbps * 1000.0).clamp(DEPTH_MIN_BITS, DEPTH_MAX_BITS),
            loss,
            dice: DICE,
            queued: 0.0,
            accepted: 0.0,
            drained: 0.0,
        }
    }

    /// Takes bits into the queue and returns those that were lost: what did not fit, and by chance a packet's worth.
    pub(super) fn offer(&mut self, bits: f64) -> f64 {
        let mut fits = bits.min((self.depth - self.queued).max(0.0));
        let mut lost = bits - fits;
        if self.loss > 0.0 {
            self.dice = splitmix64(self.dice);
            let chance = self.loss * (bits / PACKET_BITS).max(1.0);
            if unit(self.dice) < chance.min(1.0) {
                let packet = fits.min(PACKET_BITS);
                lost += packet;
                fits -= packet;
            }
        }
        self.queued += fits;
        self.accepted += fits;
        lost
    }

    /// Takes as much padding as fits.
    pub(super) fn pad(&mut self, bits: f64) {
        let fits = bits.min(self.depth - self.queued).max(0.0);
        self.queued += fits;
        self.accepted += fits;
    }

    /// Lets up to `capacity` bits out and returns how many came.
    pub(super) fn drain(&mut self, capacity: f64) -> f64 {
        let out = self.queued.min(capacity);
        self.queued -= out;
        self.drained += out;
        out
    }
}

const DEPTH_S: f64 = 0.3;
const DEPTH_MIN_BITS: f64 = 48e3 * 8.0;
const DEPTH_MAX_BITS: f64 = 8e6;
const PACKET_BITS: f64 = 9600.0;
/// Where the dice start in every session.
const DICE: u64 = 12_345;
