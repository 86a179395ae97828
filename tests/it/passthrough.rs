//! The source's own coding as HLS's top rung: of WHIP publishers too, and until it no longer can be.

use std::time::Duration;

use lockgate_tests_peer::{Publisher, Viewer, clip};

use crate::{
    ingest::PORTS,
    support::{Over, Playlist, Sender, Server, ffmpeg_5, ffmpeg_9, until, variants},
};

/// Pictures of few bits, so that they stand in for a rung of their size.
const SMALL: &str = "-re -f lavfi -i testsrc2=size=320x180:rate=25 -re -f lavfi -i sine=sample_rate=48000 \
     -c:v libx264 -preset ultrafast -b:v 200k -maxrate 250k -bufsize 200k -pix_fmt yuv420p";
/// What the publisher of the tests puts into each picture.
const MARK: &[u8] = b"lockgate-bench-1";

fn is_gap(segment: &m3u8_rs::MediaSegment) -> bool {
    segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP")
}

/// A playlist with some segments, also after its break if it must have one; nothing is missing in it, and none is too
/// long.
async fn goes_on(server: &Server, name: &str, rung: &str, must_break: bool) {
    let playlist = until(
        "segments after the break",
        Duration::from_secs(60),
        || async {
            let playlist = Playlist::fetch(server, name, rung).await;
            let segments = &playlist.parsed.segments;
            let at = segments.iter().position(|segment| segment.discontinuity);
            let whole = match at {
                Some(at) => at > 0 && segments.len() >= at + 3,
                None => !must_break && segments.len() >= 5,
            };
            whole.then_some(playlist)
        },
    )
    .await;
    let segments = &playlist.parsed.segments;
    let breaks = segments.iter().filter(|segment| segment.discontinuity);
    assert!(breaks.count() <= 1, "{}", playlist.text);
    assert!(!segments.iter().any(is_gap), "{}", playlist.text);
    let target = playlist.parsed.target_duration as f32;
    for pair in segments.windows(2) {
        assert!(pair[0].duration.round() <= target, "{}", playlist.text);
        // Each begins where the one before ends: no picture is missing at the break.
        if let (Some(first), Some(second)) = (pair[0].program_date_time, pair[1].program_date_time)
        {
            let ends = first + length(pair[0].duration);
            let apart_ms = (second - ends).num_milliseconds();
            assert!(apart_ms.abs() <= 2, "{apart_ms} ms: {}", playlist.text);
        }
    }
}

fn length(seconds: f32) -> Duration {
    Duration::from_secs_f32(seconds)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whip_is_passed_through_to_hls_as_it_came() {
    let server = Server::start("", &[]).await;
    let pictures = clip::small().await.expect("FFmpeg makes a clip").into();
    let publisher = Publisher::start(&server, "own", &pictures).await;
    let publisher = publisher.expect("a publisher is taken");
    server.running("own").await;
    let listed = variants(&server, "own", 1).await;
    assert_eq!(listed[0].uri, "passthrough/playlist.m3u8");
    let size = listed[0].resolution.expect("a size");
    assert_eq!((size.width, size.height), (320, 180));
    let codecs = listed[0].codecs.as_deref().unwrap_or_default();
    assert!(codecs.starts_with("avc1.42"), "{codecs}");

    let playlist = Playlist::with_segments(&server, "own", "passthrough", 3).await;
    for segment in &playlist.parsed.segments {
        assert!(
            !segment.discontinuity && !is_gap(segment),
            "{}",
            playlist.text
        );
        let uri = format!("/hls/own/passthrough/{}", segment.uri);
        let body = server.get(&uri).await.body;
        // The very pictures: an encoder would have left the marks out.
        let marks = body.windows(MARK.len()).filter(|bytes| *bytes == MARK);
        let pictures = (segment.duration * 30.0).round() as usize;
        let marks = marks.count();
        assert!(
            marks.abs_diff(pictures) <= 1,
            "{marks} of {pictures} in {uri}"
        );
    }
    // Over WebRTC it is the source, once.
    let mut viewer = Viewer::join(&server, "own").await.expect("a viewer joins");
    viewer.read().await.expect("it is sent video");
    let stream = server.stream("own").await;
    let role = |id: &str| {
        let tracks = stream["tracks"].as_array()?;
        let track = tracks.iter().find(|track| track["id"] == id)?;
        track["role"].as_str().map(str::to_owned)
    };
    assert_eq!(role("source").as_deref(), Some("ingest"));
    assert_eq!(role("passthrough").as_deref(), Some("passthrough"));
    let marked = until("marked pictures", Duration::from_secs(20), || async {
        let seen = viewer.seen().len();
        (seen >= 30).then_some(seen)
    })
    .await;
    assert!(marked >= 30);
    publisher.leave(&server).await.expect("it says goodbye");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whip_publisher_that_sends_no_keyframes_is_encoded_before_a_segment_is_too_long() {
    let server = Server::start("", &[]).await;
    // FFmpeg takes no notice of who asks it for a keyframe.
    let coding = "-profile:v baseline -bf 0 -g 250 -c:a libopus -ar 48000 -ac 2";
    let output = Over::Whip.output(&server, "rare", &server.token);
    let _publisher = Sender::start(ffmpeg_9(), &format!("{SMALL} {coding}"), &output);
    server.running("rare").await;
    variants(&server, "rare", 1).await;
    let log = until("another plan", Duration::from_secs(60), || async {
        Playlist::with_segments(&server, "rare", "passthrough", 1).await;
        let log = server.log();
        log.contains("no keyframe for 4.").then_some(log)
    })
    .await;
    // Whether there was a keyframe to begin with, before it was given up, depends on when it was first fetched.
    goes_on(&server, "rare", "passthrough", false).await;
    assert!(
        !log.contains("trying again"),
        "the worker was not started anew: {log}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_plays_a_source_that_can_no_longer_be_passed_through_goes_on_playing() {
    let server = Server::start(&format!("[ladder]\non_demand = false\n{PORTS}"), &[]).await;
    let output = Over::Rtmp.output(&server, "long", &server.token);
    let coding = "-bf 0 -g 300 -keyint_min 300 -sc_threshold 0 -c:a aac";
    let _publisher = Sender::start(ffmpeg_5(), &format!("{SMALL} {coding}"), &output);
    server.running("long").await;
    let pid = server.stream("long").await["transcode"]["worker_pid"].clone();
    let mut viewer = Viewer::join(&server, "long").await.expect("a viewer joins");
    viewer.read().await.expect("it is sent video");
    until("another plan", Duration::from_secs(30), || async {
        server.log().contains("source planned again").then_some(())
    })
    .await;
    let before = viewer.frames();
    until("pictures after it", Duration::from_secs(30), || async {
        (viewer.frames() >= before + 50).then_some(())
    })
    .await;
    goes_on(&server, "long", "source", true).await;
    assert_eq!(server.stream("long").await["transcode"]["worker_pid"], pid);
}
