//! `lockgate package`, `lockgate doctor`.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use m3u8_rs::{MediaPlaylist, MediaPlaylistType};

use crate::support::{fixture, lockgate, make_media, probe, until};

fn package(folder: &Path, input: &Path, more: &[&str]) -> Command {
    let mut command = lockgate(folder);
    command
        .args([
            "package",
            "--json",
            "-o",
            "out",
            "--set",
            "ladder.preset=ultrafast",
        ])
        .args(more)
        .arg(input)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn media(path: &Path) -> MediaPlaylist {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, playlist) = m3u8_rs::parse_media_playlist(&bytes)
        .unwrap_or_else(|_| panic!("no playlist: {}", String::from_utf8_lossy(&bytes)));
    playlist
}

fn film(folder: &Path, seconds: u32) -> std::path::PathBuf {
    let path = folder.join("film.mp4");
    make_media(
        &path,
        &format!(
            "-f lavfi -i testsrc2=size=854x480:rate=30:duration={seconds} \
             -f lavfi -i sine=sample_rate=44100:duration={seconds} \
             -c:v libx264 -preset ultrafast -bf 2 -g 75 -pix_fmt yuv420p -c:a aac"
        ),
    );
    path
}

/// Decodes a whole presentation; FFmpeg must have nothing to say.
async fn plays(input: &Path) -> serde_json::Value {
    let output = tokio::process::Command::new("ffmpeg")
        .args(["-v", "warning", "-i"])
        .arg(input)
        .args(["-map", "0", "-f", "null", "-"])
        .output()
        .await
        .expect("ffmpeg is installed by `make test`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.is_empty(),
        "{}: {said}",
        input.display()
    );
    probe(input.to_str().expect("the path is text")).await
}

#[tokio::test]
async fn a_film_becomes_hls_and_dash_that_play() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let bunny = fixture("bigbuckbunny.mp4");
    let output = package(folder.path(), &bunny, &["--rungs", "480p30,360p30"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{wrong}");
    let lines: Vec<serde_json::Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines[0]["event"], "begin");
    let done = lines.last().expect("a last line");
    assert_eq!(done["event"], "done", "{said}");
    assert_eq!(done["renditions"], 3, "{done}");
    let out = folder.path().join("out");
    assert!(!folder.path().join("out.part").exists());
    let lasts = |playlist: &MediaPlaylist| -> f32 {
        playlist.segments.iter().map(|one| one.duration).sum()
    };
    let mut spans = Vec::new();
    for track in ["480p30", "360p30", "aac"] {
        let playlist = media(&out.join(track).join("playlist.m3u8"));
        assert_eq!(playlist.playlist_type, Some(MediaPlaylistType::Vod));
        assert!(playlist.end_list && playlist.media_sequence == 0);
        for segment in &playlist.segments {
            assert!(
                out.join(track).join(&segment.uri).is_file(),
                "{}",
                segment.uri
            );
        }
        spans.push(lasts(&playlist));
    }
    // The film lasts 5.28 s.
    assert!(
        spans.iter().all(|span| (span - 5.3).abs() < 0.2),
        "{spans:?}"
    );
    let seen = plays(&out.join("playlist.m3u8")).await;
    assert!(
        seen["streams"].as_array().is_some_and(|all| all.len() >= 3),
        "{seen}"
    );
    let manifest = fs::read_to_string(out.join("manifest.mpd")).expect("a manifest");
    assert!(manifest.contains("type=\"static\"") && manifest.contains("codecs=\"mp4a.40.2\""));
    plays(&out.join("manifest.mpd")).await;
    // A second run does not overwrite it.
    let again = package(folder.path(), &bunny, &[])
        .output()
        .expect("the binary runs");
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
}

