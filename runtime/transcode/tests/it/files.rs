//! Files and URLs as sources.

use std::{path::Path, sync::Arc};

use ffmpeg_next::color;
use lockgate_broadcast::track::Role;
use lockgate_media::h264;
use lockgate_ports::transcoder::{Plan, SourceInfo, State};

use crate::support::*;

/// Moving pictures and a tone, with these encoder arguments.
fn clip(folder: &Path, name: &str, seconds: &str, more: &[&str]) -> std::path::PathBuf {
    let picture = format!("testsrc2=size=320x180:rate=25:duration={seconds}");
    let tone = format!("sine=frequency=440:sample_rate=44100:duration={seconds}");
    let mut args = vec!["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone];
    args.extend_from_slice(&[
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-pix_fmt",
        "yuv420p",
    ]);
    args.extend_from_slice(more);
    ffmpeg(folder, name, &args)
}

fn small() -> Plan {
    Plan {
        rungs: vec![rung("144p30", 256, 144, 30, 150)],
        passthrough: false,
    }
}

#[tokio::test]
async fn a_looped_file_has_one_steady_clock() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), "clip.mp4", "1.2", &[]);
    let (broadcast, transcode) = start(job(file(&path, true), small()));
    let mut video = reader(&broadcast, "144p30").await;
    let mut aac = reader(&broadcast, "aac").await;
    let units = read_for(&mut video, 3 * 90_000).await;
    let video_steps = steps(&units);
    // 25 frames a second; where the sound is longer than the pictures, the last one stands a little longer.
    assert!(
        video_steps
            .iter()
            .all(|step| (3_600..=9_000).contains(step)),
        "{video_steps:?}"
    );
    let odd = video_steps.iter().filter(|step| **step != 3_600).count();
    assert!(odd <= 3, "{video_steps:?}");
    let sound = read_for(&mut aac, 3 * 90_000).await;
    assert!(steps(&sound).iter().all(|step| *step == 1920));
    let info = transcode.status().borrow().source.clone().unwrap();
    let video = info.video.unwrap();
    assert_eq!(
        (video.codec.as_str(), video.width, video.height),
        ("h264", 320, 180)
    );
    assert_eq!(video.frame_rate.unwrap().fps(), 25.0);
    let audio = info.audio.unwrap();
    assert_eq!(
        (audio.codec.as_str(), audio.sample_rate, audio.channels),
        ("aac", 44_100, 1)
    );
}

fn steps(units: &[Arc<lockgate_media::AccessUnit>]) -> Vec<i64> {
    units
        .windows(2)
        .map(|pair| pair[1].pts_90k - pair[0].pts_90k)
        .collect()
}

#[tokio::test]
async fn a_file_ends_and_nothing_of_it_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), "clip.mp4", "1", &["-bf", "2"]);
    let (broadcast, transcode) = start(job(file(&path, false), small()));
    let mut video = reader(&broadcast, "144p30").await;
    let mut units = Vec::new();
    while let Some(item) = video.next().await {
        units.push(item.unit);
    }
    assert_eq!(units.len(), 25);
    assert_rising(&units);
    status(&transcode, "the end", |status| status.state == State::Ended).await;
    assert!(broadcast.tracks().is_empty());
}

#[tokio::test]
async fn what_a_source_is_gets_measured() {
    let folder = tempfile::tempdir().unwrap();
    let plain = ["-bf", "0", "-g", "25"];
    for (name, args, b_frames, gop_max_s) in [
        ("plain.mp4", &plain[..], false, 1.0),
        ("plain.ts", &plain[..], false, 1.0),
        (
            "reordered.mp4",
            &["-bf", "2", "-g", "50", "-sc_threshold", "0"][..],
            true,
            2.0,
        ),
        (
            "one_key.mp4",
            &["-bf", "0", "-g", "1000", "-sc_threshold", "0"][..],
            false,
            2.96,
        ),
    ] {
        let path = clip(folder.path(), name, "3", args);
        let (_broadcast, transcode) = start(job(file(&path, true), Plan::default()));
        let status = status(&transcode, "a source", |status| status.source.is_some()).await;
        let video = status.source.unwrap().video.unwrap();
        assert_eq!(video.b_frames, b_frames, "{name}");
        let seen = video.gop_max_s.unwrap();
        assert!((seen - gop_max_s).abs() < 0.05, "{name}: {seen}");
        assert!(video.bitrate_bps.unwrap() > 10_000, "{name}");
    }
}

