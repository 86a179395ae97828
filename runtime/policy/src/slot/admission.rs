//! What a policy must pass before it may decide.

use std::sync::Arc;

use serde_json::Value;

use super::seat::Seat;
use crate::{
    Artifact, Fault, Kind,
    conformance::{self, Broken},
    host::{self, Grants, NotGranted},
    schema::ConfigError,
};

/// Why a swap was refused. What was active stays so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwapError {
    /// It does not answer this kind.
    #[error("{name} does not answer {kind}; it answers {answers}")]
    OtherKind {
        /// The policy.
        name: String,
        /// The kind wanted.
        kind: Kind,
        /// What it answers.
        answers: String,
    },
    /// It wants more than the operator grants.
    #[error(transparent)]
    NotGranted(#[from] NotGranted),
    /// Its configuration is not what its schema asks for.
    #[error("the configuration of {name} is wrong at {error}. Mend [policies.parameters.{kind}]")]
    Configuration {
        /// The policy.
        name: String,
        /// The kind it is to decide.
        kind: Kind,
        /// Where and what.
        error: ConfigError,
    },
    /// It could not be started.
    #[error("it could not be started: {0}")]
    Start(Fault),
    /// It breaks a rule.
    #[error("it breaks a rule of the contract: {0}")]
    Broken(Broken),
    /// There is nothing to go back to.
    #[error("there is no policy before this one")]
    NothingBefore,
}

/// A policy that has passed every check for a kind with a configuration.
pub struct Admitted {
    kind: Kind,
    artifact: Arc<dyn Artifact>,
    config: Value,
}

/// Checks a policy for a kind: that it answers it, wants no more than is granted, takes its configuration, starts, and keeps
/// the rules on seeded vectors. Takes as long as its answers take, so not on a thread that others wait for.
pub fn admit(
    kind: Kind,
    grants: &Grants,
    artifact: Arc<dyn Artifact>,
    config: Value,
) -> Result<Admitted, SwapError> {
    let manifest = artifact.manifest();
    if !manifest.kinds.contains_key(&kind) {
        let answers: Vec<&str> = manifest.kinds.keys().map(|kind| kind.name()).collect();
        let (name, answers) = (manifest.name.clone(), answers.join(", "));
        return Err(SwapError::OtherKind {
            name,
            kind,
            answers,
        });
    }
    host::granted(manifest, kind, grants)?;
    if let Err(error) = manifest.check_config(&config) {
        return Err(SwapError::Configuration {
            name: manifest.name.clone(),
            kind,
            error,
        });
    }
    artifact.instantiate(&config).map_err(SwapError::Start)?;
    conformance::check(&*artifact, &config, VECTORS).map_err(SwapError::Broken)?;
    Ok(Admitted {
        kind,
        artifact,
        config,
    })
}

impl Admitted {
    /// The kind it was checked for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn seat(self, now_ms: u64) -> Seat {
        Seat::new(self.artifact, self.config, self.kind, 0, now_ms)
    }
}

/// Vectors a policy is tried on before it may decide.
const VECTORS: usize = 60;
