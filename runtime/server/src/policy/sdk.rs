//! The SDKs and the first policies, out of this source tree.

use lockgate_policy::Kind;

/// The Rust SDK and the contract it is made from.
pub(super) const RUST: &[(&str, &str)] = &[
    (
        "rust/Cargo.toml",
        include_str!("../../../../sdk/rust/Cargo.toml"),
    ),
    (
        "rust/macros/Cargo.toml",
        include_str!("../../../../sdk/rust/macros/Cargo.toml"),
    ),
    (
        "rust/macros/src/lib.rs",
        include_str!("../../../../sdk/rust/macros/src/lib.rs"),
    ),
    (
        "rust/src/answers.rs",
        include_str!("../../../../sdk/rust/src/answers.rs"),
    ),
    (
        "rust/src/auth.rs",
        include_str!("../../../../sdk/rust/src/auth.rs"),
    ),
    (
        "rust/src/bindings.rs",
        include_str!("../../../../sdk/rust/src/bindings.rs"),
    ),
    (
        "rust/src/columns.rs",
        include_str!("../../../../sdk/rust/src/columns.rs"),
    ),
    (
        "rust/src/glue.rs",
        include_str!("../../../../sdk/rust/src/glue.rs"),
    ),
    (
        "rust/src/host.rs",
        include_str!("../../../../sdk/rust/src/host.rs"),
    ),
    (
        "rust/src/json.rs",
        include_str!("../../../../sdk/rust/src/json.rs"),
    ),
    (
        "rust/src/json/tests.rs",
        include_str!("../../../../sdk/rust/src/json/tests.rs"),
    ),
    (
        "rust/src/lib.rs",
        include_str!("../../../../sdk/rust/src/lib.rs"),
    ),
    (
        "rust/src/rows.rs",
        include_str!("../../../../sdk/rust/src/rows.rs"),
    ),
    (
        "wit/lockgate-policy.wit",
        include_str!("../../../../sdk/wit/lockgate-policy.wit"),
    ),
];

/// The JavaScript SDK.
pub(super) const JS: &[(&str, &str)] = &[
    (
        "package.json",
        include_str!("../../../../sdk/js/policy/package.json"),
    ),
    (
        "index.js",
        include_str!("../../../../sdk/js/policy/index.js"),
    ),
    (
        "index.d.ts",
        include_str!("../../../../sdk/js/policy/index.d.ts"),
    ),
    (
        "guest.js",
        include_str!("../../../../sdk/js/policy/guest.js"),
    ),
    (
        "columns.js",
        include_str!("../../../../sdk/js/policy/columns.js"),
    ),
    (
        "manifest.js",
        include_str!("../../../../sdk/js/policy/manifest.js"),
    ),
    (
        "build.js",
        include_str!("../../../../sdk/js/policy/build.js"),
    ),
    (
        "lockgate-policy.wit",
        include_str!("../../../../sdk/wit/lockgate-policy.wit"),
    ),
];

/// The Python SDK.
pub(super) const PYTHON: &[(&str, &str)] = &[
    (
        "__init__.py",
        include_str!("../../../../sdk/python/lockgate_policy/__init__.py"),
    ),
    (
        "__main__.py",
        include_str!("../../../../sdk/python/lockgate_policy/__main__.py"),
    ),
    (
        "build.py",
        include_str!("../../../../sdk/python/lockgate_policy/build.py"),
    ),
    (
        "columns.py",
        include_str!("../../../../sdk/python/lockgate_policy/columns.py"),
    ),
    (
        "guest.py",
        include_str!("../../../../sdk/python/lockgate_policy/guest.py"),
    ),
    (
        "manifest.py",
        include_str!("../../../../sdk/python/lockgate_policy/manifest.py"),
    ),
    (
        "lockgate-policy.wit",
        include_str!("../../../../sdk/wit/lockgate-policy.wit"),
    ),
];

/// What the Python SDK builds with.
pub(super) const REQUIREMENTS: &str = include_str!("../../../../sdk/python/requirements.txt");

/// A file of the source tree.
macro_rules! text {
    ($($part:literal),+) => { include_str!(concat!("../../../../", $($part),+)) };
}

/// A text for each kind: a path below the source tree, around the kind's name.
macro_rules! of_kind {
    ($(#[doc = $doc:literal] $name:ident: $before:literal, $after:literal;)+) => {
        $(
            #[doc = $doc]
            pub(super) fn $name(kind: Kind) -> &'static str {
                match kind {
                    Kind::Abr => text!($before, "abr", $after),
                    Kind::Optimize => text!($before, "optimize", $after),
                    Kind::Score => text!($before, "score", $after),
                    Kind::Ladder => text!($before, "ladder", $after),
                    Kind::Auth => text!($before, "auth", $after),
                }
            }
        )+
    };
}

of_kind! {
    /// The reference rule's manifest as a component: with its steps.
    manifest: "plugins/", "-reference/plugin.toml";
    /// The reference rule's manifest as a script.
    script_manifest: "policies/", "/reference.toml";
    /// The reference rule as a script.
    luau: "policies/", "/reference.luau";
    /// Cases that the first policies and the reference rules answer.
    cases: "sdk/cases/templates/", ".cases.toml";
    /// A first policy in Rust, with its test.
    rust: "sdk/rust/templates/", ".rs";
    /// A first policy in JavaScript.
    js: "sdk/js/templates/", ".js";
    /// Its test.
    js_test: "sdk/js/templates/", ".test.js";
    /// A first policy in Python.
    python: "sdk/python/templates/", ".py";
    /// Its test.
    python_test: "sdk/python/templates/test_", ".py";
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// Names of files below a folder that belong to an SDK's sources.
    fn sources(folder: &Path, below: &str, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder.join(below)).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let path = format!("{below}{name}");
            if entry.file_type().unwrap().is_dir() {
                if !["target", "templates", "node_modules", "__pycache__"].contains(&name.as_str())
                {
                    sources(folder, &format!("{path}/"), found);
                }
            } else if !name.ends_with(".lock") && !name.ends_with("-lock.json") {
                found.insert(path);
            }
        }
    }

    #[test]
    fn every_file_of_an_sdk_is_written_into_a_project() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
        for (folder, written, besides) in [
            ("rust", RUST, "wit/lockgate-policy.wit"),
            ("js/policy", JS, "lockgate-policy.wit"),
            ("python/lockgate_policy", PYTHON, "lockgate-policy.wit"),
        ] {
            let mut wanted = BTreeSet::new();
            sources(&root.join(folder), "", &mut wanted);
            let written: BTreeSet<String> = written
                .iter()
                .map(|(file, _)| *file)
                .filter(|file| *file != besides)
                .map(|file| file.strip_prefix("rust/").unwrap_or(file).to_owned())
                .collect();
            assert_eq!(written, wanted, "sdk/{folder}");
        }
    }
}
