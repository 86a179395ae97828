//! `lockgate policy simulate`: network traces through policies, as a table or as JSON, and one session as a picture.

use std::{fs, io::Write as _, path::PathBuf, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use clap::Args;
use lockgate_policy::{Artifact, Builtin};
use lockgate_simulate::{Chooser, Outcome, Trace, anchors, hls, optimum, plot, rtc, traces};
use serde::Serialize;
use serde_json::Value;

use super::{chooser::PolicyChooser, read};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Policies that answer `abr`; the built-in is played too.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// A folder of traces: CSV files, or folders of them.
    #[arg(long, value_name = "DIR")]
    traces: PathBuf,
    /// Most traces of each folder.
    #[arg(long, default_value_t = 4)]
    max: usize,
    /// Deliveries to play: vod-hd-lin, vod-uhd-log, vod-uhd-lin, live-hd-lin, live-uhd-log, webrtc.
    #[arg(long, value_delimiter = ',', default_values = ["vod-hd-lin", "live-hd-lin", "webrtc"])]
    delivery: Vec<String>,
    /// The policies' configuration, as JSON.
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// Gives them the limits of large policies, as `large = true` does in [policies.limits].
    #[arg(long)]
    large: bool,
    /// For machines.
    #[arg(long)]
    json: bool,
    /// Writes a picture of the first policy's first session here.
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
}

/// What a policy reached with a delivery, over all traces.
#[derive(Debug, Clone, Serialize)]
struct Result {
    delivery: String,
    policy: String,
    sessions: usize,
    /// Mean over sessions, a segment or a second.
    qoe: f64,
    /// The sum over sessions against the sum of the optimum's (WebRTC: of the clairvoyant plan's).
    share_of_optimum: f64,
    stalled_pct: f64,
    kbps: f64,
    switches: f64,
}

enum Delivery {
    Hls(hls::Config),
    Rtc(rtc::Config),
}

