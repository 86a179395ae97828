//! A loaded policy, from which instances are made.

use std::sync::Arc;

use lockgate_policy::{
    Artifact, Fault, Kind, Limits, Manifest, Policy, Services, auth, column, engine,
};
use serde_json::Value;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use crate::{
    guard::Guard,
    host::Host,
    instance::{Live, WasmPolicy},
};

/// A Wasm policy, compiled and checked. Cheap to clone.
#[derive(Clone)]
pub struct WasmArtifact {
    loaded: Arc<Loaded>,
}

/// All that instances share.
pub(crate) struct Loaded {
    pub(crate) host: Host,
    pub(crate) pre: InstancePre<Guard>,
    pub(crate) configure: ComponentExportIndex,
    /// The function of each kind, in the order of `Kind::ALL`.
    pub(crate) functions: [Option<ComponentExportIndex>; Kind::ALL.len()],
    pub(crate) manifest: Manifest,
    pub(crate) digest: String,
    pub(crate) limits: Limits,
}

impl WasmArtifact {
    pub(crate) fn new(loaded: Arc<Loaded>) -> Self {
        Self { loaded }
    }

    /// The limits it runs under.
    pub fn limits(&self) -> Limits {
        self.loaded.limits
    }
}

impl Artifact for WasmArtifact {
    fn manifest(&self) -> &Manifest {
        &self.loaded.manifest
    }

    fn digest(&self) -> &str {
        &self.loaded.digest
    }

    fn spares(&self) -> usize {
        // One with an interpreter in it takes megabytes and milliseconds.
        if self.loaded.limits.large {
            0
        } else {
            usize::MAX
        }
    }

    fn instantiate_with(
        &self,
        config: &Value,
        services: &Services,
    ) -> Result<Box<dyn Policy>, Fault> {
        let config = config.to_string();
        let live = Live::start(&self.loaded, &config, services)?;
        let loaded = Arc::clone(&self.loaded);
        Ok(Box::new(WasmPolicy::new(
            loaded,
            config,
            services.clone(),
            live,
        )))
    }
}

impl std::fmt::Debug for WasmArtifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WasmArtifact")
            .field("manifest", &self.loaded.manifest)
            .field("digest", &self.loaded.digest)
            .finish_non_exhaustive()
    }
}

impl Loaded {
    /// Steps that a call may take: what the operator grants, or what the manifest says it needs if that is less.
    pub(crate) fn steps(&self, kind: Kind, rows: usize) -> u64 {
        let wants = self.manifest.kinds.get(&kind);
        let least = |granted: u64, wanted: Option<u64>| {
            wanted
                .filter(|wanted| *wanted > 0)
                .map_or(granted, |wanted| wanted.min(granted))
        };
        let call = least(self.limits.steps, wants.map(|wants| wants.budget));
        let row = least(
            self.limits.steps_per_row,
            wants.map(|wants| wants.budget_per_row),
        );
        call.saturating_add(row.saturating_mul(rows as u64))
    }

    /// The index of the function of a kind.
    pub(crate) fn function(&self, kind: Kind) -> Option<ComponentExportIndex> {
        let at = Kind::ALL.iter().position(|other| *other == kind)?;
        self.functions[at]
    }

    /// What the lengths of a batch of a kind must be.
    pub(crate) fn check(&self, kind: Kind, batch: &engine::Batch) -> Result<(), Fault> {
        let widths = [
            (
                "rows",
                batch.rows.len(),
                batch.row_count,
                column::width(&self.manifest.columns(kind)),
            ),
            (
                "rungs",
                batch.rungs.len(),
                batch.rung_count,
                column::width(&self.manifest.rung_columns(kind)),
            ),
            (
                "memo",
                batch.memo.len(),
                batch.row_count,
                self.manifest.memo(kind),
            ),
        ];
        for (what, length, count, width) in widths {
            if count.checked_mul(width) != Some(length) {
                return Err(Fault::Host(format!(
                    "the batch has {length} numbers of {what}, not {count} times {width}"
                )));
            }
        }
        Ok(())
    }

    /// Steps that judging a request may take: it counts as a row for each begun KiB of its text.
    pub(crate) fn steps_of_request(&self, text_bytes: usize) -> u64 {
        self.steps(Kind::Auth, 1 + text_bytes / 1024)
    }

    /// The claims of a request as they cross; empty for none.
    pub(crate) fn claims(request: &auth::Request) -> Result<String, Fault> {
        if request.claims.is_empty() {
            return Ok(String::new());
        }
        serde_json::to_string(&request.claims)
            .map_err(|error| Fault::Host(format!("the claims cannot be written: {error}")))
    }
}
