//! A plain Rust function as a policy, so that `cargo test` puts the same cases to it as `lockgate policy test` does to
//! the component built from it.

use std::sync::Arc;

pub use lockgate_policy::{Answer, Batch, Kind, Manifest, auth};
use lockgate_policy::{Artifact, Fault, Policy, Services, Spent, conformance};
pub use serde_json::Value;

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

    fn instantiate_with(&self, config: &Value, _: &Services) -> Result<Box<dyn Policy>, Fault> {
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

/// Tests plain functions with a case file, as `lockgate policy test` tests the component built from them:
/// `lockgate_cases::cases!("abr.cases.toml", abr = recommend);`, or with several kinds, `…, abr = recommend, score =
/// grade`. The file is found from the folder of `Cargo.toml`; the functions are those of `#[policy]` or `policies!`.
#[macro_export]
macro_rules! cases {
    ($file:literal, $($kind:ident = $function:path),+ $(,)?) => {
        #[cfg(test)]
        mod cases {
            #[allow(unused_imports, reason = "a function may be named by its whole path")]
            use super::*;

            #[test]
            fn every_case_holds() {
                let manifest = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/plugin.toml"));
                let cases = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $file));
                let functions = vec![$($crate::__native!($kind, $function)),+];
                $crate::native::Native::new(manifest, functions).hold($file, cases);
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __native {
    (abr, $function:path) => {
        $crate::__native!(Abr, Viewer, viewers, $function)
    };
    (optimize, $function:path) => {
        $crate::__native!(Optimize, Viewer, viewers, $function)
    };
    (score, $function:path) => {
        $crate::__native!(Score, Viewer, viewers, $function)
    };
    (ladder, $function:path) => {
        $crate::__native!(Ladder, Source, sources, $function)
    };
    (auth, $function:path) => {
        $crate::native::Function::Requests(::std::sync::Arc::new(
            |config: &$crate::native::Value, request: &$crate::native::auth::Request| {
                use $crate::native::auth::{Action, Verdict};
                let config = ::lockgate_sdk::configuration(&config.to_string())?;
                let request = ::lockgate_sdk::auth::Request {
                    action: match request.action {
                        Action::Publish => ::lockgate_sdk::auth::Action::Publish,
                        Action::Play => ::lockgate_sdk::auth::Action::Play,
                        Action::Join => ::lockgate_sdk::auth::Action::Join,
                        Action::Admin => ::lockgate_sdk::auth::Action::Admin,
                    },
                    stream: request.stream.clone(),
                    peer: request.peer.clone(),
                    claims: ::lockgate_sdk::auth::claims(
                        &$crate::native::Value::from_iter(request.claims.clone()).to_string(),
                    ),
                    now_s: request.now_s,
                    answered: request
                        .answered
                        .clone()
                        .map(|answered| (answered.status, answered.body)),
                };
                Ok(match $function(&config, &request) {
                    ::lockgate_sdk::auth::Verdict::Allow {
                        ttl_s,
                        role,
                        cap_kbps,
                    } => Verdict::Allow {
                        ttl_s,
                        role,
                        cap_kbps,
                    },
                    ::lockgate_sdk::auth::Verdict::Deny { status, reason } => {
                        Verdict::Deny { status, reason }
                    }
                    ::lockgate_sdk::auth::Verdict::Ask { url } => Verdict::Ask { url },
                })
            },
        ))
    };
    ($kind:ident, $row:ident, $layout:ident, $function:path) => {
        $crate::native::Function::Rows(
            $crate::native::Kind::$kind,
            ::std::sync::Arc::new(
                |config: &$crate::native::Value,
                 manifest: &$crate::native::Manifest,
                 batch: &$crate::native::Batch| {
                    let config = ::lockgate_sdk::configuration(&config.to_string())?;
                    let wants = &manifest.kinds[&$crate::native::Kind::$kind];
                    let columns: Vec<&str> = wants.columns.iter().map(String::as_str).collect();
                    let rungs: Vec<&str> = wants.rung_columns.iter().map(String::as_str).collect();
                    let layout = ::lockgate_sdk::Layout::$layout(&columns, &rungs, wants.memo);
                    let tick = ::lockgate_sdk::Tick {
                        now_ms: batch.tick.now_ms,
                        seed: batch.tick.seed,
                        mode: batch.tick.mode as u8,
                        cause: batch.tick.cause as u8,
                    };
                    let ladder = ::lockgate_sdk::Ladder::over(&batch.rungs, &layout);
                    let mut memo = batch.memo.clone();
                    let rows = ::lockgate_sdk::batch(
                        &layout,
                        &batch.rows,
                        &mut memo,
                        0,
                        |row, own, answer| {
                            let row = ::lockgate_sdk::$row::over(row, layout.places());
                            let mut own = ::lockgate_sdk::Memo::over(own);
                            $function(&config, &tick, &ladder, &row, &mut own).push(answer);
                        },
                    );
                    Ok($crate::native::Answer {
                        rows,
                        memo,
                        ..Default::default()
                    })
                },
            ),
        )
    };
}
