//! Files as sources.

use std::time::Duration;

use crate::support::{Playlist, Server, fixture, make_media, probe, until, variants};

fn source(name: &str, url: &str, looped: bool) -> String {
    format!("[[ingest.source]]\nname = \"{name}\"\nurl = \"{url}\"\nloop = {looped}\n")
}

#[tokio::test]
async fn a_real_file_is_served_as_a_ladder_over_and_over() {
    let bunny = fixture("bigbuckbunny.mp4");
    let server = Server::start(
        &source("bunny", &format!("file://{}", bunny.display()), true),
        &[],
    )
    .await;
    let variants = variants(&server, "bunny", 3).await;
    assert!(variants.len() >= 3);
    for variant in &variants {
        // Longer than the file of 5.3 s: it has been around at least once.
        let rung = variant
            .uri
            .split('/')
            .next()
            .expect("a variant has a folder");
        let playlist = Playlist::with_segments(&server, "bunny", rung, 5).await;
        assert!(
            !playlist.text.contains("#EXT-X-DISCONTINUITY\n"),
            "{}",
            playlist.text
        );
        let seen = probe(&server.url(&format!("/hls/bunny/{}", variant.uri))).await;
        assert_eq!(seen["streams"][0]["codec_name"], "h264");
    }
    assert_eq!(server.stream("bunny").await["ladder"]["restarts"], 0);
}

#[tokio::test]
async fn a_source_that_fits_a_rung_is_passed_through() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("fits.mp4");
    make_media(
        &file,
        "-f lavfi -i testsrc2=size=640x360:rate=30 -f lavfi -i sine=sample_rate=48000 -t 6 \
         -c:v libx264 -preset ultrafast -bf 0 -g 30 -keyint_min 30 -sc_threshold 0 -b:v 400k -pix_fmt yuv420p -c:a aac",
    );
    let server = Server::start(&source("fits", &file.display().to_string(), true), &[]).await;
    server.running("fits").await;
    let stream = server.stream("fits").await;
    assert_eq!(stream["ladder"]["plan"]["passthrough"], true, "{stream}");
    let playlist = Playlist::with_segments(&server, "fits", "source", 3).await;
    assert!(
        playlist
            .parsed
            .segments
            .iter()
            .all(|segment| segment.duration <= 4.0),
        "{}",
        playlist.text
    );
    let seen = probe(&server.url("/hls/fits/source/playlist.m3u8")).await;
    assert_eq!(seen["streams"][0]["width"], 640);
}

#[tokio::test]
async fn broken_sources_are_told_and_harm_no_other_broadcast() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = folder.path().join("text.mp4");
    std::fs::write(&text, "this is no media\n".repeat(500)).expect("a file is written");
    let missing = folder.path().join("missing.mp4");
    let config = [
        source("text", &text.display().to_string(), false),
        source("missing", &missing.display().to_string(), false),
        source("folder", &folder.path().display().to_string(), false),
        source("scheme", "gopher://127.0.0.1/x", false),
    ];
    let server = Server::start(&config.concat(), &["--demo"]).await;
    for (name, word) in [
        ("text", "text.mp4"),
        ("missing", "missing.mp4"),
        ("folder", folder.path().to_str().expect("the path is text")),
        ("scheme", "gopher"),
    ] {
        let error = until("the error to be told", Duration::from_secs(30), || async {
            // A source that cannot heal may be over already; then the log has it.
            let told = server.stream(name).await["ladder"]["error"]
                .as_str()
                .map(str::to_owned);
            told.or_else(|| {
                server
                    .log()
                    .lines()
                    .find(|line| line.contains(word))
                    .map(str::to_owned)
            })
        })
        .await;
        assert!(error.contains(word), "{name}: {error}");
    }
    server.running("demo").await;
    Playlist::with_segments(&server, "demo", "360p30", 2).await;
}
