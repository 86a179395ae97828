//! Who gets in: tokens, users, the operator's service, and how they are sent out again.

mod chain;
mod keys;
mod limits;
mod port;
mod service;
mod slow;
mod tls;
mod tokens;

use std::process::Output;

use crate::support::{Server, lockgate};

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
