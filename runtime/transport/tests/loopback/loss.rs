//! Links that lose media packets: one in twenty each way, at random, and for 200 ms at a time.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{
    Signaller, ViewerFeed,
    task::{Task, own},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::{net::UdpSocket, sync::watch};
use webrtc::media_stream::track_remote::TrackRemoteEvent;

use crate::{
    client::{Client, H264, within},
    player::{Shown, play_at, watch_pictures},
    publish::{broadcast, consume, transport},
    units::picture,
    view::{play, rung, selection},
};

/// A relay before the transport that loses packets; returns its address.
async fn lossy(transport: SocketAddr) -> (SocketAddr, Task) {
    let mut seen = 0u32;
    relay(transport, move || {
        seen += 1;
        seen % 20 == 7
    })
    .await
}

/// A relay that asks of each media packet whether to lose it.
async fn relay(
    transport: SocketAddr,
    mut falls: impl FnMut() -> bool + Send + 'static,
) -> (SocketAddr, Task) {
    let outside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let inside = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    inside.connect(transport).await.unwrap();
    let address = outside.local_addr().unwrap();
    let task = own(async move {
        let (mut there, mut back) = ([0; 2000], [0; 2000]);
        let mut client = None;
        let mut lose = |datagram: &[u8]| {
            // SRTP with media in it (RFC 7983 §7); RTCP is small.
            let media = datagram.len() > 300 && (128..192).contains(&datagram[0]);
            media && falls()
        };
        loop {
            tokio::select! {
                Ok((len, from)) = outside.recv_from(&mut there) => {
                    client = Some(from);
                    if !lose(&there[..len]) {
                        inside.send(&there[..len]).await.unwrap();
                    }
                }
                Ok(len) = inside.recv(&mut back) => {
                    if let Some(client) = client && !lose(&back[..len]) {
                        outside.send_to(&back[..len], client).await.unwrap();
                    }
                }
            }
        }
    });
    (address, task)
}

