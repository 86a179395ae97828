//! What a policy may take.

use lockgate_policy::Limits;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the policy of a kind may take. What is not said is the default, or that of a large policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyLimits {
    /// It may bring an interpreter along, as policies in JavaScript and Python do.
    pub large: bool,
    /// Memory of an instance in MiB, 1 to 64, or to 512 if large.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<usize>,
    /// Size of the file in MiB, 1 to 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_mb: Option<usize>,
    /// Steps of a call, 1 to 10⁹: Wasm instructions or Luau steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Steps for each row besides, 1 to 10⁸.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps_per_row: Option<u64>,
}

impl PolicyLimits {
    /// The limits in the units of the hosts.
    pub fn resolve(&self) -> Limits {
        let base = if self.large {
            Limits::LARGE
        } else {
            Limits::default()
        };
        let bytes = |mb: Option<usize>, default| mb.map_or(default, |mb| mb << 20);
        Limits {
            memory_bytes: bytes(self.memory_mb, base.memory_bytes),
            artifact_bytes: bytes(self.size_mb, base.artifact_bytes),
            steps: self.steps.unwrap_or(base.steps),
            steps_per_row: self.steps_per_row.unwrap_or(base.steps_per_row),
            ..base
        }
    }

    /// The first key that is out of its range, as `key: what`.
    pub(super) fn check(&self) -> Result<(), String> {
        let memory_mb_max = if self.large { 512 } else { 64 };
        let within = |key: &str, value: Option<u64>, most: u64| match value {
            Some(value) if !(1..=most).contains(&value) => {
                Err(format!("{key}: {value} is not within 1 to {most}"))
            }
            _ => Ok(()),
        };
        within(
            "memory_mb",
            self.memory_mb.map(|mb| mb as u64),
            memory_mb_max,
        )
        .map_err(|what| {
            let hint = if self.large {
                ""
            } else {
                "; large = true allows 512"
            };
            what + hint
        })?;
        within("size_mb", self.size_mb.map(|mb| mb as u64), 64)?;
        within("steps", self.steps, 1_000_000_000)?;
        within("steps_per_row", self.steps_per_row, 100_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_the_default_of_its_size() {
        assert_eq!(PolicyLimits::default().resolve(), Limits::default());
        let large = PolicyLimits {
            large: true,
            memory_mb: Some(128),
            ..PolicyLimits::default()
        };
        let wanted = Limits {
            memory_bytes: 128 << 20,
            ..Limits::LARGE
        };
        assert_eq!(large.resolve(), wanted);
        assert_eq!(large.check(), Ok(()));
    }

    #[test]
    fn a_limit_out_of_its_range_is_named() {
        let limits = PolicyLimits {
            memory_mb: Some(128),
            ..PolicyLimits::default()
        };
        let what = limits.check().unwrap_err();
        assert_eq!(
            what,
            "memory_mb: 128 is not within 1 to 64; large = true allows 512"
        );
    }
}
