//! Going down: nobody new, a goodbye to those who are there, and players of HLS come to the end.

use std::time::Duration;

use hyper::{Method, header};
use lockgate_tests_peer::Viewer;

use crate::{
    ingest::PORTS,
    refused::OFFER,
    support::{H264_AAC, Over, PICTURE, Playlist, Sender, Server, ffmpeg_5, until},
};

/// Waits until the server says that it goes down.
async fn going_down(server: &Server) {
    until(
        "the server to be no longer ready",
        Duration::from_secs(20),
        || async { (server.get("/readyz").await.status == 503).then_some(()) },
    )
    .await;
}

/// A player of a media playlist that begins now: it takes each segment once, until the end is listed and it has all.
async fn play(server: &Server, name: &str) -> (Vec<u64>, u64) {
    let mut taken: Vec<u64> = Vec::new();
    loop {
        let playlist = Playlist::fetch(server, name, "source").await;
        let first = playlist.parsed.media_sequence;
        for (segment, number) in playlist.parsed.segments.iter().zip(first..) {
            if taken.last().is_none_or(|last| number > *last) {
                let path = format!("/hls/{name}/source/{}", segment.uri);
                let answer = server.get(&path).await;
                assert_eq!(answer.status, 200, "{path}: {}", answer.text());
                assert!(!answer.body.is_empty());
                taken.push(number);
            }
        }
        if playlist.parsed.end_list {
            let last = first + playlist.parsed.segments.len() as u64 - 1;
            return (taken, last);
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

#[tokio::test]
async fn a_server_that_goes_down_lets_everybody_come_to_the_end() {
    let config = format!("{PORTS}[hls]\nsegment_s = 1\nwindow = 4\n");
    let mut server = Server::start(&config, &["--set", "server.drain_s=5"]).await;
    let rtmp = Sender::publish(&server, Over::Rtmp, "r", &server.token);
    let srt = Sender::publish(&server, Over::Srt, "s", &server.token);
    for name in ["r", "s"] {
        server.running(name).await;
    }
    Playlist::with_segments(&server, "r", "source", 2).await;
    let mut viewer = Viewer::join(&server, "r").await.expect("it joins");
    viewer.read().await.expect("it is sent video");
    until("pictures", Duration::from_secs(20), || async {
        (viewer.frames() > 5).then_some(())
    })
    .await;
    assert_eq!(server.get("/readyz").await.status, 200);

    server.signal("TERM");
    going_down(&server).await;
    // Alive, but for nobody new, over whatever protocol.
    assert_eq!(server.get("/livez").await.status, 200);
    let viewers = OFFER.replace("sendonly", "recvonly");
    for (path, offer) in [("/whip/new", OFFER), ("/whep/r", &viewers)] {
        let refused = server.offer(path, offer).await;
        assert!(refused.problem(503).contains("shutting down"), "{path}");
        assert!(!refused.header(header::RETRY_AFTER).is_empty(), "{path}");
    }
    let request = server
        .request(Method::GET, "/hls/r/playlist.m3u8")
        .header(header::USER_AGENT, "somebody new");
    let refused = server
        .send(request.body(Default::default()).expect("a request"))
        .await;
    refused.problem(503);
    for over in [Over::Rtmp, Over::Srt] {
        let output = over.output(&server, "new", &server.token);
        let sender = Sender::start(ffmpeg_5(), &format!("{PICTURE} {H264_AAC}"), &output);
        assert!(!sender.ended().await.0, "{over:?}");
    }
    // Who is there goes on, and then is told goodbye.
    let before = viewer.frames();
    let (played, ()) = tokio::join!(play(&server, "r"), async {
        until("more pictures", Duration::from_secs(20), || async {
            (viewer.frames() > before).then_some(())
        })
        .await;
        viewer.told_goodbye().await.expect("the end is told");
    });
    let (taken, last) = played;
    assert_eq!(taken.last(), Some(&last), "{taken:?}");
    assert!(
        taken.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{taken:?}"
    );
    for (over, sender) in [("RTMP", rtmp), ("SRT", srt)] {
        let (went_well, said) = sender.ended().await;
        assert!(!went_well, "{over} was not told: {said}");
    }
    assert_eq!(server.down().await, Some(0), "{}", server.log());
    assert!(!server.log().contains("ERROR"), "{}", server.log());
}

#[tokio::test]
async fn nobody_there_and_it_is_gone_and_a_second_word_ends_it_at_once() {
    // Nobody watches: nothing is waited for, however long it may.
    let mut server = Server::start("", &["--demo", "--set", "server.drain_s=3600"]).await;
    server.running("demo").await;
    assert_eq!(server.terminate().await, Some(0));

    for second in ["TERM", "INT"] {
        let mut server = Server::start("", &["--demo", "--set", "server.drain_s=3600"]).await;
        server.running("demo").await;
        let viewer = Viewer::join(&server, "demo").await.expect("it joins");
        server.signal("INT");
        going_down(&server).await;
        assert_eq!(server.ended(), None);
        server.signal(second);
        assert_eq!(server.down().await, Some(0), "{}", server.log());
        drop(viewer);
    }
}