#[tokio::test]
async fn a_source_passed_through_cuts_with_its_rungs() {
    let folder = tempfile::tempdir().unwrap();
    for (name, format) in [("clip.mp4", "mp4"), ("clip.ts", "mpegts")] {
        // Keyframes 0.48 s apart, so that not each is a cut.
        let args = ["-bf", "0", "-g", "12", "-sc_threshold", "0", "-f", format];
        let path = clip(folder.path(), name, "4", &args);
        let mut job = job(file(&path, true), small());
        job.planner = Arc::new(|source: &SourceInfo| {
            let video = source.video.as_ref().unwrap();
            assert!(!video.b_frames && video.gop_max_s.unwrap() < 0.5);
            Plan {
                passthrough: true,
                ..small()
            }
        });
        let (broadcast, transcode) = start(job);
        let mut source = reader(&broadcast, "source").await;
        let mut small = reader(&broadcast, "144p30").await;
        assert_eq!(source.track().role(), Role::Passthrough);
        let (own, encoded) = tokio::join!(
            read_for(&mut source, 3 * 90_000),
            read_for(&mut small, 3 * 90_000)
        );
        assert_rising(&own);
        assert!(decode_video(&own).len() == own.len());
        for unit in own.iter().filter(|unit| unit.keyframe) {
            let first = h264::nals(&unit.data).next().unwrap();
            assert_eq!(h264::nal_type(first), h264::NAL_SPS);
            assert_eq!(&unit.data[..4], [0, 0, 0, 1]);
        }
        let (own, encoded) = (keyframes(&own), keyframes(&encoded));
        assert!(own.len() >= 6 && encoded.len() >= 3, "{own:?} {encoded:?}");
        let mut cell = None;
        let from = own[0].max(encoded[0]);
        let until = *own.last().min(encoded.last()).unwrap();
        let expected: Vec<i64> = own
            .iter()
            .filter(|pts| {
                let this = Some(pts.div_euclid(90_000));
                std::mem::replace(&mut cell, this) != this
            })
            .copied()
            .filter(|pts| (from..=until).contains(pts))
            .collect();
        let encoded: Vec<i64> = encoded
            .into_iter()
            .filter(|pts| (from..=until).contains(pts))
            .collect();
        assert!(
            encoded.iter().all(|pts| own.contains(pts)),
            "{own:?} {encoded:?}"
        );
        assert_eq!(
            encoded[1..],
            expected[expected.len() - (encoded.len() - 1)..]
        );
        let format = source.track().format();
        assert_eq!(format.video().unwrap().width, 320);
        assert_eq!(transcode.status().borrow().error, None);
    }
}

#[tokio::test]
async fn odd_pictures_come_out_square_limited_and_marked() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "-vf",
        "scale=240:180,setsar=4/3,format=yuvj420p",
        "-color_range",
        "pc",
    ];
    let mut plain = vec![
        "-f",
        "lavfi",
        "-i",
        "color=white:size=320x180:rate=25:duration=1",
    ];
    plain.extend_from_slice(&args);
    plain.extend_from_slice(&["-c:v", "mjpeg"]);
    let path = ffmpeg(folder.path(), "odd.avi", &plain);
    let (broadcast, transcode) = start(job(file(&path, true), small()));
    let mut video = reader(&broadcast, "144p30").await;
    let frames = decode_video(&read_for(&mut video, 90_000).await);
    assert_eq!((frames[0].width(), frames[0].height()), (256, 144));
    assert_eq!(frames[0].color_range(), color::Range::MPEG);
    assert_eq!(frames[0].color_space(), color::Space::BT470BG);
    let white = frames[5].data(0)[70 * frames[5].stride(0) + 120];
    assert!((230..=238).contains(&white), "{white}");
    let video = transcode
        .status()
        .borrow()
        .source
        .clone()
        .unwrap()
        .video
        .unwrap();
    assert_eq!((video.width, video.height), (320, 180));
    assert!(broadcast.track(&lockgate_media::TrackId::aac()).is_none());
}

#[tokio::test]
async fn sound_alone_has_no_rungs() {
    let folder = tempfile::tempdir().unwrap();
    let args = [
        "-f",
        "lavfi",
        "-i",
        "sine=frequency=440:duration=2",
        "-ac",
        "6",
        "-c:a",
        "flac",
    ];
    let path = ffmpeg(folder.path(), "tone.flac", &args);
    let (broadcast, transcode) = start(job(file(&path, true), small()));
    let mut opus = reader(&broadcast, "opus").await;
    let units = read_for(&mut opus, 5 * 90_000 / 2).await;
    assert!(steps(&units).iter().all(|step| *step == 1800));
    let tracks = broadcast.tracks();
    let mut names: Vec<&str> = tracks.iter().map(|track| track.id().as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["aac", "opus", "opus12", "opus24"]);
    let status = transcode.status().borrow().clone();
    assert_eq!(status.source.unwrap().video, None);
}

