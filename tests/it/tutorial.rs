//! The page `sdk/README.md`: every command on it is run as it stands, and prints what the page says.

use std::{env, fs, path::Path, process::Command};

use crate::{
    refused::OFFER,
    support::{Server, lockgate},
};

const PAGE: &str = include_str!("../../sdk/README.md");
const MARK: &str = "--- block ";

/// A block of commands, and the lines it is said to print.
struct Block {
    commands: String,
    printed: Vec<String>,
}

/// The blocks of a part of the page.
fn blocks(part: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = part.lines();
    while let Some(line) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            continue;
        };
        let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match (language, blocks.last_mut()) {
            ("sh", _) => blocks.push(Block {
                commands: text.join("\n"),
                printed: Vec::new(),
            }),
            ("text", Some(block)) => block.printed = text.into_iter().map(str::to_owned).collect(),
            _ => {}
        }
    }
    blocks
}

/// Whether a line is what the page says, where `…` stands for anything.
fn matches(line: &str, said: &str) -> bool {
    let parts: Vec<&str> = said.split('…').map(str::trim).collect();
    let [first, between @ .., last] = parts.as_slice() else {
        return line == said;
    };
    let Some(mut rest) = line.strip_prefix(first) else {
        return false;
    };
    for part in between {
        match rest.find(part) {
            Some(found) => rest = &rest[found + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Runs the blocks in a folder, one after the other in one shell.
fn run(folder: &Path, blocks: &[Block], variables: &[(&str, &str)]) {
    let mut script = "exec 2>&1\nset -eu\n".to_owned();
    for (at, block) in blocks.iter().enumerate() {
        script += &format!("echo '{MARK}{at}'\n{}\n", block.commands);
    }
    fs::write(folder.join("page.sh"), script).expect("the script is written");
    let binary = lockgate(folder).get_program().to_owned();
    let mut path = vec![
        Path::new(&binary)
            .parent()
            .expect("a folder with it")
            .to_owned(),
    ];
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let output = Command::new("bash")
        .arg("page.sh")
        .current_dir(folder)
        .env(
            "PATH",
            env::join_paths(path).expect("folders have no colon"),
        )
        .envs(variables.iter().copied())
        .output()
        .expect("a shell runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "the page failed:\n{told}");
    let mut told_by = told.split(MARK).skip(1);
    for block in blocks {
        let told = told_by.next().unwrap_or_default();
        let mut lines = told.lines().skip(1).map(str::trim);
        for said in &block.printed {
            assert!(
                lines.any(|line| matches(line, said)),
                "{:?} is said, but not printed by\n{}\nwhich printed\n{told}",
                said,
                block.commands
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_page_does_what_the_page_says() {
    let (before, with_server) = PAGE
        .split_once("## Let it decide")
        .expect("the page has this heading");
    let traces = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/traces");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let first = blocks(before);
    assert!(first.len() >= 7, "{} blocks", first.len());
    run(folder.path(), &first, &[("TRACES", traces)]);

    let script = fs::read_to_string(folder.path().join("mine.luau")).expect("it was written");
    let config = "[policies]\nabr = \"mine.luau\"\n[policies.log]\nrecord = \"all\"\n";
    let server = Server::start_with(config, &["--demo"], &[("mine.luau", &script)]).await;
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    assert_eq!(server.offer("/whep/demo", &offer).await.status, 201);
    let second = blocks(with_server);
    assert!(second.len() >= 7, "{} blocks", second.len());
    let at = server.url("");
    let folder = server.folder().to_owned();
    tokio::task::spawn_blocking(move || run(&folder, &second, &[("LOCKGATE", &at)]))
        .await
        .expect("the page holds");
}

#[test]
fn a_line_is_held_to_what_stands_around_the_gaps() {
    assert!(matches("mine 0.0.0 (api 0.1)", "mine …"));
    assert!(matches("12 decisions, 0 differ", "… decisions, … differ"));
    assert!(!matches("12 decisions, 0 differ", "… decisions, … same"));
    assert!(!matches("2 of 2 cases hold", "2 of 2 cases"));
    assert!(!matches("not mine", "mine"));
    assert!(matches("{a {b} c {d}}", "{…b…}"));
}
