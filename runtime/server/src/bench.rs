//! `lockgate bench`: load for any WHIP, WHEP or HLS server. Traffic goes to the server that is named, and nowhere else.

use std::{future::Future, io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use lockgate_load::{CLIENTS_MAX, Clock, Error, Target, whep};
use serde::Serialize;
use tokio::sync::watch;

use crate::cli::duration;

/// What is loaded.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Viewers by WHEP: join time, loss, jitter, delay.
    Whep(WhepArgs),
}

/// What every load has.
#[derive(Args)]
pub(crate) struct LoadArgs {
    /// How many clients, 20000 at most.
    #[arg(long, default_value_t = 1, value_name = "N")]
    clients: usize,
    /// How long is measured, once everyone is in.
    #[arg(long, default_value = "10", value_name = "TIME", value_parser = duration)]
    seconds: Duration,
    /// How many clients come each second; 0 for as fast as they are let in.
    #[arg(long, default_value_t = 100.0, value_name = "PER_SECOND")]
    ramp: f64,
    /// The bearer token that the server asks for.
    #[arg(long, env = "LOCKGATE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Takes any certificate of an https server.
    #[arg(long)]
    insecure: bool,
    /// Prints JSON for machines.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct WhepArgs {
    /// The endpoint, such as `http://127.0.0.1:3000/whep/live`; `{n}` stands for the number of the client.
    url: String,
    #[command(flatten)]
    load: LoadArgs,
    /// Threads that the clients are spread over.
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Decrypts whole streams for one viewer in so many only, to save CPU; the others decrypt a sample.
    #[arg(long, default_value_t = 1, value_name = "N")]
    decrypt_one_in: usize,
    /// Asks for video alone.
    #[arg(long)]
    no_audio: bool,
}

/// Runs the load; exit code 1 if a client could not get in or saw nothing, 2 if the command makes no sense.
pub(crate) fn execute(command: BenchCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        match command {
            BenchCommand::Whep(args) => whep(args).await,
        }
    });
    // What the clients left behind ends with the process.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => Ok(code),
        Err(error) => {
            writeln!(std::io::stderr(), "lockgate: {error:#}")?;
            let is_usage = error.downcast_ref::<Error>().is_some_and(Error::is_usage);
            Ok(ExitCode::from(if is_usage { 2 } else { 1 }))
        }
    }
}

async fn whep(args: WhepArgs) -> anyhow::Result<ExitCode> {
    let load = args.load;
    load.check()?;
    let target = Target::new(&args.url, load.token.clone(), load.insecure)?;
    let config = whep::Config {
        ramp_per_s: load.ramp,
        threads: args.threads,
        decrypt_one_in: args.decrypt_one_in,
        audio: !args.no_audio,
        ..whep::Config::default()
    };
    let interrupt = Interrupt::new();
    let stop = || interrupt.came();
    let mut viewers = whep::Viewers::new(&config, Arc::new(target), Clock::default())?;
    viewers.join(load.clients, stop()).await?;
    viewers.settle(SETTLE_WITHIN, stop()).await;
    let report = viewers.measure(load.seconds, stop()).await;
    viewers.leave().await;
    say(&report, load.json)?;
    Ok(ExitCode::from(u8::from(!report.is_fine())))
}

impl LoadArgs {
    fn check(&self) -> Result<(), Error> {
        let usage = |text: String| Err(Error::Usage(text));
        if !(1..=CLIENTS_MAX).contains(&self.clients) {
            return usage(format!(
                "--clients is {}; 1 to {CLIENTS_MAX} are possible",
                self.clients
            ));
        }
        if self.seconds.is_zero() || self.seconds > SECONDS_MAX {
            return usage("--seconds is 1s to 24h".to_owned());
        }
        if !(self.ramp >= 0.0 && self.ramp.is_finite()) {
            return usage(format!("--ramp is {}; clients a second, or 0", self.ramp));
        }
        Ok(())
    }
}

/// Ctrl-C: what there is by then is told.
struct Interrupt {
    came: watch::Receiver<bool>,
    _task: tokio::task::JoinSet<()>,
}

impl Interrupt {
    fn new() -> Self {
        let (give, came) = watch::channel(false);
        let mut task = tokio::task::JoinSet::new();
        task.spawn(async move {
            // Where there are no signals, there is nothing to wait for.
            if tokio::signal::ctrl_c().await.is_ok() {
                give.send_replace(true);
            }
            give.closed().await;
        });
        Self { came, _task: task }
    }

    fn came(&self) -> impl Future<Output = ()> + use<> {
        let mut came = self.came.clone();
        async move {
            if came.wait_for(|came| *came).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

fn say(report: &(impl Serialize + std::fmt::Display), json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if json {
        serde_json::to_writer_pretty(&mut out, report)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{report}")?;
    }
    Ok(())
}

/// Who has no picture by then is counted as one without.
const SETTLE_WITHIN: Duration = Duration::from_secs(20);
/// Every load has an end.
const SECONDS_MAX: Duration = Duration::from_secs(24 * 3600);
