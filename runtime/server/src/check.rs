//! `lockgate check`: what a server keeps of its protocol, ours or not.

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use lockgate_check::{Kind, Target, run, watch_hls};

/// What is checked.
#[derive(Subcommand)]
pub(crate) enum CheckCommand {
    /// WHIP (RFC 9725). The endpoint must be free: sessions are made and deleted.
    Whip(CheckArgs),
    /// WHEP (draft-ietf-wish-whep-03). With a stream that is live, more can be looked at.
    Whep(CheckArgs),
    /// HLS and low-latency HLS (RFC 8216, rfc8216bis): follows a live stream for a while.
    Hls {
        #[command(flatten)]
        args: CheckArgs,
        /// How long it is watched.
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(5..=3600))]
        seconds: u64,
    },
}

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// The endpoint, such as `http://127.0.0.1:3000/whip/live` or `http://127.0.0.1:3000/hls/live/playlist.m3u8`.
    url: String,
    /// The bearer token it asks for.
    #[arg(long, env = "LOCKGATE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Prints JSON for machines.
    #[arg(long)]
    json: bool,
}

/// Looks, and prints a table; exit code 1 if a rule is broken or none could be looked at, 2 if the URL is none.
pub(crate) fn execute(command: CheckCommand) -> anyhow::Result<ExitCode> {
    let (kind, args) = match command {
        CheckCommand::Whip(args) => (Ok(Kind::Whip), args),
        CheckCommand::Whep(args) => (Ok(Kind::Whep), args),
        CheckCommand::Hls { args, seconds } => (Err(Duration::from_secs(seconds)), args),
    };
    let target = match Target::new(&args.url, args.token) {
        Ok(target) => target,
        Err(error) => {
            writeln!(std::io::stderr(), "lockgate: {error}")?;
            return Ok(ExitCode::from(2));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        match kind {
            Ok(kind) => run(kind, target, |_| true).await,
            Err(lasts) => watch_hls(&target, lasts).await,
        }
    });
    let mut out = std::io::stdout();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(ExitCode::from(u8::from(!report.is_fine())))
}
