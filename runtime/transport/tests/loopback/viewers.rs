//! The lives of viewers, which are none of the library's connections.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lockgate_broadcast::Broadcast;
use lockgate_media::VideoCodec;
use lockgate_ports::{
    Accepted, Signaller, ViewerFeed,
    signaller::{CloseReason, PeerState},
    task::{Task, own},
};
use lockgate_transport::{Config, Transport};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
};
use webrtc::media_stream::track_remote::TrackRemoteEvent;

use crate::{
    client::{Client, within},
    publish::{broadcast, transport},
    view::{play, rung, selection},
};

fn feed(broadcast: &Broadcast) -> ViewerFeed {
    ViewerFeed {
        broadcast: broadcast.clone(),
        selection: watch::channel(selection("high")).1,
        congested: Arc::default(),
    }
}

async fn bound(config: Config) -> Arc<Transport> {
    let udp_listen = "127.0.0.1:0".parse().unwrap();
    Transport::bind(Config {
        udp_listen,
        ..config
    })
    .await
    .unwrap()
}

async fn offered() -> (Client, String) {
    let mut client = Client::new(&[VideoCodec::H264]).await;
    client.receives(RtpCodecKind::Video).await;
    let offer = client.offer().await;
    (client, offer)
}

async fn joined(transport: &Transport, broadcast: &Broadcast) -> (Client, Accepted) {
    let (mut client, offer) = offered().await;
    let accepted = transport.subscribe(offer, feed(broadcast)).await.unwrap();
    client.answer(&accepted.answer).await;
    client.connected().await;
    (client, accepted)
}

async fn empty(transport: &Transport) {
    while (transport.peers(), transport.remote_addresses()) != (0, 0) {
        tokio::task::yield_now().await;
    }
}

