use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lockgate_broadcast::{
    Broadcast, Limits, Origin,
    track::{Consumer, Start},
};
use lockgate_media::{BroadcastName, TrackId, VideoCodec};
use lockgate_ports::{
    Accepted, Signaller,
    signaller::PeerState,
    task::{Task, own},
};
use lockgate_transport::{Config, Transport};

use crate::{
    client::{Client, Sender, within},
    units::{picture, sound},
};

pub(crate) async fn transport() -> Arc<Transport> {
    Transport::bind(Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    })
    .await
    .unwrap()
}

pub(crate) fn broadcast() -> Broadcast {
    Broadcast::new(
        BroadcastName::new("test").unwrap(),
        Origin::now(),
        Limits::default(),
    )
}

/// Waits until the broadcast has the track and reads it.
pub(crate) async fn consume(broadcast: &Broadcast, id: TrackId) -> Consumer {
    let mut changes = broadcast.changes();
    within(async {
        loop {
            if let Some(track) = broadcast.track(&id) {
                return track.consume(Start::CachedKeyframe);
            }
            changes.changed().await.unwrap();
        }
    })
    .await
}

/// Sends a picture and a sound every 10 ms for as long as the task is held, a keyframe every 200 ms.
pub(crate) fn sends(mut video: Sender, mut audio: Sender) -> Task {
    own(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        for mark in 0..u32::MAX {
            let unit = picture(VideoCodec::H264, mark % 20 == 0, mark);
            video.send(mark.wrapping_mul(900), &unit).await;
            audio.send(mark.wrapping_mul(480), &sound(mark)).await;
            pace.tick().await;
        }
    })
}

pub(crate) async fn published(
    transport: &Transport,
    broadcast: &Broadcast,
    codec: VideoCodec,
) -> (Client, Sender, Sender, Accepted) {
    let mut client = Client::new(&[codec]).await;
    let video = client.sends_video(codec).await;
    let audio = client.sends_audio().await;
    let offer = client.offer().await;
    let accepted = transport.publish(offer, broadcast.clone()).await.unwrap();
    client.answer(&accepted.answer).await;
    client.connected().await;
    let mut state = accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Connected))
        .await
        .unwrap();
    (client, video, audio, accepted)
}

async fn units_arrive_whole_and_in_order(codec: VideoCodec) {
    let transport = transport().await;
    let broadcast = broadcast();
    let (_client, mut video, mut audio, accepted) = published(&transport, &broadcast, codec).await;
    assert!(accepted.answer.contains("a=recvonly"));
    let mut sent: Vec<Bytes> = Vec::new();
    let mut pace = tokio::time::interval(Duration::from_millis(5));
    for mark in 0..60u32 {
        let unit = picture(codec, mark % 30 == 0, mark);
        video
            .send((u32::MAX - 50_000).wrapping_add(mark * 3000), &unit)
            .await;
        audio.send(77 + mark * 960, &sound(mark)).await;
        sent.push(unit);
        pace.tick().await;
    }
    let mut pictures = consume(&broadcast, TrackId::source()).await;
    let mut sounds = consume(&broadcast, TrackId::opus()).await;
    let mut last = i64::MIN;
    let first = within(pictures.next()).await.unwrap();
    // The cached keyframe: the second one, or the first if that is not here yet.
    let at = sent
        .iter()
        .position(|unit| *unit == first.unit.data)
        .unwrap();
    assert_eq!(at % 30, 0);
    let mut unit = first.unit;
    for (number, expected) in sent.iter().enumerate().skip(at) {
        assert_eq!(unit.data, *expected, "unit {number}");
        assert_eq!(unit.keyframe, number % 30 == 0);
        assert!(unit.pts_90k > last);
        assert!(last == i64::MIN || (2900..3100).contains(&(unit.pts_90k - last)));
        last = unit.pts_90k;
        if number + 1 < sent.len() {
            unit = within(pictures.next()).await.unwrap().unit;
        }
    }
    let heard = within(sounds.next()).await.unwrap();
    assert_eq!(heard.unit.duration_90k, 1800);
    let format = pictures.track().format();
    let format = format.video().unwrap();
    assert_eq!(format.codec, codec);
    let size = match codec {
        VideoCodec::H264 => (1280, 720),
        VideoCodec::Vp8 | VideoCodec::Vp9 => (640, 360),
        VideoCodec::Av1 => (96, 64),
    };
    assert_eq!((format.width, format.height), size);
    let stats = accepted.peer.ingest();
    assert_eq!((stats.packets_lost, stats.units_dropped), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn h264_and_opus_come_in() {
    units_arrive_whole_and_in_order(VideoCodec::H264).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_and_opus_come_in() {
    units_arrive_whole_and_in_order(VideoCodec::Vp8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn vp9_and_opus_come_in() {
    units_arrive_whole_and_in_order(VideoCodec::Vp9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn av1_and_opus_come_in() {
    units_arrive_whole_and_in_order(VideoCodec::Av1).await;
}
