//! Who decides, and what it is told.

/// Something that chooses rungs. It carries whatever it wants from one call to the next.
pub trait Chooser {
    /// The rung to take from here on, as a place in the ladder; one beyond its end counts as the highest.
    fn choose(&mut self, observation: &Observation<'_>) -> usize;

    /// Whether the choice just made asks for a bandwidth probe too (WebRTC). Most leave probing to the sender.
    fn wants_probe(&mut self) -> bool {
        false
    }
}

impl<F: FnMut(&Observation<'_>) -> usize> Chooser for F {
    fn choose(&mut self, observation: &Observation<'_>) -> usize {
        self(observation)
    }
}

/// How the session is delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// HLS on demand: the player buffers ahead.
    Vod,
    /// HLS live at a fixed latency: what is late is lost.
    Live,
    /// WebRTC: frames as they come.
    Rtc,
}

/// What is known when a decision is due: before each segment (HLS), once a second (WebRTC).
#[derive(Debug, Clone, Copy)]
pub struct Observation<'a> {
    /// How the session is delivered.
    pub mode: Mode,
    /// Session time, in s.
    pub now_s: f64,
    /// Which decision this is, from 0; in HLS the number of the segment.
    pub step: usize,
    /// The declared bitrates, lowest first.
    pub ladder_kbps: &'a [f64],
    /// How long a segment (HLS) or a group of pictures (WebRTC) lasts: a choice holds at least so long.
    pub segment_s: f64,
    /// What is being received; `None` before the first segment.
    pub current: Option<usize>,
    /// What was chosen last; in WebRTC it becomes current at the next keyframe.
    pub chosen: Option<usize>,
    /// Since when that was chosen, in s.
    pub since_switch_s: f64,
    /// Media ready to be shown, in s.
    pub buffer_s: f64,
    /// The most the buffer may hold, in s.
    pub buffer_max_s: f64,
    /// How long nothing was fetched before this decision because the buffer was full or there was nothing to fetch,
    /// in s (HLS).
    pub waited_s: f64,
    /// When the next segment is due on screen, in s (live).
    pub due_s: Option<f64>,
    /// Whether nothing has been shown yet.
    pub starting: bool,
    /// How long the last segment made the picture stand still, in s (HLS).
    pub stalled_s: f64,
    /// How often the picture has stood still, start-up included (HLS).
    pub stalls: u32,
    /// For how long in all, in s (HLS).
    pub stalls_s: f64,
    /// The sizes of the next segments in bits, rung by rung, then segment by segment: `next_bits[h * rungs + rung]`.
    /// At most five segments, fewer near the end; none in WebRTC.
    pub next_bits: &'a [f64],
    /// The last downloads, oldest first, at most 16; none in WebRTC.
    pub history: &'a [Sample],
    /// What the sender knows of the link (WebRTC).
    pub link: Option<&'a LinkReport>,
}

impl Observation<'_> {
    /// Session time in whole ms.
    pub fn now_ms(&self) -> u64 {
        (self.now_s * 1000.0).round() as u64
    }

    /// Which rung was chosen last, or the lowest.
    pub(crate) fn chosen_or_lowest(&self) -> usize {
        self.chosen.unwrap_or(0)
    }
}

/// One download as the player measured it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When it was asked for, in s.
    pub start_s: f64,
    /// From the request to the first byte, in s.
    pub ttfb_s: f64,
    /// From the first byte to the last, or until it was given up, in s.
    pub transfer_s: f64,
    /// The size of what was asked for, in bits.
    pub bits: f64,
    /// The rate between first and last byte; of a download that was given up, the rate it was coming at.
    pub kbps: f64,
    /// The rung it was of.
    pub rung: usize,
    /// Whether it came too late and was given up.
    pub aborted: bool,
}

/// The sender's view of a link (WebRTC).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkReport {
    /// The bandwidth estimate.
    pub bandwidth_kbps: f64,
    /// What was lost in the last second, before repair.
    pub loss_pct: f64,
    /// The round trip, with the queue.
    pub rtt_ms: f64,
    /// The delay of the queue, as of the newest feedback.
    pub queue_ms: f64,
    /// How much that delay varies from one moment to the next.
    pub jitter_ms: f64,
    /// What arrived in the last half second, padding included.
    pub received_kbps: f64,
    /// What was sent in the last second, padding apart.
    pub sent_kbps: f64,
    /// Whether the sender had less to send than the estimate would carry.
    pub app_limited: bool,
    /// Since when the link has not been congested, in s.
    pub since_congested_s: f64,
}

/// How many downloads an observation remembers.
pub(crate) const HISTORY: usize = 16;

/// How many segments ahead sizes are known.
pub(crate) const LOOKAHEAD: usize = 5;
