//! `whep`: how many WHEP viewers a core carries, by `lockgate bench whep` against the real server, pinned to a core
//! each; and the same against any other server by its URL.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Map, Value, json};
use tokio::{process::Child, time::sleep};

use crate::{
    process,
    server::{Pinned, Server},
    table::Report,
};

const KBPS: [u64; 2] = [600, 1400];
const FIRST: usize = 100;
const MOST: usize = 6400;
/// How often the space between the last good and the first bad number is halved.
const HALVINGS: usize = 2;
/// More than this is too much, in percent.
const LOST_MAX: f64 = 0.1;
/// A core of which this much is used is full.
const CORE_FULL: f64 = 0.95;
/// No step is begun after that: the table has to end.
const SEARCH: Duration = Duration::from_secs(80);
/// Beginning and end of a step, besides its measurement.
const STEP_WITHIN: Duration = Duration::from_secs(75);
const MEASURE_S: &str = "3";
/// Most viewers trust what they were shown to be good, so that the load costs less than the server.
const DECRYPT_ONE_IN: &str = "50";
const LIVE_WITHIN: Duration = Duration::from_secs(20);

/// What is loaded: ours, or whoever has the URL.
struct Subject {
    name: String,
    whep: String,
    whip: Option<String>,
    token: Option<String>,
    pid: Option<u32>,
}

/// One number of viewers, and what they saw.
struct Step {
    viewers: usize,
    report: Value,
    is_good: bool,
}

pub(crate) async fn measure() -> anyhow::Result<Report> {
    let (mut rows, mut figures, mut notes) = (Vec::new(), Map::new(), Vec::new());
    for kbps in KBPS {
        let server = Server::start_pinned(&pinned(kbps)).await?;
        let url = |path: &str| server.url(path);
        let subject = Subject {
            name: format!("lockgate, {kbps} kbit/s"),
            whep: url("/whep/load"),
            whip: Some(url("/whip/load")),
            token: Some(server.token().to_owned()),
            pid: Some(server.pid()?),
        };
        let found = search(&subject, kbps).await;
        server.stop().await?;
        let steps = found?;
        figures.insert(
            format!("lockgate_{kbps}"),
            told(&subject, &steps, &mut rows),
        );
    }
    if let Ok(whep) = std::env::var("LOCKGATE_BENCH_URL") {
        let variable = |name: &str| std::env::var(name).ok();
        let subject = Subject {
            name: whep.clone(),
            whep,
            whip: variable("LOCKGATE_BENCH_WHIP_URL"),
            token: variable("LOCKGATE_BENCH_TOKEN"),
            pid: variable("LOCKGATE_BENCH_PID").and_then(|pid| pid.parse().ok()),
        };
        let kbps = if subject.whip.is_some() {
            KBPS.to_vec()
        } else {
            vec![0]
        };
        for kbps in kbps {
            let subject = Subject {
                name: match kbps {
                    0 => subject.name.clone(),
                    _ => format!("{}, {kbps} kbit/s", subject.name),
                },
                whep: subject.whep.clone(),
                whip: subject.whip.clone(),
                token: subject.token.clone(),
                pid: subject.pid,
            };
            let steps = search(&subject, kbps).await?;
            figures.insert(subject.name.clone(), told(&subject, &steps, &mut rows));
        }
    } else {
        notes.push("LOCKGATE_BENCH_URL (and LOCKGATE_BENCH_WHIP_URL, _TOKEN, _PID) puts another server here".to_owned());
    }
    notes.insert(0, format!(
        "viewers: doubled from {FIRST}, then halved in between, until more than {LOST_MAX} % of packets are lost, somebody \
         gets no picture, or {:.0} % of the server's core are used; the row is the last number that went well",
        CORE_FULL * 100.0
    ));
    notes.insert(
        1,
        "server on core 0, viewers and publisher on core 1; one viewer in 50 decrypts everything"
            .to_owned(),
    );
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg")
        && let Some(load) = load.split(' ').next()
    {
        let note = "runnable tasks in the last minute; much above 2 is somebody else's, and then this is no measurement";
        notes.push(format!("{load} {note}"));
    }
    Ok(Report {
        title: "WHEP viewers a core carries",
        notes,
        head: vec![
            "",
            "viewers",
            "ended by",
            "packets/s",
            "Mbit/s",
            "lost %",
            "server cores",
            "packets a CPU s",
            "kB a viewer",
            "join p50 ms",
            "p99",
            "load cores",
        ],
        rows,
        figures: Value::Object(figures),
    })
}

/// The source is of the only rung there is, and passed through: nothing is encoded.
fn pinned(kbps: u64) -> Pinned {
    let (width, height) = if kbps < 1000 { (848, 480) } else { (1280, 720) };
    let rung = format!(
        "{{ name = \"one\", width = {width}, height = {height}, fps = 30, kbps = {kbps} }}"
    );
    Pinned {
        core: 0,
        config: format!(
            "[ladder]\nrungs = [{rung}]\nmax_quality = \"one\"\ndefault_quality = \"one\"\n[webrtc]\nviewers_max = 10000\n"
        ),
    }
}