enum Player {
    Policy(String, Arc<dyn Artifact>, Value),
    Anchor(&'static str),
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config: Value = serde_json::from_str(&arguments.config).context("--config is not JSON")?;
    let sets = traces::load(&arguments.traces, arguments.max)?;
    let traces: Vec<(&str, &Trace)> = sets
        .iter()
        .flat_map(|set| {
            set.traces
                .iter()
                .map(|named| (named.name.as_str(), &named.trace))
        })
        .collect();
    let mut players = Vec::new();
    for file in &arguments.files {
        let artifact = read(file, arguments.large)?;
        let answers = artifact
            .manifest()
            .kinds
            .contains_key(&lockgate_policy::Kind::Abr);
        anyhow::ensure!(
            answers,
            "{} does not answer abr, which is what traces are played through",
            file.display()
        );
        let name = file
            .file_stem()
            .map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
        players.push(Player::Policy(name, artifact, config.clone()));
    }
    players.push(Player::Policy(
        "builtin".to_owned(),
        Arc::new(Builtin::default()),
        serde_json::json!({}),
    ));
    players.extend([
        Player::Anchor("lowest"),
        Player::Anchor("baseline"),
        Player::Anchor("BOLA-E"),
    ]);

    let mut results = Vec::new();
    for name in &arguments.delivery {
        let delivery = delivery(name)?;
        let best: Vec<f64> = traces
            .iter()
            .map(|(_, trace)| best(&delivery, trace))
            .collect::<anyhow::Result<_>>()?;
        for player in &players {
            let mut outcomes = Vec::new();
            for (trace_name, trace) in &traces {
                let Some(outcome) = play(&delivery, player, trace)? else {
                    break;
                };
                if let (Some(path), true) =
                    (&arguments.plot, outcomes.is_empty() && results.is_empty())
                {
                    let ladder = match &delivery {
                        Delivery::Hls(config) => &config.ladder,
                        Delivery::Rtc(config) => &config.ladder,
                    };
                    let title = format!("{} on {trace_name}, {name}", player.name());
                    fs::write(path, plot::svg(&title, ladder, trace, &outcome))
                        .with_context(|| format!("{} cannot be written", path.display()))?;
                }
                outcomes.push(outcome);
            }
            if outcomes.len() == traces.len() {
                results.push(summary(name, player.name(), &outcomes, &best));
            }
        }
    }
    print(&results, arguments.json)?;
    Ok(ExitCode::SUCCESS)
}

fn delivery(name: &str) -> anyhow::Result<Delivery> {
    if name == "webrtc" {
        return Ok(Delivery::Rtc(rtc::Config::default()));
    }
    let presets = hls::Config::presets();
    let known: Vec<&str> = presets.iter().map(|(name, _)| *name).collect();
    let known = known.join(", ");
    let found = presets.into_iter().find(|(preset, _)| *preset == name);
    let (_, config) = found
        .with_context(|| format!("there is no delivery {name:?}; there are {known} and webrtc"))?;
    Ok(Delivery::Hls(config))
}

/// The QoE, a segment or a second, that could have been reached with the trace known beforehand.
fn best(delivery: &Delivery, trace: &Trace) -> anyhow::Result<f64> {
    match delivery {
        Delivery::Hls(config) => Ok(optimum::hls(config, trace)),
        Delivery::Rtc(config) => {
            let mut plan = anchors::rtc("clairvoyant", config, trace)
                .context("the models know no clairvoyant plan")?;
            Ok(rtc::run(config, trace, &mut *plan).qoe)
        }
    }
}

/// Plays one session; `None` where an anchor does not exist for a delivery.
fn play(delivery: &Delivery, player: &Player, trace: &Trace) -> anyhow::Result<Option<Outcome>> {
    let run = |chooser: &mut dyn Chooser| match delivery {
        Delivery::Hls(config) => hls::run(config, trace, chooser),
        Delivery::Rtc(config) => rtc::run(config, trace, chooser),
    };
    match player {
        Player::Policy(name, artifact, config) => {
            let mut chooser = PolicyChooser::new(artifact, config)?;
            let outcome = run(&mut chooser);
            match chooser.fault {
                Some(fault) => anyhow::bail!("{name} failed: {fault}"),
                None => Ok(Some(outcome)),
            }
        }
        Player::Anchor(name) => {
            let anchor = match delivery {
                Delivery::Hls(config) => anchors::hls(name, config),
                Delivery::Rtc(config) => anchors::rtc(name, config, trace),
            };
            Ok(anchor.map(|mut anchor| run(&mut *anchor)))
        }
    }
}

impl Player {
    fn name(&self) -> &str {
        match self {
            Self::Policy(name, ..) => name,
            Self::Anchor(name) => name,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of sessions")]
fn summary(delivery: &str, policy: &str, outcomes: &[Outcome], best: &[f64]) -> Result {
    let count = outcomes.len().max(1) as f64;
    let mean = |of: fn(&Outcome) -> f64| outcomes.iter().map(of).sum::<f64>() / count;
    let reached: f64 = outcomes.iter().map(|outcome| outcome.qoe).sum();
    Result {
        delivery: delivery.to_owned(),
        policy: policy.to_owned(),
        sessions: outcomes.len(),
        qoe: mean(|outcome| outcome.qoe),
        share_of_optimum: reached / best.iter().sum::<f64>(),
        stalled_pct: mean(|outcome| outcome.stalled_pct),
        kbps: mean(|outcome| outcome.kbps),
        switches: mean(|outcome| f64::from(outcome.switches)),
    }
}

fn print(results: &[Result], json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, results)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(
        out,
        "{:<13} {:<16} {:>8} {:>8} {:>8} {:>9} {:>8} {:>9}",
        "delivery", "policy", "sessions", "QoE", "/optimum", "stalled %", "kbit/s", "switches"
    )?;
    for one in results {
        writeln!(
            out,
            "{:<13} {:<16} {:>8} {:>8.3} {:>8.3} {:>9.2} {:>8.0} {:>9.1}",
            one.delivery,
            one.policy,
            one.sessions,
            one.qoe,
            one.share_of_optimum,
            one.stalled_pct,
            one.kbps,
            one.switches
        )?;
    }
    Ok(())
}
