//! What a viewer's reports say about its link, for each of its streams.

use std::time::{Duration, Instant};

use lockgate_media::stats::LinkStats;
use rtc::rtcp::reception_report::ReceptionReport;

/// Gathers the numbers of one stream to a viewer.
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

    /// A report on the stream (RFC 3550 §6.4.1). `ntp_now` is our wall clock as sender reports tell it.
    pub(crate) fn report(&mut self, report: &ReceptionReport, clock_hz: u32, ntp_now: u64) {
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
        self.stats.loss_pct = Some(f64::from(report.fraction_lost) * 100.0 / 256.0);
        self.stats.jitter_ms = Some(f64::from(report.jitter) * 1000.0 / f64::from(clock_hz.max(1)));
    }

    /// Something else is sent from now on: what was reported says nothing of it.
    pub(crate) fn renew(&mut self) {
        (self.stats.loss_pct, self.stats.jitter_ms) = (None, None);
        self.stats.rtt_ms = None;
    }

    /// Packets sent again since the session started.
    pub(crate) fn resent(&mut self, packets: u64) {
        self.stats.packets_resent = packets;
    }

    /// Brings the numbers up to date, with the estimate of the bandwidth; to be called about once a second.
    pub(crate) fn tick(&mut self, now: Instant, bandwidth_bps: Option<f64>) {
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
    }

    /// The numbers at the last [`Self::tick`].
    pub(crate) fn stats(&self) -> &LinkStats {
        &self.stats
    }
}

/// The numbers of all streams to a viewer together. Loss and jitter are those of video, the more a stream sends the
/// more it counts, or those of audio where no video was reported on.
pub(crate) fn together<'a>(
    streams: &(impl Iterator<Item = (bool, &'a LinkStats)> + Clone),
) -> LinkStats {
    let mut all = LinkStats::default();
    for (_, stats) in streams.clone() {
        all.bandwidth_kbps = all.bandwidth_kbps.or(stats.bandwidth_kbps);
        all.rtt_ms = least(all.rtt_ms, stats.rtt_ms);
        if let Some(kbps) = stats.sent_kbps {
            all.sent_kbps = Some(all.sent_kbps.unwrap_or(0.0) + kbps);
        }
        all.packets_sent += stats.packets_sent;
        all.bytes_sent += stats.bytes_sent;
        all.packets_resent += stats.packets_resent;
        all.units_skipped += stats.units_skipped;
        all.keyframe_requests += stats.keyframe_requests;
    }
    for wanted in [true, false] {
        let (mut weights, mut loss_pct, mut jitter_ms) = (0.0, 0.0, 0.0);
        for (is_video, stats) in streams.clone() {
            if let Some((loss, jitter)) = stats.loss_pct.zip(stats.jitter_ms)
                && is_video == wanted
            {
                let weight = stats.sent_kbps.unwrap_or(0.0).max(1.0);
                weights += weight;
                loss_pct += loss * weight;
                jitter_ms += jitter * weight;
            }
        }
        if weights > 0.0 {
            all.loss_pct = Some(loss_pct / weights);
            all.jitter_ms = Some(jitter_ms / weights);
            break;
        }
    }
    all
}

fn least(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
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
        link.report(&report, 90_000, ntp(1000.6));
        let start = Instant::now();
        link.tick(start, None);
        link.sent(125_000);
        link.tick(start + Duration::from_secs(1), Some(2_500_000.0));
        let stats = link.stats().clone();
        assert_eq!(stats.loss_pct, Some(25.0));
        assert_eq!(stats.jitter_ms, Some(10.0));
        assert!((stats.rtt_ms.unwrap() - 100.0).abs() < 0.1);
        assert_eq!(stats.sent_kbps, Some(1000.0));
        assert_eq!(stats.bandwidth_kbps, Some(2500.0));
        link.renew();
        assert_eq!((link.stats().loss_pct, link.stats().rtt_ms), (None, None));
        assert_eq!(link.stats().bytes_sent, 125_000);
    }

    #[test]
    fn streams_together_are_the_link() {
        let stream = |kbps: f64, loss_pct, rtt_ms| LinkStats {
            bandwidth_kbps: Some(5000.0),
            sent_kbps: Some(kbps),
            loss_pct,
            jitter_ms: loss_pct.map(|loss| loss / 2.0),
            rtt_ms,
            packets_sent: 10,
            packets_resent: 1,
            ..LinkStats::default()
        };
        let sound = stream(40.0, Some(90.0), Some(30.0));
        let large = stream(900.0, Some(1.0), Some(50.0));
        let small = stream(100.0, Some(11.0), None);
        let silent = stream(0.0, None, None);
        let streams = [
            (false, &sound),
            (true, &large),
            (true, &small),
            (true, &silent),
        ];
        let all = together(&streams.into_iter());
        assert_eq!((all.loss_pct, all.jitter_ms), (Some(2.0), Some(1.0)));
        assert_eq!((all.rtt_ms, all.sent_kbps), (Some(30.0), Some(1040.0)));
        assert_eq!((all.packets_sent, all.packets_resent), (40, 4));
        assert_eq!(all.bandwidth_kbps, Some(5000.0));
        assert_eq!(
            together(&[(false, &sound)].into_iter()).loss_pct,
            Some(90.0)
        );
    }
}
