//! HLS by the letter. What can be seen of a live stream is looked at by `lockgate check hls`, of which `hls_wrong` shows that
//! it sees; what it takes a stream that stands still, ends or breaks for is here.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use hyper::{Method, header};

use crate::{
    ingest::PORTS,
    support::{Answer, Over, Sender, Server, check_server, until, with},
};

const CONFIG: &str =
    "[ladder]\nmax_quality = \"360p30\"\n[hls]\nsegment_s = 1\nwindow = 12\npart_ms = 200\n";
const FOLDER: &str = "/hls/demo/360p30";

/// A playlist as far as these tests look at it.
#[derive(Debug)]
struct Seen {
    text: String,
    /// The number of the last closed segment.
    last: u64,
    /// Parts listed after it.
    open: u64,
    hint: Option<String>,
}

impl Seen {
    fn of(answer: &Answer) -> Self {
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text());
        let text = answer.text();
        let value = |tag: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(tag));
            line.map(str::to_owned)
        };
        let first: u64 = value("#EXT-X-MEDIA-SEQUENCE:")
            .and_then(|first| first.parse().ok())
            .expect("a media sequence");
        let skipped: u64 = value("#EXT-X-SKIP:SKIPPED-SEGMENTS=")
            .map_or(0, |count| count.parse().expect("a count"));
        let count = text.matches("#EXTINF").count() as u64;
        let tail = text.rsplit("#EXTINF").next().unwrap_or_default();
        Self {
            last: first + skipped + count - 1,
            open: tail.matches("#EXT-X-PART:").count() as u64,
            hint: value("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"")
                .map(|hint| hint.trim_end_matches('"').to_owned()),
            text,
        }
    }

    fn has(&self, number: u64, part: u64) -> bool {
        self.last >= number || (self.last + 1 == number && self.open > part)
    }
}

/// The demo, once its playlist has so many segments.
pub(crate) async fn demo(segments: usize) -> Server {
    let server = Server::start(CONFIG, &["--demo"]).await;
    server.running("demo").await;
    until("a long playlist", Duration::from_secs(60), || async {
        let answer = server.get(&format!("{FOLDER}/playlist.m3u8")).await;
        let text = answer.text();
        (answer.status.is_success() && text.matches("#EXTINF").count() >= segments).then_some(())
    })
    .await;
    server
}

async fn playlist(server: &Server, query: &str) -> Answer {
    server.get(&format!("{FOLDER}/playlist.m3u8{query}")).await
}

#[tokio::test]
async fn l01_to_l03_l06_to_l12_h01_to_h07_a_live_ladder_keeps_every_rule() {
    // Six reach to the skip boundary.
    let server = demo(9).await;
    let url = server.url("/hls/demo/playlist.m3u8");
    let (code, report) = check_server(&["hls", &url, "--seconds", "8"]).await;
    assert_eq!(with(&report, "fail"), [""; 0], "{report:#}");
    // Of the two no live stream shows anything; they have tests of their own.
    assert_eq!(with(&report, "skip"), ["L04", "L05"], "{report:#}");
    assert_eq!(
        (code, with(&report, "pass").len()),
        (Some(0), 17),
        "{report:#}"
    );
}

#[tokio::test]
async fn l01_l08_odd_questions_have_an_answer() {
    let server = demo(3).await;
    let now = Seen::of(&playlist(&server, "").await);
    for query in [
        "?_HLS_part=0".to_owned(),
        "?_HLS_msn=x".to_owned(),
        "?_HLS_msn=-1".to_owned(),
        format!("?_HLS_msn={}&_HLS_part=", now.last + 1),
    ] {
        let detail = playlist(&server, &query).await.problem(400);
        assert!(!detail.is_empty());
    }
    // What was waited for may be kept: the URL names it.
    let (number, part) = (now.last + 1, now.open);
    let answer = playlist(&server, &format!("?_HLS_msn={number}&_HLS_part={part}")).await;
    let seen = Seen::of(&answer);
    assert!(seen.has(number, part), "{number} {part}: {}", seen.text);
    assert_eq!(answer.header(header::CACHE_CONTROL), "public, max-age=6");
    // A hinted part is the one that is listed then.
    let hint = seen.hint.expect("a live playlist hints at its next part");
    let path = format!("{FOLDER}/{hint}");
    let part = server.get(&path).await;
    assert_eq!(part.status.as_u16(), 200, "{hint}");
    let after = Seen::of(&playlist(&server, "").await);
    assert!(
        after.text.contains(&format!("URI=\"{hint}\"")),
        "{}",
        after.text
    );
    assert_eq!(server.get(&path).await.body, part.body);
    let far = seen.last + 20;
    for name in [
        format!("part_{far}_0.m4s"),
        format!("segment_{far}.m4s"),
        "part_0_0.m4s".to_owned(),
    ] {
        server.get(&format!("{FOLDER}/{name}")).await.problem(404);
    }
}

