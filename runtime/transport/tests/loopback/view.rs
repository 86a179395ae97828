use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lockgate_broadcast::{
    Broadcast,
    track::{Producer, Role},
};
use lockgate_media::{AccessUnit, AudioFormat, Format, TrackId, VideoCodec, VideoFormat, h264};
use lockgate_ports::{
    Accepted, Selection, Signaller, ViewerFeed,
    signaller::PeerState,
    task::{Task, own},
};
use lockgate_transport::Transport;
use rtc::{
    rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication,
    rtp::{
        Packet,
        codec::{av1::Av1Depacketizer, h264::H264Packet, vp8::Vp8Packet, vp9::Vp9Packet},
        packetizer::Depacketizer,
    },
    rtp_transceiver::rtp_sender::RtpCodecKind,
};
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::{
    client::{AV1, Client, H264, OPUS, RED, VP8, VP9, codec_of, within},
    publish::{broadcast, published, sends, transport},
    units::{picture, sound},
};

pub(crate) fn rung(broadcast: &Broadcast, id: &str, codec: VideoCodec) -> Producer {
    let format = VideoFormat {
        codec,
        width: 1280,
        height: 720,
        frame_rate: None,
        bitrate_bps: None,
        parameter_sets: None,
        reordered: false,
    };
    broadcast
        .publish(TrackId::new(id).unwrap(), Role::Rung, Format::Video(format))
        .unwrap()
}

pub(crate) fn opus(broadcast: &Broadcast) -> Producer {
    broadcast
        .publish(
            TrackId::opus(),
            Role::Rung,
            Format::Audio(AudioFormat::opus(2, None)),
        )
        .unwrap()
}

pub(crate) fn selection(video: &str) -> Selection {
    Selection {
        video: Some(TrackId::new(video).unwrap()),
        audio: Some(TrackId::opus()),
        ..Selection::default()
    }
}

/// A viewer and what reaches it.
pub(crate) struct Viewer {
    _client: Client,
    pub(crate) accepted: Accepted,
    pub(crate) selection: watch::Sender<Selection>,
    pub(crate) pictures: mpsc::Receiver<Shown>,
    pub(crate) sounds: mpsc::Receiver<Packet>,
    video: Arc<dyn TrackRemote>,
    _readers: Vec<Task>,
}

#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) timestamp: u32,
    pub(crate) payload_type: u8,
    pub(crate) data: Bytes,
    /// Header extensions of its last packet, by their numbers.
    pub(crate) extensions: Vec<(u8, Bytes)>,
}

pub(crate) async fn viewer(
    transport: &Transport,
    broadcast: &Broadcast,
    codecs: &[VideoCodec],
    wanted: Selection,
) -> Viewer {
    let (sender, receiver) = watch::channel(wanted);
    let mut client = Client::new(codecs).await;
    client.receives(RtpCodecKind::Video).await;
    client.receives(RtpCodecKind::Audio).await;
    let offer = client.offer().await;
    let feed = ViewerFeed {
        broadcast: broadcast.clone(),
        selection: receiver,
        congested: Arc::default(),
    };
    let accepted = transport.subscribe(offer, feed).await.unwrap();
    client.answer(&accepted.answer).await;
    client.connected().await;
    let mut state = accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Connected))
        .await
        .unwrap();
    let (mut video, mut audio) = (None, None);
    while video.is_none() || audio.is_none() {
        let track = within(client.tracks.recv()).await.unwrap();
        match track.kind().await {
            RtpCodecKind::Video => video = Some(track),
            _ => audio = Some(track),
        }
    }
    let video: Arc<dyn TrackRemote> = video.unwrap();
    let (picture_sender, pictures) = mpsc::channel(1024);
    let (sound_sender, sounds) = mpsc::channel(1024);
    let readers = vec![
        own(read_video(Arc::clone(&video), picture_sender)),
        own(read_audio(audio.unwrap(), sound_sender)),
    ];
    Viewer {
        _client: client,
        accepted,
        selection: sender,
        pictures,
        sounds,
        video,
        _readers: readers,
    }
}

