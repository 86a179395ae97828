//! Starting ladders, waiting on levels, and decoding what came out.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use ffmpeg_next::{Packet, codec, decoder, frame};
use lockgate_broadcast::{
    Broadcast, Limits, Origin,
    track::{Consumer, Item, Start, Track},
};
use lockgate_media::{AccessUnit, BroadcastName, Rung, TrackId};
use lockgate_ports::{
    Transcode, Transcoder,
    transcoder::{Input, Job, Plan, Settings, Status},
};
use lockgate_transcode::{Config, Ladders};
use tokio::time::timeout;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn ladders() -> Ladders {
    Ladders::new(Config {
        worker: env!("CARGO_BIN_EXE_transcode-worker").into(),
        args: Vec::new(),
    })
}

pub(crate) fn broadcast() -> Broadcast {
    Broadcast::new(
        BroadcastName::new("test").unwrap(),
        Origin::now(),
        Limits::default(),
    )
}

pub(crate) fn settings() -> Settings {
    Settings {
        encoder: "libx264".to_owned(),
        preset: "ultrafast".to_owned(),
        gop_s: 1,
        on_demand: false,
        opus_bps: 96_000,
        aac_bps: 128_000,
        protocols: vec!["file".to_owned()],
        hosts: vec!["public".to_owned()],
    }
}

pub(crate) fn rung(name: &str, width: u32, height: u32, fps: u32, kbps: u32) -> Rung {
    Rung {
        name: TrackId::new(name).unwrap(),
        width,
        height,
        fps,
        kbps,
    }
}

/// 360p at 30, 240p at 15 and 144p at 30 frames a second.
pub(crate) fn three_rungs() -> Plan {
    Plan {
        rungs: vec![
            rung("360p30", 640, 360, 30, 600),
            rung("240p15", 428, 240, 15, 250),
            rung("144p30", 256, 144, 30, 150),
        ],
        passthrough: false,
    }
}

pub(crate) fn demo() -> Input {
    Input::Demo {
        width: 640,
        height: 360,
        fps: 30,
    }
}

pub(crate) fn file(path: &Path, looped: bool) -> Input {
    Input::Url {
        url: path.to_str().unwrap().to_owned(),
        looped,
    }
}

pub(crate) fn job(input: Input, plan: Plan) -> Job {
    Job {
        input,
        planner: Arc::new(move |_| plan.clone()),
        settings: settings(),
    }
}

pub(crate) fn start(job: Job) -> (Broadcast, Arc<dyn Transcode>) {
    let broadcast = broadcast();
    let transcode = ladders().start(job, broadcast.clone()).unwrap();
    (broadcast, transcode)
}

/// Waits until the status is as wanted.
pub(crate) async fn status(
    transcode: &Arc<dyn Transcode>,
    what: &str,
    is_so: impl FnMut(&Status) -> bool,
) -> Status {
    let mut status = transcode.status();
    match timeout(PATIENCE, status.wait_for(is_so)).await {
        Ok(found) => found.unwrap().clone(),
        Err(_) => {
            let now = transcode.status().borrow().clone();
            panic!("waited in vain for {what}; now {now:?}")
        }
    }
}

/// Waits until a track is there.
pub(crate) async fn track(broadcast: &Broadcast, id: &str) -> Track {
    let id = TrackId::new(id).unwrap();
    let mut changes = broadcast.changes();
    let found = timeout(PATIENCE, async {
        loop {
            changes.mark_unchanged();
            if let Some(track) = broadcast.track(&id) {
                return track;
            }
            changes.changed().await.unwrap();
        }
    });
    found.await.unwrap_or_else(|_| panic!("no track {id} came"))
}

pub(crate) async fn reader(broadcast: &Broadcast, id: &str) -> Consumer {
    track(broadcast, id).await.consume(Start::CachedKeyframe)
}

pub(crate) async fn next(consumer: &mut Consumer) -> Arc<AccessUnit> {
    let item: Item = timeout(PATIENCE, consumer.next())
        .await
        .unwrap_or_else(|_| panic!("no unit of {} came", consumer.track().id()))
        .unwrap_or_else(|| panic!("{} was closed", consumer.track().id()));
    assert_eq!(item.skipped, 0, "the test itself was too slow");
    item.unit
}

/// Reads a track for a stretch of media time, in 1/90000 s.
pub(crate) async fn read_for(consumer: &mut Consumer, span_90k: i64) -> Vec<Arc<AccessUnit>> {
    let mut units = vec![next(consumer).await];
    while units.last().unwrap().pts_90k - units[0].pts_90k < span_90k {
        units.push(next(consumer).await);
    }
    units
}

/// The times of keyframes.
pub(crate) fn keyframes(units: &[Arc<AccessUnit>]) -> Vec<i64> {
    let keyframes = units.iter().filter(|unit| unit.keyframe);
    keyframes.map(|unit| unit.pts_90k).collect()
}

/// Units must come in strictly rising order.
pub(crate) fn assert_rising(units: &[Arc<AccessUnit>]) {
    for pair in units.windows(2) {
        let (before, after) = (pair[0].pts_90k, pair[1].pts_90k);
        assert!(before < after, "{after} comes after {before}");
    }
}

/// Decodes H.264 units from a keyframe on.
pub(crate) fn decode_video(units: &[Arc<AccessUnit>]) -> Vec<frame::Video> {
    let codec = decoder::find(codec::Id::H264).unwrap();
    let mut decoder = codec::Context::new_with_codec(codec)
        .decoder()
        .video()
        .unwrap();
    let mut frames = Vec::new();
    let mut drain = |decoder: &mut decoder::Video| {
        loop {
            let mut frame = frame::Video::empty();
            if decoder.receive_frame(&mut frame).is_err() {
                break;
            }
            frames.push(frame);
        }
    };
    for unit in units {
        let mut packet = Packet::copy(&unit.data);
        packet.set_pts(Some(unit.pts_90k));
        packet.set_dts(Some(unit.dts_90k));
        decoder.send_packet(&packet).unwrap();
        drain(&mut decoder);
    }
    decoder.send_eof().unwrap();
    drain(&mut decoder);
    frames
}

/// Decodes audio units and gives the left channel with the time of each block.
pub(crate) fn decode_audio(units: &[Arc<AccessUnit>], id: codec::Id) -> Vec<(i64, Vec<f32>)> {
    let codec = decoder::find(id).unwrap();
    let mut decoder = codec::Context::new_with_codec(codec)
        .decoder()
        .audio()
        .unwrap();
    let mut blocks = Vec::new();
    for unit in units {
        let mut packet = Packet::copy(&unit.data);
        packet.set_pts(Some(unit.pts_90k));
        decoder.send_packet(&packet).unwrap();
        let mut frame = frame::Audio::empty();
        while decoder.receive_frame(&mut frame).is_ok() {
            blocks.push((frame.timestamp().unwrap(), frame.plane::<f32>(0).to_vec()));
        }
    }
    blocks
}

/// Makes a file with the `ffmpeg` command.
pub(crate) fn ffmpeg(folder: &Path, name: &str, args: &[&str]) -> std::path::PathBuf {
    let path = folder.join(name);
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(args)
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    path
}

/// Kills a worker without warning.
pub(crate) fn kill(pid: u32) {
    let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
    assert!(killed.unwrap().success());
}
