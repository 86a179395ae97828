//! Peers whose network lets no UDP through: the transport sees a TCP connection (RFC 6544).
//!
//! The client speaks UDP to a bridge of the test, which puts each datagram into a frame (RFC 4571) and back.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use lockgate_media::{TrackId, VideoCodec};
use lockgate_ports::{
    Accepted, Signaller, ViewerFeed,
    signaller::{CloseReason, PeerState},
    task::{Task, own},
};
use lockgate_transport::{Config, Transport};
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UdpSocket},
    sync::watch,
};

use crate::{
    client::{Client, within},
    loss::through,
    player::{Shown, play_at, watch_pictures},
    publish::{broadcast, consume, transport},
    units::picture,
    view::{rung, selection},
};

/// A bridge to a TCP address, for one client. While `open` is false it reads nothing from the connection.
struct Bridge {
    address: SocketAddr,
    open: watch::Sender<bool>,
    _tasks: [Task; 2],
}

impl Bridge {
    async fn new(server: SocketAddr) -> Self {
        let udp = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = udp.local_addr().unwrap();
        let (mut reader, mut writer) = TcpStream::connect(server).await.unwrap().into_split();
        let (client, mut clients) = watch::channel(None);
        let (open, mut opened) = watch::channel(true);
        let inside = Arc::clone(&udp);
        let there = own(async move {
            let mut buffer = [0; 2000];
            while let Ok((len, from)) = inside.recv_from(&mut buffer).await {
                client.send_replace(Some(from));
                let mut frame = u16::try_from(len).unwrap().to_be_bytes().to_vec();
                frame.extend(&buffer[..len]);
                if writer.write_all(&frame).await.is_err() {
                    return;
                }
            }
        });
        let back = own(async move {
            loop {
                opened.wait_for(|open| *open).await.unwrap();
                let Ok(len) = reader.read_u16().await else {
                    return;
                };
                let mut datagram = vec![0; usize::from(len)];
                reader.read_exact(&mut datagram).await.unwrap();
                let client = *clients.wait_for(Option::is_some).await.unwrap();
                udp.send_to(&datagram, client.unwrap()).await.unwrap();
            }
        });
        Self {
            address,
            open,
            _tasks: [there, back],
        }
    }

    fn of(&self, answer: &str, transport: &Transport) -> String {
        assert!(answer.contains(" typ host tcptype passive\r\n"), "{answer}");
        through(answer, transport.local_addr(), self.address)
    }
}

