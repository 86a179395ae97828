//! `[record]`: what is recorded, where to, and for how long it is kept.

use std::{path::PathBuf, time::Duration};

use lockgate_session::RecordConfig;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// A folder; one for each broadcast is made in it.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Names of broadcasts that are recorded; one that ends in `*` is the beginning of names.
    pub streams: Vec<String>,
    /// The container.
    pub format: Format,
    /// A file lasts so long at most, in minutes.
    pub file_minutes: u64,
    /// A file is so large at most, in MB.
    pub file_mb: u64,
    /// Files are kept for so long, in days; 0 keeps them until the disk is full.
    pub keep_days: u64,
    /// All files together have so many GB at most, the oldest going first; 0 for any number.
    pub keep_gb: u64,
}

/// The container of recordings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Fragmented MP4, which plays however it ends.
    #[default]
    Fmp4,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            path: PathBuf::from("recordings"),
            streams: Vec::new(),
            format: Format::Fmp4,
            file_minutes: 60,
            file_mb: 4000,
            keep_days: 0,
            keep_gb: 0,
        }
    }
}

impl Record {
    pub(super) fn check(&self) -> Result<(), String> {
        for pattern in &self.streams {
            let beginning = pattern.strip_suffix('*').unwrap_or(pattern);
            if !beginning.is_empty() || pattern.is_empty() {
                lockgate_media::BroadcastName::new(beginning)
                    .map_err(|error| format!("record.streams: {pattern:?}: {error}"))?;
            }
        }
        Ok(())
    }

    pub(crate) fn session(&self) -> RecordConfig {
        let some = |value: u64| (value > 0).then_some(value);
        RecordConfig {
            folder: self.path.clone(),
            streams: self.streams.clone(),
            file_lasts: Duration::from_secs(self.file_minutes * 60),
            file_bytes: self.file_mb * 1_000_000,
            keep_for: some(self.keep_days).map(|days| Duration::from_secs(days * 86_400)),
            keep_bytes: some(self.keep_gb).map(|gb| gb * 1_000_000_000),
        }
    }
}
