//! `lockgate bench`: load for any WHIP, WHEP or HLS server. Traffic goes to the server that is named, and nowhere else.

use std::{fmt, future::Future, io::Write as _, process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, Subcommand};
use lockgate_load::{CLIENTS_MAX, Clock, Error, Target, hls, whep, whip};
use serde::Serialize;
use tokio::{sync::watch, task::JoinSet};

use crate::cli::duration;

/// What is loaded. Ask whoever runs the server first: this is meant to bring it to its limits.
#[derive(Subcommand)]
pub(crate) enum BenchCommand {
    /// Viewers by WHEP: join time, loss, jitter, delay.
    Whep(WhepArgs),
    /// Publishers by WHIP, each of a synthetic picture and silence.
    Whip(WhipArgs),
    /// Players by HLS or LL-HLS: join time, stalls, distance to live.
    Hls(HlsArgs),
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
    #[arg(long, default_value_t = 50.0, value_name = "PER_SECOND")]
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

/// How viewers are.
#[derive(Args)]
struct ViewArgs {
    /// Threads that the clients are spread over.
    #[arg(long, default_value_t = 1, value_name = "N")]
    threads: usize,
    /// Decrypts whole streams for one viewer in so many only, to save CPU; the others decrypt a sample.
    #[arg(long, default_value_t = 1, value_name = "N")]
    decrypt_one_in: usize,
}

/// What publishers send.
#[derive(Args)]
struct SendArgs {
    /// Video of a publisher, in kbit/s. It decides the size of the picture, too.
    #[arg(long, default_value_t = 1400, value_name = "KBPS", value_parser = clap::value_parser!(u64).range(100..=50_000))]
    video_kbps: u64,
    /// Audio of a publisher, in kbit/s; 0 for none.
    #[arg(long, default_value_t = 64, value_name = "KBPS", value_parser = clap::value_parser!(u64).range(0..=100))]
    audio_kbps: u64,
}

#[derive(Args)]
pub(crate) struct WhepArgs {
    /// The endpoint, such as `http://127.0.0.1:3000/whep/live`; `{n}` stands for the number of the client.
    url: String,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    view: ViewArgs,
    /// Asks for video alone.
    #[arg(long)]
    no_audio: bool,
    /// The server's process on this machine: its CPU and memory are told, too.
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,
    /// Publishes there meanwhile, so that the delay to the viewers can be measured.
    #[arg(long, value_name = "WHIP_URL")]
    publish: Option<String>,
    #[command(flatten)]
    send: SendArgs,
}

#[derive(Args)]
pub(crate) struct WhipArgs {
    /// The endpoint, such as `http://127.0.0.1:3000/whip/load{n}`; `{n}` stands for the number of the client, and more
    /// than one need it.
    url: String,
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    view: ViewArgs,
    #[command(flatten)]
    send: SendArgs,
    /// Watches there what is published, so that the delay can be measured.
    #[arg(long, value_name = "WHEP_URL")]
    watch: Option<String>,
    /// How many watch each publisher.
    #[arg(long, default_value_t = 1, value_name = "N", requires = "watch")]
    watchers: usize,
}

#[derive(Args)]
pub(crate) struct HlsArgs {
    /// The playlist, such as `http://127.0.0.1:3000/hls/live/playlist.m3u8`; `{n}` stands for the number of the client.
    url: String,
    #[command(flatten)]
    load: LoadArgs,
    /// Which variant the players take.
    #[arg(long, default_value = "auto", value_name = "auto|highest|lowest")]
    variant: hls::Choice,
    /// Plays whole segments where the server has parts, too.
    #[arg(long)]
    no_low_latency: bool,
}

/// Runs the load; exit code 1 if a client could not get in or saw nothing, 2 if the command makes no sense.
pub(crate) fn execute(command: BenchCommand) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(async {
        let interrupt = Interrupt::new();
        match command {
            BenchCommand::Whep(args) => Box::pin(whep(args, &interrupt)).await,
            BenchCommand::Whip(args) => Box::pin(whip(args, &interrupt)).await,
            BenchCommand::Hls(args) => Box::pin(hls(args, &interrupt)).await,
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

async fn whep(args: WhepArgs, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
    let load = args.load;
    load.check()?;
    let stop = || interrupt.came();
    let clock = Clock::default();
    let target = load.target(&args.url)?;
    let mut publishers = None;
    if let Some(url) = &args.publish {
        let config = args.send.config(&load, 1);
        let mut one = whip::Publishers::new(&config, Arc::new(load.target(url)?), clock)?;
        one.join(1, stop()).await?;
        one.settle(SETTLE_WITHIN, stop()).await;
        publishers = Some(one);
    }
    let config = whep::Config {
        audio: !args.no_audio,
        server_pid: args.server_pid,
        patience: if publishers.is_some() {
            PATIENCE
        } else {
            Duration::ZERO
        },
        ..args.view.config(&load)
    };
    let mut viewers = whep::Viewers::new(&config, Arc::new(target), clock)?;
    let joined = viewers.join(load.clients, stop()).await;
    if let Err(error) = joined {
        leave(publishers).await;
        return Err(error.into());
    }
    viewers.settle(SETTLE_WITHIN, stop()).await;
    let report = viewers.measure(load.seconds, stop()).await;
    viewers.leave().await;
    leave(publishers).await;
    let is_fine = report.is_fine();
    load.say("whep", &args.url, &report)?;
    Ok(ExitCode::from(u8::from(!is_fine)))
}

async fn leave(publishers: Option<whip::Publishers>) {
    if let Some(publishers) = publishers {
        publishers.leave().await;
    }
}

/// What publishers sent, and what was seen of it.
#[derive(Serialize)]
struct Both {
    #[serde(flatten)]
    publishers: whip::Report,
    viewers: Option<whep::Report>,
}

impl fmt::Display for Both {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.publishers)?;
        match &self.viewers {
            Some(viewers) => write!(f, "\n\n{viewers}"),
            None => Ok(()),
        }
    }
}

async fn whip(args: WhipArgs, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
    let load = args.load;
    load.check()?;
    let stop = || interrupt.came();
    let clock = Clock::default();
    let target = load.target(&args.url)?;
    if load.clients > 1 && !target.is_numbered() {
        let text = "a path takes one publisher; write {n} into the URL for more --clients";
        return Err(Error::Usage(text.to_owned()).into());
    }
    let seen = args.watch.as_deref().map(|url| load.target(url));
    let seen = seen.transpose()?;
    let config = args.send.config(&load, args.view.threads);
    let mut publishers = whip::Publishers::new(&config, Arc::new(target), clock)?;
    publishers.join(load.clients, stop()).await?;
    publishers.settle(SETTLE_WITHIN, stop()).await;
    let mut viewers = None;
    if let Some(seen) = seen {
        let config = whep::Config {
            broadcasts: load.clients,
            patience: PATIENCE,
            audio: args.send.audio_kbps > 0,
            ..args.view.config(&load)
        };
        let mut watching = whep::Viewers::new(&config, Arc::new(seen), clock)?;
        let count = load.clients.saturating_mul(args.watchers);
        let joined = watching.join(count, stop()).await;
        if let Err(error) = joined {
            publishers.leave().await;
            return Err(error.into());
        }
        watching.settle(SETTLE_WITHIN, stop()).await;
        viewers = Some(watching);
    }
    let sent = publishers.measure(load.seconds, stop());
    let report = if let Some(viewers) = viewers {
        let (publishers, seen) = tokio::join!(sent, viewers.measure(load.seconds, stop()));
        viewers.leave().await;
        let viewers = Some(seen);
        Both {
            publishers,
            viewers,
        }
    } else {
        let (publishers, viewers) = (sent.await, None);
        Both {
            publishers,
            viewers,
        }
    };
    publishers.leave().await;
    let is_seen = report.viewers.as_ref().is_none_or(whep::Report::is_fine);
    let is_fine = report.publishers.is_fine() && is_seen;
    load.say("whip", &args.url, &report)?;
    Ok(ExitCode::from(u8::from(!is_fine)))
}

async fn hls(args: HlsArgs, interrupt: &Interrupt) -> anyhow::Result<ExitCode> {
    let load = args.load;
    load.check()?;
    let config = hls::Config {
        clients: load.clients,
        ramp_per_s: load.ramp,
        choice: args.variant,
        low_latency: !args.no_low_latency,
    };
    let stop = || interrupt.came();
    let target = load.target(&args.url)?;
    let report = hls::run(&config, target, load.seconds, stop()).await?;
    let is_fine = report.is_fine();
    load.say("hls", &args.url, &report)?;
    Ok(ExitCode::from(u8::from(!is_fine)))
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

    fn target(&self, url: &str) -> Result<Target, Error> {
        Target::new(url, self.token.clone(), self.insecure)
    }

    fn say(
        &self,
        protocol: &str,
        url: &str,
        report: &(impl Serialize + fmt::Display),
    ) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        if self.json {
            let mut whole = serde_json::to_value(report)?;
            if let Some(fields) = whole.as_object_mut() {
                fields.insert("protocol".to_owned(), protocol.into());
                fields.insert("url".to_owned(), url.into());
            }
            serde_json::to_writer_pretty(&mut out, &whole)?;
            writeln!(out)?;
        } else {
            writeln!(out, "{report}")?;
        }
        Ok(())
    }
}

impl ViewArgs {
    fn config(&self, load: &LoadArgs) -> whep::Config {
        whep::Config {
            ramp_per_s: load.ramp,
            threads: self.threads.clamp(1, THREADS_MAX),
            decrypt_one_in: self.decrypt_one_in,
            ..whep::Config::default()
        }
    }
}

impl SendArgs {
    fn config(&self, load: &LoadArgs, threads: usize) -> whip::Config {
        whip::Config {
            ramp_per_s: load.ramp,
            threads: threads.clamp(1, THREADS_MAX),
            video_bps: self.video_kbps * 1000,
            audio_bps: self.audio_kbps * 1000,
        }
    }
}

/// Ctrl-C: what there is by then is told.
struct Interrupt {
    came: watch::Receiver<bool>,
    _task: JoinSet<()>,
}

impl Interrupt {
    fn new() -> Self {
        let (give, came) = watch::channel(false);
        let mut task = JoinSet::new();
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

/// Who has no picture by then is counted as one without.
const SETTLE_WITHIN: Duration = Duration::from_secs(20);
/// A broadcast that was just begun is there a moment later.
const PATIENCE: Duration = Duration::from_secs(15);
/// Every load has an end.
const SECONDS_MAX: Duration = Duration::from_secs(24 * 3600);
const THREADS_MAX: usize = 64;
