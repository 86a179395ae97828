//! Datagrams of nobody, from many ports and many connections, while somebody watches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use lockgate_tests_peer::{Publisher, Viewer, clip};
use tokio::{io::AsyncWriteExt as _, net::UdpSocket, task::JoinSet};

use crate::{
    peer_rules::PLAIN,
    refused::OFFER,
    support::{Ice, IcePeer, Server, candidates, check, until},
};

/// Source ports.
const SOCKETS: usize = 48;
/// Datagrams that each port sends in a burst, every [`PAUSE`]: some ten thousand a second in all.
const BURST: usize = 4;
const PAUSE: Duration = Duration::from_millis(20);

/// What hostile datagrams there are, for the session with these credentials.
fn hostile(theirs: &Ice) -> Vec<Vec<u8>> {
    let username = format!("{}:stranger", theirs.ufrag);
    let known = format!("{}:abcd", theirs.ufrag);
    let unsigned = check(&known, "not the password of anybody");
    let mut cut = unsigned.clone();
    cut.truncate(31);
    let mut too_long = unsigned.clone();
    too_long[3] = 0xfc;
    let mut hello = vec![
        22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200, 1, 0, 0, 188, 0, 0,
    ];
    hello.resize(213, 7);
    let mut media = vec![0x80, 102, 0, 1];
    media.resize(1200, 9);
    vec![
        unsigned,
        check(&username, &theirs.password),
        check("nobody:abcd", "some password of nobody"),
        cut,
        too_long,
        vec![0, 1, 0, 0],
        hello,
        media,
        vec![22],
        Vec::new(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_bad_checks_and_handshakes_costs_nobody_a_packet_in_a_thousand() {
    let server = Server::start(&format!("connect_s = 60\n{PLAIN}"), &[]).await;
    let clip = clip::small().await.expect("FFmpeg makes a clip").into();
    let publisher = Publisher::start(&server, "live", &clip).await;
    let publisher = publisher.expect("a publisher is taken");
    let mut viewer = Viewer::join(&server, "live").await.expect("a viewer joins");
    viewer.read().await.expect("media comes");

    let victim = server.offer("/whip/victim", OFFER).await;
    let answer = victim.text().replace("\r\n", "\n");
    let bad = Arc::new(hostile(&Ice::of(&answer)));
    let to = |wanted: &str| {
        let mut all = candidates(&answer).into_iter();
        let found = all.find(|(protocol, _)| protocol == wanted);
        found.expect("both are told").1
    };
    let (udp, tcp) = (to("udp"), to("tcp"));
    let sent = Arc::new(AtomicU64::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let mut flood = JoinSet::new();
    for at in 0..SOCKETS {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let (bad, sent, over) = (Arc::clone(&bad), Arc::clone(&sent), Arc::clone(&over));
        flood.spawn(async move {
            let mut pause = tokio::time::interval(PAUSE);
            let mut turn = at;
            while !over.load(Relaxed) {
                pause.tick().await;
                for _ in 0..BURST {
                    turn += 1;
                    let datagram = &bad[turn % bad.len()];
                    if socket.send_to(datagram, udp).await.is_ok() {
                        sent.fetch_add(1, Relaxed);
                    }
                }
            }
        });
    }
    // The same by TCP: connections that are nobody's, as many at a time as one address may have, and more.
    for at in 0..SOCKETS {
        let (bad, over) = (Arc::clone(&bad), Arc::clone(&over));
        flood.spawn(async move {
            let mut turn = at;
            while !over.load(Relaxed) {
                turn += 1;
                if let Ok(mut stream) = tokio::net::TcpStream::connect(tcp).await {
                    let datagram = &bad[turn % bad.len()];
                    let len = (datagram.len() as u16).to_be_bytes();
                    // Whoever is put out meanwhile cannot write.
                    drop(stream.write_all(&[&len[..], datagram].concat()).await);
                    tokio::time::sleep(PAUSE * 5).await;
                }
            }
        });
    }
    let (frames, packets, lost) = (viewer.frames(), viewer.packets(), viewer.packets_lost());
    until(
        "five seconds of frames",
        Duration::from_secs(40),
        || async { (viewer.frames() >= frames + 150).then_some(()) },
    )
    .await;
    over.store(true, Relaxed);
    let packets = viewer.packets() - packets;
    let lost = viewer.packets_lost() - lost;
    println!(
        "  {} bad datagrams; {lost} packets of {packets} lost",
        sent.load(Relaxed)
    );
    while flood.join_next().await.is_some() {}
    assert!(sent.load(Relaxed) > 20_000, "that was no flood");
    assert!(
        lost * 1000 < packets.max(1),
        "{lost} of {packets} packets lost"
    );
    // The one whose name was taken in vain can still come in.
    let mut late = IcePeer::new(&answer, Ice::of(&OFFER.replace("\r\n", "\n"))).await;
    assert_eq!(late.nominated(&Ice::of(&answer)).await[0], 22);
    drop(publisher);
}
