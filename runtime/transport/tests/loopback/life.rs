use std::time::Duration;

use lockgate_media::VideoCodec;
use lockgate_ports::{
    SignalError, Signaller,
    signaller::{CloseReason, IceTag, Patched, PeerState},
};
use lockgate_transport::{Config, Transport};
use rtc::{
    peer_connection::transport::RTCDtlsTransportState, rtp_transceiver::rtp_sender::RtpCodecKind,
};

use crate::{
    client::{Client, within},
    publish::{broadcast, published, transport},
    units::picture,
};

#[tokio::test(flavor = "multi_thread")]
async fn both_dtls_roles_are_answered_with_the_other() {
    for (role, expected) in [
        ("actpass", "active"),
        ("passive", "active"),
        ("active", "passive"),
    ] {
        let transport = transport().await;
        let mut client = Client::new(&[VideoCodec::H264]).await;
        client.sends_video(VideoCodec::H264).await;
        let offer = client.offer().await;
        assert!(offer.contains("a=setup:actpass"));
        let offer = offer.replace("setup:actpass", &format!("setup:{role}"));
        let accepted = transport.publish(offer, broadcast()).await.unwrap();
        assert!(
            accepted.answer.contains(&format!("a=setup:{expected}")),
            "{role}"
        );
        client.answer(&accepted.answer).await;
        client.connected().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i02_a_certificate_that_the_offer_does_not_name_ends_the_session() {
    for role in ["active", "passive"] {
        // The right one is connected well within this: see the test before.
        let transport = Transport::bind(Config {
            udp_listen: "127.0.0.1:0".parse().unwrap(),
            connect_max: Duration::from_secs(2),
            ..Config::default()
        })
        .await
        .unwrap();
        let mut client = Client::new(&[VideoCodec::H264]).await;
        client.sends_video(VideoCodec::H264).await;
        let offer = client.offer().await;
        let (before, digest) = offer.split_once("a=fingerprint:sha-256 ").unwrap();
        let (digest, after) = digest.split_once("\r\n").unwrap();
        let other = digest.split(':').rev().collect::<Vec<_>>().join(":");
        let offer = format!("{before}a=fingerprint:sha-256 {other}\r\n{after}")
            .replace("setup:actpass", &format!("setup:{role}"));
        let accepted = transport.publish(offer, broadcast()).await.unwrap();
        let mut states = accepted.peer.state();
        client.answer(&accepted.answer).await;
        let over = |state: &PeerState| !matches!(state, PeerState::Connecting);
        let state = within(states.wait_for(over)).await.unwrap().clone();
        assert!(matches!(state, PeerState::Closed(_)), "{role}: {state:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_frees_the_peer_and_its_tracks() {
    let transport = transport().await;
    let broadcast = broadcast();
    let (_client, mut video, _audio, accepted) =
        published(&transport, &broadcast, VideoCodec::H264).await;
    let mut changes = broadcast.changes();
    within(async {
        for mark in 0.. {
            video
                .send(mark * 3000, &picture(VideoCodec::H264, true, mark))
                .await;
            if changes.has_changed().unwrap() {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(broadcast.tracks().len(), 1);
    changes.mark_unchanged();
    assert_eq!(transport.peers(), 1);
    let peer = accepted.peer;
    peer.close();
    peer.close();
    assert_eq!(
        *peer.state().borrow(),
        PeerState::Closed(CloseReason::Asked)
    );
    within(changes.changed()).await.unwrap();
    within(empty(&transport)).await;
    assert!(broadcast.tracks().is_empty());
    assert_eq!(
        peer.patch(
            "a=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n",
            &IceTag::Any
        ),
        Err(SignalError::Closed)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn goodbyes_are_said_and_heard() {
    let transport = transport().await;
    let broadcast = broadcast();
    let (client, mut video, _audio, accepted) =
        published(&transport, &broadcast, VideoCodec::H264).await;
    let mut changes = broadcast.changes();
    video.send(0, &picture(VideoCodec::H264, true, 0)).await;
    within(changes.changed()).await.unwrap();
    client.pc.close().await.unwrap();
    let mut state = accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Closed(CloseReason::Left)))
        .await
        .unwrap();
    within(empty(&transport)).await;

    let (client, _video, _audio, accepted) =
        published(&transport, &broadcast, VideoCodec::H264).await;
    drop(accepted);
    within(async {
        let transceivers = client.pc.get_transceivers().await;
        let sender = transceivers[0].sender().await.unwrap().unwrap();
        let dtls = sender.transport().await.unwrap().unwrap();
        while dtls.state().await.unwrap() != RTCDtlsTransportState::Closed {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(empty(&transport)).await;
}

#[tokio::test]
async fn a_peer_that_never_comes_is_closed() {
    let transport = Transport::bind(Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        connect_max: Duration::from_millis(50),
        ..Config::default()
    })
    .await
    .unwrap();
    let offer = include_str!("../offers/obs.sdp").to_owned();
    let accepted = transport.publish(offer, broadcast()).await.unwrap();
    let mut state = accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Closed(CloseReason::NeverConnected)))
        .await
        .unwrap();
    within(empty(&transport)).await;
}

async fn empty(transport: &Transport) {
    while (transport.peers(), transport.remote_addresses()) != (0, 0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn thirty_peers_in_a_row_leave_nothing_behind() {
    let transport = transport().await;
    let broadcast = broadcast();
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut before = 0;
    for round in 0..30 {
        let (client, _video, _audio, accepted) =
            published(&transport, &broadcast, VideoCodec::Vp8).await;
        assert_eq!((transport.peers(), transport.remote_addresses()), (1, 1));
        if round % 2 == 0 {
            accepted.peer.close();
        }
        drop(accepted);
        client.pc.close().await.unwrap();
        drop(client);
        within(empty(&transport)).await;
        if round == 5 {
            before = descriptors();
        }
    }
    // Other tests of this process open sockets too; a leak of ours would be 24.
    assert!(
        descriptors() < before + 20,
        "{} then {}",
        before,
        descriptors()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_are_taken_for_their_session_and_odd_ones_are_passed_over() {
    let transport = transport().await;
    let mut client = Client::new(&[VideoCodec::H264]).await;
    client.receives(RtpCodecKind::Video).await;
    let offer = client.offer().await;
    let offer = offer.replace("a=recvonly", "a=sendonly");
    let accepted = transport.publish(offer.clone(), broadcast()).await.unwrap();
    let ufrag = offer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .unwrap();
    let fragment = |ufrag: &str, candidate: &str| {
        format!(
            "a=ice-ufrag:{ufrag}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na={candidate}\r\n"
        )
    };
    let mine = IceTag::OneOf(vec!["other".to_owned(), accepted.peer.ice_tag()]);
    for candidate in [
        "candidate:1 1 udp 2 192.0.2.1 5000 typ host",
        "candidate:1 1 udp 2 192.0.2.1 5000 typ host",
        "candidate:2 1 udp 2 1b3e.local 5000 typ host",
        "candidate:3 1 tcp 2 192.0.2.1 9 typ host tcptype active",
        "candidate:4 1 udp 2 2001:db8::1 9 typ srflx",
        "end-of-candidates",
    ] {
        assert_eq!(
            accepted.peer.patch(&fragment(ufrag, candidate), &mine),
            Ok(Patched::Trickled),
            "{candidate}"
        );
    }
    let stale = IceTag::OneOf(vec!["other".to_owned()]);
    assert_eq!(
        accepted
            .peer
            .patch(&fragment(ufrag, "end-of-candidates"), &stale),
        Err(SignalError::StaleTag)
    );
    // Half a restart is none, and changes nothing.
    assert!(matches!(
        accepted
            .peer
            .patch(&fragment("other", "end-of-candidates"), &IceTag::Any),
        Err(SignalError::Malformed(_))
    ));
    assert!(mine.allows(&accepted.peer.ice_tag()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_falls_silent_is_gone_after_the_time_that_is_set() {
    let transport = Transport::bind(Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        silence_max: Duration::from_millis(300),
        ..Config::default()
    })
    .await
    .unwrap();
    let broadcast = broadcast();
    let (client, mut video, _audio, accepted) =
        published(&transport, &broadcast, VideoCodec::H264).await;
    let mut state = accepted.peer.state();
    let mut pace = tokio::time::interval(Duration::from_millis(50));
    for mark in 0..20 {
        pace.tick().await;
        video
            .send(mark * 3000, &picture(VideoCodec::H264, true, mark))
            .await;
    }
    assert_eq!(*state.borrow_and_update(), PeerState::Connected);
    // Its socket stays, but nothing comes any more: its checks have an interval of 2 s.
    within(state.wait_for(|state| *state == PeerState::Closed(CloseReason::Gone)))
        .await
        .unwrap();
    within(empty(&transport)).await;
    drop(client);
}
