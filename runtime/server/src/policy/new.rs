//! `lockgate policy new`: a working project to start from, in any language, for any kind.
//!
//! What a project needs of the SDK is written into it, out of this binary: it builds with the registry of its language
//! and nothing else, and a later version of the server does not change what was built. For Rust, `--sdk` names an SDK
//! that is kept elsewhere.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use lockgate_policy::Kind;

use super::sdk;

#[derive(Args)]
pub(crate) struct Arguments {
    /// Its name: letters, digits, `-` and `_`. Luau gets files NAME.luau, NAME.toml and NAME.cases.toml, the others a
    /// folder NAME.
    name: String,
    /// The language.
    #[arg(long, value_enum, default_value_t = Language::Luau)]
    lang: Language,
    /// The kind of judgement.
    #[arg(long, default_value = "abr")]
    kind: Kind,
    /// Rust only: the folder `sdk/rust` of a Lockgate source tree to depend on, in place of a copy in the project.
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    /// A crate that builds for wasm32-unknown-unknown.
    Rust,
    /// A script; nothing to build.
    Luau,
    /// A module that Node.js builds into a component.
    Js,
    /// A module that Python builds into a component.
    Python,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments {
        name,
        lang,
        kind,
        sdk: path,
    } = arguments;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    anyhow::ensure!(
        name.starts_with(|first: char| first.is_ascii_alphabetic())
            && name.len() <= 64
            && name.bytes().all(is_plain),
        "{name:?} is no name for a policy; take letters, digits, - and _, a letter first"
    );
    anyhow::ensure!(
        path.is_none() || *lang == Language::Rust,
        "--sdk goes with --lang rust; the other SDKs are written into the project"
    );
    let next = match lang {
        Language::Luau => return luau(name, *kind),
        Language::Rust => rust(name, *kind, path.as_deref())?,
        Language::Js => js(name, *kind)?,
        Language::Python => python(name, *kind)?,
    };
    writeln!(
        std::io::stdout(),
        "{name}/ is written: a working policy of {kind}. Next:\n{next}"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn luau(name: &str, kind: Kind) -> anyhow::Result<ExitCode> {
    let script = format!("{name}.luau");
    let files = [
        (script.as_str(), sdk::luau(kind)),
        (
            &format!("{name}.toml"),
            &named(name, sdk::script_manifest(kind)),
        ),
        (&format!("{name}.cases.toml"), sdk::cases(kind)),
    ];
    for (file, text) in files {
        fs::File::create_new(file)
            .and_then(|mut made| made.write_all(text.as_bytes()))
            .with_context(|| format!("{file} cannot be made"))?;
    }
    writeln!(
        std::io::stdout(),
        "{script} is written: the reference rule of {kind}, with {name}.toml and {name}.cases.toml. Try it:\n  \
         lockgate policy test {script}\n  lockgate serve --set policies.{kind}={script}"
    )?;
    Ok(ExitCode::SUCCESS)
}

fn rust(name: &str, kind: Kind, sdk_path: Option<&Path>) -> anyhow::Result<String> {
    let dependency = match sdk_path {
        Some(path) => {
            let path = fs::canonicalize(path)
                .with_context(|| format!("--sdk {}: there is nothing", path.display()))?;
            anyhow::ensure!(
                path.join("Cargo.toml").is_file(),
                "--sdk {}: there is no Cargo.toml; name the folder sdk/rust",
                path.display()
            );
            path.display().to_string()
        }
        None => "sdk/rust".to_owned(),
    };
    let project = Project::create(name)?;
    project.write("Cargo.toml", &cargo_toml(name, &dependency))?;
    project.write(".gitignore", "/target\n")?;
    project.write("plugin.toml", &named(name, sdk::manifest(kind)))?;
    project.write(&format!("{name}.cases.toml"), sdk::cases(kind))?;
    project.write("src/lib.rs", sdk::rust(kind))?;
    if sdk_path.is_none() {
        project.write_all("sdk", sdk::RUST)?;
    }
    let file = name.replace('-', "_");
    Ok(format!(
        "  cd {name}\n  cargo test\n  rustup target add wasm32-unknown-unknown\n  \
         cargo build --release --target wasm32-unknown-unknown\n  \
         lockgate policy test target/wasm32-unknown-unknown/release/{file}.wasm --cases {name}.cases.toml\n  \
         lockgate serve --set policies.{kind}=target/wasm32-unknown-unknown/release/{file}.wasm"
    ))
}

fn js(name: &str, kind: Kind) -> anyhow::Result<String> {
    let project = Project::create(name)?;
    let package = serde_json::json!({
        "name": name.to_ascii_lowercase(),
        "version": "0.1.0",
        "private": true,
        "type": "module",
        "scripts": { "build": format!("lockgate-policy-build . -o {name}.wasm"), "test": "node --test" },
        "dependencies": { "@lockgate/policy": "file:lockgate" },
    });
    project.write("package.json", &format!("{package:#}\n"))?;
    project.write(".gitignore", "node_modules\n*.wasm\n")?;
    project.write("plugin.toml", &named(name, sdk::script_manifest(kind)))?;
    project.write(&format!("{name}.cases.toml"), sdk::cases(kind))?;
    project.write("policy.js", sdk::js(kind))?;
    project.write("policy.test.js", sdk::js_test(kind))?;
    project.write_all("lockgate", sdk::JS)?;
    Ok(built(
        name,
        kind,
        "npm install\n  npm test\n  npm run build",
    ))
}

fn python(name: &str, kind: Kind) -> anyhow::Result<String> {
    let project = Project::create(name)?;
    project.write("requirements.txt", sdk::REQUIREMENTS)?;
    project.write(".gitignore", ".venv\n__pycache__\n*.wasm\n")?;
    project.write("plugin.toml", &named(name, sdk::script_manifest(kind)))?;
    project.write(&format!("{name}.cases.toml"), sdk::cases(kind))?;
    project.write("policy.py", sdk::python(kind))?;
    project.write("test_policy.py", sdk::python_test(kind))?;
    project.write_all("lockgate_policy", sdk::PYTHON)?;
    let steps = format!(
        "python3 -m venv .venv\n  .venv/bin/pip install -r requirements.txt\n  .venv/bin/python -m unittest\n  \
         .venv/bin/python -m lockgate_policy . -o {name}.wasm"
    );
    Ok(built(name, kind, &steps))
}

/// What comes after building a policy with an interpreter in it.
fn built(name: &str, kind: Kind, steps: &str) -> String {
    format!(
        "  cd {name}\n  {steps}\n  lockgate policy test --large {name}.wasm\n  \
         lockgate serve --set policies.{kind}={name}.wasm --set policies.limits.{kind}.large=true"
    )
}

/// A manifest under another name.
fn named(name: &str, manifest: &str) -> String {
    let lines = manifest.lines().map(|line| {
        if line.starts_with("name = ") {
            format!("name = \"{name}\"\n")
        } else {
            format!("{line}\n")
        }
    });
    lines.collect()
}

fn cargo_toml(name: &str, dependency: &str) -> String {
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"
rust-version = "1.88"
publish = false

[lib]
crate-type = ["cdylib", "rlib"]
doctest = false

[dependencies]
lockgate-sdk = {{ path = {dependency:?} }}
serde = {{ version = "1", features = ["derive"] }}

[profile.release]
opt-level = 3
lto = true
codegen-units = 1
panic = "abort"
strip = true

# A workspace of its own, wherever it stands; the SDK's copy has its own as well.
[workspace]
exclude = ["sdk"]
"#
    )
}

/// A new folder that files are written to.
struct Project(PathBuf);

impl Project {
    fn create(name: &str) -> anyhow::Result<Self> {
        fs::create_dir(name).with_context(|| format!("the folder {name} cannot be made"))?;
        Ok(Self(PathBuf::from(name)))
    }

    fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.0.join(file);
        let write = || {
            fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
            fs::write(&path, text)
        };
        write().with_context(|| format!("{} cannot be written", path.display()))
    }

    fn write_all(&self, folder: &str, files: &[(&str, &str)]) -> anyhow::Result<()> {
        files
            .iter()
            .try_for_each(|(file, text)| self.write(&format!("{folder}/{file}"), text))
    }
}
