//! What a policy answers. Every field is optional but those without which there is no answer.

/// What a viewer gets: the answer of `abr`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pick {
    /// The rung to send; `None` pauses video.
    pub rung: Option<usize>,
    /// A number of the manifest's reasons.
    pub reason: u32,
    /// Most to send.
    pub cap_kbps: Option<f64>,
    /// Probe the link up to this.
    pub probe_kbps: Option<f64>,
    /// Playback rate.
    pub play_rate: Option<f64>,
    /// What to buffer.
    pub buffer_target_s: Option<f64>,
}

impl Pick {
    /// Sends a rung.
    pub fn rung(rung: usize) -> Self {
        Self {
            rung: Some(rung),
            ..Self::pause()
        }
    }

    /// Sends no video.
    pub fn pause() -> Self {
        let (cap_kbps, probe_kbps, play_rate, buffer_target_s) = (None, None, None, None);
        Self {
            rung: None,
            reason: 0,
            cap_kbps,
            probe_kbps,
            play_rate,
            buffer_target_s,
        }
    }

    /// Says why, by a number of the manifest's reasons.
    #[must_use]
    pub fn because(self, reason: u32) -> Self {
        Self { reason, ..self }
    }

    #[doc(hidden)]
    #[inline]
    pub fn push(&self, rows: &mut Vec<f64>) {
        rows.extend([
            self.rung.map_or(f64::NAN, |rung| rung as f64),
            f64::from(self.reason),
            or_nan(self.cap_kbps),
            or_nan(self.probe_kbps),
            or_nan(self.play_rate),
            or_nan(self.buffer_target_s),
        ]);
    }
}

/// What is saved for a viewer: the answer of `optimize`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Saving {
    /// Compression: 0 low, 1 medium, 2 high.
    pub level: u32,
    /// Data saved, 0 to 100.
    pub reduction_pct: f64,
    /// Most to send.
    pub cap_kbps: Option<f64>,
    /// Frames a second to keep.
    pub fps: f64,
    /// Audio bitrate.
    pub opus_kbps: f64,
    /// Audio sample rate.
    pub opus_hz: f64,
    /// Audio channels.
    pub opus_channels: f64,
    /// What to buffer.
    pub buffer_s: f64,
    /// Add forward error correction.
    pub fec: bool,
    /// A number of the manifest's reasons.
    pub reason: u32,
}

impl Saving {
    #[doc(hidden)]
    #[inline]
    pub fn push(&self, rows: &mut Vec<f64>) {
        rows.extend([
            f64::from(self.level),
            self.reduction_pct,
            or_nan(self.cap_kbps),
            self.fps,
            self.opus_kbps,
            self.opus_hz,
            self.opus_channels,
            self.buffer_s,
            f64::from(u8::from(self.fec)),
            f64::from(self.reason),
        ]);
    }
}

/// How good a network is: the answer of `score`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Grade {
    /// 0 to 100.
    pub score: f64,
    /// What bandwidth takes off.
    pub bandwidth_part: f64,
    /// What loss takes off.
    pub loss_part: f64,
    /// What jitter takes off.
    pub jitter_part: f64,
    /// A number of the manifest's reasons.
    pub reason: u32,
}

impl Grade {
    #[doc(hidden)]
    #[inline]
    pub fn push(&self, rows: &mut Vec<f64>) {
        let parts = [
            self.score,
            self.bandwidth_part,
            self.loss_part,
            self.jitter_part,
        ];
        rows.extend(parts);
        rows.push(f64::from(self.reason));
    }
}

/// What is worth encoding: the answer of `ladder`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Publish the source's own coding.
    pub passthrough: bool,
    /// 0 ultrafast to 8 veryslow; `None` leaves it.
    pub preset: Option<u32>,
    /// A number of the manifest's reasons.
    pub reason: u32,
    /// Whether to encode each rung, as many as the ladder has.
    pub encode: Vec<bool>,
}

impl Plan {
    #[doc(hidden)]
    pub fn push(&self, rows: &mut Vec<f64>) {
        rows.push(f64::from(u8::from(self.passthrough)));
        rows.push(self.preset.map_or(f64::NAN, f64::from));
        rows.push(f64::from(self.reason));
        rows.extend(self.encode.iter().map(|kept| f64::from(u8::from(*kept))));
    }
}

#[inline]
fn or_nan(number: Option<f64>) -> f64 {
    number.unwrap_or(f64::NAN)
}
