//! What a rendition's segments measure.

/// Bitrate and frame rate of a rendition, measured on its closed segments.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    peak_bps: u64,
    bits: u64,
    duration_90k: u64,
    fps: Option<f64>,
}

impl Rate {
    /// Counts a closed segment.
    pub(crate) fn add(&mut self, bytes: usize, duration_90k: i64, samples: usize, target_s: u32) {
        let bits = u64::try_from(bytes).unwrap_or(0).saturating_mul(8);
        let duration = u64::try_from(duration_90k).unwrap_or(0).max(1);
        self.bits = self.bits.saturating_add(bits);
        self.duration_90k = self.duration_90k.saturating_add(duration);
        // RFC 8216 §4.3.4.2: the peak is taken over at least half a target duration.
        if duration >= u64::from(target_s) * 45_000 {
            self.peak_bps = self.peak_bps.max(per_second(bits, duration));
            let fps = 90_000.0 * samples as f64 / duration as f64;
            // Keep what is listed until it is clearly wrong: playlists should not flap.
            if self
                .fps
                .is_none_or(|listed| (listed - fps).abs() > listed / 10.0)
            {
                self.fps = Some(fps);
            }
        }
    }

    /// Largest bitrate of a segment in bit/s; it never falls.
    pub(crate) fn peak_bps(&self) -> Option<u64> {
        (self.peak_bps > 0).then_some(self.peak_bps)
    }

    /// Average bitrate since the start in bit/s.
    pub(crate) fn average_bps(&self) -> Option<u64> {
        (self.bits > 0).then(|| per_second(self.bits, self.duration_90k.max(1)))
    }

    /// Frames a second that are delivered.
    pub(crate) fn fps(&self) -> Option<f64> {
        self.fps
    }
}

fn per_second(bits: u64, duration_90k: u64) -> u64 {
    u64::try_from(u128::from(bits) * 90_000 / u128::from(duration_90k)).unwrap_or(u64::MAX)
}
