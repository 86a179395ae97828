//! `delay`: from a WHIP publisher's socket to whole frames at WHEP viewers, by marked frames.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use bytes::Bytes;
use lockgate_tests_peer::{FPS, Publisher, Viewer, clip};
use serde_json::{Map, Value, json};
use tokio::time::sleep;

use crate::{
    process,
    server::Server,
    table::{Distribution, Report},
};

const VIEWERS: [usize; 2] = [1, 20];
/// Until the ladder has made its first cells and found that nobody watches its rungs.
const SETTLE: Duration = Duration::from_secs(8);
const MEASURE: Duration = Duration::from_secs(20);
/// For what is still on its way.
const DRAIN: Duration = Duration::from_secs(1);

/// What one number of viewers saw.
struct Outcome {
    sent: usize,
    lost: usize,
    packets_lost: u64,
    /// In ms, from the publisher's socket to the viewer's, and to the whole frame.
    to_socket: Distribution,
    to_frame: Distribution,
    /// In ms, from a frame's first viewer to its last, at their sockets.
    spread: Distribution,
}

pub(crate) async fn measure() -> anyhow::Result<Report> {
    let clip: Arc<[Bytes]> = clip::make(&process::bunny()?).await?.into();
    let bytes: usize = clip.iter().map(Bytes::len).sum();
    let kbps = bytes as f64 * 8.0 / 1000.0 / (clip.len() as f64 / FPS as f64);
    let mut rows = Vec::new();
    let mut figures = Map::new();
    for count in VIEWERS {
        let outcome = with_viewers(&clip, count).await?;
        let ms = |value: f64| format!("{value:.2}");
        for (what, sample) in [
            ("at the socket", &outcome.to_socket),
            ("whole frame", &outcome.to_frame),
            ("first to last viewer", &outcome.spread),
        ] {
            if sample.count() == 0 {
                continue; // one viewer has no spread
            }
            rows.push(vec![
                format!(
                    "{count} viewer{}, {what}",
                    if count == 1 { "" } else { "s" }
                ),
                sample.count().to_string(),
                ms(sample.median()),
                ms(sample.quantile(0.99)),
                ms(sample.max()),
                format!("{} of {}", outcome.lost, outcome.sent * count),
                outcome.packets_lost.to_string(),
            ]);
        }
        let figure = json!({
            "to_socket_ms": outcome.to_socket.figures(),
            "to_frame_ms": outcome.to_frame.figures(),
            "spread_ms": outcome.spread.figures(),
            "frames_sent": outcome.sent,
            "frames_lost": outcome.lost,
            "packets_lost": outcome.packets_lost,
        });
        figures.insert(format!("viewers_{count}"), figure);
    }
    Ok(Report {
        title: "Forward delay, WHIP to WHEP, in ms",
        notes: vec![
            format!("H.264 720p30 of {kbps:.0} kbit/s, every frame marked; n counts frames over all viewers"),
            "from the last packet of a frame at the publisher's socket; publisher and viewers share the machine and \
             a process with each other, so the whole frame counts their WebRTC library too"
                .to_owned(),
        ],
        head: vec!["", "n", "median", "p99", "max", "frames lost", "packets lost"],
        rows,
        figures: Value::Object(figures),
    })
}

async fn with_viewers(clip: &Arc<[Bytes]>, count: usize) -> anyhow::Result<Outcome> {
    let server = Server::start().await?;
    let publisher = Publisher::start(&server, "bench", clip).await?;
    let mut viewers = Vec::with_capacity(count);
    for _ in 0..count {
        let mut viewer = Viewer::join(&server, "bench").await?;
        server.pick(viewer.session(), "source").await?;
        viewer.read().await?;
        viewers.push(viewer);
    }
    sleep(SETTLE).await;
    let first = publisher.newest() + 1;
    sleep(MEASURE).await;
    let last = publisher.newest();
    sleep(DRAIN).await;

    let sent = (first..=last).filter(|number| publisher.sent_at(*number).is_some());
    let sent = sent.count();
    ensure!(sent > 0, "the publisher sent nothing");
    let (mut to_socket, mut to_frame) = (Vec::new(), Vec::new());
    let mut arrivals = vec![Vec::with_capacity(count); usize::try_from(last - first)? + 1];
    for seen in viewers.iter().flat_map(Viewer::seen) {
        if !(first..=last).contains(&seen.number) {
            continue;
        }
        let Some(at) = publisher.sent_at(seen.number) else {
            continue;
        };
        let ms =
            |then: std::time::Instant| then.saturating_duration_since(at).as_secs_f64() * 1000.0;
        to_socket.push(ms(seen.arrived));
        to_frame.push(ms(seen.whole));
        arrivals[usize::try_from(seen.number - first)?].push(ms(seen.arrived));
    }
    let spread = |of: Vec<f64>| {
        let of = Distribution::new(of);
        of.max() - of.min()
    };
    let complete = arrivals
        .into_iter()
        .filter(|of| count > 1 && of.len() == count);
    let outcome = Outcome {
        sent,
        lost: (sent * count).saturating_sub(to_frame.len()),
        packets_lost: viewers.iter().map(Viewer::packets_lost).sum(),
        to_socket: Distribution::new(to_socket),
        to_frame: Distribution::new(to_frame),
        spread: Distribution::new(complete.map(spread).collect()),
    };
    for viewer in viewers {
        viewer.leave(&server).await?;
    }
    publisher.leave(&server).await?;
    server.stop().await?;
    Ok(outcome)
}