async fn gone(transport: &Transport) {
    while (transport.peers(), transport.remote_addresses()) != (0, 0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publisher_comes_in_and_its_connection_goes_with_it() {
    let transport = transport().await;
    let broadcast = broadcast();
    let bridge = Bridge::new(transport.tcp_addresses()[0]).await;
    let mut client = Client::new(&[VideoCodec::H264]).await;
    let mut video = client.sends_video(VideoCodec::H264).await;
    let offer = client.offer().await;
    let accepted = transport.publish(offer, broadcast.clone()).await.unwrap();
    client
        .answer(&bridge.of(&accepted.answer, &transport))
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
    for _ in 0..60 {
        within(pictures.next()).await.unwrap();
    }
    assert_eq!(accepted.peer.ingest().packets_lost, 0);
    assert_eq!((transport.peers(), transport.remote_addresses()), (1, 1));
    drop((sending, accepted));
    within(gone(&transport)).await;
    // The connection is closed from our side, so that the bridge's ends.
    let [_, back] = bridge._tasks;
    within(back).await.unwrap();
}

async fn watching(
    transport: &Transport,
    bridge: &Bridge,
) -> (Client, Accepted, Arc<Mutex<Shown>>, Vec<Task>) {
    let broadcast = broadcast();
    let player = play_at(rung(&broadcast, "high", VideoCodec::H264), 4e6);
    let mut client = Client::new(&[VideoCodec::H264]).await;
    client.receives(RtpCodecKind::Video).await;
    let offer = client.offer().await;
    let feed = ViewerFeed {
        broadcast: broadcast.clone(),
        selection: watch::channel(selection("high")).1,
        congested: Arc::default(),
    };
    let accepted = transport.subscribe(offer, feed).await.unwrap();
    client.answer(&bridge.of(&accepted.answer, transport)).await;
    client.connected().await;
    let track = within(client.tracks.recv()).await.unwrap();
    let shown = Shown::none_yet();
    let watching = own(watch_pictures(track, Arc::clone(&shown)));
    (client, accepted, shown, vec![player, watching])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_that_does_not_read_loses_media_and_holds_nobody_up() {
    let transport = transport().await;
    let bridge = Bridge::new(transport.tcp_addresses()[0]).await;
    let (_client, accepted, shown, _tasks) = watching(&transport, &bridge).await;
    let pictures = || shown.lock().unwrap().pictures;
    let more = |than: u32| {
        within(async move {
            while pictures() <= than {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    };
    more(30).await;
    let before = transport.counters().unsent;
    bridge.open.send_replace(false);
    within(async {
        // The kernel's buffers of both ends fill first, then ours.
        while transport.counters().unsent < before + 50 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(*accepted.peer.state().borrow(), PeerState::Connected);
    bridge.open.send_replace(true);
    more(pictures() + 30).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_no_peer_is_put_out() {
    let transport = Transport::bind(Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        connect_max: Duration::from_millis(300),
        ..Config::default()
    })
    .await
    .unwrap();
    let server = transport.tcp_addresses()[0];
    let connect = || async { TcpStream::connect(server).await.unwrap() };
    let ended = |mut stream: TcpStream| async move {
        let mut rest = Vec::new();
        // A reset ends it, too.
        within(stream.read_to_end(&mut rest)).await.ok();
        assert!(rest.is_empty());
    };
    // Silence; half a frame; too long a frame; HTTP; what only a peer may send; a check of nobody's session.
    let check = [
        &[0, 1, 0, 16, 0x21, 0x12, 0xa4, 0x42][..],
        &[7; 12],
        &[0, 6, 0, 9],
        b"some:body\0\0\0",
    ]
    .concat();
    let framed = |datagram: &[u8]| {
        let mut frame = u16::try_from(datagram.len())
            .unwrap()
            .to_be_bytes()
            .to_vec();
        frame.extend(datagram);
        frame
    };
    for first in [
        Vec::new(),
        vec![0],
        vec![0, 100, 1],
        vec![0xff; 100],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        framed(&[22, 254, 253, 0]),
        framed(&check),
    ] {
        let mut stream = connect().await;
        stream.write_all(&first).await.unwrap();
        ended(stream).await;
    }
    // One address gets so many at a time; the one after that is closed at once, and there is room again afterwards.
    let many: Vec<TcpStream> = futures(64, connect).await;
    let refused = transport.counters().refused;
    ended(connect().await).await;
    assert!(transport.counters().refused > refused);
    for stream in many {
        ended(stream).await;
    }
    assert_eq!((transport.peers(), transport.remote_addresses()), (0, 0));
}

async fn futures<T, F: Future<Output = T>>(count: usize, mut make: impl FnMut() -> F) -> Vec<T> {
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        all.push(make().await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_whose_connection_breaks_is_gone_after_its_silence() {
    let transport = Transport::bind(Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        silence_max: Duration::from_secs(3),
        ..Config::default()
    })
    .await
    .unwrap();
    let bridge = Bridge::new(transport.tcp_addresses()[0]).await;
    let (_client, accepted, shown, _tasks) = watching(&transport, &bridge).await;
    within(async {
        while shown.lock().unwrap().pictures < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    drop(bridge);
    let mut state = accepted.peer.state();
    within(state.wait_for(|state| *state == PeerState::Closed(CloseReason::Gone)))
        .await
        .unwrap();
    within(gone(&transport)).await;
}
