//! What peers are told where a STUN server is asked.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use lockgate_ports::{
    Signaller,
    signaller::{IceTag, Patched},
    task::{Task, own},
};
use lockgate_transport::{Config, Transport};
use tokio::{net::UdpSocket, sync::watch};

use crate::{client::within, publish::broadcast};

const OBS: &str = include_str!("../offers/obs.sdp");

/// A STUN server that says what it is told to, or nothing; and answers what it was not asked before.
struct Oracle {
    address: SocketAddr,
    says: Arc<Mutex<Option<SocketAddr>>>,
    /// How often it was asked.
    asked: watch::Receiver<usize>,
    _task: Task,
}

impl Oracle {
    async fn new(says: Option<&str>) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let says = Arc::new(Mutex::new(says.map(|text| text.parse().unwrap())));
        let saying = Arc::clone(&says);
        let (count, asked) = watch::channel(0);
        let task = own(async move {
            let mut buffer = [0; 2000];
            loop {
                let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
                // RFC 8489 §5: a binding request has type 1, the cookie, and 96 bits of its own.
                assert_eq!((len, &buffer[..2]), (20, &[0, 1][..]));
                count.send_modify(|count| *count += 1);
                let said = *saying.lock().unwrap();
                let Some(SocketAddr::V4(said)) = said else {
                    continue;
                };
                let mut forged = answer(&buffer[8..20], "198.51.100.66:66".parse().unwrap());
                forged[19] ^= 1;
                socket.send_to(&forged, from).await.unwrap();
                let answer = answer(&buffer[8..20], said);
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Self {
            address,
            says,
            asked,
            _task: task,
        }
    }
}

/// RFC 8489 §14.2: XOR-MAPPED-ADDRESS.
fn answer(id: &[u8], said: std::net::SocketAddrV4) -> Vec<u8> {
    let cookie: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
    let mut out = vec![1, 1, 0, 12];
    out.extend(cookie);
    out.extend(id);
    out.extend([0, 0x20, 0, 8, 0, 1]);
    out.extend((said.port() ^ 0x2112).to_be_bytes());
    out.extend(said.ip().octets().iter().zip(cookie).map(|(a, b)| a ^ b));
    out
}

async fn asking(oracle: &Oracle) -> Arc<Transport> {
    Transport::bind(Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        stun_server: Some(oracle.address.to_string()),
        stun_every: Duration::from_millis(50),
        ..Config::default()
    })
    .await
    .unwrap()
}

/// The addresses of a new session.
async fn told(transport: &Transport) -> (Vec<String>, lockgate_ports::Accepted) {
    let accepted = transport
        .publish(OBS.to_owned(), broadcast())
        .await
        .unwrap();
    (candidates(&accepted.answer), accepted)
}

fn candidates(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            format!("{} {}:{}", fields[2], fields[4], fields[5])
        })
        .collect()
}

#[tokio::test]
async fn the_public_address_is_learnt_and_a_new_one_is_told_to_new_sessions() {
    let oracle = Oracle::new(Some("203.0.113.5:4711")).await;
    let transport = asking(&oracle).await;
    let port = transport.local_addr().port();
    let at = |address: &str| {
        let (udp, tcp) = (format!("udp {address}"), format!("tcp {address}"));
        [
            format!("{udp}:{port}"),
            format!("{udp}:4711"),
            format!("{tcp}:{port}"),
        ]
    };
    // Nothing of the address that is listened on, and the port that the NAT gave beside ours.
    let (first, session) = told(&transport).await;
    assert_eq!(first, at("203.0.113.5"));

    *oracle.says.lock().unwrap() = Some("203.0.113.6:4711".parse().unwrap());
    within(async {
        while told(&transport).await.0 != at("203.0.113.6") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // A restart asks anew, too (RFC 8445 §9).
    let fragment = "a=ice-ufrag:renewed\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n";
    let restarted = session.peer.patch(fragment, &IceTag::Any).unwrap();
    let Patched::Restarted { fragment, .. } = restarted else {
        panic!("it is a restart");
    };
    assert_eq!(candidates(&fragment), at("203.0.113.6"));

    // What was learnt holds while the server says nothing.
    *oracle.says.lock().unwrap() = None;
    let mut asked = oracle.asked.clone();
    let before = *asked.borrow_and_update();
    within(asked.wait_for(|asked| *asked >= before + 2))
        .await
        .unwrap();
    assert_eq!(told(&transport).await.0, at("203.0.113.6"));
}

#[tokio::test]
async fn a_server_that_says_nothing_delays_the_start_and_is_asked_again() {
    let oracle = Oracle::new(None).await;
    let transport = within(asking(&oracle)).await;
    let port = transport.local_addr().port();
    let own = [
        format!("udp 127.0.0.1:{port}"),
        format!("tcp 127.0.0.1:{port}"),
    ];
    assert_eq!(told(&transport).await.0, own);
    *oracle.says.lock().unwrap() = Some(format!("203.0.113.5:{port}").parse().unwrap());
    within(async {
        while told(&transport).await.0 == own {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
