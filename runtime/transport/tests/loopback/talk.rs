//! Somebody who sends into a room: texts over a data channel, and how loud it is.

use std::{sync::Arc, time::Duration};

use bytes::BytesMut;
use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{
    Conference as _, Muted, Speaking,
    signaller::{CloseReason, PeerState},
    task::own,
};
use lockgate_transport::Transport;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use webrtc::data_channel::{DataChannel, DataChannelEvent};

use crate::{
    client::{AUDIO_LEVEL, Client, within},
    publish::{broadcast, consume, sends, transport},
    units::sound,
};

async fn speaking(transport: &Transport, client: &mut Client) -> Speaking {
    let offer = client.offer().await;
    let speaking = transport.speak(offer, broadcast()).await.unwrap();
    client.answer(&speaking.accepted.answer).await;
    client.connected().await;
    let mut state = speaking.accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Connected))
        .await
        .unwrap();
    speaking
}

async fn channel(client: &Client, label: &str) -> Arc<dyn DataChannel> {
    client.pc.create_data_channel(label, None).await.unwrap()
}

async fn open(channel: &Arc<dyn DataChannel>) {
    let opened = async { while !matches!(channel.poll().await, Some(DataChannelEvent::OnOpen)) {} };
    within(opened).await;
}

/// The next text that comes.
async fn text(channel: &Arc<dyn DataChannel>) -> String {
    let text = async {
        loop {
            if let Some(DataChannelEvent::OnMessage(message)) = channel.poll().await {
                assert!(message.is_string);
                return String::from_utf8(message.data.to_vec()).unwrap();
            }
        }
    };
    within(text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_go_both_ways_beside_media() {
    let transport = transport().await;
    let mut client = Client::new(&[VideoCodec::H264]).await;
    let video = client.sends_video(VideoCodec::H264).await;
    let audio = client.sends_audio().await;
    let room = channel(&client, "room").await;
    let offer = client.offer().await;
    let broadcast = broadcast();
    let mut speaking = transport.speak(offer, broadcast.clone()).await.unwrap();
    assert!(
        speaking
            .accepted
            .answer
            .contains("m=application 9 UDP/DTLS/SCTP webrtc-datachannel")
    );
    // What is said before there is a channel is said when there is one.
    speaking.say.send("early".to_owned()).await.unwrap();
    client.answer(&speaking.accepted.answer).await;
    open(&room).await;
    assert_eq!(text(&room).await, "early");
    let sending = sends(video, audio);
    for number in 0..100 {
        room.send_text(&format!("up {number}")).await.unwrap();
        let heard = within(speaking.heard.recv()).await.unwrap();
        assert_eq!(heard, format!("up {number}"));
        speaking.say.send(format!("down {number} ✓")).await.unwrap();
        assert_eq!(text(&room).await, format!("down {number} ✓"));
    }
    within(consume(&broadcast, TrackId::source()).await.next())
        .await
        .unwrap();
    within(consume(&broadcast, TrackId::opus()).await.next())
        .await
        .unwrap();
    drop(sending);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_text_or_too_long_is_not_heard_and_the_channel_named_room_goes_first() {
    let transport = transport().await;
    let mut client = Client::new(&[]).await;
    let other = channel(&client, "other").await;
    let mut speaking = speaking(&transport, &mut client).await;
    open(&other).await;
    other.send_text("first").await.unwrap();
    assert_eq!(within(speaking.heard.recv()).await.unwrap(), "first");
    other.send(BytesMut::from(&b"bytes"[..])).await.unwrap();
    other.send_text(&"x".repeat(16 * 1024 + 1)).await.unwrap();
    let long = "x".repeat(16 * 1024);
    other.send_text(&long).await.unwrap();
    assert_eq!(within(speaking.heard.recv()).await.unwrap(), long);
    let room = channel(&client, "room").await;
    open(&room).await;
    room.send_text("second").await.unwrap();
    assert_eq!(within(speaking.heard.recv()).await.unwrap(), "second");
    speaking.say.send("to room".to_owned()).await.unwrap();
    assert_eq!(text(&room).await, "to room");
    let closed =
        async { while !matches!(other.poll().await, Some(DataChannelEvent::OnClose) | None) {} };
    within(closed).await;
    // It leaves, and nothing more can come.
    client.pc.close().await.unwrap();
    let mut state = speaking.accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Closed(CloseReason::Left)))
        .await
        .unwrap();
    assert_eq!(within(speaking.heard.recv()).await, None);
    assert!(speaking.say.is_closed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_reads_nothing_holds_nobody_up() {
    let transport = transport().await;
    let mut client = Client::new(&[]).await;
    let room = channel(&client, "room").await;
    let speaking = speaking(&transport, &mut client).await;
    open(&room).await;
    // Far more than may wait anywhere on the way; the peer takes none of it.
    let long = "x".repeat(16 * 1024);
    let said = async {
        for _ in 0..1000 {
            speaking.say.send(long.clone()).await.unwrap();
        }
    };
    within(said).await;
    room.send_text("still here").await.unwrap();
    let mut speaking = speaking;
    assert_eq!(within(speaking.heard.recv()).await.unwrap(), "still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_loud_it_is_is_known_and_silence_too() {
    let transport = transport().await;
    let mut client = Client::new(&[]).await;
    let mut audio = client.sends_audio().await;
    let speaking = speaking(&transport, &mut client).await;
    let map = speaking.accepted.answer.lines().find_map(|line| {
        let map = line.strip_prefix("a=extmap:")?;
        let (number, uri) = map.split_once(' ')?;
        (uri == AUDIO_LEVEL).then(|| number.parse().unwrap())
    });
    let number: u8 = map.expect("the extension is agreed on");
    let mut level = speaking.level.clone();
    assert_eq!(*level.borrow(), None);
    let (loudness, mut loud) = tokio::sync::watch::channel(Some(Some(12)));
    let sending = own(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for mark in 0..u32::MAX {
            pace.tick().await;
            let Some(loud) = *loud.borrow_and_update() else {
                continue;
            };
            audio.level = loud.map(|level: u8| (number, 0x80 | level));
            audio.send(mark.wrapping_mul(960), &sound(mark)).await;
        }
    });
    within(level.wait_for(|level| level.is_some_and(|level| (11..=14).contains(&level))))
        .await
        .unwrap();
    loudness.send_replace(Some(Some(90)));
    within(level.wait_for(|level| level.is_some_and(|level| (85..=90).contains(&level))))
        .await
        .unwrap();
    // Unsaid, it is guessed from the bits: 27 kbit/s.
    loudness.send_replace(Some(None));
    within(level.wait_for(|level| level.is_some_and(|level| (30..=50).contains(&level))))
        .await
        .unwrap();
    loudness.send_replace(None);
    within(level.wait_for(|level| *level == Some(127)))
        .await
        .unwrap();
    drop(sending);
}

/// A client with a data channel that would also like to receive: what it sends is taken, nothing is sent.
#[tokio::test(flavor = "multi_thread")]
async fn sections_that_only_receive_are_passed_over() {
    let transport = transport().await;
    let mut client = Client::new(&[VideoCodec::H264]).await;
    let mut audio = client.sends_audio().await;
    client.receives(RtpCodecKind::Video).await;
    let _room = channel(&client, "room").await;
    let offer = client.offer().await.replace("a=sendonly", "a=sendrecv");
    let broadcast = broadcast();
    let speaking = transport.speak(offer, broadcast.clone()).await.unwrap();
    assert!(speaking.attending.is_none());
    let answer = &speaking.accepted.answer;
    assert_eq!(answer.matches("a=recvonly").count(), 1, "{answer}");
    assert!(answer.contains("m=video 0 "), "{answer}");
    client.answer(answer).await;
    client.connected().await;
    let sending = own(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for mark in 0..u32::MAX {
            pace.tick().await;
            audio.send(mark.wrapping_mul(960), &sound(mark)).await;
        }
    });
    within(consume(&broadcast, TrackId::opus()).await.next())
        .await
        .unwrap();
    drop(sending);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_muted_comes_into_no_broadcast() {
    let transport = transport().await;
    let mut client = Client::new(&[VideoCodec::H264]).await;
    let video = client.sends_video(VideoCodec::H264).await;
    let audio = client.sends_audio().await;
    let offer = client.offer().await;
    let broadcast = broadcast();
    let speaking = transport.speak(offer, broadcast.clone()).await.unwrap();
    client.answer(&speaking.accepted.answer).await;
    let sending = sends(video, audio);
    let mut pictures = consume(&broadcast, TrackId::source()).await;
    let mut sounds = consume(&broadcast, TrackId::opus()).await;
    within(pictures.next()).await.unwrap();
    within(sounds.next()).await.unwrap();
    let rests = async |id: TrackId| {
        let track = broadcast.track(&id).unwrap();
        within(async {
            while track.quiet().is_none_or(|quiet| quiet < SILENCE) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    };
    let (heard, seen) = (TrackId::opus(), TrackId::source());
    let goes_on = |id: &TrackId| broadcast.track(id).unwrap().quiet().unwrap() < SILENCE;
    let mute = |audio, video| speaking.mute.send_replace(Muted { audio, video });

    mute(false, true);
    rests(seen.clone()).await;
    assert!(goes_on(&heard));
    // What was sent meanwhile is not asked for: the next picture that comes can be decoded alone.
    let asked = speaking.accepted.peer.ingest().packets_asked;
    while pictures.take().is_some() {}
    mute(true, false);
    let first = within(pictures.next()).await.unwrap();
    assert!(first.unit.keyframe);
    rests(heard.clone()).await;
    assert!(goes_on(&seen));
    assert_eq!(speaking.accepted.peer.ingest().packets_asked, asked);
    while sounds.take().is_some() {}
    mute(false, false);
    within(sounds.next()).await.unwrap();
    drop(sending);
}

/// Longer than the pause between two units that go on coming on a busy machine.
const SILENCE: Duration = Duration::from_millis(700);
