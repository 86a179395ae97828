//! Between what numbers must lie. One table for the check and for the JSON Schema.

use serde_json::Value;

/// A key, the least and the greatest value.
pub(super) const RANGES: &[(&str, f64, f64)] = &[
    ("hls.segment_s", 1.0, 10.0),
    ("hls.window", 3.0, 64.0),
    ("hls.part_ms", 0.0, 1000.0),
    ("hls.dvr_s", 0.0, 86_400.0),
    ("hls.dvr_mb", 1.0, 1e9),
    ("hls.keep_alive_s", 1.0, 3600.0),
    ("ladder.cpu_budget", 0.0, 1.0),
    ("ladder.opus_kbps", 6.0, 510.0),
    ("ladder.aac_kbps", 16.0, 512.0),
    ("policies.deadline_ms", 1.0, 1000.0),
    ("policies.log.sample", 0.0, 1.0),
    ("policies.log.file_mb", 1.0, 10_000.0),
    ("policies.log.files", 0.0, 10_000.0),
    ("http.connections_max", 1.0, 1e6),
    ("http.timeouts.handshake_s", 1.0, 600.0),
    ("http.timeouts.header_s", 1.0, 600.0),
    ("http.timeouts.body_s", 1.0, 600.0),
    ("http.timeouts.write_s", 1.0, 600.0),
    ("http.timeouts.idle_s", 1.0, 86_400.0),
    ("http.hsts_s", 0.0, 2e9),
    ("rate_limit.window_s", 1.0, 86_400.0),
    ("store.keep_days", 0.0, 36_500.0),
    ("store.keep_sessions", 0.0, 1e9),
    ("auth.leeway_s", 0.0, 600.0),
    ("auth.jwks_refresh_s", 1.0, 86_400.0),
    ("auth.jwks_cooldown_s", 1.0, 3600.0),
    ("auth.recheck_s", 1.0, 3600.0),
    ("auth.kick_s", 1.0, 86_400.0),
    ("auth.http.deadline_ms", 1.0, 60_000.0),
    ("webrtc.viewers_max", 0.0, 1e6),
    ("webrtc.peers_max", 0.0, 1e6),
    ("webrtc.connect_s", 1.0, 60.0),
    // RFC 7675 §5.1: consent lasts 30 s at most.
    ("webrtc.silence_s", 1.0, 30.0),
    ("webrtc.playout_delay_max_ms", 0.0, 10_000.0),
    ("ingest.resume_s", 0.0, 300.0),
    ("ingest.rtmp.silence_s", 1.0, 300.0),
    ("ingest.rtmp.connections_max", 1.0, 100_000.0),
    ("ingest.srt.silence_s", 1.0, 300.0),
    ("ingest.srt.connections_max", 1.0, 100_000.0),
    ("ingest.srt.latency_ms", 20.0, 8000.0),
    ("room.max_participants", 1.0, 1000.0),
    ("room.stream_timeout_ms", 1000.0, 604_800_000.0),
    ("room.host_grace_s", 0.0, 3600.0),
    ("record.file_minutes", 1.0, 10_080.0),
    ("record.file_mb", 1.0, 1e6),
];

/// The first number that is out of its range, as `section.key: what`.
pub(super) fn check(config: &Value) -> Result<(), String> {
    for (key, low, high) in RANGES {
        let value = key
            .split('.')
            .try_fold(config, |value, part| value.get(part));
        let Some(value) = value else { continue };
        // JSON has no NaN and no infinity, TOML has.
        let Some(value) = value.as_f64() else {
            return Err(format!("{key}: it is no number within {low} to {high}"));
        };
        if !(*low..=*high).contains(&value) {
            return Err(format!("{key}: {value} is not within {low} to {high}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[test]
    fn each_range_is_of_a_key_that_there_is() {
        let config = serde_json::to_value(Config::default()).unwrap();
        for (key, ..) in RANGES {
            let value = key
                .split('.')
                .try_fold(&config, |value, part| value.get(part));
            assert!(value.is_some_and(Value::is_number), "{key}");
        }
        assert_eq!(check(&config), Ok(()));
    }
}
