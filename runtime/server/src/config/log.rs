//! `[policies.log]`: what is kept of decisions.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Config;

/// What is kept of decisions, in memory and on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyLog {
    /// Which decisions.
    pub record: Record,
    /// The share of decisions that nothing speaks for and that are kept all the same, 0 to 1.
    pub sample: f64,
    /// The folder; `decisions` in the store without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub path: Option<PathBuf>,
    /// Size from which on the next file is begun, in MB.
    pub file_mb: u64,
    /// Files kept; 0 keeps decisions in memory only.
    pub files: usize,
    /// Claims of a token that are kept with what `auth` decided.
    pub claims: Vec<String>,
}

/// Which decisions are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = PolicyLogRecord)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// Changes, faults, where a shadow differs, and a sample.
    #[default]
    Changes,
    /// Every one.
    All,
}

impl Default for PolicyLog {
    fn default() -> Self {
        Self {
            record: Record::Changes,
            sample: 0.01,
            path: None,
            file_mb: 16,
            files: 8,
            // The registered claims (RFC 7519 §4.1) without the token's own id, and the scopes (RFC 8693 §4.2).
            claims: ["sub", "scope", "iss", "aud", "exp", "nbf", "iat", "jti"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

impl Config {
    /// What the desk is to log, and where.
    pub(crate) fn decision_log(&self) -> lockgate_session::desk::LogConfig {
        use lockgate_session::desk;
        let log = &self.policies.log;
        let folder = log.path.clone();
        desk::LogConfig {
            record: match log.record {
                Record::Changes => desk::Record::Changes,
                Record::All => desk::Record::All,
            },
            sample: log.sample,
            claims: log.claims.clone(),
            files: (log.files > 0).then(|| desk::FilesConfig {
                folder: folder.unwrap_or_else(|| self.store.path.join("decisions")),
                file_bytes: log.file_mb * 1_000_000,
                files: log.files,
            }),
        }
    }
}
