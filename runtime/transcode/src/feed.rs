//! A live peer's tracks, carried from the hub to the worker.

use std::time::Duration;

use bytes::Bytes;
use lockgate_broadcast::{
    Broadcast,
    track::{Consumer, Item, Role, Start},
};
use lockgate_media::{Format, TrackId, VideoCodec};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep_until},
};

use crate::{
    demand::KEYFRAME_EVERY,
    wire::{self, OPUS, SOURCE, ToWorker, TrackNo, Unit},
};

/// What a peer sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sends {
    pub(crate) video: Option<VideoCodec>,
    pub(crate) audio: bool,
}

/// What a peer sends now.
fn now(broadcast: &Broadcast) -> Sends {
    Sends {
        video: broadcast
            .track(&TrackId::source())
            .filter(|track| track.role() == Role::Ingest)
            .and_then(|track| track.format().video().map(|video| video.codec)),
        audio: broadcast.track(&TrackId::opus()).is_some(),
    }
}

/// Waits until a peer sends something, and a little longer for what usually comes with it.
pub(crate) async fn wait(broadcast: &Broadcast) -> Sends {
    let mut changes = broadcast.changes();
    let mut until: Option<Instant> = None;
    loop {
        changes.mark_unchanged();
        let sends = now(broadcast);
        let patience = match (sends.video, sends.audio) {
            (Some(_), true) => return sends,
            (Some(_), false) => Some(FOR_AUDIO),
            (None, true) => Some(FOR_VIDEO),
            (None, false) => None,
        };
        until = patience.map(|patience| {
            let latest = Instant::now() + patience;
            until.map_or(latest, |until| until.min(latest))
        });
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return sends },
            () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => return now(broadcast),
        }
    }
}

/// Carries units until the worker is gone, or until the peer sends something that the worker was not told of.
pub(crate) async fn carry(
    broadcast: &Broadcast,
    told: Sends,
    mut start: Start,
    needs_keyframe: &Notify,
    to_worker: &mpsc::Sender<Bytes>,
) {
    let mut changes = broadcast.changes();
    let (mut video, mut audio): (Option<Consumer>, Option<Consumer>) = (None, None);
    let mut codec = told.video;
    let mut next_keyframe = Instant::now();
    let mut is_owed = false;
    loop {
        changes.mark_unchanged();
        let sends = now(broadcast);
        if (sends.video.is_some() && told.video.is_none()) || (sends.audio && !told.audio) {
            return;
        }
        if video.is_none() && sends.video.is_some() {
            video = broadcast
                .track(&TrackId::source())
                .map(|track| track.consume(start));
            start = Start::NextKeyframe;
            is_owed = true;
        }
        if audio.is_none() && sends.audio {
            audio = broadcast
                .track(&TrackId::opus())
                .map(|track| track.consume(Start::NextKeyframe));
        }
        if is_owed && Instant::now() >= next_keyframe {
            if let Some(video) = &video {
                video.request_keyframe();
            }
            is_owed = false;
            next_keyframe = Instant::now() + KEYFRAME_EVERY;
        }
        let frame = tokio::select! {
            item = next(&mut video) => match item {
                None => { video = None; continue }
                Some((item, format)) => {
                    let now = format.video().map(|video| video.codec);
                    if let (Some(video), true) = (now, now != codec) {
                        codec = now;
                        let change = wire::control(&ToWorker::FormatChange { video });
                        if !put(to_worker, change).await { return }
                    }
                    unit(SOURCE, &item)
                }
            },
            item = next(&mut audio) => match item {
                None => { audio = None; continue }
                Some((item, _)) => unit(OPUS, &item),
            },
            () = needs_keyframe.notified() => { is_owed = true; continue }
            () = sleep_until(next_keyframe), if is_owed => continue,
            changed = changes.changed() => if changed.is_err() { return } else { continue },
        };
        if !put(to_worker, frame).await {
            return;
        }
    }
}

async fn put(to_worker: &mpsc::Sender<Bytes>, frame: Result<Bytes, wire::WireError>) -> bool {
    match frame {
        Ok(frame) => to_worker.send(frame).await.is_ok(),
        // A unit larger than the wire takes is no picture; the worker does without.
        Err(_) => true,
    }
}

/// The next unit with its track's format; waits for ever if there is no consumer.
async fn next(consumer: &mut Option<Consumer>) -> Option<(Item, Format)> {
    match consumer {
        Some(consumer) => {
            let item = consumer.next().await?;
            Some((item, consumer.track().format()))
        }
        None => std::future::pending().await,
    }
}

fn unit(track: TrackNo, item: &Item) -> Result<Bytes, wire::WireError> {
    let unit = &item.unit;
    wire::unit(&Unit {
        track,
        keyframe: unit.keyframe,
        pts_90k: unit.pts_90k,
        dts_90k: unit.dts_90k,
        duration_90k: unit.duration_90k,
        data: unit.data.clone(),
    })
}

/// How long to wait for audio once there is video.
const FOR_AUDIO: Duration = Duration::from_millis(400);
/// How long to wait for video once there is audio: a camera may take its time.
const FOR_VIDEO: Duration = Duration::from_secs(3);
