//! When a frame was sent, written into the frame: the delay to a viewer in the same process is measured by one clock.

use std::time::{Duration, Instant};

/// What one process marks with, and by what it knows its own marks again.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
    run: u32,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            epoch: Instant::now(),
            run: rand::random(),
        }
    }
}

impl Clock {
    /// A NAL unit with the moment: user data that decoders pass over (H.264 §D.1.7), in digits, which need no
    /// emulation prevention.
    pub(crate) fn mark(&self, now: Instant) -> Vec<u8> {
        let micros = now.saturating_duration_since(self.epoch).as_micros();
        let mut nal = vec![0x06, 0x05, (UUID.len() + DIGITS) as u8];
        nal.extend_from_slice(UUID);
        nal.extend_from_slice(format!("{:08x}{micros:020}", self.run).as_bytes());
        nal.push(0x80);
        nal
    }

    /// The moment of one of our own marks.
    pub(crate) fn read(&self, payload: &[u8]) -> Option<Instant> {
        let text = payload
            .strip_prefix(&[0x06, 0x05, (UUID.len() + DIGITS) as u8])?
            .strip_prefix(UUID)?
            .get(..DIGITS)?;
        let (run, micros) = std::str::from_utf8(text).ok()?.split_at_checked(8)?;
        if u32::from_str_radix(run, 16) != Ok(self.run) {
            return None;
        }
        Some(self.epoch + Duration::from_micros(micros.parse().ok()?))
    }
}

const UUID: &[u8; 16] = b"lockgate-load-01";
const DIGITS: usize = 28;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_marks_are_read() {
        let clock = Clock::default();
        let now = clock.epoch + Duration::from_micros(1_234_567);
        let nal = clock.mark(now);
        assert_eq!(clock.read(&nal), Some(now));
        let other = Clock {
            run: clock.run ^ 1,
            ..clock
        };
        assert_eq!(other.read(&nal), None);
        assert_eq!(clock.read(&nal[..20]), None);
        assert_eq!(clock.read(&[0x65, 1, 2]), None);
    }
}
