//! The worker by itself, for the tests of this crate; the server has the same behind `lockgate transcode-worker`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    lockgate_transcode::worker::run()
}
