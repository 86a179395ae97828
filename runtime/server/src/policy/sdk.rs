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

/// The manifest of the reference rule.
pub(super) fn manifest(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => include_str!("../../../../plugins/abr-reference/plugin.toml"),
        Kind::Optimize => include_str!("../../../../plugins/optimize-reference/plugin.toml"),
        Kind::Score => include_str!("../../../../plugins/score-reference/plugin.toml"),
        Kind::Ladder => include_str!("../../../../plugins/ladder-reference/plugin.toml"),
        Kind::Auth => include_str!("../../../../plugins/auth-reference/plugin.toml"),
    }
}

/// The reference rule in Rust.
pub(super) fn rust(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => include_str!("../../../../plugins/abr-reference/src/lib.rs"),
        Kind::Optimize => include_str!("../../../../plugins/optimize-reference/src/lib.rs"),
        Kind::Score => include_str!("../../../../plugins/score-reference/src/lib.rs"),
        Kind::Ladder => include_str!("../../../../plugins/ladder-reference/src/lib.rs"),
        Kind::Auth => include_str!("../../../../plugins/auth-reference/src/lib.rs"),
    }
}

/// The reference rule in Luau.
pub(super) fn luau(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => include_str!("../../../../policies/abr/reference.luau"),
        Kind::Optimize => include_str!("../../../../policies/optimize/reference.luau"),
        Kind::Score => include_str!("../../../../policies/score/reference.luau"),
        Kind::Ladder => include_str!("../../../../policies/ladder/reference.luau"),
        Kind::Auth => include_str!("../../../../policies/auth/reference.luau"),
    }
}

/// A first policy in JavaScript.
pub(super) fn js(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => include_str!("../../../../sdk/js/templates/abr.js"),
        Kind::Optimize => include_str!("../../../../sdk/js/templates/optimize.js"),
        Kind::Score => include_str!("../../../../sdk/js/templates/score.js"),
        Kind::Ladder => include_str!("../../../../sdk/js/templates/ladder.js"),
        Kind::Auth => include_str!("../../../../sdk/js/templates/auth.js"),
    }
}

/// Its test.
pub(super) fn js_test(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => include_str!("../../../../sdk/js/templates/abr.test.js"),
        Kind::Optimize => include_str!("../../../../sdk/js/templates/optimize.test.js"),
        Kind::Score => include_str!("../../../../sdk/js/templates/score.test.js"),
        Kind::Ladder => include_str!("../../../../sdk/js/templates/ladder.test.js"),
        Kind::Auth => include_str!("../../../../sdk/js/templates/auth.test.js"),
    }
}

/// A first policy in Python.
pub(super) fn python(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => include_str!("../../../../sdk/python/templates/abr.py"),
        Kind::Optimize => include_str!("../../../../sdk/python/templates/optimize.py"),
        Kind::Score => include_str!("../../../../sdk/python/templates/score.py"),
        Kind::Ladder => include_str!("../../../../sdk/python/templates/ladder.py"),
        Kind::Auth => include_str!("../../../../sdk/python/templates/auth.py"),
    }
}

/// Its test.
pub(super) fn python_test(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => include_str!("../../../../sdk/python/templates/test_abr.py"),
        Kind::Optimize => include_str!("../../../../sdk/python/templates/test_optimize.py"),
        Kind::Score => include_str!("../../../../sdk/python/templates/test_score.py"),
        Kind::Ladder => include_str!("../../../../sdk/python/templates/test_ladder.py"),
        Kind::Auth => include_str!("../../../../sdk/python/templates/test_auth.py"),
    }
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
                if !["target", "node_modules", "__pycache__"].contains(&name.as_str()) {
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
