//! `lockgate package`: a source's whole ladder as HLS and DASH for video on demand.
//!
//! Everything is written into `DIR.part`, with a line in a journal for each segment that is whole, and becomes `DIR` in
//! one step at the end. A run that was killed is continued by the same command: pictures that were encoded are passed
//! over, and sound is encoded anew, so that its frames stand where they stood.

mod journal;
mod progress;
mod shelves;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, bail};
use clap::Args;
use lockgate_media::BroadcastName;
use lockgate_ports::transcoder::{Input, Plan, SourceInfo};
use lockgate_session::{Desk, LadderConfig, Planning, desk::LogConfig};
use lockgate_transcode::{Ladders, Offline, Piece};

use crate::{Config, cli::ConfigArgs, config::encode_settings};
use journal::{Header, Journal};
use progress::Progress;
use shelves::Shelves;

/// What is packaged, and where to.
#[derive(Args)]
pub(crate) struct PackageArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// A file or URL.
    input: String,
    /// The folder to make.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The rungs to encode, such as 720p60,360p30; those that the `ladder` policy finds worth it otherwise.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    rungs: Vec<String>,
    /// Prints how it goes as JSON for machines, one object a line.
    #[arg(long)]
    json: bool,
}

/// Packages; exit code 1 if it failed.
pub(crate) fn execute(args: &PackageArgs) -> anyhow::Result<ExitCode> {
    let config = args.config.load()?;
    if args.output.exists() {
        bail!(
            "{} is there already; remove it or give another folder with -o",
            args.output.display()
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&config, args))?;
    Ok(ExitCode::SUCCESS)
}

async fn run(config: &Config, args: &PackageArgs) -> anyhow::Result<()> {
    let workers =
        lockgate_transcode::Config::this_program().context("the program file cannot be found")?;
    let input = Input::Url {
        url: args.input.clone(),
        looped: false,
    };
    let mut offline = Ladders::new(workers)
        .offline(input, encode_settings(config, true))
        .await
        .map_err(anyhow::Error::msg)?;
    let plan = plan(config, &args.rungs, offline.source())?;
    let header = Header::new(&args.input, config, &plan);
    let part = with_ending(&args.output, "part");
    let journal = Journal::open(&part, &header)?;
    let mut shelves = Shelves::new(config.hls.segment_s, &part, journal)?;
    let resume_90k = shelves.resume_90k();
    let mut progress = Progress::new(args.json, offline.length_s(), resume_90k);
    progress.begin(&plan, shelves.written());
    offline
        .plan(&plan, resume_90k)
        .await
        .map_err(anyhow::Error::msg)?;
    encode(&mut offline, &mut shelves, &mut progress)
        .await
        .with_context(|| {
            let part = part.display();
            format!("not finished; what is whole is kept in {part}, and the same command goes on from there")
        })?;
    let made = shelves.finish(&part)?;
    fs::rename(&part, &args.output)
        .with_context(|| format!("{} cannot be made", args.output.display()))?;
    sync(args.output.parent());
    progress.finish(&args.output, &made);
    Ok(())
}

async fn encode(
    offline: &mut Offline,
    shelves: &mut Shelves,
    progress: &mut Progress,
) -> anyhow::Result<()> {
    while let Some(pieces) = offline.next().await.map_err(anyhow::Error::msg)? {
        for piece in pieces {
            match piece {
                Piece::Format(track, format, passthrough) => {
                    shelves.set_track(&track, &format, passthrough);
                }
                Piece::Unit(track, unit) => {
                    progress.came_to(unit.pts_90k);
                    shelves.push(&track, unit)?;
                }
                Piece::Position(at_90k) => progress.came_to(at_90k),
                Piece::Problem(text) => progress.problem(&text),
            }
        }
    }
    Ok(())
}

/// What to encode: the rungs asked for, or those that the built-in `ladder` policy finds worth it. Time is no matter.
fn plan(config: &Config, asked: &[String], source: &SourceInfo) -> anyhow::Result<Plan> {
    if source.video.is_none() {
        return Ok(Plan::default());
    }
    if !asked.is_empty() {
        let known = &config.ladder.rungs;
        let mut rungs = Vec::new();
        for name in asked {
            let rung = known.iter().find(|rung| rung.name.as_str() == name);
            let Some(rung) = rung else {
                let names: Vec<&str> = known.iter().map(|rung| rung.name.as_str()).collect();
                bail!(
                    "there is no rung {name}; the configuration has {}",
                    names.join(", ")
                );
            };
            rungs.push(rung.clone());
        }
        rungs.sort_by_key(|rung| std::cmp::Reverse((rung.kbps, rung.name.clone())));
        rungs.dedup();
        return Ok(Plan {
            rungs,
            passthrough: false,
        });
    }
    let mut planning = planning(config, UNLIMITED)?;
    // What is passed through is taken up again by the times at which it is shown, which B-frames put out of order.
    planning.ladder.passthrough &= source.video.as_ref().is_some_and(|video| !video.b_frames);
    Ok(planning.plan(source).plan)
}

/// Asks the built-in `ladder` policy about a source outside of a server.
pub(crate) fn planning(config: &Config, cpu_budget: f64) -> anyhow::Result<Planning> {
    let desk = Desk::start(
        std::time::Duration::from_secs(1),
        LogConfig::default(),
        |kind| crate::policies::builtin_parameters(config, kind),
        |kind| crate::policies::grants(config, kind),
    )
    .context("the thread of the policies cannot be started")?;
    Ok(Planning {
        ladder: LadderConfig {
            rungs: config.ladder.rungs.clone(),
            max_quality: Some(config.ladder.max_quality.clone()),
            passthrough: config.ladder.passthrough,
            cpu_budget,
            shed: false,
        },
        gop_s: config.hls.segment_s,
        on_demand: false,
        desk,
        name: BroadcastName::new("package")?,
        from_peer: false,
    })
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// A file that is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let draft = with_ending(path, "new");
    let write = || {
        let mut file = fs::File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_data()?;
        fs::rename(&draft, path)
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// Makes a rename last; where the system cannot, it lasts as long as the machine runs.
fn sync(folder: Option<&Path>) {
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    if let Ok(folder) = fs::File::open(folder.unwrap_or(Path::new("."))) {
        folder.sync_all().ok();
    }
}

const UNLIMITED: f64 = 1e6;
