//! Who gets in: tokens, users, the operator's service, and how they are sent out again.

mod chain;
mod keys;
mod limits;
mod port;
mod publishers;
mod service;
mod slow;
mod tls;
mod tokens;

use std::process::Output;

use crate::support::{Server, lockgate};

pub(crate) use tokens::signed;

/// Runs a command of `lockgate token` in a server's folder, with its configuration.
fn token(server: &Server, command: &str, arguments: &[&str]) -> Output {
    lockgate(server.folder())
        .args(["token", command, "--config", "lockgate.toml"])
        .args(arguments)
        .output()
        .expect("the binary runs")
}

/// A token made by the command line.
fn mint(server: &Server, arguments: &[&str]) -> String {
    let output = token(server, "mint", arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// The hash of a password, made by the command line.
pub(crate) fn hash(password: &str) -> String {
    use std::{io::Write as _, process::Stdio};
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut child = lockgate(folder.path())
        .args(["token", "hash"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    let mut stdin = child.stdin.take().expect("it is piped");
    writeln!(stdin, "{password}").expect("the password is taken");
    drop(stdin);
    let output = child.wait_with_output().expect("the binary runs");
    String::from_utf8(output.stdout)
        .expect("a hash is text")
        .trim()
        .to_owned()
}