/// The playlist of a publisher that was cut, once nothing comes any more.
async fn at_rest(server: &Server, path: &str) -> Seen {
    let read = || async { Seen::of(&server.get(path).await) };
    until(
        "the stream to stand still",
        Duration::from_secs(20),
        || async {
            let before = read().await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            let after = read().await;
            (before.text == after.text).then_some(after)
        },
    )
    .await
}

#[tokio::test]
async fn l08_a_hint_that_does_not_come_true_is_taken_back() {
    let config = format!("[ingest]\nresume_s = 20\n{PORTS}[hls]\nsegment_s = 2\n");
    let server = Server::start(&config, &[]).await;
    let sender = Sender::publish(&server, Over::Rtmp, "live", &server.token);
    server.running("live").await;
    let (folder, path) = ("/hls/live/source", "/hls/live/source/playlist.m3u8");
    until("a playlist", Duration::from_secs(30), || async {
        let answer = server.get(path).await;
        (answer.status.is_success() && answer.text().contains("#EXTINF")).then_some(())
    })
    .await;
    sender.cut();
    let before = at_rest(&server, path).await;
    let hint = before.hint.expect("it is waited for");
    let hinted = format!("{folder}/{hint}");
    // Who waits for it, or for the playlist with it, is answered when the publisher is back: by
    // what it named, or because that will never come.
    let reload = format!(
        "{path}?_HLS_msn={}&_HLS_part={}",
        before.last + 1,
        before.open
    );
    let (part, reloaded, _sender) = tokio::join!(server.get(&hinted), server.get(&reload), async {
        Sender::publish(&server, Over::Rtmp, "live", &server.token)
    });
    let after = Seen::of(&reloaded);
    // It is the rest of what was sent before, if there was any.
    let came = part.status.as_u16() == 200;
    if !came {
        part.problem(404);
    }
    let listed = after.text.contains(&format!(",URI=\"{hint}\""));
    assert_eq!(came, listed, "{hint}: {} and {}", part.status, after.text);
    let on = until("it to go on", Duration::from_secs(20), || async {
        let seen = Seen::of(&server.get(path).await);
        let goes_on = seen.text.contains("#EXT-X-DISCONTINUITY\n");
        (goes_on && seen.open > 0).then_some(seen)
    })
    .await;
    let now = on.hint.expect("it goes on");
    assert_ne!(now, hint);
    let came = server.get(&format!("{folder}/{now}")).await;
    assert_eq!(came.status.as_u16(), 200, "{now}");
    assert_eq!(server.get(&hinted).await.status, part.status);
}

#[tokio::test]
async fn l05_l08_a_hint_of_a_publisher_that_stays_away_ends_with_the_playlist() {
    let config = format!("[ingest]\nresume_s = 3\n{PORTS}[hls]\nsegment_s = 2\n");
    let server = Server::start(&config, &[]).await;
    let sender = Sender::publish(&server, Over::Rtmp, "live", &server.token);
    server.running("live").await;
    let path = "/hls/live/source/playlist.m3u8";
    let seen = until("a playlist", Duration::from_secs(30), || async {
        let answer = server.get(path).await;
        let there = answer.status.is_success() && answer.text().contains("#EXTINF");
        there.then(|| Seen::of(&answer))
    })
    .await;
    sender.cut();
    // Far enough ahead that it cannot have been on its way.
    let reload = format!("{path}?_HLS_msn={}", seen.last + 2);
    let answer = until("an answer", Duration::from_secs(30), || async {
        let answer = server.get(&reload).await;
        answer.status.is_success().then_some(answer)
    })
    .await;
    let last = Seen::of(&answer);
    assert!(
        last.text.ends_with("#EXT-X-ENDLIST\n") && last.hint.is_none(),
        "{}",
        last.text
    );
    let gone = format!("/hls/live/source/part_{}_0.m4s", last.last + 1);
    server.get(&gone).await.problem(404);
}

