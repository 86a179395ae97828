//! How loud a microphone is: as its sender says (RFC 6464), or guessed from how much it takes to code.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::track::opus_duration_90k;

/// The loudness of one publisher's audio, smoothed and told about ten times a second at most.
pub(crate) struct Level {
    /// The number of the header extension, if the sender uses it.
    number: Option<u8>,
    out: watch::Sender<Option<u8>>,
    /// dB below full scale; 127 is silence.
    smooth: f64,
    heard: Option<Instant>,
    told: Option<Instant>,
}

impl Level {
    /// What is told is `None` until something is heard.
    pub(crate) fn new(number: Option<u8>, out: watch::Sender<Option<u8>>) -> Self {
        Self {
            number,
            out,
            smooth: SILENCE,
            heard: None,
            told: None,
        }
    }

    /// The number of the header extension that [`Self::heard`] needs.
    pub(super) fn number(&self) -> Option<u8> {
        self.number
    }

    /// A packet came, with the content of the header extension if it has one.
    pub(super) fn heard(&mut self, now: Instant, extension: Option<&[u8]>, packet: &[u8]) {
        // The upper bit says whether it is taken for speech.
        let said = extension.and_then(<[u8]>::first).map(|byte| byte & 0x7f);
        let level = f64::from(said.unwrap_or_else(|| guess(packet)));
        let lasts = f64::from(opus_duration_90k(packet).max(225)) / 90_000.0;
        let slowness = if level < self.smooth { RISE_S } else { FALL_S };
        let step = 1.0 - (-lasts / slowness).exp();
        self.smooth += (level - self.smooth) * step;
        self.heard = Some(now);
    }

    /// Tells what is to be told by now.
    pub(super) fn tell(&mut self, now: Instant) {
        let Some(heard) = self.heard else {
            return;
        };
        if now.saturating_duration_since(heard) >= QUIET {
            self.smooth = SILENCE;
        } else if self.told.is_some_and(|told| now < told + PAUSE) {
            return;
        }
        let level = self.rounded();
        let is_news = self.out.send_if_modified(|told| {
            let before = told.replace(level);
            before != Some(level)
        });
        if is_news {
            self.told = Some(now);
        }
    }

    /// When [`Self::tell`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let level = Some(self.rounded());
        let heard = self.heard.filter(|_| self.smooth < SILENCE)?;
        let quiet = heard + QUIET;
        let is_told = *self.out.borrow() == level;
        Some(match self.told {
            Some(told) if !is_told => quiet.min(told + PAUSE),
            _ => quiet,
        })
    }

    fn rounded(&self) -> u8 {
        // Between 0 and 127 it stays.
        self.smooth.round() as u8
    }
}

/// What a packet of Opus that took so many bits is likely to be: its coder spends little on little.
fn guess(packet: &[u8]) -> u8 {
    // What is hardly more than a header codes no sound (RFC 6716 §3.1, DTX).
    if packet.len() <= 3 {
        return 127;
    }
    let lasts_ms = f64::from(opus_duration_90k(packet).max(225)) / 90.0;
    #[expect(clippy::cast_precision_loss, reason = "bytes of a packet")]
    let kbps = packet.len() as f64 * 8.0 / lasts_ms;
    (80.0 - 1.5 * kbps).clamp(20.0, 80.0) as u8
}

const SILENCE: f64 = 127.0;
/// Speech is noticed at its first syllable and lasts over the pauses between words.
const RISE_S: f64 = 0.04;
const FALL_S: f64 = 0.4;
/// Nothing came for so long: silence. A coder that pauses (DTX) sends something every 400 ms.
const QUIET: Duration = Duration::from_millis(500);
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 ms of so many bytes.
    fn packet(bytes: usize) -> Vec<u8> {
        vec![0xfc; bytes]
    }

    #[test]
    fn what_is_said_rises_at_once_falls_slowly_and_ends_in_silence() {
        let (out, told) = watch::channel(None);
        let mut level = Level::new(Some(1), out);
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        level.tell(at(0));
        assert_eq!(*told.borrow(), None);
        let mut changes = 0;
        let mut told = told;
        let mut run = |level: &mut Level, from: u64, to: u64, said: u8| {
            for ms in (from..to).step_by(20) {
                level.heard(at(ms), Some(&[said | 0x80]), &packet(60));
                level.tell(at(ms));
                if told.has_changed().unwrap() {
                    changes += 1;
                }
                told.mark_unchanged();
            }
            told.borrow().unwrap()
        };
        assert!(run(&mut level, 0, 200, 20) < 30);
        assert!((20..25).contains(&run(&mut level, 200, 1000, 20)));
        // A pause between words.
        assert!(run(&mut level, 1000, 1200, 90) < 60);
        assert!(run(&mut level, 1200, 4000, 90) > 85);
        assert!(changes <= 41, "{changes} in 4 s");
        let last = at(3980);
        assert_eq!(level.deadline(), Some(last + QUIET));
        level.tell(last + QUIET);
        assert_eq!(*level.out.borrow(), Some(127));
        assert_eq!(level.deadline(), None);
    }

    #[test]
    fn unsaid_it_is_guessed_from_the_bits() {
        let level_of = |bytes: usize, said: Option<&[u8]>| {
            let (out, told) = watch::channel(None);
            let mut level = Level::new(None, out);
            for ms in 0..100 {
                let now = Instant::now() + Duration::from_millis(ms * 20);
                level.heard(now, said, &packet(bytes));
                level.tell(now);
            }
            told.borrow().unwrap()
        };
        assert_eq!(level_of(2, None), 127);
        assert!(level_of(20, None) > level_of(80, None) + 20);
        assert!((20..40).contains(&level_of(100, None)));
        assert_eq!(level_of(1000, None), 20);
        // An extension without content says nothing.
        assert_eq!(level_of(2, Some(&[])), 127);
        assert_eq!(level_of(1000, Some(&[127])), 127);
    }
}
