//! ICE restarts (RFC 9725 §4.3.3) of clients that go on from another socket.

use std::{sync::Arc, time::Duration};

use lockgate_broadcast::Broadcast;
use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{
    Accepted, Signaller, ViewerFeed,
    signaller::{IceTag, Patched},
};
use lockgate_transport::Transport;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::sync::watch;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use crate::{
    client::{Client, Sender, within},
    publish::{broadcast, consume, published, transport},
    units::picture,
    view::{play, rung, selection},
};

async fn restart(client: &mut Client, accepted: &Accepted) {
    let before = accepted.peer.ice_tag();
    let fragment = client.restart().await;
    let Ok(Patched::Restarted { fragment, ice_tag }) = accepted.peer.patch(&fragment, &IceTag::Any)
    else {
        panic!("the restart is taken");
    };
    assert_eq!(ice_tag, accepted.peer.ice_tag());
    assert_ne!(ice_tag, before);
    client.restarted(&accepted.answer, &fragment).await;
}

/// Sends pictures until the broadcast has one with a mark from `mark` on.
async fn arrives(video: &mut Sender, broadcast: &Broadcast, mark: u32) {
    let mut pictures = consume(broadcast, TrackId::source()).await;
    let wanted = |data: &[u8]| {
        (mark..mark + 1000).any(|mark| *data == picture(VideoCodec::H264, true, mark)[..])
    };
    let send = async {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        for mark in mark.. {
            pace.tick().await;
            let unit = picture(VideoCodec::H264, true, mark);
            video.send(mark * 900, &unit).await;
        }
    };
    let read = async { while !wanted(&pictures.next().await.unwrap().unit.data) {} };
    within(async {
        tokio::select! {
            () = send => {}
            () = read => {}
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_goes_on_from_a_new_socket_after_a_restart() {
    let transport = transport().await;
    let broadcast = broadcast();
    let (mut client, mut video, _audio, accepted) =
        published(&transport, &broadcast, VideoCodec::H264).await;
    video.send(0, &picture(VideoCodec::H264, true, 0)).await;
    arrives(&mut video, &broadcast, 1).await;
    let track = broadcast.track(&TrackId::source()).unwrap();
    let before = track.counters().units;
    for round in 1..3 {
        assert_eq!(
            (transport.peers(), transport.remote_addresses()),
            (1, round)
        );
        restart(&mut client, &accepted).await;
        arrives(&mut video, &broadcast, round as u32 * 2000).await;
    }
    assert_eq!(transport.remote_addresses(), 3);
    // The same track went on.
    assert!(track.counters().units > before + 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_never_finished_harms_nothing() {
    let transport = transport().await;
    let broadcast = broadcast();
    let (client, mut video, _audio, accepted) =
        published(&transport, &broadcast, VideoCodec::H264).await;
    video.send(0, &picture(VideoCodec::H264, true, 0)).await;
    arrives(&mut video, &broadcast, 1).await;
    for round in 0..100 {
        let fragment = format!("a=mid:0\r\na=ice-ufrag:new{round}\r\na=ice-pwd:{round:022}\r\n");
        assert!(matches!(
            accepted.peer.patch(&fragment, &IceTag::Any),
            Ok(Patched::Restarted { .. })
        ));
    }
    arrives(&mut video, &broadcast, 2000).await;
    assert_eq!((transport.peers(), transport.remote_addresses()), (1, 1));
    drop(client);
}

struct Viewer {
    client: Client,
    accepted: Accepted,
    video: Arc<dyn TrackRemote>,
    _selection: watch::Sender<lockgate_ports::Selection>,
}

async fn viewer(transport: &Transport, broadcast: &Broadcast) -> Viewer {
    let (sender, receiver) = watch::channel(selection("source"));
    let mut client = Client::new(&[VideoCodec::H264]).await;
    client.receives(RtpCodecKind::Video).await;
    let offer = client.offer().await;
    let feed = ViewerFeed {
        broadcast: broadcast.clone(),
        selection: receiver,
        congested: Arc::default(),
    };
    let accepted = transport.subscribe(offer, feed).await.unwrap();
    client.answer(&accepted.answer).await;
    client.connected().await;
    let video = within(client.tracks.recv()).await.unwrap();
    Viewer {
        client,
        accepted,
        video,
        _selection: sender,
    }
}

impl Viewer {
    async fn packets(&self, mut count: usize) {
        within(async {
            while count > 0 {
                if let TrackRemoteEvent::OnRtpPacket(_) = self.video.poll().await.unwrap() {
                    count -= 1;
                }
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_goes_on_at_a_new_socket_after_a_restart() {
    let transport = transport().await;
    let broadcast = broadcast();
    let producer = rung(&broadcast, "source", VideoCodec::H264);
    let _play = play(producer, VideoCodec::H264, 0, 0);
    let mut viewer = viewer(&transport, &broadcast).await;
    viewer.packets(50).await;
    assert_eq!(transport.remote_addresses(), 1);
    restart(&mut viewer.client, &viewer.accepted).await;
    // The old socket is closed: whatever comes now comes to the new one. What was queued before is at most 256.
    viewer.packets(600).await;
    assert_eq!((transport.peers(), transport.remote_addresses()), (1, 2));
}