#[tokio::test]
async fn a_killed_run_goes_on_where_it_was_and_nothing_tells() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let film = film(folder.path(), 16);
    // Slow enough to be caught in the act.
    let slow = [
        "--rungs",
        "480p30,360p30",
        "--set",
        "ladder.preset=veryfast",
    ];
    let mut first = package(folder.path(), &film, &slow)
        .spawn()
        .expect("the binary runs");
    let part = folder.path().join("out.part");
    until("four segments", Duration::from_secs(60), || {
        let ended = first.try_wait().expect("it can be waited for");
        assert!(ended.is_none(), "it was faster than the test");
        let lines = fs::read_to_string(part.join("unfinished.jsonl")).unwrap_or_default();
        let whole = |track: &str| lines.lines().filter(|line| line.contains(track)).count();
        let enough = whole("\"480p30\",\"number") >= 4 && whole("\"aac\",\"number") >= 4;
        async move { enough.then_some(()) }
    })
    .await;
    first.kill().expect("it runs");
    first.wait().expect("it can be waited for");
    assert!(!folder.path().join("out").exists());
    let kept = fs::metadata(part.join("480p30/segment_1.m4s")).expect("a segment");
    let output = package(folder.path(), &film, &slow)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}{wrong}");
    let begin: serde_json::Value =
        serde_json::from_str(said.lines().next().unwrap_or_default()).expect("JSON");
    assert!(
        begin["segments_kept"]
            .as_u64()
            .is_some_and(|kept| kept >= 6),
        "{begin}"
    );
    let out = folder.path().join("out");
    let now = fs::metadata(out.join("480p30/segment_1.m4s")).expect("a segment");
    assert_eq!(
        kept.modified().ok(),
        now.modified().ok(),
        "it was made anew"
    );
    for track in ["480p30", "360p30", "aac"] {
        let text = fs::read_to_string(out.join(track).join("playlist.m3u8")).expect("a playlist");
        assert!(!text.contains("DISCONTINUITY"), "{text}");
        assert_eq!(text.matches("#EXT-X-MAP").count(), 1, "{text}");
        let playlist = media(&out.join(track).join("playlist.m3u8"));
        // Sound may have a frame more than the pictures.
        let count = playlist.segments.len();
        assert!(count == 8 || (count == 9 && track == "aac"), "{text}");
    }
    let seen = plays(&out.join("playlist.m3u8")).await;
    let lasts = seen["format"]["duration"]
        .as_str()
        .and_then(|text| text.parse::<f64>().ok());
    assert!(
        lasts.is_some_and(|lasts| (lasts - 16.0).abs() < 0.2),
        "{seen}"
    );
    plays(&out.join("manifest.mpd")).await;
    // What comes out of the resumed run is one stream of frames, none missing and none twice.
    let counted = tokio::process::Command::new("ffprobe")
        .args([
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-count_frames",
            "-show_entries",
        ])
        .args(["stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(out.join("480p30/playlist.m3u8"))
        .output()
        .await
        .expect("ffprobe is installed by `make test`");
    let frames = String::from_utf8_lossy(&counted.stdout);
    assert!(
        frames
            .lines()
            .any(|line| line.trim_end_matches(',') == "480"),
        "{frames}"
    );
}

#[test]
fn what_cannot_be_packaged_is_said() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let failed = |input: &str, more: &[&str]| {
        let output = package(folder.path(), Path::new(input), more)
            .output()
            .expect("the binary runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = failed("missing.mp4", &[]);
    assert!(text.contains("there is no such file"), "{text}");
    let bunny = fixture("bigbuckbunny.mp4");
    let bunny = bunny.to_str().expect("the path is text");
    let text = failed(bunny, &["--rungs", "8k"]);
    assert!(text.contains("there is no rung 8k"), "{text}");
    assert!(!folder.path().join("out").exists());
}

#[test]
fn the_doctor_says_what_becomes_of_an_input() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let film = film(folder.path(), 4);
    let doctor = |arguments: &[&str]| {
        let ports = [
            "--set",
            "http.listen=127.0.0.1:0",
            "--set",
            "webrtc.udp_listen=127.0.0.1:0",
        ];
        let output = lockgate(folder.path())
            .arg("doctor")
            .args(ports)
            .args(arguments)
            .output()
            .expect("the binary runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    let film = film.to_str().expect("the path is text");
    let (code, text) = doctor(&[film]);
    assert_eq!(code, Some(0), "{text}");
    for part in [
        "libx264 with preset superfast encodes",
        "libavcodec",
        "h264 854×480 at 30.00 fps",
        "which WebRTC cannot carry",
        "every 2.5 s at most",
        "timestamps     in order",
        "aac at 44100 Hz, 1 channels",
        "encoded as 480p30, 360p30",
    ] {
        let at_keyframes = part == "every 2.5 s at most" && text.contains("2.5 s apart");
        assert!(
            at_keyframes || text.contains(part),
            "{part} is not in:\n{text}"
        );
    }
    let (code, text) = doctor(&[
        "--json",
        "--set",
        "ladder.encoder=h264_magic",
        "nothing.mp4",
    ]);
    assert_eq!(code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let bad: Vec<&str> = report["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding["level"] == "trouble")
        .filter_map(|finding| finding["about"].as_str())
        .collect();
    assert_eq!(bad, ["encoder", "input"], "{text}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    let (code, text) = doctor(&["--set", &format!("http.listen={port}")]);
    assert_eq!(code, Some(1));
    assert!(text.contains(&format!("TCP {port} is in use")), "{text}");
    // The ports of publishers, each of its own kind: one is free where the other kind is taken.
    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let datagrams = datagrams.local_addr().map(|at| (at, datagrams));
    let (udp, _held) = datagrams.expect("an address");
    let ask = |rtmp: &str, srt: &str| {
        let rtmp = format!("ingest.rtmp.listen={rtmp}");
        let srt = format!("ingest.srt.listen={srt}");
        doctor(&["--set", &rtmp, "--set", &srt])
    };
    let (code, text) = ask(&port, &udp.to_string());
    assert_eq!(code, Some(1));
    for row in [
        format!("TCP {port} is in use"),
        format!("UDP {udp} is in use"),
        "change ingest.rtmp.listen".to_owned(),
        "change ingest.srt.listen".to_owned(),
    ] {
        assert!(text.contains(&row), "{row}: {text}");
    }
    let (code, text) = ask(&udp.to_string(), &port);
    assert_eq!(code, Some(0), "{text}");
    for row in [
        format!("TCP {udp} is free (ingest.rtmp.listen)"),
        format!("UDP {port} is free (ingest.srt.listen)"),
    ] {
        assert!(text.contains(&row), "{row}: {text}");
    }
}
