//! What a viewer's reports say about its link.

use std::time::{Duration, Instant};

use lockgate_media::stats::LinkStats;
use rtc::rtcp::reception_report::ReceptionReport;

/// Gathers the numbers of one viewer's link.
#[derive(Debug, Default)]
pub(crate) struct Link {
    stats: LinkStats,
    window: Option<(Instant, u64)>,
}

impl Link {
    /// A packet went out with so many bytes of RTP.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.stats.packets_sent += 1;
        self.stats.bytes_sent += bytes as u64;
    }

    /// The viewer asked for a keyframe.
    pub(crate) fn keyframe_asked(&mut self) {
        self.stats.keyframe_requests += 1;
    }

    /// Units were passed over because this viewer's sending was too slow.
    pub(crate) fn skipped(&mut self, units: u64) {
        self.stats.units_skipped += units;
    }

    /// A report on one of our streams (RFC 3550 §6.4.1). `ntp_now` is our wall clock as sender reports tell it,
    /// `video` whether it is the stream whose loss and jitter count.
    pub(crate) fn report(
        &mut self,
        report: &ReceptionReport,
        clock_hz: u32,
        ntp_now: u64,
        video: bool,
    ) {
        // The middle 32 bits of NTP count 1/65536 s.
        let middle = (ntp_now >> 16) as u32;
        if report.last_sender_report != 0 {
            let round_trip = middle
                .wrapping_sub(report.last_sender_report)
                .wrapping_sub(report.delay);
            // A clock that is a little off gives a small negative number, that is a huge one.
            if round_trip < ROUND_TRIP_MAX {
                self.stats.rtt_ms = Some(f64::from(round_trip) * 1000.0 / 65_536.0);
            }
        }
        if video || self.stats.loss_pct.is_none() {
            self.stats.loss_pct = Some(f64::from(report.fraction_lost) * 100.0 / 256.0);
            self.stats.jitter_ms =
                Some(f64::from(report.jitter) * 1000.0 / f64::from(clock_hz.max(1)));
        }
    }

    /// Packets sent again since the session started.
    pub(crate) fn resent(&mut self, packets: u64) {
        self.stats.packets_resent = packets;
    }

    /// The numbers now, with the estimate of the bandwidth; to be called about once a second.
    pub(crate) fn tick(&mut self, now: Instant, bandwidth_bps: Option<f64>) -> LinkStats {
        if let Some((since, bytes)) = self.window {
            let elapsed = now.saturating_duration_since(since);
            if elapsed >= WINDOW_MIN {
                let bits = (self.stats.bytes_sent - bytes) * 8;
                #[expect(clippy::cast_precision_loss, reason = "bits of one second")]
                let kbps = bits as f64 / elapsed.as_secs_f64() / 1000.0;
                self.stats.sent_kbps = Some(kbps);
                self.window = Some((now, self.stats.bytes_sent));
            }
        } else {
            self.window = Some((now, self.stats.bytes_sent));
        }
        self.stats.bandwidth_kbps = bandwidth_bps.map(|bps| bps / 1000.0);
        self.stats.clone()
    }
}

/// Shorter than this a rate says little.
const WINDOW_MIN: Duration = Duration::from_millis(500);
/// 60 s in 1/65536 s.
const ROUND_TRIP_MAX: u32 = 60 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_become_numbers_with_units() {
        let mut link = Link::default();
        let ntp = |seconds: f64| (seconds * 4_294_967_296.0) as u64;
        let report = ReceptionReport {
            fraction_lost: 64,
            jitter: 900,
            last_sender_report: (ntp(1000.0) >> 16) as u32,
            delay: 32_768, // 0.5 s
            ..ReceptionReport::default()
        };
        link.report(&report, 90_000, ntp(1000.6), true);
        let audio = ReceptionReport {
            fraction_lost: 0,
            ..ReceptionReport::default()
        };
        link.report(&audio, 48_000, ntp(1000.7), false);
        let start = Instant::now();
        link.tick(start, None);
        link.sent(125_000);
        let stats = link.tick(start + Duration::from_secs(1), Some(2_500_000.0));
        assert_eq!(stats.loss_pct, Some(25.0));
        assert_eq!(stats.jitter_ms, Some(10.0));
        assert!((stats.rtt_ms.unwrap() - 100.0).abs() < 0.1);
        assert_eq!(stats.sent_kbps, Some(1000.0));
        assert_eq!(stats.bandwidth_kbps, Some(2500.0));
    }
}
