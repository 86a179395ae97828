//! What can be said of a file without running or compiling any of it.

use lockgate_policy::{Limits, LoadError, Manifest};
use wasmparser::{BinaryReaderError, Encoding, Parser, Payload};

use crate::{
    encode,
    host::{MEMORIES_MAX, table_elements_max},
};

/// The custom section that holds a policy's manifest, as JSON.
pub const MANIFEST_SECTION: &str = "lockgate:manifest";

/// What a file holds.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    is_component: bool,
    /// It carries the description from which a module becomes a component.
    has_component_type: bool,
    manifests: Vec<Vec<u8>>,
    /// Names of what it imports; of a core module, the interfaces it has functions of.
    pub(crate) imports: Vec<String>,
    /// Names of what it exports; of a core module, the interfaces it has functions for.
    pub(crate) exports: Vec<String>,
    /// Functions of all modules in it.
    functions: u64,
    /// Memories of all modules in it.
    memories: u64,
    /// The largest memory it begins with, in bytes.
    memory_bytes: u64,
    /// The largest table it begins with.
    table_elements: u64,
}

/// Turns a core module that carries its component type into a component. A component passes unchanged.
pub fn componentize(bytes: &[u8]) -> Result<Vec<u8>, LoadError> {
    let outline = Outline::read(bytes)?;
    let manifest = outline.manifest()?;
    outline.componentize(bytes, &manifest)
}

impl Outline {
    /// Reads a file's sections.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        if bytes.is_empty() {
            return Err(LoadError::new("the file is empty"));
        }
        if !bytes.starts_with(b"\0asm") {
            let what = "the file is no WebAssembly: it does not begin with \\0asm. Give it a component \
                        (.wasm), not its text or its source";
            return Err(LoadError::new(what));
        }
        let mut outline = Self::default();
        outline
            .sections(bytes)
            .map_err(|error| LoadError::new(format!("the file is broken: {error}")))?;
        Ok(outline)
    }

    fn sections(&mut self, bytes: &[u8]) -> Result<(), BinaryReaderError> {
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            match payload? {
                Payload::Version { encoding, .. } => {
                    self.is_component |= depth == 0 && encoding == Encoding::Component;
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CustomSection(section) => {
                    if section.name() == MANIFEST_SECTION {
                        self.manifests.push(section.data().to_vec());
                    }
                    // Within a component these are left over from how it was made.
                    self.has_component_type |=
                        depth == 0 && section.name().starts_with(encode::DESCRIPTION);
                }
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        self.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        self.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::ImportSection(section) if depth == 0 => {
                    for import in section.into_imports() {
                        let module = import?.module;
                        if !self.imports.iter().any(|import| import == module) {
                            self.imports.push(module.to_owned());
                        }
                    }
                }
                Payload::ExportSection(section) if depth == 0 => {
                    for export in section {
                        // A module has functions for what a component exports as interfaces: `INTERFACE#FUNCTION`.
                        if let Some((interface, _)) = export?.name.split_once('#')
                            && !interface.starts_with("cabi_")
                            && !self.exports.iter().any(|export| export == interface)
                        {
                            self.exports.push(interface.to_owned());
                        }
                    }
                }
                Payload::FunctionSection(section) => {
                    self.functions = self.functions.saturating_add(u64::from(section.count()));
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        self.memories = self.memories.saturating_add(1);
                        let bytes = memory?.initial.saturating_mul(PAGE);
                        self.memory_bytes = self.memory_bytes.max(bytes);
                    }
                }
                Payload::TableSection(section) => {
                    for table in section {
                        self.table_elements = self.table_elements.max(table?.ty.initial);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses what could not run within its limits, before time is spent on compiling it.
    pub(crate) fn check_sizes(&self, limits: &Limits) -> Result<(), LoadError> {
        let large = limits.large;
        let memories_max = if large {
            LARGE_MEMORIES_MAX
        } else {
            u64::from(MEMORIES_MAX)
        };
        let functions_max = if large {
            LARGE_FUNCTIONS_MAX
        } else {
            FUNCTIONS_MAX
        };
        // What is there, what may be, and the key of the configuration that grants more.
        let checks = [
            ("functions", self.functions, functions_max, "large"),
            ("memories", self.memories, memories_max, "large"),
            (
                "bytes of memory",
                self.memory_bytes,
                limits.memory_bytes as u64,
                "memory_mb",
            ),
            (
                "table entries",
                self.table_elements,
                table_elements_max(large) as u64,
                "large",
            ),
        ];
        for (what, wanted, most, key) in checks {
            if wanted > most {
                let advice = match key {
                    "large" if large => "It is too large for any policy".to_owned(),
                    "large" => advice("large", "true"),
                    key => advice(key, &wanted.div_ceil(1 << 20).to_string()),
                };
                return Err(LoadError::new(format!(
                    "it begins with {wanted} {what}; {most} is the most. {advice}"
                )));
            }
        }
        Ok(())
    }

    /// The manifest, checked.
    pub(crate) fn manifest(&self) -> Result<Manifest, LoadError> {
        let json = match self.manifests.as_slice() {
            [json] => json,
            [] => {
                return Err(LoadError::new(format!(
                    "it has no manifest: a custom section {MANIFEST_SECTION:?} with JSON. The Rust SDK makes one from \
                     plugin.toml"
                )));
            }
            more => {
                let what = format!("it has {} manifests; one is wanted", more.len());
                return Err(LoadError::new(what));
            }
        };
        let manifest: Manifest = serde_json::from_slice(json)
            .map_err(|error| LoadError::new(format!("its manifest cannot be read: {error}")))?;
        manifest.check().map_err(LoadError::new)?;
        Ok(manifest)
    }

    /// The file as a component.
    pub(crate) fn componentize(
        &self,
        bytes: &[u8],
        manifest: &Manifest,
    ) -> Result<Vec<u8>, LoadError> {
        if self.is_component {
            return Ok(bytes.to_vec());
        }
        if !self.has_component_type {
            let what = "it is a core module, not a component, and does not say how to become one. Build it with the \
                        SDK or another generator of WIT bindings, or turn it into a component with `wasm-tools \
                        component embed` and `component new`";
            return Err(LoadError::new(what));
        }
        encode::component(bytes, manifest).map_err(|error| {
            LoadError::new(format!(
                "it is a core module that cannot become a component: {error:#}"
            ))
        })
    }
}

/// A page of memory, in bytes.
const PAGE: u64 = 65_536;

/// Most functions in a policy. The reference policies have about a hundred.
const FUNCTIONS_MAX: u64 = 20_000;

/// Most functions in a large policy.
const LARGE_FUNCTIONS_MAX: u64 = 200_000;

/// Most memories in a large policy.
const LARGE_MEMORIES_MAX: u64 = 16;

/// How an operator grants more.
pub(crate) fn advice(key: &str, value: &str) -> String {
    let why = match key {
        "large" => "; that is for policies that bring an interpreter along",
        _ => "",
    };
    format!("Set {key} = {value} in [policies.limits.KIND], KIND being what it decides{why}")
}
