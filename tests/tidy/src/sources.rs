//! What may stand in a source file.

use std::{
    fs,
    path::{Path, PathBuf},
};

const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// All files below `folder` with one of the endings, build output and packages apart.
fn files(folder: &Path, endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("our folders can be listed") {
            let path = entry.expect("our folders can be listed").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default()
                .to_owned();
            if path.is_dir() {
                if !["target", "node_modules", "dist", ".git", "data"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).expect("our sources are text");
                found.push((path, text));
            }
        }
    }
    assert!(!found.is_empty(), "no sources below {}", folder.display());
    found
}

fn rust_sources() -> Vec<(PathBuf, String)> {
    let mut all = files(&root().join("runtime"), &[".rs"]);
    all.extend(files(&root().join("tests"), &[".rs"]));
    all
}

fn complain(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn no_file_needs_a_second_room() {
    let mut sources = rust_sources();
    sources.extend(files(&root().join("runtime/web"), &[".ts", ".css"]));
    sources.extend(files(&root().join("sdk/js/client/src"), &[".ts"]));
    sources.extend(files(
        &root().join("tests/browser"),
        &[".js", ".mjs", ".ts"],
    ));
    let long = |(path, text): &(PathBuf, String)| {
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| {
            format!(
                "{} has {lines} lines; {LINES_MAX} is the most",
                path.display()
            )
        })
    };
    complain(&sources.iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_undone_or_switched_off() {
    // Written in two parts so that this file does not find itself.
    let banned = [
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
        concat!("#[should", "_panic"),
    ];
    let mut wrong = Vec::new();
    for (path, text) in rust_sources() {
        for (at, line) in text.lines().enumerate() {
            if let Some(word) = banned.iter().find(|word| line.contains(**word)) {
                wrong.push(format!("{}:{}: {word}", path.display(), at + 1));
            }
        }
    }
    complain(&wrong);
}

#[test]
fn pure_crates_read_no_clock() {
    let mut wrong = Vec::new();
    for pure in ["media", "policy", "hls"] {
        for (path, text) in files(&root().join("runtime").join(pure).join("src"), &[".rs"]) {
            for clock in ["Instant::now", "SystemTime::now"] {
                if text.contains(clock) {
                    wrong.push(format!(
                        "{} reads {clock}; take `now` as an argument",
                        path.display()
                    ));
                }
            }
        }
    }
    complain(&wrong);
}

#[test]
fn unsafe_code_stands_in_one_file_of_three_crates_only() {
    let mut wrong = Vec::new();
    for entry in fs::read_dir(root().join("runtime")).expect("runtime can be listed") {
        let folder = entry.expect("runtime can be listed").path();
        // FFmpeg's buffers, Luau's step counter, and compiled code from a folder that only the server writes.
        let may = ["transcode", "policy-luau", "policy-wasm"].map(|name| folder.ends_with(name));
        let lib = fs::read_to_string(folder.join("src/lib.rs")).expect("every crate has a lib.rs");
        if !may.contains(&true) && !lib.contains("#![forbid(unsafe_code)]") {
            wrong.push(format!("{} does not forbid unsafe code", folder.display()));
        }
        let sources = files(&folder.join("src"), &[".rs"]);
        let allowed = |(path, text): &(PathBuf, String)| {
            text.contains("allow(unsafe_code").then(|| path.clone())
        };
        let allowed_in: Vec<_> = sources.iter().filter_map(allowed).collect();
        if allowed_in.len() > usize::from(may.contains(&true)) {
            wrong.push(format!(
                "unsafe code is allowed in more than one file, or in a crate without need: {allowed_in:?}"
            ));
        }
    }
    complain(&wrong);
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let manifests = files(&root().join("runtime"), &["Cargo.toml"]);
    let without = |(path, text): &(PathBuf, String)| {
        (!text.contains("[lints]\nworkspace = true"))
            .then(|| format!("{} has lints of its own", path.display()))
    };
    complain(&manifests.iter().filter_map(without).collect::<Vec<_>>());
}
