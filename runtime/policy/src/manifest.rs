//! What a policy says of itself: a custom section `lockgate:manifest` (JSON) in Wasm, a `NAME.toml` beside a script.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Kind,
    column::{self, Column},
    host::Import,
    schema::{self, ConfigError},
};

mod truth;

/// A policy's manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its name.
    pub name: String,
    /// Its version, `MAJOR.MINOR.PATCH`.
    pub version: String,
    /// The contract it was written for: `0.1`.
    pub api: String,
    /// What it judges, and what it wants for that.
    pub kinds: BTreeMap<Kind, Wants>,
    /// A JSON Schema of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<serde_json::Value>,
    /// Imports it wants; it gets none that the operator has not granted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub imports: Vec<Import>,
}

/// What a policy wants for one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wants {
    /// The columns of each row, in this order; empty means all the first contract has.
    pub columns: Vec<String>,
    /// The columns of each rung, likewise.
    pub rung_columns: Vec<String>,
    /// Numbers carried for each row from call to call, 0 to 64.
    pub memo: usize,
    /// What its reasons mean, by number.
    pub reasons: Vec<String>,
    /// Instructions (Wasm fuel or Luau steps) a call may take, and for each row besides; 0 leaves it to the host.
    pub budget: u64,
    /// See `budget`.
    pub budget_per_row: u64,
}

/// What is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the manifest's {0}")]
pub struct ManifestError(pub String);

/// Most numbers a policy may carry for each row.
pub const MEMO_MAX: usize = 64;

/// The contract this host speaks.
pub const API: &str = "0.1";

impl Manifest {
    /// A manifest that asks for everything, for a script that comes without one.
    pub fn plain(name: &str, kinds: &[Kind]) -> Self {
        let wants = |kind: &Kind| {
            (
                *kind,
                Wants {
                    memo: if *kind == Kind::Auth { 0 } else { 8 },
                    ..Wants::default()
                },
            )
        };
        Self {
            name: name.to_owned(),
            version: "0.0.0".to_owned(),
            api: API.to_owned(),
            kinds: kinds.iter().map(wants).collect(),
            config_schema: None,
            imports: Vec::new(),
        }
    }

    /// Its major version: what carries over from one version to the next does so within one.
    pub fn major(&self) -> u64 {
        let major = self.version.split('.').next();
        major.and_then(|major| major.parse().ok()).unwrap_or(0)
    }

    /// Holds a configuration to the schema; without one, anything is passed on.
    pub fn check_config(&self, config: &serde_json::Value) -> Result<(), ConfigError> {
        match &self.config_schema {
            Some(schema) => schema::validate(schema, config),
            None => Ok(()),
        }
    }

    /// Checks it against the contract.
    pub fn check(&self) -> Result<(), ManifestError> {
        truth::check(self).map_err(ManifestError)
    }

    /// The columns of a row of a kind, in the order the policy wants them.
    pub fn columns(&self, kind: Kind) -> Vec<Column> {
        self.kinds
            .get(&kind)
            .map_or_else(Vec::new, |wants| named(&wants.columns, kind.inputs()))
    }

    /// The columns of a rung, in the order the policy wants them.
    pub fn rung_columns(&self, kind: Kind) -> Vec<Column> {
        self.kinds
            .get(&kind)
            .map_or_else(Vec::new, |wants| named(&wants.rung_columns, column::RUNG))
    }

    /// Numbers carried for each row of a kind.
    pub fn memo(&self, kind: Kind) -> usize {
        self.kinds.get(&kind).map_or(0, |wants| wants.memo)
    }

    /// What a reason means.
    pub fn reason(&self, kind: Kind, code: f64) -> String {
        let text = self.kinds.get(&kind).and_then(|wants| {
            // A number that is no small whole number names no reason.
            wants
                .reasons
                .iter()
                .zip(0u32..)
                .find(|(_, at)| f64::from(*at) == code)
                .map(|(text, _)| text.clone())
        });
        text.unwrap_or_else(|| format!("reason {code}"))
    }
}

fn named(names: &[String], known: &'static [Column]) -> Vec<Column> {
    if names.is_empty() {
        return known.to_vec();
    }
    names
        .iter()
        .filter_map(|name| known.iter().find(|column| column.name == name).copied())
        .collect()
}
