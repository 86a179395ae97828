//! The benchmark tables: what Lockgate costs and how long it takes, measured from outside on the real binary; for
//! `policies` on the engines themselves, whose decisions are too short to be seen from there.
//!
//! ```sh
//! make bench                                  # everything
//! lockgate-bench ladder --json ladder.json    # one table, and its figures in a file
//! lockgate-bench rooms --people 20            # a room of another size
//! ```
//!
//! Every figure is a ratio of two things measured in turn in one run, or a distribution with its count: the machine
//! this runs on is nobody's reference, so no time passes or fails. `LOCKGATE_BIN` names the server (with cargo's
//! `examples/` beside it) and `LOCKGATE_FIXTURES` the folder of `make fixtures`. All traffic stays on 127.0.0.1.
#![forbid(unsafe_code)]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "printing is what this program is for"
)]

mod delay;
mod door;
mod fanout;
mod hls;
mod idle;
mod ladder;
mod memory;
mod pages;
mod policies;
mod process;
mod records;
mod rooms;
mod server;
mod table;
mod whep;

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Map, Value};

use table::Report;

const TABLES: [&str; 12] = [
    "ladder", "idle", "delay", "memory", "fanout", "hls", "policies", "whep", "rooms", "door",
    "records", "pages",
];
/// A table that takes longer is given up: what it waits for does not come.
const TABLE_WITHIN: Duration = Duration::from_secs(360);
/// `fanout` looks for the number of viewers at which a core is full.
const FANOUT_WITHIN: Duration = Duration::from_secs(600);

fn main() -> ExitCode {
    let outcome = Arguments::parse(std::env::args().skip(1)).and_then(|arguments| {
        let runtime = tokio::runtime::Runtime::new()?;
        let outcome = runtime.block_on(run(&arguments));
        // The library leaves tasks of its own behind; they end with the process.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lockgate-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut figures = Map::new();
    for name in &arguments.tables {
        eprintln!("measuring {name} …");
        let measuring = async {
            match name.as_str() {
                "ladder" => ladder::measure().await.map(|report| vec![report]),
                "idle" => idle::measure().await.map(|report| vec![report]),
                "delay" => delay::measure().await.map(|report| vec![report]),
                "whep" => whep::measure().await.map(|report| vec![report]),
                "rooms" => rooms::measure(arguments.people).await,
                "memory" => memory::measure().await.map(|report| vec![report]),
                "door" => door::measure().await.map(|report| vec![report]),
                "records" => records::measure().await.map(|report| vec![report]),
                "fanout" => fanout::measure().await.map(|report| vec![report]),
                "hls" => hls::measure().await,
                "pages" => pages::measure().await,
                _ => policies::measure().await,
            }
        };
        let within = match name.as_str() {
            "fanout" => FANOUT_WITHIN,
            _ => TABLE_WITHIN,
        };
        let reports: Vec<Report> = tokio::time::timeout(within, Box::pin(measuring))
            .await
            .with_context(|| format!("{name} did not end in {within:?}"))?
            .with_context(|| format!("{name} cannot be measured"))?;
        let mut own = Map::new();
        for report in reports {
            println!("{report}");
            if let Value::Object(figures) = report.figures {
                own.extend(figures);
            }
        }
        figures.insert(name.clone(), Value::Object(own));
    }
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&Value::Object(figures))?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("{} cannot be written", path.display()))?;
    }
    Ok(())
}

struct Arguments {
    tables: Vec<String>,
    json: Option<PathBuf>,
    /// In the room of `rooms`.
    people: usize,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let (mut tables, mut json, mut people) = (Vec::new(), None, rooms::PEOPLE);
        while let Some(word) = words.next() {
            match word.as_str() {
                "--json" => json = Some(words.next().context("--json needs a file")?.into()),
                "--people" => {
                    let number = words.next().and_then(|word| word.parse().ok());
                    people = number.context("--people needs a number")?;
                }
                "all" => tables.extend(TABLES.map(str::to_owned)),
                name if TABLES.contains(&name) => tables.push(word),
                _ => bail!(
                    "usage: lockgate-bench [all | {}] [--json FILE] [--people N]",
                    TABLES.join(" | ")
                ),
            }
        }
        if tables.is_empty() {
            tables.extend(TABLES.map(str::to_owned));
        }
        Ok(Self {
            tables,
            json,
            people,
        })
    }
}
