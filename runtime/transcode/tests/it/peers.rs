//! A live peer's units through the ladder.

use std::time::Duration;

use ffmpeg_next::format;
use lockgate_broadcast::{
    Broadcast,
    track::{Producer, Role, Start},
};
use lockgate_media::{AccessUnit, AudioFormat, Format, TrackId, VideoCodec, VideoFormat, vp8};
use lockgate_ports::{
    Transcoder, task,
    transcoder::{Input, Plan, State},
};
use lockgate_transcode::code;
use tokio::time::timeout;

use crate::support::*;

fn video_format(codec: VideoCodec) -> Format {
    Format::Video(VideoFormat {
        codec,
        width: 0,
        height: 0,
        frame_rate: None,
        bitrate_bps: None,
        parameter_sets: None,
        reordered: false,
    })
}

fn publish(broadcast: &Broadcast, codec: VideoCodec) -> (Producer, Producer) {
    let video = broadcast.publish(TrackId::source(), Role::Ingest, video_format(codec));
    let audio = AudioFormat::opus(2, None);
    let audio = broadcast.publish(TrackId::opus(), Role::Ingest, Format::Audio(audio));
    (video.unwrap(), audio.unwrap())
}

fn plan() -> Plan {
    Plan {
        rungs: vec![
            rung("240p30", 428, 240, 30, 300),
            rung("144p15", 256, 144, 15, 150),
        ],
        passthrough: false,
    }
}

#[tokio::test]
async fn h264_and_opus_of_a_peer_become_rungs_and_aac() {
    // A peer made of another ladder's output.
    let (camera, camera_handle) = start(job(demo(), three_rungs()));
    let mut picture = reader(&camera, "360p30").await;
    let mut sound = reader(&camera, "opus").await;
    let broadcast = broadcast();
    let (video, audio) = publish(&broadcast, VideoCodec::H264);
    let mut demand = video.demand();
    let offset = broadcast.origin().pts_now() - camera.origin().pts_now();
    let _pump = task::own(async move {
        loop {
            let (producer, item) = tokio::select! {
                Some(item) = picture.next() => (&video, item),
                Some(item) = sound.next() => (&audio, item),
                else => return,
            };
            let unit = &item.unit;
            producer.push(AccessUnit::new(
                unit.pts_90k + offset,
                unit.keyframe,
                unit.data.clone(),
            ));
        }
    });
    let transcode = ladders()
        .start(job(Input::Peer, plan()), broadcast.clone())
        .unwrap();
    let mut top = reader(&broadcast, "240p30").await;
    let units = read_for(&mut top, 2 * 90_000).await;
    assert_rising(&units);
    for frame in decode_video(&units) {
        let number = code::read(
            frame.data(0),
            frame.stride(0),
            frame.width(),
            frame.height(),
        );
        let at = frame.timestamp().unwrap() - offset;
        assert_eq!(
            number.map(i64::from),
            Some(at / 3000),
            "the right picture at the right time"
        );
    }
    let mut aac = reader(&broadcast, "aac").await;
    assert_rising(&read_for(&mut aac, 90_000).await);
    let opus = broadcast.track(&TrackId::opus()).unwrap();
    assert_eq!(opus.role(), Role::Ingest, "the peer's own");
    let wanted = demand.wait_for(|demand| demand.keyframes_asked > 0);
    timeout(PATIENCE, wanted).await.unwrap().unwrap();
    let source = transcode
        .status()
        .borrow()
        .source
        .clone()
        .unwrap()
        .video
        .unwrap();
    assert_eq!((source.codec.as_str(), source.width), ("h264", 640));
    assert_eq!(source.frame_rate.map(|rate| rate.num), Some(30));
    // The peer does not notice that a worker died: the next one goes on with what it sends.
    let pid = transcode.status().borrow().worker_pid.unwrap();
    kill(pid);
    let mut after = units;
    while after.last().unwrap().epoch == 0 {
        after.push(next(&mut top).await);
    }
    assert!(after.last().unwrap().keyframe);
    assert_rising(&after);
    drop(camera_handle);
}

