//! What came of a session.

use crate::Mode;

/// A session's score and its course.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// How it was delivered.
    pub mode: Mode,
    /// Quality of experience over the whole session.
    pub qoe_sum: f64,
    /// The same for each segment (HLS) or second (WebRTC).
    pub qoe: f64,
    /// How much of the session the picture stood still, in percent; start-up apart.
    pub stalled_pct: f64,
    /// How long the picture stood still, in s; start-up apart.
    pub stalled_s: f64,
    /// How long it took until the first picture, in s (HLS on demand; elsewhere 0).
    pub startup_s: f64,
    /// The mean bitrate of what was shown (HLS) or sent (WebRTC).
    pub kbps: f64,
    /// How often the rung changed.
    pub switches: u32,
    /// The 95th percentile of the delay from captured to shown, in ms (WebRTC, if anything was shown).
    pub p95_ms: Option<f64>,
    /// Step by step: one for each segment or second.
    pub course: Vec<Step>,
}

/// One segment or second of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// When it was asked for, or began, in s.
    pub at_s: f64,
    /// When it had arrived or been given up, or ended, in s.
    pub end_s: f64,
    /// The rung.
    pub rung: usize,
    /// Its declared bitrate.
    pub kbps: f64,
    /// The mean capacity meanwhile.
    pub capacity_kbps: f64,
    /// The bandwidth the chooser could know at its end: what this segment came with, or the estimate.
    pub bandwidth_kbps: f64,
    /// Media ready to be shown at its end, in s (HLS).
    pub buffer_s: f64,
    /// The delay of the link's queue at its end, in ms (WebRTC).
    pub queue_ms: f64,
    /// How long the picture stood still for it, in s; start-up included.
    pub stalled_s: f64,
    /// Whether it was given up and never shown.
    pub dropped: bool,
    /// What it adds to the quality of experience.
    pub qoe: f64,
}
