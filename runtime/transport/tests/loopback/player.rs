//! A source of pictures of a given bitrate, and a player that notes when they can be shown.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use lockgate_broadcast::track::Producer;
use lockgate_media::{AccessUnit, VideoCodec};
use lockgate_ports::task::{Task, own};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::units::picture;

/// What a viewer saw of the pictures.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) last: Instant,
    /// Times without a picture that are freezes.
    pub(crate) freezes: Vec<(Instant, Duration)>,
    pub(crate) pictures: u32,
    /// Pictures that were shown though one before them was not, which they refer to.
    pub(crate) wrong: u32,
}

impl Shown {
    pub(crate) fn none_yet() -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            last: Instant::now(),
            freezes: Vec::new(),
            pictures: 0,
            wrong: 0,
        }))
    }

    pub(crate) fn longest(&self) -> Duration {
        let freezes = self.freezes.iter().map(|(_, gap)| *gap);
        freezes.max().unwrap_or_default()
    }
}

/// Writes pictures of a bitrate, 30 a second, a keyframe every two seconds and whenever one is asked for.
pub(crate) fn play_at(producer: Producer, bps: f64) -> Task {
    own(async move {
        let mut demand = producer.demand();
        let mut asked = 0;
        let mut pace = tokio::time::interval(Duration::from_micros(33_333));
        let bytes = (bps / 8.0 / 30.0) as usize;
        for number in 0..u32::MAX {
            pace.tick().await;
            let now = demand.borrow_and_update().keyframes_asked;
            let keyframe = number % 60 == 0 || now > asked;
            asked = now;
            let len = if keyframe { bytes * 4 } else { bytes * 19 / 20 };
            let mut unit = picture(VideoCodec::H264, keyframe, number).to_vec();
            unit.resize(unit.len().max(len), 0x55);
            producer.push(AccessUnit::new(
                i64::from(number) * 3000,
                keyframe,
                Bytes::from(unit),
            ));
        }
    })
}

/// Puts the packets of a stream in order as a player does, and notes when pictures are complete. It goes by sequence
/// numbers alone, as players do: what is left out without a gap in them is shown wrongly, which the timestamps tell.
pub(crate) async fn watch_pictures(track: Arc<dyn TrackRemote>, shown: Arc<Mutex<Shown>>) {
    let mut waiting: BTreeMap<i64, (bool, bool, u32)> = BTreeMap::new();
    let mut next: Option<i64> = None;
    let (mut is_key, mut last) = (false, None);
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else {
            continue;
        };
        let base = *next.get_or_insert(i64::from(packet.header.sequence_number));
        let step = packet
            .header
            .sequence_number
            .wrapping_sub(base as u16)
            .cast_signed();
        if step < 0 {
            continue;
        }
        // Our packetiser puts the parameter sets of a keyframe into a packet of their own.
        let starts = packet.payload.first().is_some_and(|head| head & 0x1f == 24);
        waiting.insert(
            base + i64::from(step),
            (starts, packet.header.marker, packet.header.timestamp),
        );
        // A keyframe that is there needs nothing of what is missing before it.
        let key = waiting
            .iter()
            .rev()
            .find(|(_, (starts, ..))| *starts)
            .map(|(at, _)| *at);
        if let Some(key) = key
            && key > base
            && (key..)
                .zip(waiting.range(key..))
                .take_while(|(at, (number, _))| at == *number)
                .any(|(_, (_, (_, marker, _)))| *marker)
        {
            waiting = waiting.split_off(&key);
            next = Some(key);
        }
        while let Some((&at, &(starts, marker, timestamp))) = waiting.first_key_value()
            && Some(at) == next
        {
            waiting.pop_first();
            next = Some(at + 1);
            is_key |= starts;
            if marker {
                let follows = last.is_some_and(|last: u32| {
                    // Thirty a second; the server may correct clocks by a little.
                    (1500..4500).contains(&timestamp.wrapping_sub(last))
                });
                let mut shown = shown.lock().unwrap();
                let gap = shown.last.elapsed();
                // As webrtc-stats counts freezes: 150 ms more than a picture lasts.
                if shown.pictures > 0 && gap > Duration::from_millis(183) {
                    let since = shown.last;
                    shown.freezes.push((since, gap));
                }
                shown.last = Instant::now();
                shown.pictures += 1;
                shown.wrong += u32::from(!is_key && !follows);
                (is_key, last) = (false, Some(timestamp));
            }
        }
    }
}
