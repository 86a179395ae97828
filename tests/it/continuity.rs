//! Publishers that are cut and come back go on with their broadcast; those that say goodbye are over.

use std::time::Duration;

use lockgate_tests_peer::Viewer;

use crate::{
    ingest::PORTS,
    refused::OFFER,
    support::{Over, Playlist, Sender, Server, until},
};

/// A server with both ports, and links that are known to be dead soon.
fn config(resume_s: u32) -> String {
    let silence = PORTS.replace("127.0.0.1:0\"\n", "127.0.0.1:0\"\nsilence_s = 2\n");
    format!("[ingest]\nresume_s = {resume_s}\n{silence}")
}

async fn start(resume_s: u32) -> Server {
    let set = ["--set", "webrtc.silence_s=2"];
    Server::start(&config(resume_s), &set).await
}

async fn is(server: &Server, name: &str, publisher: &str) {
    until(publisher, Duration::from_secs(20), || async {
        (server.stream(name).await["publisher"] == publisher).then_some(())
    })
    .await;
}

fn breaks(playlist: &Playlist) -> usize {
    let segments = playlist.parsed.segments.iter();
    segments.filter(|segment| segment.discontinuity).count()
}

/// What a publisher over this protocol goes through: cut, away, back, its viewers staying.
async fn is_cut_and_comes_back(server: &Server, over: Over) {
    let name = over.name();
    let rung = if over == Over::Whip {
        "passthrough"
    } else {
        "source"
    };
    let publisher = Sender::publish(server, over, name, &server.token);
    server.running(name).await;
    let before = Playlist::with_segments(server, name, rung, 2).await;
    let newest = before.segments().last().expect("a segment").0;
    let started = server.stream(name).await["started_at_ms"].clone();
    let mut viewer = Viewer::join(server, name).await.expect("a viewer joins");
    viewer.read().await.expect("it is sent video");
    let frames = |more: u64| {
        let wanted = viewer.frames() + more;
        let viewer = &viewer;
        async move {
            until("pictures", Duration::from_secs(30), || async {
                (viewer.frames() >= wanted).then_some(())
            })
            .await;
        }
    };
    frames(10).await;

    publisher.cut();
    is(server, name, "away").await;
    // Somebody else cannot have the name meanwhile, and is told for how long.
    let other = server.mint(&format!("publish:{name}"));
    let refused = server
        .offer_as(&other, &format!("/whip/{name}"), OFFER)
        .await;
    let told = refused.problem(409);
    assert!(told.contains("is kept for its publisher"), "{told}");
    assert!(!server.stream(name).await.is_null());

    let publisher = Sender::publish(server, over, name, &server.token);
    is(server, name, "connected").await;
    frames(30).await;
    assert_eq!(server.stream(name).await["started_at_ms"], started);
    let last = |playlist: &Playlist| playlist.segments().last().map(|segment| segment.0);
    let back = last(&Playlist::fetch(server, name, rung).await).expect("a segment");
    let after = until(
        "segments of the time after",
        Duration::from_secs(40),
        || async {
            let playlist = Playlist::fetch(server, name, rung).await;
            (last(&playlist) >= Some(back + 2)).then_some(playlist)
        },
    )
    .await;
    // A cut that fits into the segment that was open is a picture that stands for longer; any other is one break.
    assert!(breaks(&after) <= 1, "{}", after.text);
    let numbers: Vec<u64> = after.segments().iter().map(|segment| segment.0).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1));
    assert!(numbers.last() > Some(&newest), "{}", after.text);
    publisher.stop().await;
}

#[tokio::test]
async fn a_whip_publisher_that_is_cut_comes_back() {
    let server = start(20).await;
    is_cut_and_comes_back(&server, Over::Whip).await;
}

#[tokio::test]
async fn publishers_over_rtmp_and_srt_that_are_cut_come_back() {
    let server = start(20).await;
    tokio::join!(
        is_cut_and_comes_back(&server, Over::Rtmp),
        is_cut_and_comes_back(&server, Over::Srt)
    );
}

#[tokio::test]
async fn who_says_goodbye_is_over_at_once_and_who_stays_away_in_time() {
    let server = start(3).await;
    let all = [Over::Whip, Over::Rtmp, Over::Srt];
    let senders = all.map(|over| Sender::publish(&server, over, over.name(), &server.token));
    {
        let cut = Sender::publish(&server, Over::Rtmp, "cut", &server.token);
        server.running("cut").await;
        cut.cut();
    }
    for (sender, over) in senders.into_iter().zip(all) {
        server.running(over.name()).await;
        sender.stop().await;
        until("the end", Duration::from_secs(5), || async {
            server.stream(over.name()).await.is_null().then_some(())
        })
        .await;
    }
    until("the end", Duration::from_secs(10), || async {
        server.stream("cut").await.is_null().then_some(())
    })
    .await;
    let log = server.log();
    assert!(
        log.contains("the publisher was cut and did not come back"),
        "{log}"
    );
}

#[tokio::test]
async fn a_server_that_is_killed_goes_on_with_its_numbers() {
    let mut server = Server::start(PORTS, &[]).await;
    let ports = ["rtmp", "http"].map(|protocol| port(&server.address(protocol)));
    let publisher = Sender::publish(&server, Over::Rtmp, "live", &server.token);
    server.running("live").await;
    let before = Playlist::with_segments(&server, "live", "source", 2).await;
    let set = [
        "--set".to_owned(),
        format!("ingest.rtmp.listen=127.0.0.1:{}", ports[0]),
        "--set".to_owned(),
        format!("http.listen=127.0.0.1:{}", ports[1]),
    ];
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    server.crash_and_start_again(&set).await;
    // FFmpeg cannot come back by itself; its user starts it again.
    let (_, _) = publisher.ended().await;
    let _publisher = Sender::publish(&server, Over::Rtmp, "live", &server.token);
    server.running("live").await;
    let after = Playlist::with_segments(&server, "live", "source", 2).await;
    let newest = before.segments().last().expect("a segment").0;
    assert!(
        after.segments()[0].0 > newest,
        "{} {}",
        before.text,
        after.text
    );
    let sequence = |playlist: &Playlist| playlist.parsed.discontinuity_sequence;
    assert!(
        sequence(&after) > sequence(&before),
        "{} {}",
        before.text,
        after.text
    );
}

fn port(url: &str) -> String {
    url.rsplit(':').next().expect("a port").to_owned()
}
