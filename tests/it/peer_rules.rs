//! Rules of DTLS, SRTP, consent and RTCP that only a whole WebRTC peer can look at, against the running server.

use std::{
    pin::pin,
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, header};
use lockgate_tests_peer::{Publisher, Viewer, clip};

use crate::{
    refused::OFFER,
    support::{Server, until},
};

/// What is published is passed through to viewers.
pub(crate) const PLAIN: &str = "[ladder]\nrungs = [{ name = \"180p30\", width = 320, height = 180, fps = 30, kbps = 800 }]\n\
    max_quality = \"180p30\"\ndefault_quality = \"180p30\"\n";
const IN_TIME: Duration = Duration::from_secs(20);

/// A server whose offers pass somebody who changes them, and who notes the session.
struct Between<'a> {
    server: &'a Server,
    change: &'a (dyn Fn(&str) -> String + Sync),
    session: Mutex<Option<String>>,
}

#[async_trait::async_trait]
impl lockgate_tests_peer::Server for Between<'_> {
    async fn offer(&self, path: &str, sdp: String) -> anyhow::Result<(String, String)> {
        let changed = (self.change)(&sdp);
        let answered = lockgate_tests_peer::Server::offer(self.server, path, changed).await?;
        *self.session.lock().expect("nobody panics") = Some(answered.1.clone());
        Ok(answered)
    }

    async fn end(&self, session: &str) -> anyhow::Result<()> {
        lockgate_tests_peer::Server::end(self.server, session).await
    }
}

async fn pictures() -> Arc<[Bytes]> {
    clip::small().await.expect("FFmpeg makes a clip").into()
}

/// A publisher and a viewer of it that gets frames.
async fn live(server: &Server) -> (Publisher, Viewer) {
    let publisher = Publisher::start(server, "live", &pictures().await).await;
    let publisher = publisher.expect("a publisher is taken");
    until("the source", IN_TIME, || async {
        let stream = server.stream("live").await;
        (stream["state"] == "live").then_some(())
    })
    .await;
    let viewer = watching(server).await;
    (publisher, viewer)
}

async fn watching(server: &Server) -> Viewer {
    let mut viewer = Viewer::join(server, "live").await.expect("a viewer joins");
    viewer.read().await.expect("media comes");
    viewer
}

async fn more_frames(viewer: &Viewer, count: u64) {
    let before = viewer.frames();
    until("frames", IN_TIME, || async {
        (viewer.frames() >= before + count).then_some(())
    })
    .await;
}

/// Whether a session is there: it takes candidates, of which there are none more.
async fn is_there(server: &Server, session: &str) -> bool {
    let request = server
        .request(Method::PATCH, session)
        .header(header::CONTENT_TYPE, "application/trickle-ice-sdpfrag")
        .header(header::AUTHORIZATION, format!("Bearer {}", server.token))
        .header(header::IF_MATCH, "*")
        .body(Full::from("a=mid:0\r\na=end-of-candidates\r\n"))
        .expect("a request");
    match server.send(request).await.status.as_u16() {
        204 => true,
        404 => false,
        other => panic!("{session}: {other}"),
    }
}

#[tokio::test]
async fn i02_a_certificate_that_is_not_the_offers_gets_nobody_in() {
    let server = Server::start("connect_s = 2\n", &[]).await;
    let clip = pictures().await;
    for role in ["active", "passive"] {
        let change = |sdp: &str| {
            let (before, rest) = sdp
                .split_once("a=fingerprint:sha-256 ")
                .expect("there is one");
            let (digest, after) = rest.split_once("\r\n").expect("a line");
            let turned: Vec<&str> = digest.split(':').rev().collect();
            format!(
                "{before}a=fingerprint:sha-256 {}\r\n{after}",
                turned.join(":")
            )
            .replace("setup:actpass", &format!("setup:{role}"))
        };
        let between = Between {
            server: &server,
            change: &change,
            session: Mutex::default(),
        };
        let mut over = pin!(async {
            until("the end of the session", IN_TIME, || async {
                let session = between.session.lock().expect("nobody panics").clone();
                (!is_there(&server, &session?).await).then_some(())
            })
            .await;
            server.stream("live").await
        });
        // A client may believe to be in: its own part of the handshake is over before the server looks at it.
        let left = tokio::select! {
            left = &mut over => left,
            _publisher = Publisher::start(&between, "live", &clip) => over.await,
        };
        // Had a picture of its been taken, the stream would be known for a while.
        assert!(left.is_null(), "{role}: {left}");
    }
    // The same peer with its own certificate is in well within that time.
    live(&server).await;
}

