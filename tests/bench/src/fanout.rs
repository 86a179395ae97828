//! `fanout`: how many WHEP viewers one core carries, how near that comes to what encrypting and sending alone costs, and
//! what a viewer costs in memory.
//!
//! The transport's own example measures it, with the transport alone on one core and all viewers on another.

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{process, table::Report};

/// Viewers a core at 600 kbit/s.
const VIEWERS_MIN: f64 = 1500.0;
/// Of the packets that a CPU second of the bare loop sends.
const RATIO_MIN: f64 = 0.5;
/// Memory of a viewer that plays.
const PLAYING_MAX_KB: f64 = 150.0;
/// More than this is not carried.
const LOST_MAX_PCT: f64 = 0.1;
const FULL: f64 = 0.97;

pub(crate) async fn measure() -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("fanout.json");
    let mut command = process::command(process::example("fanout")?);
    process::output(command.arg("--json").arg(&file)).await?;
    let points: Vec<Value> = serde_json::from_slice(&std::fs::read(&file)?)
        .context("the figures of the example cannot be read")?;
    let number = |point: &Value, key: &str| {
        let number = point[key].as_f64();
        number.with_context(|| format!("the example gives no {key}"))
    };
    let mut rows = Vec::new();
    let mut figures = Vec::new();
    for point in points.iter().filter(|point| point["ratio"].is_number()) {
        let same =
            |other: &&Value| other["kbps"] == point["kbps"] && other["srtp"] == point["srtp"];
        let mut carried = 0.0;
        for other in points.iter().filter(same) {
            if number(other, "lost_pct")? <= LOST_MAX_PCT && number(other, "load")? <= FULL {
                carried = number(other, "clients")?.max(carried);
            }
        }
        let kbps = number(point, "kbps")?;
        let per_core = number(point, "viewers_per_core")?;
        let ratio = number(point, "ratio")?;
        let playing_kb = number(point, "playing_kb")?;
        rows.push(vec![
            format!(
                "{kbps} kbit/s, {}",
                point["srtp"].as_str().unwrap_or_default()
            ),
            format!("{per_core:.0}"),
            met(per_core >= VIEWERS_MIN, kbps <= 600.0),
            format!("{carried:.0}"),
            format!("{:.0}", number(point, "packets_per_cpu_s")?),
            format!("{:.0}", number(point, "bare_packets_per_cpu_s")?),
            format!("{ratio:.2}"),
            met(ratio >= RATIO_MIN, true),
            format!("{:.0}", number(point, "idle_kb")?),
            format!("{playing_kb:.0}"),
            met(playing_kb <= PLAYING_MAX_KB, true),
        ]);
        figures.push(json!({ "point": point, "carried": carried }));
    }
    Ok(Report {
        title: "Fan-out: WHEP viewers on one core, the tester on another",
        notes: vec![
            "per core: viewers divided by the load of the server's core at 200 viewers; carried: the most that lost under \
             0.1 % with the core not full, looked for with one cipher"
                .to_owned(),
            "bare: a loop that encrypts the same packets with the same cipher and sends them on the same schedule with \
             the same system calls, and does nothing else; ratio: packets in a CPU second, ours to its"
                .to_owned(),
            "audio of 64 kbit/s is part of the rate; every viewer reports each packet, ten times a second, as browsers do"
                .to_owned(),
            "kB: resident memory of the transport for each viewer, connected and playing".to_owned(),
        ],
        head: vec![
            "track, SRTP",
            "per core",
            "goal ≥ 1500",
            "carried",
            "pkt/CPU-s",
            "bare",
            "ratio",
            "goal ≥ 0.5",
            "idle kB",
            "playing kB",
            "goal ≤ 150",
        ],
        rows,
        figures: json!({ "points": figures }),
    })
}

fn met(is: bool, asked: bool) -> String {
    match (asked, is) {
        (false, _) => String::new(),
        (true, true) => "met".to_owned(),
        (true, false) => "missed".to_owned(),
    }
}
