//! An independent WHIP publisher: FFmpeg's muxer, which offers `a=setup:passive`.

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::support::{Playlist, Server, fixture, probe, until};

/// FFmpeg publishing; dropping it kills it.
struct Publisher(Child);

impl Publisher {
    fn start(server: &Server, name: &str) -> Self {
        let url = server.url(&format!("/whip/{name}"));
        let child = Command::new(fixture("ffmpeg-whip"))
            .args(
                "-v error -nostdin -re -f lavfi -i testsrc2=size=640x360:rate=25 -f lavfi -i sine"
                    .split(' '),
            )
            .args(
                "-c:v libx264 -preset ultrafast -profile:v baseline -bf 0 -g 50 -pix_fmt yuv420p"
                    .split(' '),
            )
            .args("-c:a libopus -ar 48000 -ac 2 -f whip -authorization".split(' '))
            .args([&server.token, &url])
            .stdin(Stdio::null())
            .spawn()
            .expect("FFmpeg starts");
        Self(child)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn ffmpeg_publishes_and_is_served_as_a_ladder_until_it_goes() {
    let server = Server::start("", &[]).await;
    let publisher = Publisher::start(&server, "live");
    server.running("live").await;
    let stream = server.stream("live").await;
    assert_eq!(stream["source"], "whip");

    let tracks = until(
        "source, opus, aac and rungs",
        Duration::from_secs(20),
        || async {
            let stream = server.stream("live").await;
            let tracks: Vec<String> = stream["tracks"]
                .as_array()?
                .iter()
                .filter_map(|track| track["id"].as_str().map(str::to_owned))
                .collect();
            ["source", "opus", "aac", "360p30"]
                .iter()
                .all(|id| tracks.iter().any(|track| track == id))
                .then_some(tracks)
        },
    )
    .await;
    assert!(
        !tracks.contains(&"720p60".to_owned()),
        "a rung enlarges the source: {tracks:?}"
    );
    let playlist = Playlist::with_segments(&server, "live", "360p30", 3).await;
    assert!(
        !playlist.text.contains("#EXT-X-DISCONTINUITY\n"),
        "{}",
        playlist.text
    );
    let seen = probe(&server.url("/hls/live/360p30/playlist.m3u8")).await;
    assert_eq!(
        (
            &seen["streams"][0]["codec_name"],
            &seen["streams"][0]["width"]
        ),
        (&"h264".into(), &640.into())
    );
    let audio = probe(&server.url("/hls/live/aac/playlist.m3u8")).await;
    assert_eq!(audio["streams"][0]["codec_name"], "aac");

    drop(publisher);
    until(
        "the broadcast to be over",
        Duration::from_secs(40),
        || async { server.stream("live").await.is_null().then_some(()) },
    )
    .await;
    // The name is free again, and the next publisher has it.
    let _second = Publisher::start(&server, "live");
    server.running("live").await;
}
