//! The command line. Exit codes: 0 fine, 1 found trouble, 2 used wrongly.

use std::{
    io::Write as _,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use crate::{
    Config, Server,
    bench::{self, BenchCommand},
    check::{self, CheckCommand},
    config::{self, Loaded, Loader, Origin},
    doctor::{self, DoctorArgs},
    live,
    package::{self, PackageArgs},
    policy::{self, PolicyCommand},
    sessions::{self, SessionsCommand},
    tokens::{self, TokenCommand},
};

/// Live streaming whose decisions are scripts.
#[derive(Parser)]
#[command(name = "lockgate", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs the server.
    Serve {
        #[command(flatten)]
        config: ConfigArgs,
        /// Adds a broadcast named `demo` from a generated source.
        #[arg(long)]
        demo: bool,
    },
    /// Parses and checks the configuration and prints what is in effect.
    CheckConfig {
        /// The file; `lockgate.toml` here if there is one.
        file: Option<PathBuf>,
        /// Sets one key, as `serve` does. May be given again.
        #[arg(long, value_name = "KEY=VALUE")]
        set: Vec<String>,
        /// Prints JSON: the configuration and the origins of what is not the default.
        #[arg(long)]
        json: bool,
        /// Prints the JSON Schema of configuration files and checks nothing.
        #[arg(long, conflicts_with_all = ["file", "set", "json"])]
        schema: bool,
    },
    /// Makes or explains access tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Checks whether a server, ours or not, keeps the rules of a protocol.
    #[command(subcommand)]
    Check(CheckCommand),
    /// Loads a server, ours or not, with many light clients.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Says in plain words what this machine can do, and what becomes of an input; exit code 1 on trouble.
    Doctor(DoctorArgs),
    /// Encodes a file's whole ladder for video on demand, as HLS and DASH. The same command goes on after a kill.
    Package(PackageArgs),
    /// Checks, measures and plays policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Gives and takes the records of sessions, of a server that does not run.
    #[command(subcommand)]
    Sessions(SessionsCommand),
    /// Encodes for a server; started by it, not by hand.
    #[command(hide = true)]
    TranscodeWorker,
}

#[derive(Args, Clone, Default)]
pub(crate) struct ConfigArgs {
    /// The configuration file; `lockgate.toml` here if there is one.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Sets one key, such as `http.listen=127.0.0.1:3000`. May be given again.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    match execute(cli.command) {
        Ok(code) => code,
        Err(error) => {
            // Nobody is left to tell if even this fails.
            drop(writeln!(std::io::stderr(), "lockgate: {error:#}"));
            ExitCode::from(1)
        }
    }
}

fn execute(command: Command) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout();
    match command {
        Command::TranscodeWorker => return Ok(lockgate_transcode::worker::run()),
        Command::Serve { config, demo } => serve(config, demo)?,
        Command::Bench(command) => return bench::execute(command),
        Command::Check(command) => return check::execute(command),
        Command::Doctor(args) => return doctor::execute(&args),
        Command::Package(args) => return package::execute(&args),
        Command::Policy(command) => return policy::execute(command),
        Command::CheckConfig { schema: true, .. } => {
            writeln!(out, "{}", serde_json::to_string_pretty(&config::schema())?)?;
        }
        Command::CheckConfig {
            file, set, json, ..
        } => {
            let loaded = ConfigArgs { config: file, set }.load_whole()?;
            live::check(&loaded)?;
            if json {
                let shown = serde_json::to_string_pretty(&loaded.to_json())?;
                writeln!(out, "{shown}")?;
            } else {
                write!(out, "{}", loaded.to_toml()?)?;
            }
        }
        Command::Sessions(command) => return sessions::execute(command),
        Command::Token(command) => return tokens::execute(command),
    }
    Ok(ExitCode::SUCCESS)
}

impl ConfigArgs {
    /// The file, `.env`, the environment, `--set`: the later wins.
    pub(crate) fn load(&self) -> anyhow::Result<Config> {
        Ok(self.load_whole()?.config)
    }

    /// The file that is read, if there is one.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        let here = || Some(PathBuf::from(HERE)).filter(|path| path.is_file());
        self.config.clone().or_else(here)
    }

    /// The same with the origin of each value.
    pub(crate) fn load_whole(&self) -> anyhow::Result<Loaded> {
        let mut loader = Loader::default();
        if let Some(path) = self.file() {
            loader.file(&path)?;
        }
        let dotenv: Vec<(String, String)> = match dotenvy::dotenv_iter() {
            Ok(pairs) => pairs
                .collect::<Result<_, _>>()
                .context(".env cannot be read")?,
            Err(error) if error.not_found() => Vec::new(),
            Err(error) => return Err(error).context(".env cannot be read"),
        };
        loader.environment(dotenv.into_iter(), Origin::Dotenv)?;
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        loader.environment(variables, Origin::Environment)?;
        for assignment in &self.set {
            loader.assignment(assignment)?;
        }
        Ok(loader.finish()?)
    }
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("write a number with s, m, h or d, such as 90m".to_owned()),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| "write a number with s, m, h or d, such as 90m".to_owned())?;
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(|| "that is too long".to_owned())
}

/// The configuration file that is read where none is named.
const HERE: &str = "lockgate.toml";

/// Runs the server, and returns when it has gone down.
fn serve(args: ConfigArgs, demo: bool) -> anyhow::Result<()> {
    let loaded = args.load_whole()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let (ended, telemetry) = runtime.block_on(async {
        let telemetry = lockgate_telemetry::start(loaded.config.telemetry())?;
        let serving = async {
            let server = Server::start(loaded, args, demo, &telemetry).await?;
            server.run().await
        };
        anyhow::Ok((serving.await, telemetry))
    })?;
    telemetry.finish(TRACES_WITHIN);
    runtime.shutdown_timeout(TASKS_WITHIN);
    ended
}

/// How long the last spans may take to their collector.
const TRACES_WITHIN: Duration = Duration::from_secs(2);
/// Blocking work, such as reading a disk that hangs, is left behind after that.
const TASKS_WITHIN: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("90m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("10"), Ok(Duration::from_secs(10)));
        assert!(
            duration("1w").is_err()
                && duration("h").is_err()
                && duration("99999999999999999999d").is_err()
        );
    }
}
