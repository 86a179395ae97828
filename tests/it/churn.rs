//! Peers that come and do not stay: whatever they leave half done is gone after its time, and nothing of it is left.
//!
//! Some hundred at each stage; `make churn` makes it ten thousand (`LOCKGATE_CHURN`). Tasks and descriptors must be as
//! many as before, to the last one. Memory is compared with what a first round took: an allocator keeps some.
#![expect(clippy::print_stdout, reason = "the figures are worth reading")]

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use lockgate_tests_peer::{Publisher, Viewer, clip};

use crate::{
    peer_rules::PLAIN,
    refused::OFFER,
    support::{Http, Ice, IcePeer, Server, until},
};

/// Peers that mean well have to come in and stay, too, on a busy machine.
const TIMES: &str = "connect_s = 5\nsilence_s = 5\npeers_max = 100000\n";
/// Peers at a time.
const ABREAST: usize = 25;
/// Peers that are there at a time, at most.
const BATCH: usize = 250;
/// A round is over when the last timeout is; the machine may be busy.
const IN_TIME: Duration = Duration::from_secs(60);
/// What the second half may add in an allocator that keeps pages in many arenas, in kB.
const LEFT_KB_MAX: u64 = 8 << 10;

const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;

/// How far a peer comes before it is never heard of again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It posts an offer.
    Posted,
    /// It checks a pair and nominates it.
    Checked,
    /// It sends a first ClientHello, and one with the cookie that it is asked for.
    Handshaking,
    /// It watches.
    Established,
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    tasks: u64,
    descriptors: usize,
    rss_kb: u64,
}

impl Held {
    async fn by(server: &Server) -> Self {
        let metrics = server.get("/metrics").await.text();
        let tasks = metrics
            .lines()
            .find_map(|line| line.strip_prefix("lockgate_tasks "))
            .and_then(|value| value.parse::<f64>().ok())
            .expect("tasks are counted");
        let process = format!("/proc/{}", server.pid());
        let status = std::fs::read_to_string(format!("{process}/status")).expect("it runs");
        let rss_kb = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .expect("the kernel says");
        let descriptors = std::fs::read_dir(format!("{process}/fd")).map_or(0, Iterator::count);
        Self {
            tasks: tasks as u64,
            descriptors,
            rss_kb,
        }
    }
}

fn ours() -> Ice {
    Ice::of(&OFFER.replace("\r\n", "\n"))
}

/// A ClientHello of our own server, which is as good as anybody's (RFC 9147 §5.3).
async fn client_hello(server: &Server) -> Vec<u8> {
    let created = server.offer("/whip/hello", OFFER).await;
    let answer = created.text().replace("\r\n", "\n");
    let mut peer = IcePeer::new(&answer, ours()).await;
    peer.nominated(&Ice::of(&answer)).await
}

/// The ClientHello again, with the cookie of a HelloVerifyRequest (RFC 6347 §4.2.1).
fn with_cookie(hello: &[u8], request: &[u8]) -> Vec<u8> {
    // Record (13), handshake (12), version (2); a client has version, random (32) and an empty session id (1) first.
    let cookie = &request[27..];
    let mut body = hello[25..].to_vec();
    let at = 2 + 32 + 1 + usize::from(body[34]);
    assert_eq!(body[at], 0, "the first has no cookie");
    body.splice(at..=at, cookie.iter().copied());
    let len = |len: usize| [(len >> 16) as u8, (len >> 8) as u8, len as u8];
    let mut out = hello[..25].to_vec();
    out[10] = 1; // the second record
    out[11..13].copy_from_slice(&len(body.len() + 12)[1..]);
    out[14..17].copy_from_slice(&len(body.len()));
    out[18] = 1; // the second message
    out[22..25].copy_from_slice(&len(body.len()));
    out.extend(body);
    out
}