async fn search(subject: &Subject, kbps: u64) -> anyhow::Result<Vec<Step>> {
    let _publisher = match &subject.whip {
        Some(whip) => Some(publish(subject, whip, kbps)?),
        None => None,
    };
    live(subject).await?;
    let began = Instant::now();
    let mut steps: Vec<Step> = Vec::new();
    let (mut good, mut bad, mut next) = (0, None, FIRST);
    let mut halved = 0;
    while began.elapsed() < SEARCH && next <= MOST {
        let step = step(subject, next).await?;
        if step.is_good {
            good = next;
        } else {
            bad = Some(next);
        }
        steps.push(step);
        next = match bad {
            None => next * 2,
            Some(_) if halved == HALVINGS => break,
            Some(bad) => {
                halved += 1;
                (good + bad) / 2
            }
        };
        if next <= good {
            break;
        }
    }
    Ok(steps)
}

fn bench(subject: &Subject) -> anyhow::Result<tokio::process::Command> {
    let mut command = process::command("taskset");
    command
        .args(["-c", "1"])
        .arg(process::server()?)
        .arg("bench");
    if let Some(token) = &subject.token {
        command.env("LOCKGATE_TOKEN", token);
    }
    Ok(command)
}

/// A publisher for as long as it is held.
fn publish(subject: &Subject, whip: &str, kbps: u64) -> anyhow::Result<Child> {
    let mut command = bench(subject)?;
    command
        .args(["whip", whip, "--seconds", "1h", "--audio-kbps", "0"])
        .args(["--video-kbps", &kbps.to_string()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .context("no publisher")
}

/// Waits until a viewer gets a picture.
async fn live(subject: &Subject) -> anyhow::Result<()> {
    let deadline = Instant::now() + LIVE_WITHIN;
    loop {
        let mut command = bench(subject)?;
        command.args([
            "whep",
            &subject.whep,
            "--no-audio",
            "--seconds",
            "1",
            "--json",
        ]);
        let output = command.output().await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(Instant::now() < deadline, "nothing is live: {said}");
        sleep(Duration::from_millis(500)).await;
    }
}

async fn step(subject: &Subject, viewers: usize) -> anyhow::Result<Step> {
    let mut command = bench(subject)?;
    command
        .args(["whep", &subject.whep, "--json", "--no-audio", "--ramp", "0"])
        .args(["--clients", &viewers.to_string(), "--seconds", MEASURE_S])
        .args(["--decrypt-one-in", DECRYPT_ONE_IN]);
    if let Some(pid) = subject.pid {
        command.args(["--server-pid", &pid.to_string()]);
    }
    let output = tokio::time::timeout(STEP_WITHIN, command.output());
    let Ok(output) = output.await else {
        // Who cannot even answer so many in time is past its limit.
        let report = json!({ "ended": "time" });
        return Ok(Step {
            viewers,
            report,
            is_good: false,
        });
    };
    let output = output?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{viewers} viewers: {said}"))?;
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64);
    let is_good = output.status.success()
        && number("/packets/lost_pct").is_some_and(|lost| lost <= LOST_MAX)
        && number("/server/cores").is_none_or(|cores| cores < CORE_FULL);
    Ok(Step {
        viewers,
        report,
        is_good,
    })
}

/// Why a number was too many.
fn ended_by(step: &Step) -> &'static str {
    let number = |pointer: &str| step.report.pointer(pointer).and_then(Value::as_f64);
    if number("/server/cores").is_some_and(|cores| cores >= CORE_FULL) {
        "its core is full"
    } else if number("/own/cores").is_some_and(|cores| cores >= CORE_FULL) {
        "the load's core is full"
    } else if number("/packets/lost_pct").is_some_and(|lost| lost > LOST_MAX) {
        "loss"
    } else if step.report.get("ended").is_some() {
        "time"
    } else {
        "not all joined"
    }
}

/// The row of the last good step, and the figures of all.
fn told(subject: &Subject, steps: &[Step], rows: &mut Vec<Vec<String>>) -> Value {
    let best = steps
        .iter()
        .filter(|step| step.is_good)
        .max_by_key(|step| step.viewers);
    let worst = steps
        .iter()
        .filter(|step| !step.is_good)
        .min_by_key(|step| step.viewers);
    let reason = worst.map_or("nothing yet", ended_by);
    let mut row = vec![subject.name.clone()];
    match best {
        Some(step) => {
            let number = |pointer: &str| step.report.pointer(pointer).and_then(Value::as_f64);
            let shown = |pointer: &str, digits: usize| {
                number(pointer).map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
            };
            let each = number("/server/cores").zip(number("/packets_per_s"));
            let each = each.filter(|(cores, _)| *cores > 0.0);
            row.extend([
                step.viewers.to_string(),
                reason.to_owned(),
                shown("/packets_per_s", 0),
                shown("/mbit_per_s", 1),
                shown("/packets/lost_pct", 3),
                shown("/server/cores", 2),
                each.map_or_else(
                    || "-".to_owned(),
                    |(cores, packets)| format!("{:.0}", packets / cores),
                ),
                shown("/server/rss_kb_per_client", 0),
                shown("/join_ms/p50", 0),
                shown("/join_ms/p99", 0),
                shown("/own/cores", 2),
            ]);
        }
        None => {
            row.extend([format!("under {FIRST}"), reason.to_owned()]);
            row.resize(12, "-".to_owned());
        }
    }
    rows.push(row);
    let all = steps.iter().map(
        |step| json!({ "viewers": step.viewers, "good": step.is_good, "report": step.report }),
    );
    json!({ "viewers": best.map(|step| step.viewers), "ended_by": reason, "steps": all.collect::<Vec<_>>() })
}