#[tokio::test]
async fn a_damaged_file_plays_what_can_be_played() {
    let folder = tempfile::tempdir().unwrap();
    let path = clip(folder.path(), "clip.ts", "2", &["-bf", "0", "-g", "12"]);
    let mut bytes = std::fs::read(&path).unwrap();
    let len = bytes.len();
    for at in (len / 3..len / 2).step_by(97) {
        bytes[at] ^= 0x5a;
    }
    bytes.truncate(len - 777);
    std::fs::write(&path, bytes).unwrap();
    let (broadcast, transcode) = start(job(file(&path, true), small()));
    let mut video = reader(&broadcast, "144p30").await;
    let units = read_for(&mut video, 3 * 90_000).await;
    assert_rising(&units);
    assert!(units.len() > 30, "{}", units.len());
    assert_eq!(transcode.status().borrow().state, State::Running);
}

#[tokio::test]
async fn a_source_that_cannot_be_played_says_why_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("text.txt"), "this is no film\n".repeat(400)).unwrap();
    std::fs::write(at("empty.mp4"), "").unwrap();
    let noise: Vec<u8> = (0u32..40_000)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(at("noise.mp4"), noise).unwrap();
    let whole = clip(folder.path(), "whole.mp4", "1", &[]);
    let bytes = std::fs::read(&whole).unwrap();
    // Cut before the index at its end.
    std::fs::write(at("cut.mp4"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(
        at("titles.srt"),
        "1\n00:00:00,000 --> 00:00:01,000\nhello\n",
    )
    .unwrap();
    std::fs::write(
        at("nested.m3u8"),
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    )
    .unwrap();
    let table = [
        (at("missing.mp4"), "there is no such file"),
        (at(""), "it is a directory"),
        (at("text.txt"), "it is"),
        (at("empty.mp4"), "it is empty"),
        (at("noise.mp4"), "cannot open"),
        (at("cut.mp4"), "it is damaged"),
        (at("titles.srt"), "it has neither video nor audio"),
        (at("nested.m3u8"), "cannot"),
        (
            "http://127.0.0.1:9/x".to_owned(),
            "the protocol http is not among the allowed ones (file)",
        ),
        ("concat:a|b".to_owned(), "the protocol concat is not"),
        (String::new(), "it is no path and no URL"),
        ("a\0b".to_owned(), "it is no path and no URL"),
    ];
    let mut running = Vec::new();
    for (url, why) in table {
        let input = lockgate_ports::transcoder::Input::Url {
            url: url.clone(),
            looped: true,
        };
        running.push((url, why, start(job(input, small()))));
    }
    for (url, why, (broadcast, transcode)) in &running {
        let status = status(transcode, url, |status| status.error.is_some()).await;
        let error = status.error.unwrap();
        assert!(error.contains(why), "{url}: {error}");
        assert!(error.contains(url.as_str()), "{url}: {error}");
        assert!(broadcast.tracks().is_empty());
    }
    let (url, _, (broadcast, transcode)) = &running[0];
    status(transcode, "another try", |status| status.restarts >= 2).await;
    std::fs::copy(&whole, url).unwrap();
    track(broadcast, "144p30").await;
    status(transcode, "it to heal", |status| {
        status.state == State::Running
    })
    .await;
}

#[tokio::test]
async fn a_file_that_nobody_watches_sleeps_and_wakes_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // One keyframe in the whole file: waking cannot wait for the next.
    let path = clip(
        folder.path(),
        "clip.mp4",
        "30",
        &["-g", "1000", "-sc_threshold", "0"],
    );
    let mut job = job(file(&path, true), small());
    job.settings.on_demand = true;
    let (broadcast, _transcode) = start(job);
    let rung = track(&broadcast, "144p30").await;
    let mut aac = reader(&broadcast, "aac").await;
    read_for(&mut aac, 3 * 90_000).await;
    let asleep = rung.counters().units;
    read_for(&mut aac, 90_000).await;
    assert_eq!(rung.counters().units, asleep);
    let mut late = rung.consume(lockgate_broadcast::track::Start::NextKeyframe);
    let asked_at = broadcast.origin().pts_now();
    let units = read_for(&mut late, 90_000).await;
    let waited = units[0].pts_90k - asked_at;
    assert!(
        units[0].keyframe && (-45_000..270_000).contains(&waited),
        "{waited}"
    );
    // A busy machine may drop some, but nothing stands still and nothing is out of place.
    let sound = |step: &i64| *step % 3_600 == 0 && *step <= 36_000;
    assert!(steps(&units).iter().all(sound), "{:?}", steps(&units));
    assert_eq!(decode_video(&units).len(), units.len());
}