#[tokio::test]
async fn i06_a_packet_that_is_not_signed_is_dropped_and_nothing_else_happens() {
    let server = Server::start(PLAIN, &[]).await;
    let (publisher, viewer) = live(&server).await;
    publisher.tricks().forges.store(true, Relaxed);
    viewer.tricks().forges.store(true, Relaxed);
    more_frames(&viewer, 90).await;
    assert_eq!(viewer.packets_lost(), 0);
    assert!(is_there(&server, publisher.session()).await);
    assert!(is_there(&server, viewer.session()).await);
}

#[tokio::test]
async fn i08_whoever_falls_silent_is_sent_nothing_any_more() {
    let server = Server::start(&format!("silence_s = 2\n{PLAIN}"), &[]).await;
    let (_publisher, silent) = live(&server).await;
    let other = watching(&server).await;
    more_frames(&silent, 15).await;
    silent.tricks().mute.store(true, Relaxed);
    let since = Instant::now();
    until("the end of the session", IN_TIME, || async {
        (!is_there(&server, silent.session()).await).then_some(())
    })
    .await;
    // RFC 7675 §5.1 gives 30 s; what is configured is kept, not less.
    assert!(since.elapsed() >= Duration::from_millis(1500));
    let received = || silent.tricks().received.load(Relaxed);
    // What was on its way is here by the time that others have seen more.
    more_frames(&other, 5).await;
    let before = received();
    more_frames(&other, 30).await;
    assert_eq!(received(), before);
}

#[tokio::test]
async fn i12_the_publisher_is_asked_once_an_interval_whatever_viewers_ask() {
    let server = Server::start(PLAIN, &[]).await;
    let (publisher, viewer) = live(&server).await;
    let others = [watching(&server).await, watching(&server).await];
    let asked = || publisher.tricks().keyframes_asked.load(Relaxed);
    let (before, since) = (asked(), Instant::now());
    let mut wishes = 0;
    while since.elapsed() < Duration::from_secs(3) {
        for viewer in others.iter().chain([&viewer]) {
            viewer.ask_keyframe().await.expect("a wish is sent");
            wishes += 1;
        }
        more_frames(&viewer, 1).await;
    }
    until("a wish to reach the publisher", IN_TIME, || async {
        (asked() > before).then_some(())
    })
    .await;
    // Half a second is the interval; one more for what began before.
    let most = since.elapsed().as_millis() as u64 / 500 + 2;
    let came = asked() - before;
    assert!(came <= most, "{came} of {wishes} wishes came; {most} may");
    assert!(wishes > 10 * most, "too few wishes to say: {wishes}");
}

#[tokio::test]
async fn i12_lost_packets_are_sent_again_and_none_is_longer_than_any_path_takes() {
    let server = Server::start(PLAIN, &[]).await;
    let (_publisher, viewer) = live(&server).await;
    viewer.tricks().loses_every.store(20, Relaxed);
    let lost = viewer.packets_lost();
    more_frames(&viewer, 120).await;
    assert_eq!(
        viewer.packets_lost(),
        lost,
        "what was lost did not come again"
    );
    let longest = viewer.tricks().longest.load(Relaxed);
    // IPv6 asks 1280 bytes of every path (RFC 8200 §5), 48 of them for its header and UDP's.
    assert!((600..=1232).contains(&longest), "{longest}");
}

#[tokio::test]
async fn i12_packets_that_come_twice_or_out_of_order_are_put_right() {
    let server = Server::start(PLAIN, &[]).await;
    let (publisher, viewer) = live(&server).await;
    publisher.tricks().shuffles.store(true, Relaxed);
    more_frames(&viewer, 10).await;
    let lost = viewer.packets_lost();
    let newest = publisher.newest();
    more_frames(&viewer, 90).await;
    assert_eq!(viewer.packets_lost(), lost);
    // Each picture of that time came, once and in its place.
    let numbers: Vec<u64> = viewer
        .seen()
        .iter()
        .map(|seen| seen.number)
        .filter(|number| *number > newest)
        .collect();
    assert!(numbers.len() > 60, "{numbers:?}");
    let follows = |pair: &[u64]| pair[1] == pair[0] + 1;
    assert!(numbers.windows(2).all(follows), "{numbers:?}");
}

#[tokio::test]
async fn i12_reduced_size_rtcp_is_answered_where_it_is_offered() {
    let server = Server::start("", &[]).await;
    for offered in [false, true] {
        let line = if offered {
            "a=rtcp-mux\r\na=rtcp-rsize\r\n"
        } else {
            "a=rtcp-mux\r\n"
        };
        let offer = OFFER.replace("a=rtcp-mux\r\n", line);
        let created = server.offer(&format!("/whip/{offered}"), &offer).await;
        assert_eq!(created.status, 201);
        assert_eq!(created.text().contains("a=rtcp-rsize"), offered);
    }
}