/// The answer with the relay in place of the transport.
pub(crate) fn through(answer: &str, transport: SocketAddr, relay: SocketAddr) -> String {
    answer.replace(
        &format!(" {} typ host", transport.port()),
        &format!(" {} typ host", relay.port()),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_publisher_loses_is_sent_again() {
    let transport = transport().await;
    let broadcast = broadcast();
    let (relay, _relaying) = lossy(transport.local_addr()).await;
    let mut client = Client::new(&[VideoCodec::H264]).await;
    let mut video = client.sends_video(VideoCodec::H264).await;
    let offer = client.offer().await;
    let accepted = transport.publish(offer, broadcast.clone()).await.unwrap();
    client
        .answer(&through(&accepted.answer, transport.local_addr(), relay))
        .await;
    client.connected().await;
    let sending = own(async move {
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        for mark in 0..u32::MAX {
            pace.tick().await;
            let unit = picture(VideoCodec::H264, mark % 50 == 0, mark);
            video.send(mark.wrapping_mul(900), &unit).await;
        }
    });
    let mut pictures = consume(&broadcast, TrackId::source()).await;
    let mut last: Option<i64> = None;
    for _ in 0..200 {
        let unit = within(pictures.next()).await.unwrap().unit;
        if let Some(last) = last {
            assert!(
                (800..1000).contains(&(unit.pts_90k - last)),
                "a picture is missing"
            );
        }
        last = Some(unit.pts_90k);
    }
    assert_eq!(accepted.peer.ingest().packets_lost, 0);
    drop(sending);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_viewer_loses_is_sent_again() {
    let transport = transport().await;
    let broadcast = broadcast();
    let (relay, _relaying) = lossy(transport.local_addr()).await;
    let _player = play(
        rung(&broadcast, "high", VideoCodec::H264),
        VideoCodec::H264,
        0,
        0,
    );
    let mut client = Client::new(&[VideoCodec::H264]).await;
    client.receives(RtpCodecKind::Video).await;
    let offer = client.offer().await;
    let feed = ViewerFeed {
        broadcast: broadcast.clone(),
        selection: watch::channel(selection("high")).1,
        congested: Default::default(),
    };
    let accepted = transport.subscribe(offer, feed).await.unwrap();
    assert!(accepted.answer.contains("a=ssrc-group:FID"));
    client
        .answer(&through(&accepted.answer, transport.local_addr(), relay))
        .await;
    client.connected().await;
    let track = within(client.tracks.recv()).await.unwrap();
    let mut numbers = BTreeSet::new();
    let mut first = None;
    within(async {
        while let Some(event) = track.poll().await {
            let TrackRemoteEvent::OnRtpPacket(packet) = event else {
                continue;
            };
            assert_eq!(packet.header.payload_type, H264);
            let first = *first.get_or_insert(packet.header.sequence_number);
            numbers.insert(packet.header.sequence_number.wrapping_sub(first));
            // All of the first 300 are there in the end, though every twentieth was lost on its way.
            if numbers.range(..300).count() == 300 {
                return;
            }
        }
        panic!("the track ended");
    })
    .await;
}

/// A viewer behind a bad link for some seconds: how long it was frozen, the longest of that, how many pictures it saw,
/// and how many packets were sent again.
async fn behind(falls: impl FnMut() -> bool + Send + 'static) -> (Duration, Duration, u32, u64) {
    let transport = transport().await;
    let broadcast = broadcast();
    let (relay, _relaying) = relay(transport.local_addr(), falls).await;
    let _player = play_at(rung(&broadcast, "high", VideoCodec::H264), 1.5e6);
    let mut client = Client::new(&[VideoCodec::H264]).await;
    client.receives(RtpCodecKind::Video).await;
    let offer = client.offer().await;
    let feed = ViewerFeed {
        broadcast: broadcast.clone(),
        selection: watch::channel(selection("high")).1,
        congested: Default::default(),
    };
    let accepted = transport.subscribe(offer, feed).await.unwrap();
    client
        .answer(&through(&accepted.answer, transport.local_addr(), relay))
        .await;
    client.connected().await;
    let track = within(client.tracks.recv()).await.unwrap();
    let shown = Shown::none_yet();
    let watching = own(watch_pictures(track, Arc::clone(&shown)));
    // Two hundred pictures are produced in this time: what counts is how many of them are seen.
    let over = tokio::time::timeout(Duration::from_millis(6667), watching).await;
    assert!(over.is_err(), "the track ended");
    let shown = shown.lock().unwrap();
    let frozen = shown.freezes.iter().map(|(_, gap)| *gap).sum();
    let again = accepted.peer.link().packets_resent;
    (frozen, shown.longest(), shown.pictures, again)
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_go_on_whatever_is_lost() {
    let random = |percent: u32, seed: u64| {
        let mut rng = StdRng::seed_from_u64(seed);
        move || rng.random_ratio(percent, 100)
    };
    // Everything is lost for 200 ms every two seconds.
    let start = Instant::now();
    let bursts = move || start.elapsed().as_millis() % 2000 >= 1800;
    let (one, five, ten, burst) = tokio::join!(
        behind(random(1, 1)),
        behind(random(5, 2)),
        behind(random(10, 3)),
        behind(bursts)
    );
    println!("  lost      frozen ms  longest ms  pictures  sent again");
    for (name, (frozen, longest, pictures, again)) in [
        ("1 %", one),
        ("5 %", five),
        ("10 %", ten),
        ("200 ms", burst),
    ] {
        println!(
            "  {name:8}  {:9}  {:10}  {pictures:8}  {again:10}",
            frozen.as_millis(),
            longest.as_millis()
        );
        assert!(again > 0, "{name}: nothing was lost");
        assert!(pictures > 150, "{name}: {pictures} pictures of 200");
        assert!(longest < Duration::from_millis(1000), "{name}: {longest:?}");
    }
}