#[tokio::test]
async fn l04_what_does_not_come_within_three_target_durations_is_a_503() {
    let server = demo(2).await;
    let worker = server.running("demo").await.to_string();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &worker]).status();
        assert!(sent.expect("kill runs").success());
    };
    signal("-STOP");
    // What was on its way comes still.
    let seen = until(
        "the stream to stand still",
        Duration::from_secs(20),
        || async {
            let before = Seen::of(&playlist(&server, "").await);
            let number = before.last + 1;
            let answer = playlist(
                &server,
                &format!("?_HLS_msn={number}&_HLS_part={}", before.open),
            )
            .await;
            (answer.status.as_u16() == 503).then_some((before, answer))
        },
    )
    .await;
    let (before, answer) = seen;
    answer.problem(503);
    assert_eq!(answer.header(header::RETRY_AFTER), "1");
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    // So is a part that was hinted at; and all else is answered.
    let hint = before.hint.expect("a hint");
    server.get(&format!("{FOLDER}/{hint}")).await.problem(503);
    Seen::of(&playlist(&server, "").await);
    signal("-CONT");
    let number = before.last + 1;
    until("the stream to go on", Duration::from_secs(20), || async {
        let answer = playlist(&server, &format!("?_HLS_msn={number}")).await;
        answer.status.is_success().then_some(())
    })
    .await;
}

#[tokio::test]
async fn l05_an_ended_playlist_ignores_directives_and_wakes_who_waits() {
    let server = demo(2).await;
    let now = Seen::of(&playlist(&server, "").await);
    let waiting = playlist(&server, &format!("?_HLS_msn={}", now.last + 2)).await;
    let now = Seen::of(&waiting);
    let path = format!("?_HLS_msn={}", now.last + 2);
    let (waiting, ended) = tokio::join!(playlist(&server, &path), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let admin = server.mint("admin");
        server
            .send_as(&admin, Method::DELETE, "/api/streams/demo", "")
            .await
    });
    assert!(ended.status.is_success(), "{}", ended.text());
    let last = Seen::of(&waiting);
    for query in ["", "?_HLS_msn=99999999999&_HLS_part=3", "?_HLS_skip=YES"] {
        let asked = Instant::now();
        let seen = Seen::of(&playlist(&server, query).await);
        assert!(asked.elapsed() < Duration::from_secs(3), "it waited");
        assert!(seen.text.ends_with("#EXT-X-ENDLIST\n"), "{}", seen.text);
        assert!(
            seen.hint.is_none() && !seen.text.contains("#EXT-X-SKIP"),
            "{}",
            seen.text
        );
        assert!(seen.last >= last.last);
    }
    // A hint that came to nothing.
    let gone = format!("{FOLDER}/part_{}_0.m4s", last.last + 2);
    server.get(&gone).await.problem(404);
}

#[tokio::test]
async fn plain_hls_has_nothing_of_low_latency_and_keeps_the_rules() {
    let config = CONFIG.replace("part_ms = 200", "part_ms = 0");
    let server = Server::start(&config, &["--demo"]).await;
    server.running("demo").await;
    let seen = until("a playlist", Duration::from_secs(30), || async {
        let answer = playlist(&server, "").await;
        answer.status.is_success().then(|| Seen::of(&answer))
    })
    .await;
    for tag in ["PART", "SERVER-CONTROL", "PRELOAD-HINT", "RENDITION-REPORT"] {
        assert!(!seen.text.contains(tag), "{}", seen.text);
    }
    let url = server.url("/hls/demo/playlist.m3u8");
    let (code, report) = check_server(&["hls", &url, "--seconds", "6"]).await;
    assert_eq!(
        (code, with(&report, "fail")),
        (Some(0), vec![]),
        "{report:#}"
    );
    assert!(
        with(&report, "pass").contains(&"H07".to_owned()),
        "{report:#}"
    );
    // Nobody listens: trouble, not a wrong use.
    let nobody = check_server(&["hls", "http://127.0.0.1:1/x.m3u8"]).await;
    assert_eq!(nobody.0, Some(1));
}