async fn closed(accepted: &Accepted) -> CloseReason {
    let mut states = accepted.peer.state();
    let over = |state: &PeerState| matches!(state, PeerState::Closed(_));
    let state = within(states.wait_for(over)).await.unwrap().clone();
    match state {
        PeerState::Closed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_may_have_either_dtls_role() {
    for (role, expected) in [
        ("actpass", "active"),
        ("passive", "active"),
        ("active", "passive"),
    ] {
        let transport = transport().await;
        let (mut client, offer) = offered().await;
        let offer = offer.replace("setup:actpass", &format!("setup:{role}"));
        let accepted = transport.subscribe(offer, feed(&broadcast())).await;
        let accepted = accepted.unwrap();
        let answered = format!("a=setup:{expected}");
        assert!(accepted.answer.contains(&answered), "{role}");
        client.answer(&accepted.answer).await;
        client.connected().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i02_a_viewer_with_another_certificate_than_its_offer_names_is_refused() {
    for role in ["active", "passive"] {
        let transport = transport().await;
        let (client, offer) = offered().await;
        let (before, digest) = offer.split_once("a=fingerprint:sha-256 ").unwrap();
        let (digest, after) = digest.split_once("\r\n").unwrap();
        let other = digest.split(':').rev().collect::<Vec<_>>().join(":");
        let offer = format!("{before}a=fingerprint:sha-256 {other}\r\n{after}")
            .replace("setup:actpass", &format!("setup:{role}"));
        let accepted = transport.subscribe(offer, feed(&broadcast())).await;
        let accepted = accepted.unwrap();
        client.answer(&accepted.answer).await;
        assert_eq!(
            closed(&accepted).await,
            CloseReason::NeverConnected,
            "{role}"
        );
        within(empty(&transport)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_say_goodbye_and_are_said_goodbye_to() {
    let transport = transport().await;
    let broadcast = broadcast();
    let high = rung(&broadcast, "high", VideoCodec::H264);
    let mut demand = high.demand();
    let (client, accepted) = joined(&transport, &broadcast).await;
    within(demand.wait_for(|demand| demand.readers == 1))
        .await
        .unwrap();
    client.pc.close().await.unwrap();
    assert_eq!(closed(&accepted).await, CloseReason::Left);
    within(empty(&transport)).await;
    within(demand.wait_for(|demand| demand.readers == 0))
        .await
        .unwrap();

    let mut relay = relay(transport.local_addr()).await;
    let (client, accepted) = joined_through(&relay, &transport, &broadcast).await;
    assert_eq!(*relay.alerts.borrow(), 0);
    drop(accepted);
    within(relay.alerts.wait_for(|alerts| *alerts > 0))
        .await
        .unwrap();
    drop(client);
    within(empty(&transport)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_never_comes_or_falls_silent_is_gone_after_the_time_that_is_set() {
    let transport = bound(Config {
        connect_max: Duration::from_millis(50),
        ..Config::default()
    })
    .await;
    let offer = include_str!("../offers/viewer.sdp").to_owned();
    let accepted = transport.subscribe(offer, feed(&broadcast())).await;
    assert_eq!(
        closed(&accepted.unwrap()).await,
        CloseReason::NeverConnected
    );
    within(empty(&transport)).await;

    let transport = bound(Config {
        silence_max: Duration::from_millis(300),
        ..Config::default()
    })
    .await;
    // Nothing is sent, so that it has nothing to report; its checks have an interval of 2 s.
    let (client, accepted) = joined(&transport, &broadcast()).await;
    assert_eq!(closed(&accepted).await, CloseReason::Gone);
    within(empty(&transport)).await;
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_viewers_in_a_row_leave_nothing_behind() {
    let transport = transport().await;
    let broadcast = broadcast();
    let high = rung(&broadcast, "high", VideoCodec::H264);
    let mut demand = high.demand();
    for round in 0..30 {
        let (client, accepted) = joined(&transport, &broadcast).await;
        assert_eq!((transport.peers(), transport.remote_addresses()), (1, 1));
        if round % 2 == 0 {
            accepted.peer.close();
        }
        drop(accepted);
        within(empty(&transport)).await;
        within(demand.wait_for(|demand| demand.readers == 0))
            .await
            .unwrap();
        client.pc.close().await.unwrap();
    }
}

/// A relay before the transport, through which anything can be said in the name of its client.
struct Relay {
    address: SocketAddr,
    forge: mpsc::Sender<Vec<u8>>,
    /// How many DTLS alerts (RFC 6347 §4.1) the transport has sent.
    alerts: watch::Receiver<u32>,
    _task: Task,
}

async fn relay(transport: SocketAddr) -> Relay {
    let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    inside.connect(transport).await.unwrap();
    let address = outside.local_addr().unwrap();
    let (forge, mut forged) = mpsc::channel::<Vec<u8>>(16);
    let (counts, alerts) = watch::channel(0);
    let task = own(async move {
        let (mut there, mut back) = ([0; 2000], [0; 2000]);
        let mut client = None;
        loop {
            tokio::select! {
                Some(datagram) = forged.recv() => {
                    inside.send(&datagram).await.unwrap();
                }
                Ok((len, from)) = outside.recv_from(&mut there) => {
                    client = Some(from);
                    inside.send(&there[..len]).await.unwrap();
                }
                Ok(len) = inside.recv(&mut back) => {
                    counts.send_modify(|alerts| *alerts += u32::from(back[0] == 21));
                    if let Some(client) = client {
                        outside.send_to(&back[..len], client).await.unwrap();
                    }
                }
            }
        }
    });
    Relay {
        address,
        forge,
        alerts,
        _task: task,
    }
}

async fn joined_through(
    relay: &Relay,
    transport: &Transport,
    broadcast: &Broadcast,
) -> (Client, Accepted) {
    let (mut client, offer) = offered().await;
    let accepted = transport.subscribe(offer, feed(broadcast)).await.unwrap();
    let there = format!("udp 2130706431 127.0.0.1 {}", transport.local_addr().port());
    let here = format!("udp 2130706431 127.0.0.1 {}", relay.address.port());
    assert!(accepted.answer.contains(&there));
    client.answer(&accepted.answer.replace(&there, &here)).await;
    client.connected().await;
    (client, accepted)
}

#[tokio::test(flavor = "multi_thread")]
async fn i06_what_is_forged_in_a_viewers_name_is_dropped_and_nothing_else_happens() {
    let transport = transport().await;
    let broadcast = broadcast();
    let _player = play(
        rung(&broadcast, "high", VideoCodec::H264),
        VideoCodec::H264,
        0,
        0,
    );
    let relay = relay(transport.local_addr()).await;
    let (mut client, accepted) = joined_through(&relay, &transport, &broadcast).await;
    let track = within(client.tracks.recv()).await.unwrap();
    // Records of the first epoch, as anyone can write them: a fatal alert, an end, another hello; and half ones.
    let record = |kind: u8, body: &[u8]| {
        let mut record = vec![kind, 254, 253, 0, 0, 0, 0, 0, 0, 1, 0, body.len() as u8, 0];
        record[11..].copy_from_slice(&(body.len() as u16).to_be_bytes());
        record.extend_from_slice(body);
        record
    };
    let mut forgeries = vec![
        record(21, &[2, 40]),
        record(21, &[1, 0]),
        record(20, &[1]),
        record(23, b"data"),
        record(22, &[1, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4, 254, 253, 0, 0]),
        vec![22, 254],
        vec![],
        vec![128],
        vec![128, 201],
    ];
    for len in [8, 12, 20, 60] {
        // RTCP of all kinds, and a packet of media, none of them sealed with its keys.
        for kind in [96, 200, 201, 203, 205, 206] {
            let mut packet = vec![0x81, kind, 0, (len / 4 - 1) as u8];
            packet.resize(len, 7);
            forgeries.push(packet);
        }
    }
    for forgery in forgeries.iter().cycle().take(5 * forgeries.len()) {
        relay.forge.send(forgery.clone()).await.unwrap();
        let next = async {
            while !matches!(
                track.poll().await.unwrap(),
                TrackRemoteEvent::OnRtpPacket(_)
            ) {}
        };
        within(next).await;
    }
    assert_eq!(*accepted.peer.state().borrow(), PeerState::Connected);
    assert_eq!(transport.counters().overflowed, 0);
}