/// Puts pictures together and checks that no packet is missing and no timestamp goes back.
async fn read_video(track: Arc<dyn TrackRemote>, out: mpsc::Sender<Shown>) {
    let mut last: Option<(u16, u32)> = None;
    let mut data = Vec::new();
    let (mut h264, mut av1) = (H264Packet::default(), Av1Depacketizer::new());
    while let Some(event) = track.poll().await {
        let TrackRemoteEvent::OnRtpPacket(packet) = event else {
            continue;
        };
        let header = &packet.header;
        if let Some((seq, timestamp)) = last {
            assert_eq!(header.sequence_number, seq.wrapping_add(1), "a gap");
            assert!(
                header.timestamp.wrapping_sub(timestamp) < 1 << 31,
                "back in time"
            );
        }
        last = Some((header.sequence_number, header.timestamp));
        let part = match header.payload_type {
            H264 => h264.depacketize(&packet.payload).unwrap(),
            VP8 => Vp8Packet::default().depacketize(&packet.payload).unwrap(),
            VP9 => Vp9Packet::default().depacketize(&packet.payload).unwrap(),
            AV1 => av1.depacketize(&packet.payload).unwrap(),
            other => panic!("payload type {other}"),
        };
        data.extend_from_slice(&part);
        if header.marker {
            let shown = Shown {
                timestamp: header.timestamp,
                payload_type: header.payload_type,
                data: std::mem::take(&mut data).into(),
                extensions: header
                    .extensions
                    .iter()
                    .map(|extension| (extension.id, extension.payload.clone()))
                    .collect(),
            };
            if out.send(shown).await.is_err() {
                return;
            }
        }
    }
}

async fn read_audio(track: Arc<dyn TrackRemote>, out: mpsc::Sender<Packet>) {
    while let Some(event) = track.poll().await {
        if let TrackRemoteEvent::OnRtpPacket(packet) = event
            && out.send(packet).await.is_err()
        {
            return;
        }
    }
}

/// Writes pictures and sound of a timeline as a ladder would, at `speed` times real time, a keyframe every 30 and
/// whenever one is asked for.
pub(crate) fn play(producer: Producer, codec: VideoCodec, marks: u32, lag_90k: i64) -> Task {
    own(async move {
        let mut demand = producer.demand();
        let mut asked = 0;
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        for number in 0..u32::MAX {
            pace.tick().await;
            let now = demand.borrow_and_update().keyframes_asked;
            let keyframe = number % 30 == 0 || now > asked;
            asked = now;
            let data = picture(codec, keyframe, marks + number);
            let pts = i64::from(number) * 900 + 90_000 - lag_90k;
            producer.push(AccessUnit::new(pts, keyframe, data));
        }
    })
}

