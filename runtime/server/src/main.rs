//! The binary `lockgate`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate_server::cli::run()
}
