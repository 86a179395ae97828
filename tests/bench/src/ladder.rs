//! `ladder`: CPU of our worker's pipeline against the `ffmpeg` command doing the same.

use std::{num::NonZero, path::Path};

use anyhow::Context as _;
use serde_json::json;

use crate::{
    process,
    table::{Distribution, Report},
};

const PAIRS: usize = 5;
const PRESET: &str = "superfast";
/// Width, height and kbit/s of what our default ladder makes of a 720p source.
const RUNGS: [(u32, u32, u32); 3] = [(1280, 720, 2500), (854, 480, 1000), (640, 360, 600)];

pub(crate) async fn measure() -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.mp4");
    // Real pictures and 5.1 sound, three times over: 15.8 s.
    let mut making = process::ffmpeg("-stream_loop 2 -i");
    making.arg(process::bunny()?).args(["-c", "copy"]);
    process::output(making.arg(&source)).await?;

    let ours = process::example("ladder-cost")?;
    let (mut our_s, mut their_s, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut media_s = 0.0;
    for _ in 0..PAIRS {
        let before_s = process::children_cpu_s()?;
        let mut command = process::command(&ours);
        command.arg(&source).arg(PRESET);
        command.args(RUNGS.map(|(width, height, kbps)| format!("{width}x{height}@30:{kbps}")));
        let said = process::output(&mut command).await?;
        let between_s = process::children_cpu_s()?;
        process::output(&mut theirs(&source)).await?;
        let after_s = process::children_cpu_s()?;
        media_s = said
            .split_once(" s of media")
            .and_then(|(seconds, _)| seconds.trim().parse().ok())
            .with_context(|| format!("ladder-cost said: {said}"))?;
        our_s.push((between_s - before_s) / media_s);
        their_s.push((after_s - between_s) / media_s);
        ratios.push((between_s - before_s) / (after_s - between_s));
    }
    let pairs: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.3}")).collect();
    let pairs = pairs.join(" ");
    let [our_s, their_s, ratios] = [our_s, their_s, ratios].map(Distribution::new);
    let row = |what: &str, sample: &Distribution| {
        let mut row = vec![what.to_owned(), sample.count().to_string()];
        row.extend(
            [sample.min(), sample.median(), sample.max()].map(|value| format!("{value:.4}")),
        );
        row
    };
    let rungs = RUNGS.map(|(width, height, kbps)| format!("{width}x{height} {kbps}k"));
    Ok(Report {
        title: "Ladder, CPU seconds per second of media",
        notes: vec![
            format!("in turn, pair by pair: {pairs} (goal: at most 1.05)"),
            format!(
                "{media_s:.1} s of 720p25 H.264 with 5.1 AAC, decoded once, into {} (libx264 {PRESET}, zerolatency, \
                 baseline, one thread each, a keyframe every 2 s) and AAC 128k and Opus 96k",
                rungs.join(", ")
            ),
            "both bilinear; we scale in a cascade, ffmpeg splits and scales each from the source; it writes nowhere, \
             ours puts Annex B units into a queue; all of each process counts, its start too"
                .to_owned(),
        ],
        head: vec!["", "n", "min", "median", "max"],
        rows: vec![
            row("lockgate", &our_s),
            row("ffmpeg", &their_s),
            row("ratio", &ratios),
        ],
        figures: json!({
            "media_s": media_s,
            "lockgate_cpu_s_per_s": our_s.figures(),
            "ffmpeg_cpu_s_per_s": their_s.figures(),
            "ratio": ratios.figures(),
            "goal": 1.05,
        }),
    })
}

/// The same work by the command: one process, decode once, split, scale, encode with the options of our encoders.
fn theirs(source: &Path) -> tokio::process::Command {
    let decoders = std::thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(4);
    let mut graph = format!("[0:v]split={}", RUNGS.len());
    for at in 0..RUNGS.len() {
        graph.push_str(&format!("[in{at}]"));
    }
    for (at, (width, height, _)) in RUNGS.iter().enumerate() {
        graph.push_str(&format!(
            ";[in{at}]scale={width}:{height}:flags=bilinear[v{at}]"
        ));
    }
    graph.push_str(
        ";[0:a]aresample=48000,aformat=sample_fmts=fltp:channel_layouts=stereo,asplit[aac][opus]",
    );
    let mut command = process::ffmpeg(&format!("-threads {decoders} -filter_complex_threads 1 -i"));
    command.arg(source).args(["-filter_complex", &graph]);
    for (at, (_, _, kbps)) in RUNGS.iter().enumerate() {
        let buffer = kbps / 2;
        let output = format!(
            "-map [v{at}] -c:v libx264 -preset {PRESET} -tune zerolatency -profile:v baseline -bf 0 -threads 1 \
             -b:v {kbps}k -maxrate {kbps}k -bufsize {buffer}k -g 216000 -forced-idr 1 \
             -force_key_frames expr:gte(t,n_forced*2) -x264-params repeat-headers=1:scenecut=0:open-gop=0 \
             -fps_mode passthrough -f null -"
        );
        command.args(output.split_ascii_whitespace());
    }
    for output in [
        "-map [aac] -c:a aac -b:a 128k -f null -",
        "-map [opus] -c:a libopus -b:a 96k -frame_duration 20 -application audio -f null -",
    ] {
        command.args(output.split_ascii_whitespace());
    }
    command
}