fn is_key(shown: &Shown) -> bool {
    match shown.payload_type {
        H264 => h264::is_idr(&shown.data),
        VP9 => lockgate_media::vp9::is_keyframe(&shown.data),
        AV1 => lockgate_media::av1::is_keyframe(&shown.data),
        _ => lockgate_media::vp8::is_keyframe(&shown.data),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_viewers_are_shown_what_was_published() {
    let transport = transport().await;
    let broadcast = broadcast();
    let (_client, video, audio, _accepted) =
        published(&transport, &broadcast, VideoCodec::H264).await;
    // Media has to flow for the tracks to be there.
    let sender = sends(video, audio);
    let first = viewer(
        &transport,
        &broadcast,
        &[VideoCodec::H264],
        selection("source"),
    );
    let second = viewer(
        &transport,
        &broadcast,
        &[VideoCodec::H264],
        selection("source"),
    );
    let (mut first, mut second) = tokio::join!(first, second);
    assert!(first.accepted.answer.contains("a=sendonly"));
    assert_eq!(first.accepted.video_codecs, [VideoCodec::H264]);
    for viewer in [&mut first, &mut second] {
        let mut seen = Vec::new();
        for number in 0..60 {
            let shown = within(viewer.pictures.recv()).await.unwrap();
            assert!(
                number > 0 || is_key(&shown),
                "the first picture is a keyframe"
            );
            seen.push(shown);
        }
        for pair in seen.windows(2) {
            let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
            assert!((800..1000).contains(&step), "{step}");
        }
        let heard = within(viewer.sounds.recv()).await.unwrap();
        assert_eq!((heard.header.payload_type, heard.payload.len()), (OPUS, 69));
        let mut playing = viewer.accepted.peer.playing();
        within(playing.wait_for(|id| *id == Some(TrackId::source())))
            .await
            .unwrap();
    }
    assert_eq!(transport.peers(), 3);
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_changes_tracks_at_a_keyframe_without_a_seam() {
    let transport = transport().await;
    let broadcast = broadcast();
    let sound = opus(&broadcast);
    let codec = VideoCodec::H264;
    // The rung lags behind by 90 ms, as encoders do.
    let _players = [
        play(rung(&broadcast, "high", codec), codec, 0x0100_0000, 0),
        play(rung(&broadcast, "low", codec), codec, 0x0200_0000, 8100),
    ];
    let mut viewer = viewer_with_sound(&transport, &broadcast, &sound, selection("high")).await;
    let mut playing = viewer.accepted.peer.playing();
    for target in ["low", "high", "low"] {
        let wanted = TrackId::new(target).unwrap();
        viewer.selection.send_replace(selection(target));
        within(playing.wait_for(|id| id.as_ref() == Some(&wanted)))
            .await
            .unwrap();
        let mark = if target == "high" { 0x81 } else { 0x82 };
        // Pictures of the old track may still be on their way; then the new one starts with a keyframe.
        let first = within(async {
            loop {
                let shown = viewer.pictures.recv().await.unwrap();
                if mark_of(&shown) == mark {
                    return shown;
                }
            }
        })
        .await;
        assert!(is_key(&first));
        for _ in 0..20 {
            let shown = within(viewer.pictures.recv()).await.unwrap();
            assert_eq!(mark_of(&shown), mark);
        }
    }
    // What does not exist is waited for, and the old track goes on.
    viewer.selection.send_replace(selection("later"));
    for _ in 0..20 {
        assert_eq!(
            mark_of(&within(viewer.pictures.recv()).await.unwrap()),
            0x82
        );
    }
    let _later = play(rung(&broadcast, "later", codec), codec, 0x0300_0000, 0);
    let wanted = TrackId::new("later").unwrap();
    within(playing.wait_for(|id| id.as_ref() == Some(&wanted)))
        .await
        .unwrap();
}

/// The second byte of the mark, which stands after the slice header of the picture's last NAL unit.
fn mark_of(shown: &Shown) -> u8 {
    let slice = h264::nals(&shown.data).last().unwrap();
    slice[3]
}

/// As [`viewer`], with sound being written so that both tracks open.
pub(crate) async fn viewer_with_sound(
    transport: &Transport,
    broadcast: &Broadcast,
    producer: &Producer,
    wanted: Selection,
) -> Viewer {
    let opening = viewer(transport, broadcast, &[VideoCodec::H264], wanted);
    tokio::pin!(opening);
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    for mark in 0.. {
        tokio::select! {
            viewer = &mut opening => return viewer,
            _ = pace.tick() => {
                let pts = i64::from(mark) * 1800;
                producer.push(AccessUnit::new(pts, true, sound(mark)));
            }
        }
    }
    unreachable!("the loop has no end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_wish_for_a_keyframe_reaches_the_publisher() {
    let transport = transport().await;
    let broadcast = broadcast();
    let sound = opus(&broadcast);
    let producer = rung(&broadcast, "high", VideoCodec::H264);
    let mut demand = producer.demand();
    let _player = play(producer, VideoCodec::H264, 0, 0);
    let viewer = viewer_with_sound(&transport, &broadcast, &sound, selection("high")).await;
    let before = demand.borrow_and_update().keyframes_asked;
    let ssrc = viewer.video.ssrcs().await[0];
    viewer
        .video
        .write_rtcp(vec![Box::new(PictureLossIndication {
            sender_ssrc: 1,
            media_ssrc: ssrc,
        })])
        .await
        .unwrap();
    within(demand.wait_for(|demand| demand.keyframes_asked > before))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_of_a_viewer_is_known() {
    let transport = transport().await;
    let broadcast = broadcast();
    let sound = opus(&broadcast);
    let _player = play(
        rung(&broadcast, "high", VideoCodec::H264),
        VideoCodec::H264,
        0,
        0,
    );
    let mut viewer = viewer_with_sound(&transport, &broadcast, &sound, selection("high")).await;
    let link = within(async {
        loop {
            viewer.pictures.recv().await.unwrap();
            let link = viewer.accepted.peer.link();
            if link.rtt_ms.is_some() && link.bandwidth_kbps.is_some() && link.sent_kbps.is_some() {
                return link;
            }
        }
    })
    .await;
    assert_eq!(link.loss_pct, Some(0.0));
    assert!(link.rtt_ms.unwrap() < 200.0, "{link:?}");
    assert!(link.jitter_ms.unwrap() < 200.0, "{link:?}");
    assert!(link.bandwidth_kbps.unwrap() >= 2000.0, "{link:?}");
    assert!(link.packets_sent > 10 && link.bytes_sent > 10_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broadcast_is_shown_as_it_is_and_its_rungs_as_h264() {
    for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::Av1] {
        as_it_is_and_as_h264(codec).await;
    }
}

async fn as_it_is_and_as_h264(codec: VideoCodec) {
    let transport = transport().await;
    let broadcast = broadcast();
    let sound = opus(&broadcast);
    let _players = [
        play(rung(&broadcast, "source", codec), codec, 0, 0),
        play(
            rung(&broadcast, "high", VideoCodec::H264),
            VideoCodec::H264,
            0,
            0,
        ),
    ];
    let opening = async {
        let both = [VideoCodec::H264, codec];
        viewer(&transport, &broadcast, &both, selection("source")).await
    };
    let speaking = async {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for mark in 0.. {
            pace.tick().await;
            sound.push(AccessUnit::new(
                i64::from(mark) * 1800,
                true,
                crate::units::sound(mark),
            ));
        }
    };
    let mut viewer = tokio::select! {
        viewer = opening => viewer,
        () = speaking => unreachable!("it has no end"),
    };
    assert_eq!(viewer.accepted.video_codecs, [VideoCodec::H264, codec]);
    let first = within(viewer.pictures.recv()).await.unwrap();
    assert!(first.payload_type == codec_of(codec).0 && is_key(&first));
    assert!((0..1000).any(|mark| first.data == picture(codec, true, mark)[..]));
    viewer.selection.send_replace(selection("high"));
    within(async { while viewer.pictures.recv().await.unwrap().payload_type != H264 {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn audio_is_sent_twice_where_that_is_decided() {
    let transport = transport().await;
    let broadcast = broadcast();
    let producer = opus(&broadcast);
    let twice = |twice| Selection {
        audio_twice: Some(twice),
        ..selection("high")
    };
    let _player = play(
        rung(&broadcast, "high", VideoCodec::H264),
        VideoCodec::H264,
        0,
        0,
    );
    let sending = own(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(20));
        for mark in 0..u32::MAX {
            pace.tick().await;
            producer.push(AccessUnit::new(i64::from(mark) * 1800, true, sound(mark)));
        }
    });
    let mut viewer = viewer(&transport, &broadcast, &[VideoCodec::H264], twice(true)).await;
    let doubled = within(async {
        loop {
            let packet = viewer.sounds.recv().await.unwrap();
            // The first packet has none before it.
            if packet.header.payload_type == RED && packet.payload[0] & 0x80 != 0 {
                return packet;
            }
        }
    })
    .await;
    // A block of 69 bytes 960 ticks before, and the packet itself.
    let described = 0x8000_0000 | (u32::from(OPUS) << 24) | (960 << 10) | 69;
    assert_eq!(doubled.payload[..4], described.to_be_bytes());
    assert_eq!(
        (doubled.payload[4], doubled.payload.len()),
        (OPUS, 5 + 2 * 69)
    );
    viewer.selection.send_replace(twice(false));
    within(async { while viewer.sounds.recv().await.unwrap().header.payload_type != OPUS {} })
        .await;
    drop(sending);
}
