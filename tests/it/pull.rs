//! Sources that are fetched: they end, and come back.

use std::{net::TcpListener, time::Duration};

use crate::support::{H264_AAC, PICTURE, Playlist, Sender, Server, ffmpeg_5, until};

fn source(name: &str, url: &str) -> String {
    format!("[[ingest.source]]\nname = \"{name}\"\nurl = \"{url}\"\n")
}

/// A port that was free a moment ago: only this machine's tests take ports here.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").port()
}

/// FFmpeg as a server of one client.
fn serve(port: u16) -> Sender {
    let output = format!("-f mpegts -listen 1 http://127.0.0.1:{port}/live.ts");
    Sender::start(
        ffmpeg_5(),
        &format!("{PICTURE} {H264_AAC} -bf 0 {output}"),
        &[],
    )
}

#[tokio::test]
async fn a_source_over_http_that_ends_is_fetched_again_and_goes_on() {
    let port = free_port();
    let first = serve(port);
    let server = Server::start(
        &source("http", &format!("http://127.0.0.1:{port}/live.ts")),
        &[],
    )
    .await;
    server.running("http").await;
    let before = Playlist::with_segments(&server, "http", "source", 2).await;
    let started = server.stream("http").await["started_at_ms"].clone();
    first.cut();
    until("another attempt", Duration::from_secs(20), || async {
        (server.stream("http").await["ladder"]["restarts"].as_u64() > Some(0)).then_some(())
    })
    .await;
    let _second = serve(port);
    let after = until(
        "segments after the break",
        Duration::from_secs(40),
        || async {
            let playlist = Playlist::fetch(&server, "http", "source").await;
            let at = playlist
                .parsed
                .segments
                .iter()
                .position(|segment| segment.discontinuity)?;
            (playlist.parsed.segments.len() >= at + 2).then_some(playlist)
        },
    )
    .await;
    assert_eq!(
        after.text.matches("#EXT-X-DISCONTINUITY\n").count(),
        1,
        "{}",
        after.text
    );
    assert!(after.segments().last() > before.segments().last());
    assert_eq!(server.stream("http").await["started_at_ms"], started);
}

#[tokio::test]
async fn another_servers_hls_is_a_source() {
    let first = Server::start("", &["--demo"]).await;
    let url = first.url("/hls/demo/360p30/playlist.m3u8");
    first.running("demo").await;
    Playlist::with_segments(&first, "demo", "360p30", 2).await;
    let server = Server::start(&source("relay", &url), &[]).await;
    server.running("relay").await;
    let stream = server.stream("relay").await;
    assert_eq!(stream["ladder"]["source"]["container"], "hls", "{stream}");
    let playlist = Playlist::with_segments(&server, "relay", "source", 3).await;
    assert!(
        !playlist.text.contains("#EXT-X-DISCONTINUITY\n"),
        "{}",
        playlist.text
    );
    assert_eq!(server.stream("relay").await["ladder"]["restarts"], 0);
}

/// A server of RTSP in a few lines: FFmpeg 9 only records to one, so GStreamer's library is driven from Python.
const RTSP: &str = r#"
import sys, gi
gi.require_version("Gst", "1.0"); gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
server = GstRtspServer.RTSPServer(); server.set_address("127.0.0.1"); server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory(); factory.set_shared(True)
factory.set_launch("( videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=25/1 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=200 ! rtph264pay name=pay0 pt=96 config-interval=1 "
    "audiotestsrc is-live=true ! audio/x-raw,rate=48000 ! opusenc ! rtpopuspay name=pay1 pt=97 )")
server.get_mount_points().add_factory("/cam", factory); server.attach(None)
print("ready", flush=True); GLib.MainLoop().run()
"#;

#[tokio::test]
async fn a_camera_over_rtsp_is_a_source() {
    let port = free_port().to_string();
    let arguments = ["-c".to_owned(), RTSP.to_owned(), port.clone()];
    let _camera = Sender::program("/usr/bin/python3", &arguments);
    let server = Server::start(&source("cam", &format!("rtsp://127.0.0.1:{port}/cam")), &[]).await;
    server.running("cam").await;
    let stream = server.stream("cam").await;
    assert_eq!(stream["ladder"]["source"]["container"], "rtsp", "{stream}");
    let playlist = Playlist::with_segments(&server, "cam", "source", 2).await;
    assert!(
        !playlist.text.contains("#EXT-X-DISCONTINUITY\n"),
        "{}",
        playlist.text
    );
}
