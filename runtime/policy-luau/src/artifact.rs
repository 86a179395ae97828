//! Loads a script: checks it, compiles it once, and makes instances from what was compiled.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, thread};

use lockgate_policy::{Artifact, Fault, Kind, Limits, LoadError, Manifest, Policy, Services};
use mlua::{Error, chunk::Compiler};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{fault, fill, instance::Instance, source};

/// Bytes a script may have. The compiler can neither be stopped nor be held to a memory limit.
pub const SOURCE_MAX: usize = 64 << 10;
/// The stack to compile on: the parser descends up to a thousand levels.
const COMPILER_STACK: usize = 32 << 20;

/// The engine for scripts in Luau.
#[derive(Debug)]
pub struct Luau;

/// A script that was checked and compiled.
#[derive(Debug)]
pub struct LuauArtifact {
    pub(crate) script: Arc<Script>,
    digest: String,
}

/// What instances are made from.
#[derive(Debug)]
pub(crate) struct Script {
    /// Its name before line numbers: `reference.luau`.
    pub(crate) name: String,
    /// Made by our own compiler from the source; bytecode from elsewhere is never run.
    pub(crate) bytecode: Vec<u8>,
    /// What walks the rows of each kind: see `fill`.
    pub(crate) rows: BTreeMap<Kind, Vec<u8>>,
    pub(crate) manifest: Manifest,
    pub(crate) limits: Limits,
}

/// The function a script answers a kind with.
pub(crate) fn function_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => "recommend",
        Kind::Optimize => "optimize",
        Kind::Score => "score",
        Kind::Ladder => "plan",
        Kind::Auth => "authorize",
    }
}

impl Luau {
    /// Loads a script with the text of the TOML manifest that stands beside it, if there is one.
    ///
    /// `name` is what errors call the script: its file's name. Without a manifest its kinds follow from the functions
    /// it returns and its reasons are the texts that stand in it, in their order.
    ///
    /// Blocks for some milliseconds; not to be called on a thread that media waits for.
    pub fn load(
        name: &str,
        source: &[u8],
        manifest: Option<&str>,
        limits: Limits,
    ) -> Result<LuauArtifact, LoadError> {
        let manifest = manifest
            .map(|text| {
                toml::from_str::<Manifest>(text).map_err(|error| {
                    LoadError::new(format!("the manifest of {name} cannot be read: {error}"))
                })
            })
            .transpose()?;
        Self::load_with(name, source, manifest, limits)
    }

    /// Loads a script with a manifest that was read already.
    pub fn load_with(
        name: &str,
        source: &[u8],
        manifest: Option<Manifest>,
        limits: Limits,
    ) -> Result<LuauArtifact, LoadError> {
        let text = checked(name, source, &limits)?;
        let scan = source::scan(text);
        if let Some(line) = scan.too_deep_on {
            let most = source::DEPTH_MAX;
            return Err(LoadError::new(format!(
                "{name}:{line}: more than {most} brackets are open at once; take the expression apart"
            )));
        }
        if let Some(manifest) = &manifest {
            manifest
                .check()
                .map_err(|error| LoadError::new(format!("{name}: {error}")))?;
        }
        let compiled = compile(name, text)?;
        let script = Script {
            name: name.to_owned(),
            bytecode: compiled,
            rows: BTreeMap::new(),
            manifest: manifest
                .clone()
                .unwrap_or_else(|| Manifest::plain(name, &[])),
            limits,
        };
        let kinds = Instance::kinds(&script).map_err(|fault| match fault {
            Fault::Trap(what) | Fault::BadOutput(what) => LoadError::new(what),
            other => LoadError::new(format!("{name}: while it was loaded, {other}")),
        })?;
        let manifest = settle(name, manifest, &kinds, &scan.texts)?;
        let rows = rows(&manifest)?;
        let mut digest = String::new();
        for byte in Sha256::digest(source) {
            // Writing to a String cannot fail.
            let _infallible = write!(digest, "{byte:02x}");
        }
        Ok(LuauArtifact {
            script: Arc::new(Script {
                rows,
                manifest,
                ..script
            }),
            digest,
        })
    }
}

