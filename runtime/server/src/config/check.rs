//! What the types cannot say: limits, and keys that must fit together.

use std::collections::HashSet;

use lockgate_policy::{builtin, schema};

use super::{Config, Ingest};

impl Config {
    /// The first thing that is wrong, as `section.key: what and what to do`.
    pub(super) fn check(&self) -> Result<(), String> {
        let within = |key: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!("{key}: {value} is not within {low} to {high}"))
            }
        };
        within("hls.segment_s", f64::from(self.hls.segment_s), 1.0, 10.0)?;
        within("hls.window", self.hls.window as f64, 3.0, 64.0)?;
        if self.hls.part_ms != 0 {
            within("hls.part_ms", f64::from(self.hls.part_ms), 100.0, 1000.0)?;
        }
        within("hls.dvr_s", self.hls.dvr_s as f64, 0.0, 86_400.0)?;
        within("hls.dvr_mb", self.hls.dvr_mb as f64, 1.0, 1e9)?;
        within(
            "hls.keep_alive_s",
            self.hls.keep_alive_s as f64,
            1.0,
            3600.0,
        )?;
        within("ladder.cpu_budget", self.ladder.cpu_budget, 0.0, 1.0)?;
        within(
            "ladder.opus_kbps",
            f64::from(self.ladder.opus_kbps),
            6.0,
            510.0,
        )?;
        within(
            "ladder.aac_kbps",
            f64::from(self.ladder.aac_kbps),
            16.0,
            512.0,
        )?;
        within(
            "policies.deadline_ms",
            self.policies.deadline_ms as f64,
            1.0,
            1000.0,
        )?;
        let log = &self.policies.log;
        within("policies.log.sample", log.sample, 0.0, 1.0)?;
        within("policies.log.file_mb", log.file_mb as f64, 1.0, 10_000.0)?;
        within("policies.log.files", log.files as f64, 0.0, 10_000.0)?;
        within(
            "http.connections_max",
            self.http.connections_max as f64,
            1.0,
            1e6,
        )?;
        let timeouts = &self.http.timeouts;
        let limits = &self.rate_limit;
        let auth = &self.auth;
        for (key, value, low, high) in [
            ("http.timeouts.handshake_s", timeouts.handshake_s, 1, 600),
            ("http.timeouts.header_s", timeouts.header_s, 1, 600),
            ("http.timeouts.body_s", timeouts.body_s, 1, 600),
            ("http.timeouts.write_s", timeouts.write_s, 1, 600),
            ("http.timeouts.idle_s", timeouts.idle_s, 1, 86_400),
            ("http.hsts_s", self.http.hsts_s, 0, 2_000_000_000),
            ("rate_limit.window_s", limits.window_s, 1, 86_400),
            ("store.keep_days", self.store.keep_days, 0, 36_500),
            (
                "store.keep_sessions",
                self.store.keep_sessions,
                0,
                1_000_000_000,
            ),
            ("auth.leeway_s", auth.leeway_s, 0, 600),
            ("auth.jwks_refresh_s", auth.jwks_refresh_s, 1, 86_400),
            ("auth.jwks_cooldown_s", auth.jwks_cooldown_s, 1, 3600),
            ("auth.recheck_s", auth.recheck_s, 1, 3600),
            ("auth.kick_s", auth.kick_s, 1, 86_400),
            ("auth.http.deadline_ms", auth.http.deadline_ms, 1, 60_000),
        ] {
            within(key, value as f64, f64::from(low), high as f64)?;
        }
        within(
            "webrtc.viewers_max",
            self.webrtc.viewers_max as f64,
            0.0,
            1e6,
        )?;
        within("webrtc.peers_max", self.webrtc.peers_max as f64, 0.0, 1e6)?;
        within("webrtc.connect_s", self.webrtc.connect_s as f64, 1.0, 60.0)?;
        // RFC 7675 §5.1: consent lasts 30 s at most.
        within("webrtc.silence_s", self.webrtc.silence_s as f64, 1.0, 30.0)?;
        for (kind, limits) in &self.policies.limits {
            limits
                .check()
                .map_err(|what| format!("policies.limits.{kind}.{what}"))?;
        }
        self.webrtc.check()?;
        within(
            "webrtc.playout_delay_max_ms",
            self.webrtc.playout_delay_max_ms as f64,
            0.0,
            10_000.0,
        )?;
        self.record.check()?;
        for host in &self.ingest.hosts {
            host.parse::<lockgate_transcode::Host>()
                .map_err(|error| format!("ingest.hosts: {error}"))?;
        }
        self.check_ingest()?;
        self.check_rungs()?;
        self.check_parameters()?;
        let mut names = HashSet::new();
        for source in &self.ingest.source {
            if !names.insert(&source.name) {
                return Err(format!(
                    "ingest.source: two sources are named {}; give each its own name",
                    source.name
                ));
            }
            if source.url.is_empty() {
                return Err(format!(
                    "ingest.source: the url of {} is empty",
                    source.name
                ));
            }
        }
        self.check_telemetry()?;
        self.auth.check()?;
        self.http.check()
    }

    /// What no file decides, the built-in does, and it knows its parameters.
    fn check_parameters(&self) -> Result<(), String> {
        for (kind, table) in &self.policies.parameters {
            if self.policies.file(*kind).is_some() {
                continue;
            }
            let given = serde_json::to_value(table).unwrap_or_default();
            schema::validate(&builtin::schema(&[*kind]), &given).map_err(|error| {
                format!("policies.parameters.{kind}, of the built-in policy: at {error}")
            })?;
        }
        Ok(())
    }

    fn check_ingest(&self) -> Result<(), String> {
        let Ingest {
            resume_s,
            rtmp,
            srt,
            ..
        } = &self.ingest;
        for (key, value, low, high) in [
            ("resume_s", *resume_s, 0, 300),
            ("rtmp.silence_s", rtmp.silence_s, 1, 300),
            (
                "rtmp.connections_max",
                rtmp.connections_max as u64,
                1,
                100_000,
            ),
            ("srt.silence_s", srt.silence_s, 1, 300),
            (
                "srt.connections_max",
                srt.connections_max as u64,
                1,
                100_000,
            ),
            ("srt.latency_ms", srt.latency_ms, 20, 8_000),
        ] {
            if !(low..=high).contains(&value) {
                return Err(format!(
                    "ingest.{key}: {value} is not within {low} to {high}"
                ));
            }
        }
        match &srt.passphrase {
            Some(passphrase) if !(10..=79).contains(&passphrase.len()) => Err(
                "ingest.srt.passphrase: SRT takes 10 to 79 bytes; `openssl rand -base64 24` makes a good one".to_owned(),
            ),
            _ => Ok(()),
        }
    }

    fn check_rungs(&self) -> Result<(), String> {
        let rungs = &self.ladder.rungs;
        if rungs.is_empty() {
            return Err("ladder.rungs: there is none; give at least one".to_owned());
        }
        let mut names = HashSet::new();
        for rung in rungs {
            let name = &rung.name;
            if !names.insert(name) {
                return Err(format!("ladder.rungs: two rungs are named {name}"));
            }
            if ["source", "passthrough", "opus", "aac"].contains(&name.as_str()) {
                return Err(format!(
                    "ladder.rungs: the name {name} is kept for a track of the source"
                ));
            }
            let even = |side: u32| (16..=8192).contains(&side) && side.is_multiple_of(2);
            if !even(rung.width) || !even(rung.height) {
                return Err(format!(
                    "ladder.rungs: {name} must have even sides within 16 to 8192"
                ));
            }
            if !(1..=240).contains(&rung.fps) || !(16..=200_000).contains(&rung.kbps) {
                return Err(format!(
                    "ladder.rungs: {name} must have 1 to 240 fps and 16 to 200000 kbps"
                ));
            }
        }
        for (key, quality) in [
            ("max_quality", &self.ladder.max_quality),
            ("default_quality", &self.ladder.default_quality),
        ] {
            if !rungs.iter().any(|rung| rung.name.as_str() == quality) {
                let known: Vec<&str> = rungs.iter().map(|rung| rung.name.as_str()).collect();
                return Err(format!(
                    "ladder.{key}: there is no rung {quality:?}; there are {}",
                    known.join(", ")
                ));
            }
        }
        Ok(())
    }
}
