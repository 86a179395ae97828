//! `idle`: a ladder that nobody watches, against a program that only demuxes the same.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    process::{self, cpu_s},
    server::Server,
    table::{Distribution, Report},
};

const ROUNDS: usize = 3;
const ROUND: Duration = Duration::from_secs(12);

pub(crate) async fn measure() -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("source.mp4");
    // Long enough not to be opened anew meanwhile.
    let mut making = process::ffmpeg("-stream_loop 30 -i");
    making.arg(process::bunny()?).args(["-c", "copy"]);
    process::output(making.arg(&source)).await?;
    let path = source.to_str().context("the path is text")?;
    let server = Server::start_with(
        &format!("[[ingest.source]]\nname = \"film\"\nurl = \"{path}\"\nloop = true\n"),
        &[],
    )
    .await?;
    let worker = resting(&server).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before_s = cpu_s(worker)?;
        let began = Instant::now();
        sleep(ROUND).await;
        ours.push((cpu_s(worker)? - before_s) / began.elapsed().as_secs_f64());
        let mut demux = process::ffmpeg("-re -i");
        demux.arg(&source).args(["-c", "copy", "-f", "null", "-"]);
        let mut demux = demux.spawn().context("ffmpeg cannot be started")?;
        let pid = demux.id().context("ffmpeg has ended")?;
        // Its start is not what is compared: ours has started long ago.
        sleep(Duration::from_secs(1)).await;
        let before_s = cpu_s(pid)?;
        let began = Instant::now();
        sleep(ROUND).await;
        theirs.push((cpu_s(pid)? - before_s) / began.elapsed().as_secs_f64());
        demux.kill().await?;
    }
    server.stop().await?;
    let [ours, theirs] = [ours, theirs].map(Distribution::new);
    let row = |what: &str, sample: &Distribution| {
        let values = [sample.min(), sample.median(), sample.max()];
        let mut row = vec![what.to_owned(), sample.count().to_string()];
        row.extend(values.map(|value| format!("{:.2} %", value * 100.0)));
        row
    };
    Ok(Report {
        title: "Idle ladder, CPU of one core",
        notes: vec![
            "a file of 720p25 H.264 with AAC in real time, watched by nobody: the worker's process against \
             `ffmpeg -re -c copy -f null`, which only demuxes"
                .to_owned(),
        ],
        head: vec!["", "n", "min", "median", "max"],
        rows: vec![row("lockgate", &ours), row("ffmpeg, demuxing", &theirs)],
        figures: json!({ "lockgate_cpu": ours.figures(), "demux_cpu": theirs.figures() }),
    })
}

/// Waits until no rung is encoded any more; the worker's process.
async fn resting(server: &Server) -> anyhow::Result<u32> {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        sleep(Duration::from_secs(3)).await;
        let ladder = server.get("/api/streams/film").await?["ladder"].clone();
        let worker = ladder["worker_pid"].as_u64();
        if let Some(worker) = worker.filter(|_| {
            ladder["state"] == "running" && ladder["rungs_active"] == 0 && ladder["speed"] != 0.0
        }) {
            return Ok(u32::try_from(worker)?);
        }
        ensure!(
            Instant::now() < deadline,
            "the ladder does not rest: {ladder}"
        );
    }
}
