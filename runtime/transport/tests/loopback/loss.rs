//! Links that lose packets: one in twenty each way, at random, and for 200 ms at a time.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use lockgate_broadcast::Broadcast;
use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{
    Accepted, Signaller, ViewerFeed,
    task::{Task, own},
};
use lockgate_transport::{Config, Transport};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::{net::UdpSocket, sync::watch};
use webrtc::media_stream::track_remote::TrackRemoteEvent;

use crate::{
    client::{Client, H264, within},
    network::{inside, shell},
    player::{Shown, play_at, watch_pictures},
    publish::{broadcast, consume, transport},
    units::picture,
    view::{play, rung, selection},
};

/// A relay before the transport that loses packets; returns its address.
pub(crate) async fn lossy(transport: SocketAddr) -> (SocketAddr, Task) {
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

/// The kernel loses datagrams of a port, both ways and whatever is in them.
fn lose(port: u16, percent: u32) {
    shell(&format!(
        "nft add rule ip bad link udp sport {port} numgen random mod 100 '<' {percent} drop
         nft add rule ip bad link udp dport {port} numgen random mod 100 '<' {percent} drop"
    ));
}

/// A viewer behind a bad link for some seconds, and what it was sent again.
async fn behind(
    port: u16,
    bad: impl Future<Output = ()> + Send + 'static,
) -> (Arc<Mutex<Shown>>, u64) {
    let transport = Transport::bind(Config {
        udp_listen: format!("127.0.0.1:{port}").parse().unwrap(),
        tcp_listen: Some(Vec::new().into()),
        ..Config::default()
    })
    .await
    .unwrap();
    let broadcast = broadcast();
    let _player = play_at(rung(&broadcast, "high", VideoCodec::H264), 1.5e6);
    let (_client, accepted, shown, watching) = watching(&transport, &broadcast, "high", "").await;
    let _bad = own(bad);
    // Two hundred pictures are produced in this time: what counts is how many of them are seen.
    let over = tokio::time::timeout(Duration::from_millis(6667), watching).await;
    assert!(over.is_err(), "the track ended");
    (shown, accepted.peer.link().packets_resent)
}

/// An answer with the candidates of one address, or of all that have this in them.
fn only(answer: &str, address: &str) -> String {
    let other = |line: &&str| !line.starts_with("a=candidate") || line.contains(address);
    answer
        .lines()
        .filter(other)
        .flat_map(|line| [line, "\r\n"])
        .collect()
}

async fn watching(
    transport: &Transport,
    broadcast: &Broadcast,
    rung: &str,
    address: &str,
) -> (Client, Accepted, Arc<Mutex<Shown>>, Task) {
    let mut client = Client::new(&[VideoCodec::H264]).await;
    client.receives(RtpCodecKind::Video).await;
    let offer = client.offer().await;
    let feed = ViewerFeed {
        broadcast: broadcast.clone(),
        selection: watch::channel(selection(rung)).1,
        congested: Default::default(),
    };
    let accepted = transport.subscribe(offer, feed).await.unwrap();
    client.answer(&only(&accepted.answer, address)).await;
    client.connected().await;
    let track = within(client.tracks.recv()).await.unwrap();
    let shown = Shown::none_yet();
    let watching = own(watch_pictures(track, Arc::clone(&shown)));
    (client, accepted, shown, watching)
}

/// Everything is lost for 200 ms every two seconds.
async fn bursts(port: u16) {
    let mut every = tokio::time::interval(Duration::from_millis(2000));
    loop {
        every.tick().await;
        tokio::time::sleep(Duration::from_millis(1800)).await;
        shell(&format!("nft add element ip bad cut '{{ {port} }}'"));
        tokio::time::sleep(Duration::from_millis(200)).await;
        shell(&format!("nft delete element ip bad cut '{{ {port} }}'"));
    }
}

/// A filter that loses nothing yet.
fn prepare() {
    shell(
        "nft add table ip bad
         nft add set ip bad cut '{ type inet_service; }'
         nft add chain ip bad link '{ type filter hook input priority 0; }'
         nft add rule ip bad link udp sport @cut drop
         nft add rule ip bad link udp dport @cut drop",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_go_on_whatever_is_lost() {
    if !inside("loss::pictures_go_on_whatever_is_lost") {
        return;
    }
    prepare();
    let random = |port: u16, percent: u32| behind(port, async move { lose(port, percent) });
    let (one, five, ten, burst) = tokio::join!(
        random(4001, 1),
        random(4005, 5),
        random(4010, 10),
        behind(4200, bursts(4200))
    );
    println!("  lost      frozen s  longest s  pictures  sent again");
    for (name, (shown, again)) in [
        ("1 %", one),
        ("5 %", five),
        ("10 %", ten),
        ("200 ms", burst),
    ] {
        let shown = shown.lock().unwrap();
        let frozen: Duration = shown.freezes.iter().map(|(_, gap)| *gap).sum();
        let (longest, pictures) = (shown.longest(), shown.pictures);
        println!(
            "  {name:8}  {:8.2}  {:9.2}  {pictures:8}  {again:10}",
            frozen.as_secs_f64(),
            longest.as_secs_f64()
        );
        assert!(again > 0, "{name}: nothing was lost");
        // A tenth of the time nothing passes at all, neither pictures nor what is said of them.
        let fewest = if name == "200 ms" { 100 } else { 150 };
        assert!(pictures > fewest, "{name}: {pictures} pictures of 200");
        assert!(longest < Duration::from_millis(1500), "{name}: {longest:?}");
        assert_eq!(
            shown.wrong, 0,
            "{name}: a picture without the one before it"
        );
    }
}

/// What a publisher loses for good is not hidden from viewers: nothing is shown until a keyframe.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_wrong_is_shown_whatever_a_publisher_loses() {
    if !inside("loss::nothing_wrong_is_shown_whatever_a_publisher_loses") {
        return;
    }
    prepare();
    let port = 4300;
    // The publisher comes in at another port than the viewer, and only that one is bad.
    let transport = Transport::bind(Config {
        udp_listen: format!("127.0.0.1:{port},127.0.0.2:{}", port + 1)
            .parse()
            .unwrap(),
        tcp_listen: Some(Vec::new().into()),
        ..Config::default()
    })
    .await
    .unwrap();
    let broadcast = broadcast();
    let mut client = Client::new(&[VideoCodec::H264]).await;
    let mut video = client.sends_video(VideoCodec::H264).await;
    let offer = client.offer().await;
    let published = transport.publish(offer, broadcast.clone()).await.unwrap();
    client.answer(&only(&published.answer, "127.0.0.1")).await;
    client.connected().await;
    let _sending = own(async move {
        let mut pace = tokio::time::interval(Duration::from_micros(33_333));
        for mark in 0..u32::MAX {
            pace.tick().await;
            let unit = picture(VideoCodec::H264, mark % 15 == 0, mark);
            video.send(mark.wrapping_mul(3000), &unit).await;
        }
    });
    within(broadcast.changes().changed()).await.unwrap();
    let (_viewer, _accepted, shown, watching) =
        watching(&transport, &broadcast, "source", "127.0.0.2").await;
    lose(port, 50);
    let _bursts = own(bursts(port));
    let over = tokio::time::timeout(Duration::from_secs(8), watching).await;
    assert!(over.is_err(), "the track ended");
    let stats = published.peer.ingest();
    let shown = shown.lock().unwrap();
    println!(
        "  {} pictures shown, {} packets never came, {} units dropped",
        shown.pictures, stats.packets_lost, stats.units_dropped
    );
    assert!(
        stats.packets_lost > 0 && stats.units_dropped > 0,
        "nothing was lost for good"
    );
    assert!(shown.pictures > 60, "{} pictures", shown.pictures);
    assert_eq!(shown.wrong, 0);
}