impl Artifact for LuauArtifact {
    fn manifest(&self) -> &Manifest {
        &self.script.manifest
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn instantiate_with(
        &self,
        config: &Value,
        services: &Services,
    ) -> Result<Box<dyn Policy>, Fault> {
        let instance = Instance::new(&self.script, config, services)?;
        Ok(Box::new(instance))
    }
}

/// Compiles what walks the rows of the kinds that have some.
fn rows(manifest: &Manifest) -> Result<BTreeMap<Kind, Vec<u8>>, LoadError> {
    let compiler = Compiler::new().set_optimization_level(2);
    let mut compiled = BTreeMap::new();
    for kind in manifest.kinds.keys() {
        if let Some(source) = fill::rows(manifest, *kind) {
            let bytecode = compiler.compile(source).map_err(|error| {
                LoadError::new(format!(
                    "the host's own part of {kind} does not compile: {error}"
                ))
            })?;
            compiled.insert(*kind, bytecode);
        }
    }
    Ok(compiled)
}

/// The source as text, if it can be one.
fn checked<'a>(name: &str, source: &'a [u8], limits: &Limits) -> Result<&'a str, LoadError> {
    let most = SOURCE_MAX.min(limits.artifact_bytes);
    if source.len() > most {
        let what = format!(
            "{name} has {} bytes; a script may have {most}",
            source.len()
        );
        return Err(LoadError::new(what));
    }
    if source.iter().all(u8::is_ascii_whitespace) {
        let what = format!("{name} is empty; a policy returns a table with its functions");
        return Err(LoadError::new(what));
    }
    std::str::from_utf8(source)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| {
            let what = "is no text in UTF-8; a policy is Luau source, never bytecode";
            LoadError::new(format!("{name} {what}"))
        })
}

/// What scripts are compiled with. The VM answers calls of its built-ins itself, even of those that were removed.
fn compiler() -> Compiler {
    Compiler::new()
        .set_optimization_level(2)
        .add_disabled_builtin("rawset")
}

/// Compiles on a stack of its own, so that no source can run over the caller's.
fn compile(name: &str, text: &str) -> Result<Vec<u8>, LoadError> {
    let compiled = thread::scope(|scope| {
        thread::Builder::new()
            .name("luau-compile".to_owned())
            .stack_size(COMPILER_STACK)
            .spawn_scoped(scope, || {
                // An error of Luau stays on its thread; its words may go.
                compiler()
                    .compile(text)
                    .map_err(|error| syntax(name, &error))
            })
            .map(thread::ScopedJoinHandle::join)
    });
    match compiled {
        Ok(Ok(Ok(bytecode))) => Ok(bytecode),
        Ok(Ok(Err(error))) => Err(LoadError::new(error)),
        Ok(Err(_)) => Err(LoadError::new(format!("{name}: the compiler failed"))),
        Err(error) => Err(LoadError::new(format!(
            "{name}: no thread to compile on: {error}"
        ))),
    }
}

/// The compiler says `:LINE: what`, with or without a name before it.
fn syntax(name: &str, error: &Error) -> String {
    let words = fault::words(error, name);
    let words = words.trim_start_matches(':');
    if words.starts_with(|first: char| first.is_ascii_digit()) {
        format!("{name}:{words}")
    } else {
        format!("{name}: {words}")
    }
}

/// The manifest as the host will use it: given or made, with kinds that the script really answers.
fn settle(
    name: &str,
    given: Option<Manifest>,
    kinds: &[Kind],
    texts: &[String],
) -> Result<Manifest, LoadError> {
    let functions = || Kind::ALL.map(function_of).join(", ");
    if kinds.is_empty() {
        return Err(LoadError::new(format!(
            "{name} returns a table without any of the functions of a policy: {}",
            functions()
        )));
    }
    let mut manifest = match given {
        None => Manifest::plain(name, kinds),
        Some(manifest) => {
            if let Some(kind) = manifest.kinds.keys().find(|kind| !kinds.contains(kind)) {
                let function = function_of(*kind);
                return Err(LoadError::new(format!(
                    "the manifest of {name} names the kind {kind}, but the script returns no function {function}"
                )));
            }
            if let Some(kind) = kinds.iter().find(|kind| !manifest.kinds.contains_key(kind)) {
                let function = function_of(*kind);
                return Err(LoadError::new(format!(
                    "{name} returns a function {function}, but its manifest has no [kinds.{kind}]; add it, or remove the function"
                )));
            }
            manifest
        }
    };
    for (kind, wants) in &mut manifest.kinds {
        if wants.reasons.is_empty() && *kind != Kind::Auth {
            wants.reasons = texts.to_vec();
        }
    }
    Ok(manifest)
}