/// VP8 frames of a size.
fn vp8_frames(width: u32, height: u32) -> Vec<Vec<u8>> {
    let folder = tempfile::tempdir().unwrap();
    let picture = format!("testsrc2=size={width}x{height}:rate=30:duration=2");
    let args = [
        "-f",
        "lavfi",
        "-i",
        &picture,
        "-c:v",
        "libvpx",
        "-deadline",
        "realtime",
        "-cpu-used",
        "8",
        "-g",
        "15",
        "-auto-alt-ref",
        "0",
        "-b:v",
        "300k",
    ];
    let path = ffmpeg(folder.path(), "clip.webm", &args);
    let mut input = format::input(&path).unwrap();
    let packets = input.packets();
    packets
        .map(|(_, packet)| packet.data().unwrap().to_vec())
        .collect()
}

#[tokio::test]
async fn vp8_may_change_its_size_and_its_shape() {
    let broadcast = broadcast();
    let (video, _audio) = publish(&broadcast, VideoCodec::Vp8);
    let frames =
        [(640, 360), (320, 180), (180, 320)].map(|(width, height)| vp8_frames(width, height));
    let transcode = ladders()
        .start(job(Input::Peer, plan()), broadcast.clone())
        .unwrap();
    let clock = broadcast.origin();
    let _camera = task::own(async move {
        for frames in frames {
            for frame in frames {
                let unit = AccessUnit::new(clock.pts_now(), vp8::is_keyframe(&frame), frame.into());
                video.push(unit);
                tokio::time::sleep(Duration::from_millis(33)).await;
            }
        }
        std::future::pending::<()>().await;
    });
    let mut top = reader(&broadcast, "240p30").await;
    let mut units = vec![next(&mut top).await];
    let sizes = |units: &[std::sync::Arc<AccessUnit>]| {
        let mut sizes: Vec<(u32, u32)> = decode_video(units)
            .iter()
            .map(|frame| (frame.width(), frame.height()))
            .collect();
        sizes.dedup();
        sizes
    };
    let mut formats = top.track().formats();
    let upright = |format: &Format| {
        format
            .video()
            .is_some_and(|video| video.height > video.width)
    };
    while !upright(&formats.borrow_and_update()) {
        units.push(next(&mut top).await);
    }
    units.extend(read_for(&mut top, 45_000).await);
    assert_rising(&units);
    // The smaller picture of the same shape is scaled into the size there was; the upright one gets its own.
    let top = &plan().rungs[0];
    assert_eq!(
        sizes(&units),
        [top.size_for(640, 360), top.size_for(180, 320)]
    );
    assert_eq!(transcode.status().borrow().restarts, 0);
}

#[tokio::test]
async fn a_peer_that_comes_late_or_only_speaks_is_waited_for() {
    let broadcast = broadcast();
    let transcode = ladders()
        .start(job(Input::Peer, plan()), broadcast.clone())
        .unwrap();
    let audio = broadcast
        .publish(
            TrackId::opus(),
            Role::Ingest,
            Format::Audio(AudioFormat::opus(2, None)),
        )
        .unwrap();
    let (camera, _camera) = start(job(demo(), three_rungs()));
    let mut sound = track(&camera, "opus").await.consume(Start::NextKeyframe);
    let clock = broadcast.origin();
    let _microphone = task::own(async move {
        while let Some(item) = sound.next().await {
            audio.push(AccessUnit::new(
                clock.pts_now(),
                true,
                item.unit.data.clone(),
            ));
        }
    });
    let mut aac = reader(&broadcast, "aac").await;
    let before = read_for(&mut aac, 45_000).await;
    let running = status(&transcode, "running", |status| {
        status.state == State::Running
    })
    .await;
    assert_eq!(running.source.unwrap().video, None);
    // Now the camera is switched on: the ladder is planned again.
    let video = broadcast
        .publish(
            TrackId::source(),
            Role::Ingest,
            video_format(VideoCodec::H264),
        )
        .unwrap();
    let mut picture = reader(&camera, "360p30").await;
    let _eye = task::own(async move {
        while let Some(item) = picture.next().await {
            let unit = &item.unit;
            video.push(AccessUnit::new(
                clock.pts_now(),
                unit.keyframe,
                unit.data.clone(),
            ));
        }
    });
    let mut top = reader(&broadcast, "240p30").await;
    assert_rising(&read_for(&mut top, 45_000).await);
    let mut all = before;
    while all.last().unwrap().epoch == 0 {
        all.push(next(&mut aac).await);
    }
    assert_rising(&all);
    assert_eq!(transcode.status().borrow().restarts, 0);
}
