//! From a file to an artifact: every check that can be made before any of it runs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use lockgate_policy::{Kind, Limits, LoadError, Manifest, manifest::API};
use sha2::{Digest, Sha256};
use wasmtime::component::{
    Component, ComponentExportIndex,
    types::{ComponentFunc, ComponentItem},
};

use crate::{
    artifact::{Loaded, WasmArtifact},
    cache::hex,
    host::{Host, Runtime},
    imports,
    inspect::{Outline, advice},
    wire::{self, AuthParams, AuthResults, BatchParams, BatchResults},
};

impl Host {
    /// Loads a policy: checks it against the contract, compiles it, and takes it from the cache where it can.
    ///
    /// This takes some 50 ms and all of a core, and up to seconds for a file that means ill; call it from a thread that
    /// may block. `name` is for messages: a file's name or a URL.
    pub fn load(
        &self,
        name: &str,
        bytes: &[u8],
        limits: Limits,
    ) -> Result<WasmArtifact, LoadError> {
        self.load_unnamed(bytes, limits)
            .map_err(|error| LoadError::new(format!("{name}: {error}")))
    }

    fn load_unnamed(&self, bytes: &[u8], limits: Limits) -> Result<WasmArtifact, LoadError> {
        if bytes.len() > limits.artifact_bytes {
            return Err(LoadError::new(format!(
                "it is {} bytes; {} is the most. {}",
                bytes.len(),
                limits.artifact_bytes,
                advice("size_mb", &bytes.len().div_ceil(1 << 20).to_string())
            )));
        }
        let memory_bytes_max = self.memory_bytes_max(&limits);
        if limits.memory_bytes > memory_bytes_max {
            return Err(LoadError::new(format!(
                "its memory limit is {} bytes; this host grants no more than {memory_bytes_max}",
                limits.memory_bytes,
            )));
        }
        let outline = Outline::read(bytes)?;
        outline.check_sizes(&limits)?;
        let manifest = outline.manifest()?;
        check_budgets(&manifest, &limits)?;
        imports::check(&outline.imports, &manifest)?;
        exported(&outline.exports, "lifecycle")?;
        check_kinds(&outline.exports, &manifest)?;
        let source = outline.componentize(bytes, &manifest)?;
        // A module has become something else; a component is read once more for nothing, which costs little.
        let outline = Outline::read(&source)?;
        imports::check(&outline.imports, &manifest)?;
        let lifecycle = exported(&outline.exports, "lifecycle")?;

        let digest = hex(&Sha256::digest(bytes));
        let runtime = self.runtime(&limits);
        let component = compile(runtime, &digest, &source)?;
        let configure = function(&component, lifecycle, "configure", |func, component| {
            typecheck::<wire::ConfigureParams<'_>, wire::ConfigureResults>(func, component)
        })?;
        let mut functions = [None; Kind::ALL.len()];
        for (place, kind) in functions.iter_mut().zip(Kind::ALL) {
            if manifest.kinds.contains_key(&kind) {
                let interface = exported(&outline.exports, kind.name())?;
                let check = match kind {
                    Kind::Auth => typecheck::<AuthParams<'_>, AuthResults>,
                    _ => typecheck::<BatchParams<'_>, BatchResults>,
                };
                *place = Some(function(
                    &component,
                    interface,
                    wire::function(kind),
                    check,
                )?);
            }
        }
        let linker = imports::linker(&runtime.engine, &outline.imports)?;
        let pre = linker
            .instantiate_pre(&component)
            .map_err(|error| LoadError::new(format!("it cannot be linked: {error:#}")))?;
        Ok(WasmArtifact::new(Arc::new(Loaded {
            host: self.clone(),
            pre,
            configure,
            functions,
            manifest,
            digest,
            limits,
        })))
    }
}

