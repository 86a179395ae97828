//! A worker that is killed.

use std::{process::Command, time::Duration};

use crate::support::{Playlist, Server, until};

#[tokio::test]
async fn a_killed_worker_is_replaced_and_the_broadcast_goes_on() {
    let server = Server::start("", &["--demo"]).await;
    let first = server.running("demo").await;
    let before = Playlist::with_segments(&server, "demo", "360p30", 2).await;
    let newest = before.segments().last().expect("a segment").0;
    assert!(
        Command::new("kill")
            .args(["-9", &first.to_string()])
            .status()
            .expect("kill runs")
            .success()
    );

    until("another worker", Duration::from_secs(30), || async {
        let ladder = &server.stream("demo").await["ladder"];
        let pid = ladder["worker_pid"].as_u64().filter(|pid| *pid != first);
        (ladder["state"] == "running" && ladder["restarts"] == 1)
            .then_some(pid)
            .flatten()
    })
    .await;
    let after = until(
        "segments after one discontinuity",
        Duration::from_secs(40),
        || async {
            let playlist = Playlist::fetch(&server, "demo", "360p30").await;
            let broken = playlist
                .parsed
                .segments
                .iter()
                .position(|segment| segment.discontinuity)?;
            (playlist.parsed.segments.len() >= broken + 3).then_some(playlist)
        },
    )
    .await;
    let breaks = after
        .parsed
        .segments
        .iter()
        .filter(|segment| segment.discontinuity)
        .count();
    assert_eq!(breaks, 1, "{}", after.text);
    assert!(
        after.segments().last().is_some_and(|last| last.0 > newest),
        "{}",
        after.text
    );
}
