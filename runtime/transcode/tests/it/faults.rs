//! Workers that die, and jobs that cannot work.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::{Command, Stdio},
};

use lockgate_ports::{TranscodeError, Transcoder, transcoder::State};
use lockgate_transcode::{Config, Ladders};

use crate::support::*;

#[tokio::test]
async fn a_killed_worker_is_replaced_and_time_goes_on() {
    let (broadcast, transcode) = start(job(demo(), three_rungs()));
    let mut video = reader(&broadcast, "144p30").await;
    let mut opus = reader(&broadcast, "opus").await;
    let before = read_for(&mut video, 90_000).await;
    let pid = transcode.status().borrow().worker_pid.unwrap();
    kill(pid);
    let again = status(&transcode, "a new worker", |status| {
        status.state == State::Running && status.worker_pid.is_some_and(|new| new != pid)
    });
    let status = again.await;
    assert_eq!(status.restarts, 1);
    assert!(status.error.unwrap().contains("signal: 9"));
    assert!(
        !std::path::Path::new(&format!("/proc/{pid}")).exists(),
        "a zombie"
    );
    let mut after = before;
    while after.last().unwrap().epoch == 0 {
        after.push(next(&mut video).await);
    }
    assert!(after.last().unwrap().keyframe);
    after.extend(read_for(&mut video, 90_000).await);
    assert_rising(&after);
    assert_eq!(after.last().unwrap().epoch, 1);
    let late = broadcast.origin().pts_now() - after.last().unwrap().pts_90k;
    assert!(late < 180_000, "{late}");
    let mut sound = vec![next(&mut opus).await];
    while sound.last().unwrap().epoch == 0 {
        sound.push(next(&mut opus).await);
    }
    assert_rising(&sound);
}

#[tokio::test]
async fn an_encoder_that_does_not_exist_fails_for_good_and_names_what_there_is() {
    for (encoder, preset, why) in [
        (
            "h264_magic",
            "fast",
            "no H.264 encoder named \"h264_magic\"; it has libx264",
        ),
        ("libx265", "fast", "no H.264 encoder named \"libx265\""),
        ("lib\0x264", "fast", "no H.264 encoder named"),
        ("libx264", "warp9", "preset \"warp9\""),
    ] {
        let mut job = job(demo(), three_rungs());
        job.settings.encoder = encoder.to_owned();
        job.settings.preset = preset.to_owned();
        let (broadcast, transcode) = start(job);
        let failed = status(&transcode, encoder, |status| status.state == State::Failed).await;
        let error = failed.error.unwrap();
        assert!(error.contains(why), "{error}");
        assert_eq!(failed.restarts, 0);
        let mut changes = broadcast.changes();
        while !broadcast.tracks().is_empty() {
            changes.changed().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_worker_that_cannot_start_is_said_at_once() {
    let ladders = Ladders::new(Config {
        worker: "/nowhere/lockgate".into(),
        args: Vec::new(),
    });
    let refused = ladders.start(job(demo(), three_rungs()), broadcast());
    assert!(
        matches!(refused, Err(TranscodeError::Spawn(why)) if why.contains("/nowhere/lockgate"))
    );
}

#[tokio::test]
async fn a_second_ladder_is_refused() {
    let (broadcast, _transcode) = start(job(demo(), three_rungs()));
    track(&broadcast, "aac").await;
    let second = ladders().start(job(demo(), three_rungs()), broadcast.clone());
    assert!(matches!(second, Err(TranscodeError::Taken(_))));
}

#[test]
fn a_worker_ends_with_its_parent_and_with_a_parent_that_talks_nonsense() {
    for nonsense in [&b""[..], &[0, 0, 0, 0], &[0, 0, 0, 2, 0, b'x'], &[255; 64]] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut worker = Command::new(env!("CARGO_BIN_EXE_transcode-worker"))
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        ours.write_all(nonsense).unwrap();
        drop(ours);
        assert!(worker.wait().unwrap().code().is_some());
    }
}

#[tokio::test]
async fn an_encoder_that_is_too_slow_costs_frames_and_not_delay() {
    let input = lockgate_ports::transcoder::Input::Demo {
        width: 1280,
        height: 720,
        fps: 60,
    };
    let plan = lockgate_ports::transcoder::Plan {
        rungs: vec![rung("720p60", 1280, 720, 60, 2_000)],
        passthrough: false,
    };
    let mut job = job(input, plan);
    job.settings.preset = "placebo".to_owned();
    let (broadcast, transcode) = start(job);
    let mut video = reader(&broadcast, "720p60").await;
    let slow = status(&transcode, "to be slow", |status| {
        status.speed > 0.0 && status.speed < 0.9
    });
    slow.await;
    let units = read_for(&mut video, 2 * 90_000).await;
    assert_rising(&units);
    assert!(units.len() < 108, "{}", units.len());
    let cuts = keyframes(&units);
    assert!(cuts.iter().skip(1).all(|cut| cut % 90_000 == 0), "{cuts:?}");
    let late = broadcast.origin().pts_now() - units.last().unwrap().pts_90k;
    // Without a bound it would be late by half of all that was played.
    assert!(late < 5 * 90_000, "{late}");
}