fn compile(runtime: &Runtime, digest: &str, source: &[u8]) -> Result<Component, LoadError> {
    let Runtime { engine, cache } = runtime;
    if let Some(component) = cache.as_ref().and_then(|cache| cache.get(digest, engine)) {
        return Ok(component);
    }
    // The compiler panics over some components that it should refuse; a file from outside must not take the server along.
    let component = catch_unwind(AssertUnwindSafe(|| Component::from_binary(engine, source)))
        .map_err(|_| LoadError::new("it is not what the compiler expects"))?
        .map_err(|error| LoadError::new(format!("it does not compile: {error:#}")))?;
    if let Some(cache) = cache {
        // A full disk costs time at the next start and nothing else.
        drop(cache.put(digest, &component));
    }
    Ok(component)
}

/// The full name under which an interface of the contract is exported.
fn exported<'a>(exports: &'a [String], interface: &str) -> Result<&'a str, LoadError> {
    let wanted = format!("{PACKAGE}{interface}@{API}.");
    if let Some(export) = exports.iter().find(|export| export.starts_with(&wanted)) {
        return Ok(export);
    }
    let other = format!("{PACKAGE}{interface}@");
    let what = match exports.iter().find(|export| export.starts_with(&other)) {
        Some(export) => {
            format!("it exports {export:?}; this host speaks {API}. Build it with the SDK of {API}")
        }
        None => format!(
            "it does not export \"{PACKAGE}{interface}@{API}.0\", which its manifest promises; it exports {exports:?}"
        ),
    };
    Err(LoadError::new(what))
}

/// A policy that says it needs more steps than it gets would fail while serving; it is told before.
fn check_budgets(manifest: &Manifest, limits: &Limits) -> Result<(), LoadError> {
    for (kind, wants) in &manifest.kinds {
        for (budget, key, wanted, granted) in [
            ("budget", "steps", wants.budget, limits.steps),
            (
                "budget_per_row",
                "steps_per_row",
                wants.budget_per_row,
                limits.steps_per_row,
            ),
        ] {
            if wanted > granted {
                return Err(LoadError::new(format!(
                    "its manifest says kinds.{kind}.{budget} = {wanted}; {granted} steps are granted. Set {key} = {wanted} \
                     in [policies.limits.{kind}], or large = true if it brings an interpreter along"
                )));
            }
        }
    }
    Ok(())
}

/// A policy exports what its manifest claims, and claims what it exports.
fn check_kinds(exports: &[String], manifest: &Manifest) -> Result<(), LoadError> {
    for kind in Kind::ALL {
        if manifest.kinds.contains_key(&kind) {
            exported(exports, kind.name())?;
        } else if let Ok(export) = exported(exports, kind.name()) {
            return Err(LoadError::new(format!(
                "it exports {export:?}, but its manifest does not name the kind {kind}; add [kinds.{kind}] or leave \
                 the export out"
            )));
        }
    }
    Ok(())
}

/// Finds a function of an exported interface and holds it to the contract's types.
fn function(
    component: &Component,
    interface: &str,
    name: &str,
    check: impl FnOnce(&ComponentFunc, &Component) -> wasmtime::Result<()>,
) -> Result<ComponentExportIndex, LoadError> {
    let found = component
        .get_export_index(None, interface)
        .and_then(|instance| component.get_export(Some(&instance), name));
    match found {
        Some((ComponentItem::ComponentFunc(func), index)) => {
            check(&func, component).map_err(|error| {
                LoadError::new(format!(
                    "its {interface}#{name} has other types than the contract: {error:#}"
                ))
            })?;
            Ok(index)
        }
        _ => Err(LoadError::new(format!(
            "its {interface:?} has no function {name:?}"
        ))),
    }
}

fn typecheck<P, R>(func: &ComponentFunc, component: &Component) -> wasmtime::Result<()>
where
    P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower,
    R: wasmtime::component::ComponentNamedList + wasmtime::component::Lift,
{
    func.typecheck::<P, R>(&component.component_type().instance_type())
}

pub(crate) const PACKAGE: &str = "lockgate:policy/";
