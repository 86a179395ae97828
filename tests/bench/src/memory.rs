//! `memory`: what a WHEP viewer costs the server's process, idle and playing, and whether it comes back.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lockgate_tests_peer::{Publisher, Viewer, clip};
use serde_json::json;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    process::{self, Held},
    server::Server,
    table::Report,
};

const VIEWERS: usize = 200;
/// Peers that come and go first: what the first ones cost once is nobody's own.
const WARM: usize = 10;
/// Handshakes at a time.
const AT_ONCE: usize = 8;
const RUNG: &str = "360p30";
const SETTLE: Duration = Duration::from_secs(6);
const PLAY: Duration = Duration::from_secs(15);
/// Sessions that ended say goodbye and go; and an allocator may return memory late.
const GO: Duration = Duration::from_secs(10);

pub(crate) async fn measure() -> anyhow::Result<Report> {
    let clip: Arc<[Bytes]> = clip::make(&process::bunny()?).await?.into();
    let server = Arc::new(Server::start().await?);
    let pid = server.pid()?;
    let publisher = Publisher::start(&*server, "bench", &clip).await?;
    // Fill the rings of the hub, run the rung, and let some peers pass.
    play(&server, join(&server, WARM).await?, SETTLE * 2).await?;
    publisher.pause(true);
    sleep(SETTLE).await;
    let before = Held::of(pid)?;

    let viewers = join(&server, VIEWERS).await?;
    sleep(SETTLE).await;
    let idle = Held::of(pid)?;

    publisher.pause(false);
    let began = Instant::now();
    let mut readers = JoinSet::new();
    for mut viewer in viewers {
        let server = Arc::clone(&server);
        readers.spawn(async move {
            server.pick(viewer.session(), RUNG).await?;
            viewer.read().await?;
            anyhow::Ok(viewer)
        });
    }
    let mut viewers = Vec::with_capacity(VIEWERS);
    while let Some(viewer) = readers.join_next().await {
        viewers.push(viewer??);
    }
    let joined_s = began.elapsed().as_secs_f64();
    sleep(SETTLE).await;
    let count = |of: fn(&Viewer) -> u64| viewers.iter().map(of).sum::<u64>() as f64;
    let (frames, packets) = (count(Viewer::frames), count(Viewer::packets));
    let began = Instant::now();
    sleep(PLAY).await;
    let played_s = began.elapsed().as_secs_f64() * VIEWERS as f64;
    let fps = (count(Viewer::frames) - frames) / played_s;
    let pps = (count(Viewer::packets) - packets) / played_s;
    let playing = Held::of(pid)?;

    leave(&server, viewers).await?;
    publisher.pause(true);
    sleep(GO).await;
    let after = Held::of(pid)?;

    // What an allocator keeps is used again; what is lost is lost once more.
    let viewers = join(&server, VIEWERS).await?;
    sleep(SETTLE).await;
    let again = Held::of(pid)?;
    leave(&server, viewers).await?;
    sleep(GO).await;
    let after_again = Held::of(pid)?;
    publisher.leave(&*server).await?;
    if let Some(server) = Arc::into_inner(server) {
        server.stop().await?;
    }

    let row = |what: &str, held: &Held| {
        let each = (held.rss_kb as f64 - before.rss_kb as f64) / VIEWERS as f64;
        vec![
            what.to_owned(),
            held.rss_kb.to_string(),
            format!("{each:.1}"),
            held.fds.to_string(),
            held.threads.to_string(),
        ]
    };
    let figure =
        |held: &Held| json!({ "rss_kb": held.rss_kb, "fds": held.fds, "threads": held.threads });
    Ok(Report {
        title: "WHEP viewers in the server's memory",
        notes: vec![
            format!(
                "{VIEWERS} viewers of one broadcast; the server's own process, not its encoder's"
            ),
            "idle: connected by ICE and DTLS, the publisher sends nothing".to_owned(),
            format!(
                "playing {RUNG}: {fps:.1} whole frames and {pps:.0} packets a second for each viewer; all were \
                 playing {joined_s:.1} s after the publisher went on"
            ),
            format!(
                "before: {WARM} viewers had played and gone; after: {} s later",
                GO.as_secs()
            ),
        ],
        head: vec!["", "RSS kB", "kB a viewer", "fds", "threads"],
        rows: vec![
            row("before", &before),
            row("idle", &idle),
            row("playing", &playing),
            row("after they left", &after),
            row("another as many, idle", &again),
            row("after these left", &after_again),
        ],
        figures: json!({
            "viewers": VIEWERS,
            "before": figure(&before),
            "idle": figure(&idle),
            "playing": figure(&playing),
            "after": figure(&after),
            "again_idle": figure(&again),
            "after_again": figure(&after_again),
            "playing_fps": fps,
            "playing_packets_per_s": pps,
        }),
    })
}

async fn join(server: &Arc<Server>, count: usize) -> anyhow::Result<Vec<Viewer>> {
    let mut joining = JoinSet::new();
    let mut viewers = Vec::with_capacity(count);
    for _ in 0..count {
        if joining.len() >= AT_ONCE
            && let Some(viewer) = joining.join_next().await
        {
            viewers.push(viewer??);
        }
        let server = Arc::clone(server);
        joining.spawn(async move { Viewer::join(&*server, "bench").await });
    }
    while let Some(viewer) = joining.join_next().await {
        let viewer: anyhow::Result<Viewer> = viewer?;
        viewers.push(viewer?);
    }
    Ok(viewers)
}

/// Lets viewers watch the rung for a while, and go.
async fn play(server: &Server, mut viewers: Vec<Viewer>, time: Duration) -> anyhow::Result<()> {
    for viewer in &mut viewers {
        server.pick(viewer.session(), RUNG).await?;
        viewer.read().await?;
    }
    sleep(time).await;
    leave(server, viewers).await
}

async fn leave(server: &Server, viewers: Vec<Viewer>) -> anyhow::Result<()> {
    for viewer in viewers {
        viewer.leave(server).await?;
    }
    Ok(())
}
