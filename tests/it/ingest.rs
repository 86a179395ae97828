//! RTMP and SRT: many publishers on one port each.

use std::time::Duration;

use crate::support::{
    H264_AAC, Over, PICTURE, Playlist, Sender, Server, ffmpeg_5, ffmpeg_9, probe, until,
};

pub(crate) const PORTS: &str =
    "[ingest.rtmp]\nlisten = \"127.0.0.1:0\"\n[ingest.srt]\nlisten = \"127.0.0.1:0\"\n";

/// FFmpeg's arguments up to the output, for a publisher with this token.
fn send(server: &Server, program: std::path::PathBuf, over: Over, name: &str, bf: u32) -> Sender {
    let output = over.output(server, name, &server.token);
    Sender::start(program, &format!("{PICTURE} {H264_AAC} -bf {bf}"), &output)
}

#[tokio::test]
async fn publishers_share_a_port_and_are_played() {
    let server = Server::start(PORTS, &[]).await;
    let id = format!("#!::r=s5,m=publish,u=me,token={}", server.token);
    let address = format!("{}?streamid={id}", server.address("srt"));
    let standard = ["-f".to_owned(), "mpegts".to_owned(), address];
    let _senders = [
        send(&server, ffmpeg_5(), Over::Rtmp, "r5", 2),
        send(&server, ffmpeg_9(), Over::Rtmp, "r9", 0),
        send(&server, ffmpeg_9(), Over::Srt, "s9", 0),
        Sender::start(
            ffmpeg_5(),
            &format!("{PICTURE} {H264_AAC} -bf 2"),
            &standard,
        ),
    ];
    for (name, over, has_b_frames) in [
        ("r5", "rtmp", true),
        ("r9", "rtmp", false),
        ("s9", "srt", false),
        ("s5", "srt", true),
    ] {
        server.running(name).await;
        let stream = server.stream(name).await;
        assert_eq!(stream["source"], over, "{name}");
        assert_eq!(stream["publisher"], "connected", "{name}");
        assert_eq!(stream["ladder"]["plan"]["passthrough"], true, "{stream}");
        let playlist = Playlist::with_segments(&server, name, "source", 4).await;
        assert!(
            !playlist.text.contains("#EXT-X-DISCONTINUITY\n"),
            "{}",
            playlist.text
        );
        let video = probe(&server.url(&format!("/hls/{name}/source/playlist.m3u8"))).await;
        let video = &video["streams"][0];
        assert_eq!(
            (&video["codec_name"], &video["width"]),
            (&"h264".into(), &320.into())
        );
        assert_eq!(
            video["has_b_frames"].as_u64() > Some(0),
            has_b_frames,
            "{name}: {video}"
        );
        let audio = probe(&server.url(&format!("/hls/{name}/aac/playlist.m3u8"))).await;
        assert_eq!(audio["streams"][0]["codec_name"], "aac");
    }
    // HLS has the pictures out of order as they came; a viewer over WebRTC is given others.
    let mut viewer = lockgate_tests_peer::Viewer::join(&server, "r5")
        .await
        .expect("it joins");
    viewer.read().await.expect("it is sent video");
    until("pictures", Duration::from_secs(20), || async {
        (viewer.frames() > 25).then_some(())
    })
    .await;
    let sessions = server
        .call(hyper::Method::GET, "/api/streams/r5/sessions")
        .await
        .json();
    assert_ne!(sessions[0]["playing"], "source", "{sessions}");
    let multivariant = server.get("/hls/r5/playlist.m3u8").await.text();
    assert_eq!(
        multivariant.matches("STREAM-INF").count(),
        1,
        "{multivariant}"
    );
}

#[tokio::test]
async fn who_may_not_publish_is_told_why() {
    let server = Server::start(PORTS, &[]).await;
    let publisher = Sender::publish(&server, Over::Rtmp, "taken", &server.token);
    server.running("taken").await;
    let other = server.mint("publish:other");
    for (over, name, token, words) in [
        (Over::Rtmp, "cam", "no.token.atall", "not from this server"),
        (Over::Rtmp, "cam", other.as_str(), "publish:cam"),
        (Over::Rtmp, "taken", server.token.as_str(), "already live"),
        (Over::Rtmp, "no:name", server.token.as_str(), "name"),
        // FFmpeg says the reason of SRT in numbers only.
        (Over::Srt, "cam", "no.token.atall", ""),
        (Over::Srt, "taken", server.token.as_str(), ""),
    ] {
        let output = over.output(&server, name, token);
        let sender = Sender::start(ffmpeg_5(), &format!("{PICTURE} {H264_AAC}"), &output);
        let (went_well, said) = sender.ended().await;
        assert!(
            !went_well && said.contains(words),
            "{over:?} {name}: {said}"
        );
    }
    let log = server.log();
    for words in [
        "an SRT publisher was refused: the token",
        "a broadcast named taken is already live",
    ] {
        assert!(log.contains(words), "{log}");
    }
    assert!(!log.contains(&server.token), "a token is in the log");
    drop(publisher);
}

#[tokio::test]
async fn a_codec_that_rtmp_cannot_carry_here_is_refused_by_its_name_and_said_what_to_do() {
    let server = Server::start(PORTS, &[]).await;
    let coding =
        "-c:v libx265 -preset ultrafast -x265-params log-level=none -pix_fmt yuv420p -c:a aac";
    let output = Over::Rtmp.output(&server, "hevc", &server.token);
    // The new FFmpeg speaks enhanced RTMP, as OBS does.
    let sender = Sender::start(ffmpeg_9(), &format!("{PICTURE} {coding}"), &output);
    let (went_well, _) = sender.ended().await;
    assert!(!went_well);
    let log = server.log();
    assert!(log.contains("sends HEVC over RTMP"), "{log}");
    assert!(log.contains("choose H.264 in the encoder"), "{log}");
    // Its name is free at once, and over SRT the same pictures are taken.
    let output = Over::Srt.output(&server, "hevc", &server.token);
    let _sender = Sender::start(ffmpeg_9(), &format!("{PICTURE} {coding}"), &output);
    server.running("hevc").await;
    Playlist::with_segments(&server, "hevc", "360p30", 1).await;
}

#[tokio::test]
async fn srt_is_encrypted_where_it_is_configured() {
    let config = format!("{PORTS}passphrase = \"correct_horse\"\n");
    let server = Server::start(&config, &[]).await;
    let send = |program, name: &str, options: &str| {
        let mut output = Over::Srt.output(&server, name, &server.token);
        let address = output.pop().expect("an address");
        output.push(format!("{address}&{options}"));
        Sender::start(program, &format!("{PICTURE} {H264_AAC}"), &output)
    };
    let _senders = [
        send(ffmpeg_9(), "aes128", "passphrase=correct_horse"),
        send(ffmpeg_5(), "aes256", "passphrase=correct_horse&pbkeylen=32"),
    ];
    for wrong in ["passphrase=wrong_horse", "latency=200000"] {
        let (went_well, said) = send(ffmpeg_5(), "wrong", wrong).ended().await;
        assert!(!went_well, "{wrong}: {said}");
    }
    for name in ["aes128", "aes256"] {
        server.running(name).await;
        Playlist::with_segments(&server, name, "source", 1).await;
    }
    assert!(server.stream("wrong").await.is_null());
}
