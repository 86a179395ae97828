//! The generated source.

use std::time::Duration;

use hyper::header;

use crate::support::{Playlist, Server, probe, until, variants};

#[tokio::test]
async fn the_demo_runs_at_real_time_with_three_rungs_and_says_so() {
    let mut server = Server::start("", &["--demo"]).await;
    let said = server.stdout();
    for part in [
        "/watch/demo",
        "/whip/",
        "/hls/demo/playlist.m3u8",
        "token",
        server.token.as_str(),
    ] {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
    server.running("demo").await;
    let ladder = until(
        "a speed of 1.00× real time",
        Duration::from_secs(60),
        || async {
            let ladder = server.stream("demo").await["ladder"].clone();
            let speed = ladder["speed"].as_f64().unwrap_or_default();
            ((0.98..1.03).contains(&speed)).then_some(ladder)
        },
    )
    .await;
    assert!(
        ladder["plan"]["rungs"]
            .as_array()
            .is_some_and(|rungs| rungs.len() >= 3),
        "{ladder}"
    );
    until("the log to say so", Duration::from_secs(20), || async {
        server.log().contains("× real time").then_some(())
    })
    .await;
    assert_eq!(server.terminate().await, Some(0));
}

#[tokio::test]
async fn its_hls_is_aligned_over_all_rungs_and_true() {
    let server = Server::start("", &["--demo"]).await;
    let variants = variants(&server, "demo", 3).await;
    let mut windows = Vec::new();
    for variant in &variants {
        let rung = variant
            .uri
            .split('/')
            .next()
            .expect("a variant has a folder")
            .to_owned();
        let playlist = Playlist::with_segments(&server, "demo", &rung, 3).await;
        let first = playlist
            .parsed
            .segments
            .first()
            .expect("there are segments");
        assert!(
            first.uri.ends_with(".m4s") && playlist.text.contains("#EXT-X-MAP:"),
            "{}",
            playlist.text
        );
        assert_eq!(playlist.parsed.target_duration, 2);

        let seen = probe(&server.url(&format!("/hls/demo/{}", variant.uri))).await;
        let video = &seen["streams"][0];
        let resolution = variant.resolution.expect("RESOLUTION is there");
        assert_eq!(
            (video["width"].as_u64(), video["height"].as_u64()),
            (Some(resolution.width), Some(resolution.height))
        );
        assert_eq!(
            (video["codec_name"].as_str(), video["has_b_frames"].as_u64()),
            (Some("h264"), Some(0))
        );
        let rate = video["avg_frame_rate"]
            .as_str()
            .and_then(|rate| rate.split_once('/'));
        let rate =
            rate.and_then(|(num, den)| Some(num.parse::<f64>().ok()? / den.parse::<f64>().ok()?));
        let told = variant.frame_rate.expect("FRAME-RATE is there");
        assert!(
            rate.is_some_and(|rate| (rate - told).abs() < 0.01),
            "{rate:?} is not {told}"
        );
        let codecs = variant.codecs.as_deref().unwrap_or_default();
        assert!(
            codecs.starts_with("avc1.42") && codecs.contains("mp4a.40.2"),
            "{codecs}"
        );

        // BANDWIDTH is no less than any segment's rate (RFC 8216 §4.3.4.2), audio included.
        for segment in &playlist.parsed.segments {
            let bytes = server
                .get(&format!("/hls/demo/{rung}/{}", segment.uri))
                .await;
            assert_eq!(
                (bytes.status.as_u16(), bytes.header(header::CONTENT_TYPE)),
                (200, "video/mp4")
            );
            let bps = bytes.body.len() as f64 * 8.0 / f64::from(segment.duration);
            assert!(
                bps <= variant.bandwidth as f64,
                "{rung}: {bps} is over {}",
                variant.bandwidth
            );
        }
        windows.push((rung, playlist.segments()));
    }
    // Wherever two rungs list the same number, it is the same moment and the same length.
    for (rung, window) in &windows[1..] {
        let common: Vec<_> = window
            .iter()
            .filter(|one| windows[0].1.iter().any(|other| other.0 == one.0))
            .collect();
        assert!(
            !common.is_empty(),
            "{rung} has no number in common with {}",
            windows[0].0
        );
        for one in common {
            assert!(
                windows[0].1.contains(one),
                "{rung}: {one:?} is not in {:?}",
                windows[0].1
            );
        }
    }
    let audio = probe(&server.url("/hls/demo/aac/playlist.m3u8")).await;
    assert_eq!(audio["streams"][0]["codec_name"], "aac");
}

#[tokio::test]
async fn its_hls_as_a_transport_stream() {
    let server = Server::start("[hls]\ncontainer = \"ts\"\n", &["--demo"]).await;
    for variant in variants(&server, "demo", 3).await {
        let rung = variant
            .uri
            .split('/')
            .next()
            .expect("a variant has a folder")
            .to_owned();
        let playlist = Playlist::with_segments(&server, "demo", &rung, 3).await;
        assert!(
            playlist
                .parsed
                .segments
                .iter()
                .all(|segment| segment.uri.ends_with(".ts")),
            "{}",
            playlist.text
        );
        let seen = probe(&server.url(&format!("/hls/demo/{}", variant.uri))).await;
        let codecs: Vec<&str> = seen["streams"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["codec_name"].as_str())
            .collect();
        assert!(
            codecs.contains(&"h264") && codecs.contains(&"aac"),
            "{codecs:?}"
        );
    }
}

#[tokio::test]
async fn a_token_in_the_url_is_carried_on_into_the_playlists() {
    let server = Server::start("[auth]\nanonymous = []\n", &["--demo"]).await;
    server.get("/hls/demo/playlist.m3u8").await.problem(401);
    let suffix = format!("?token={}", server.token);
    let multivariant = until(
        "the multivariant playlist",
        Duration::from_secs(30),
        || async {
            let answer = server
                .get(&format!("/hls/demo/playlist.m3u8{suffix}"))
                .await;
            answer.status.is_success().then(|| answer.text())
        },
    )
    .await;
    let uri = multivariant
        .lines()
        .find(|line| !line.starts_with('#'))
        .expect("a variant")
        .to_owned();
    assert!(uri.ends_with(&suffix), "{uri}");
    let media = server.get(&format!("/hls/demo/{uri}")).await;
    let segment = media
        .text()
        .lines()
        .find(|line| !line.starts_with('#'))
        .expect("a segment")
        .to_owned();
    assert!(segment.ends_with(&suffix), "{segment}");
    // All that a playlist or manifest names is fetched as it stands there, and by nobody without the token.
    let rung = uri.split('/').next().expect("a rung");
    let named = until("parts", Duration::from_secs(30), || async {
        let text = server.get(&format!("/hls/demo/{uri}")).await.text();
        let uris = text.lines().filter_map(|line| {
            let (tag, rest) = line.split_once("URI=\"")?;
            let (uri, _) = rest.split_once('"')?;
            Some((tag.split(':').next()?.to_owned(), uri.to_owned()))
        });
        let uris: Vec<(String, String)> = uris.collect();
        let has = |tag: &str| uris.iter().any(|(named, _)| named == tag);
        (has("#EXT-X-PART") && has("#EXT-X-PRELOAD-HINT") && has("#EXT-X-RENDITION-REPORT"))
            .then_some(uris)
    })
    .await;
    for (tag, uri) in &named {
        assert!(uri.ends_with(&suffix), "{tag} {uri}");
    }
    for tag in ["#EXT-X-MAP", "#EXT-X-PART", "#EXT-X-PRELOAD-HINT"] {
        let mut of_tag = named.iter().filter(|(named, _)| named == tag);
        let (_, uri) = of_tag.next_back().expect("there is one");
        let path = format!("/hls/demo/{rung}/{uri}");
        let answer = server.get(&path).await;
        assert_eq!(answer.status, 200, "{tag} {uri}: {}", answer.text());
        let bare = path.strip_suffix(&suffix).expect("it ends so");
        server.get(bare).await.problem(401);
    }
    server.get("/dash/demo/manifest.mpd").await.problem(401);
    let manifest = server
        .get(&format!("/dash/demo/manifest.mpd{suffix}"))
        .await;
    let manifest = manifest.text();
    let mut templates = manifest.split("media=\"").skip(1);
    let template = templates.next().expect("a template");
    assert!(templates.all(|template| {
        template
            .split('"')
            .next()
            .is_some_and(|uri| uri.ends_with(&suffix))
    }));
    let (template, _) = template.split_once('"').expect("its end");
    let inits: Vec<&str> = manifest.split("initialization=\"").skip(1).collect();
    assert!(
        !inits.is_empty() && template.ends_with(&suffix),
        "{manifest}"
    );
    for init in inits {
        let (init, _) = init.split_once('"').expect("its end");
        assert!(init.ends_with(&suffix), "{init}");
    }
    assert!(
        !server.log().contains(&server.token),
        "the token is in the log"
    );
}