async fn come_and_go(http: &Http, stage: Stage, name: String, hello: &[u8]) {
    if stage == Stage::Established {
        let mut viewer = Viewer::join(http, "live").await.expect("a viewer joins");
        viewer.read().await.expect("media comes");
        viewer.vanish().await;
        return;
    }
    let offer = match stage {
        // Then the server waits for the peer's ClientHello.
        Stage::Handshaking => OFFER.replace("setup:actpass", "setup:active"),
        _ => OFFER.to_owned(),
    };
    // A machine that has too much to do says so (W12).
    let created = until("a place", IN_TIME, || async {
        let created = http.offer(&format!("/whip/{name}"), &offer).await;
        (created.status != 503).then_some(created)
    })
    .await;
    assert_eq!(created.status, 201, "{}", created.text());
    if stage == Stage::Posted {
        return;
    }
    let answer = created.text().replace("\r\n", "\n");
    let mut peer = IcePeer::new(&answer, ours()).await;
    let theirs = Ice::of(&answer);
    peer.paired(&theirs).await;
    if stage == Stage::Handshaking {
        let verify = peer.until_dtls(hello, HELLO_VERIFY_REQUEST).await;
        let hello = with_cookie(hello, &verify);
        peer.until_dtls(&hello, SERVER_HELLO).await;
    }
}

/// So many come, a batch after the other: the next when nothing is left of the one before.
async fn round(server: &Server, stage: Stage, count: usize, hello: &[u8], before: Held) -> Held {
    let mut held = before;
    let mut came = 0;
    while came < count {
        // Its connections go with it.
        let http = server.anew();
        let batch = BATCH.min(count - came);
        stream::iter(came..came + batch)
            .for_each_concurrent(ABREAST, |at| {
                come_and_go(&http, stage, format!("{stage:?}-{at}"), hello)
            })
            .await;
        drop(http);
        came += batch;
        held = gone(server, before).await;
    }
    held
}

/// Waits until no more is held than before.
async fn gone(server: &Server, before: Held) -> Held {
    until("what peers left to be gone", IN_TIME, || async {
        let now = Held::by(server).await;
        (now.tasks <= before.tasks && now.descriptors <= before.descriptors).then_some(now)
    })
    .await
}

async fn churns(stage: Stage, few: usize) {
    // In two halves: what the first leaves in the allocator, the second must not add to.
    let half = std::env::var("LOCKGATE_CHURN").map_or(few, |many| {
        let many: usize = many.parse().expect("LOCKGATE_CHURN is a number");
        many / 2
    });
    let server = Server::start(&format!("{TIMES}{PLAIN}"), &["--set", "http.metrics=open"]).await;
    let hello = match stage {
        Stage::Handshaking => client_hello(&server).await,
        _ => Vec::new(),
    };
    let clip = clip::small().await.expect("FFmpeg makes a clip").into();
    let publisher = Publisher::start(&server, "live", &clip).await;
    let _publisher = publisher.expect("a publisher is taken");
    let mut viewer = Viewer::join(&server, "live").await.expect("a viewer joins");
    viewer.read().await.expect("media comes");
    let before = Held::by(&server).await;
    let began = Instant::now();
    let first = round(&server, stage, half, &hello, before).await;
    let second = round(&server, stage, half, &hello, first).await;
    println!(
        "  {stage:?}, {:?}: before {before:?}\n    after {half} {first:?}\n    after {half} more {second:?}",
        began.elapsed()
    );
    let grown = second.rss_kb.saturating_sub(first.rss_kb);
    assert!(
        grown < LEFT_KB_MAX,
        "{grown} kB more after the second {half}"
    );
    // Whoever stays goes on.
    let frames = viewer.frames();
    until("more frames", IN_TIME, || async {
        (viewer.frames() > frames + 30).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_posts_is_gone_without_a_trace() {
    churns(Stage::Posted, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_only_checks_is_gone_without_a_trace() {
    churns(Stage::Checked, 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_breaks_off_the_handshake_is_gone_without_a_trace() {
    churns(Stage::Handshaking, 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_vanishes_while_watching_is_gone_without_a_trace() {
    churns(Stage::Established, 40).await;
}
