//! How many viewers a core carries: this crate alone, from the hub to the wire, with real peers on another core.
//!
//! ```sh
//! cargo build --release -p lockgate-transport --example fanout
//! target/release/examples/fanout                     # the table
//! target/release/examples/fanout --json FILE         # and its figures in a file
//! target/release/examples/fanout --quick             # one number of viewers, no search
//! target/release/examples/fanout --cores 1,2,4,8     # so many viewers for each core, on more and more cores
//! ```
//!
//! It needs two cores and `taskset`, and neither FFmpeg nor the server. A child of its own serves synthetic video and
//! Opus on the first core; another is all the viewers, on the second. The bare loop sends the same packets with the
//! same cipher and the same system calls, and does nothing else. All traffic stays on 127.0.0.0/8.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::let_underscore_must_use,
    reason = "printing is what this program is for, and its children are its own"
)]

mod bare;
mod course;
mod light;
mod media;
mod process;
mod serve;
mod watch;

use std::process::ExitCode;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The value after a flag.
fn flag(name: &str) -> Option<String> {
    let mut words = std::env::args().skip_while(|word| word != name);
    words.next();
    words.next()
}

fn number(name: &str, other: u32) -> Outcome<u32> {
    Ok(flag(name).map_or(Ok(other), |text| text.parse())?)
}

fn run() -> Outcome {
    let runtime = tokio::runtime::Runtime::new()?;
    match std::env::args().nth(1).as_deref() {
        Some("serve") => runtime.block_on(serve::run()),
        Some("watch") => runtime.block_on(watch::run()),
        Some("bare") => bare::run(),
        Some("sink") => bare::sink(),
        _ => course::run(),
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanout: {error}");
            ExitCode::FAILURE
        }
    }
}
