//! What the types cannot say: limits, and keys that must fit together.

use std::collections::HashSet;

use lockgate_policy::{builtin, schema};

use super::{Config, Ingest, ranges};

impl Config {
    /// The first thing that is wrong, as `section.key: what and what to do`.
    pub(super) fn check(&self) -> Result<(), String> {
        let whole = serde_json::to_value(self).map_err(|error| error.to_string())?;
        ranges::check(&whole)?;
        if (1..100).contains(&self.hls.part_ms) {
            let part_ms = self.hls.part_ms;
            return Err(format!(
                "hls.part_ms: {part_ms} is not within 100 to 1000; 0 makes no parts"
            ));
        }
        for (kind, limits) in &self.policies.limits {
            limits
                .check()
                .map_err(|what| format!("policies.limits.{kind}.{what}"))?;
        }
        self.webrtc.check()?;
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
            if source.url.reveal().is_empty() {
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
        let Ingest { srt, .. } = &self.ingest;
        match &srt.passphrase {
            Some(passphrase) if !(10..=79).contains(&passphrase.reveal().len()) => Err(
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
