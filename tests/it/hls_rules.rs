//! HLS by the letter: what players do not ask (reloads that are wrong, stalled or old, hints, ends), one test for each
//! kind of rule; and all that can be seen of a live stream, rule by rule, with `lockgate check hls`.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use hyper::{Method, header};

use crate::support::{Answer, Server, lockgate, until};

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
async fn demo(segments: usize) -> Server {
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
async fn l01_l02_l03_l08_l10_l11_reloads_hints_reports_and_deltas() {
    // Six reach to the skip boundary.
    let server = demo(9).await;
    let now = Seen::of(&playlist(&server, "").await);

    // L1: what makes no sense, or is further ahead than any playlist told.
    for query in [
        "?_HLS_part=0".to_owned(),
        "?_HLS_msn=x".to_owned(),
        "?_HLS_msn=-1".to_owned(),
        format!("?_HLS_msn={}&_HLS_part=", now.last + 1),
        format!("?_HLS_msn={}", now.last + 30),
        format!("?_HLS_msn={}&_HLS_part=60", now.last + 1),
    ] {
        let detail = playlist(&server, &query).await.problem(400);
        assert!(!detail.is_empty());
    }

    // L2: a reload waits for what it names, again and again, and each finds it.
    let mut seen = now;
    for _ in 0..12 {
        let (number, part) = (seen.last + 1, seen.open);
        let answer = playlist(&server, &format!("?_HLS_msn={number}&_HLS_part={part}")).await;
        seen = Seen::of(&answer);
        assert!(seen.has(number, part), "{number} {part}: {}", seen.text);
        // It may be kept: the URL names what it waited for.
        assert_eq!(answer.header(header::CACHE_CONTROL), "public, max-age=6");
    }
    let number = seen.last + 1;
    let seen = Seen::of(&playlist(&server, &format!("?_HLS_msn={number}")).await);
    assert!(seen.last >= number, "{}", seen.text);
    // The part after a closed segment's last is the first of the next.
    let seen = Seen::of(&playlist(&server, &format!("?_HLS_msn={number}&_HLS_part=5")).await);
    assert!(seen.has(number + 1, 0), "{}", seen.text);

    // L3: an old one is answered with the whole playlist, at once.
    for query in ["?_HLS_msn=0", "?_HLS_msn=0&_HLS_part=3"] {
        let old = Seen::of(&playlist(&server, query).await);
        assert!(old.text.matches("#EXTINF").count() >= 9, "{}", old.text);
    }

    // L8: a hinted part is held until it is whole, and is the one that is listed then; any other is not there.
    for _ in 0..6 {
        let seen = Seen::of(&playlist(&server, "").await);
        let hint = seen.hint.expect("a live playlist hints at its next part");
        let part = server.get(&format!("{FOLDER}/{hint}")).await;
        assert_eq!(part.status.as_u16(), 200, "{hint}");
        let after = Seen::of(&playlist(&server, "").await);
        assert!(
            after.text.contains(&format!("URI=\"{hint}\"")),
            "{}",
            after.text
        );
        let again = server.get(&format!("{FOLDER}/{hint}")).await;
        assert_eq!(again.body, part.body);
    }
    let far = seen.last + 20;
    for name in [
        format!("part_{far}_0.m4s"),
        format!("segment_{far}.m4s"),
        "part_0_0.m4s".to_owned(),
    ] {
        server.get(&format!("{FOLDER}/{name}")).await.problem(404);
    }

    // L10: one report for each other rendition that has a playlist, true at that moment.
    let audio = until("the audio's playlist", Duration::from_secs(20), || async {
        let answer = server.get("/hls/demo/aac/playlist.m3u8").await;
        answer.status.is_success().then(|| Seen::of(&answer))
    })
    .await;
    let seen = Seen::of(&playlist(&server, "").await);
    let reports: Vec<&str> = seen
        .text
        .lines()
        .filter(|line| line.contains("RENDITION-REPORT"))
        .collect();
    let [report] = reports[..] else {
        panic!("one report: {}", seen.text)
    };
    let told = report
        .strip_prefix("#EXT-X-RENDITION-REPORT:URI=\"../aac/playlist.m3u8\",LAST-MSN=")
        .and_then(|rest| rest.split_once(",LAST-PART="));
    let (number, part) = told.expect(report);
    let (number, part): (u64, u64) = (
        number.parse().expect("a number"),
        part.parse().expect("a number"),
    );
    assert!(
        number >= audio.last && part < 10,
        "{report}, {}",
        audio.text
    );

    // L11: a delta of the version that has it, with what lies within six target durations.
    for (query, version) in [("?_HLS_skip=YES", 9), ("?_HLS_skip=v2", 10)] {
        let delta = Seen::of(&playlist(&server, query).await);
        assert!(
            delta.text.contains(&format!("#EXT-X-VERSION:{version}\n")),
            "{}",
            delta.text
        );
        assert!(
            delta.text.contains("#EXT-X-SKIP:SKIPPED-SEGMENTS="),
            "{}",
            delta.text
        );
        assert_eq!(delta.text.matches("#EXTINF").count(), 6, "{}", delta.text);
        assert!(delta.last >= seen.last);
    }
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

async fn check(url: &str, seconds: &str) -> (Option<i32>, serde_json::Value) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = tokio::process::Command::from(lockgate(folder.path()));
    let output = command
        .args(["check", "hls", url, "--json", "--seconds", seconds])
        .output()
        .await
        .expect("the binary runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report)
}

fn with(report: &serde_json::Value, outcome: &str) -> Vec<String> {
    let findings = report["findings"].as_array().expect("there are findings");
    findings
        .iter()
        .filter(|finding| finding["outcome"] == outcome)
        .map(|finding| finding["rule"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn l06_l07_l09_l12_h01_to_h07_a_live_ladder_keeps_every_rule() {
    let server = demo(9).await;
    let (code, report) = check(&server.url("/hls/demo/playlist.m3u8"), "8").await;
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
    let (code, report) = check(&server.url("/hls/demo/playlist.m3u8"), "6").await;
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
    assert_eq!(check("http://127.0.0.1:1/x.m3u8", "5").await.0, Some(1));
}
