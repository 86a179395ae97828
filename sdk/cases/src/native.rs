//! A plain Rust function as a policy, so that `cargo test` puts the same cases to it as `lockgate policy test` does to
//! the component built from it.

use std::sync::Arc;

use lockgate_policy::{
    Answer, Artifact, Batch, Fault, Kind, Manifest, Policy, Spent, auth, conformance,
};
use serde_json::Value;

use crate::{Cases, run};

/// Answers a batch of a kind with a configuration.
pub type Decide = dyn Fn(&Value, &Manifest, &Batch) -> Result<Answer, String> + Send + Sync;
/// Answers a request with a configuration.
pub type Authorize = dyn Fn(&Value, &auth::Request) -> Result<auth::Verdict, String> + Send + Sync;

/// A function that answers a kind.
#[derive(Clone)]
pub enum Function {
    /// About rows.
    Rows(Kind, Arc<Decide>),
    /// About requests.
    Requests(Arc<Authorize>),
}

/// Plain functions with the manifest of the plugin they become.
pub struct Native {
    manifest: Manifest,
    functions: Vec<Function>,
}

impl Native {
    /// With the text of `plugin.toml`.
    ///
    /// # Panics
    /// Where the manifest is none: this is for tests.
    pub fn new(manifest: &str, functions: Vec<Function>) -> Self {
        let manifest: Manifest = match toml::from_str(manifest) {
            Ok(manifest) => manifest,
            Err(error) => panic!("plugin.toml: {error}"),
        };
        Self {
            manifest,
            functions,
        }
    }

    /// Puts the cases of a file to the functions, and the rules that every policy keeps.
    ///
    /// # Panics
    /// Where a case or a rule does not hold, with all that does not.
    pub fn hold(&self, file: &str, text: &str) {
        let cases = match Cases::parse(text) {
            Ok(cases) => cases,
            Err(bad) => panic!("{file}, {bad}"),
        };
        let report = run(self, &Value::Null, &cases);
        assert!(report.holds(), "{file}:\n{report}");
        if let Err(broken) = conformance::check(self, &Value::Null, VECTORS) {
            panic!("a rule is broken: {broken}");
        }
    }
}

impl Artifact for Native {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn digest(&self) -> &'static str {
        "native"
    }

    fn instantiate(&self, config: &Value) -> Result<Box<dyn Policy>, Fault> {
        let instance = Instance {
            manifest: self.manifest.clone(),
            functions: self.functions.clone(),
            config: config.clone(),
        };
        // A configuration that is refused is refused at once, as a component does: nothing is asked yet.
        for function in &instance.functions {
            let refused = match function {
                Function::Rows(_, decide) => {
                    decide(config, &self.manifest, &conformance::empty()).err()
                }
                Function::Requests(_) => None,
            };
            if let Some(what) = refused {
                return Err(Fault::Configuration(what));
            }
        }
        Ok(Box::new(instance))
    }
}

struct Instance {
    manifest: Manifest,
    functions: Vec<Function>,
    config: Value,
}

impl Policy for Instance {
    fn decide(&mut self, kind: Kind, batch: &Batch, answer: &mut Answer) -> Result<Spent, Fault> {
        for function in &self.functions {
            if let Function::Rows(own, decide) = function
                && *own == kind
            {
                *answer = decide(&self.config, &self.manifest, batch).map_err(Fault::Trap)?;
                return Ok(Spent::default());
            }
        }
        Err(Fault::NotAnswered(kind))
    }

    fn authorize(&mut self, request: &auth::Request) -> Result<(auth::Verdict, Spent), Fault> {
        for function in &self.functions {
            if let Function::Requests(authorize) = function {
                let verdict = authorize(&self.config, request).map_err(Fault::Trap)?;
                return Ok((verdict, Spent::default()));
            }
        }
        Err(Fault::NotAnswered(Kind::Auth))
    }
}

/// Vectors a kind, as many as `lockgate policy check` tries.
const VECTORS: usize = 300;
