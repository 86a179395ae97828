//! I10 (RFC 8835 §3.4): which addresses peers are told, and that they are reached there: both families, UDP and TCP, STUN.
#![expect(clippy::print_stdout, reason = "what is not looked at is said")]

use std::net::{IpAddr, SocketAddr};

use hyper::{Method, header};

use crate::{
    refused::OFFER,
    support::{Ice, IcePeer, Server, candidates},
    turn::Coturn,
};

const BOTH: [&str; 2] = ["--set", "webrtc.udp_listen=[\"127.0.0.1:0\", \"[::1]:0\"]"];
/// A container may have no IPv6 at all; the server then does without, and so do these tests.
fn has_v6() -> bool {
    let has = std::net::UdpSocket::bind("[::1]:0").is_ok();
    if !has {
        println!("this machine has no IPv6: only IPv4 is looked at");
    }
    has
}

const ALL: [&str; 2] = ["--set", "webrtc.udp_listen=[\"0.0.0.0:0\", \"[::]:0\"]"];

fn ours() -> Ice {
    Ice::of(&OFFER.replace("\r\n", "\n"))
}

async fn session(server: &Server, name: &str) -> (String, String) {
    let created = server.offer(&format!("/whip/{name}"), OFFER).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let answer = created.text().replace("\r\n", "\n");
    (created.header(header::LOCATION).to_owned(), answer)
}

/// The addresses without their ports, and that all ports are one.
fn addresses(answer: &str) -> Vec<(String, IpAddr)> {
    let all = candidates(answer);
    let ports = all.iter().map(|(_, address)| address.port());
    assert_eq!(ports.clone().min(), ports.max(), "{answer}");
    all.into_iter()
        .map(|(protocol, address)| (protocol, address.ip()))
        .collect()
}

fn told(list: &[(&str, &str)]) -> Vec<(String, IpAddr)> {
    list.iter()
        .map(|(protocol, ip)| ((*protocol).to_owned(), ip.parse().expect("an address")))
        .collect()
}

#[tokio::test]
async fn i10_both_families_and_both_protocols_lead_to_dtls_on_one_port() {
    let both: &[&str] = if has_v6() { &BOTH } else { &[] };
    let server = Server::start("", both).await;
    let mut expected = vec![("udp", "127.0.0.1"), ("tcp", "127.0.0.1")];
    if has_v6() {
        expected.insert(1, ("udp", "::1"));
        expected.push(("tcp", "::1"));
    }
    for at in 0..expected.len() {
        let (location, answer) = session(&server, "live").await;
        assert_eq!(addresses(&answer), told(&expected));
        let passive = answer.matches("typ host tcptype passive").count();
        assert_eq!(passive, expected.len() / 2);
        let (protocol, address): (String, SocketAddr) = candidates(&answer)[at].clone();
        let mut peer = match protocol.as_str() {
            "udp" => IcePeer::at(address, ours()).await,
            _ => IcePeer::connect(address, ours()).await,
        };
        let first = peer.nominated(&Ice::of(&answer)).await;
        assert_eq!(first[0], 22, "{protocol} {address}: the handshake begins");
        assert_eq!(server.call(Method::DELETE, &location).await.status, 200);
    }
    let said = server.stdout();
    assert!(said.contains("media over UDP and TCP 127.0.0.1:"), "{said}");
}

#[tokio::test]
async fn i10_a_session_may_go_over_from_udp_to_tcp_and_back() {
    let server = Server::start("", &[]).await;
    let (_, answer) = session(&server, "live").await;
    let theirs = Ice::of(&answer);
    let tcp = candidates(&answer)
        .into_iter()
        .find(|(protocol, _)| protocol == "tcp");
    let (_, tcp) = tcp.expect("TCP is told");
    let mut slow = IcePeer::connect(tcp, ours()).await;
    assert_eq!(slow.nominated(&theirs).await[0], 22);
    let mut fast = IcePeer::new(&answer, ours()).await;
    assert_eq!(fast.nominated(&theirs).await[0], 22);
    drop(fast);
    assert_eq!(slow.nominated(&theirs).await[0], 22);
}

#[tokio::test]
async fn i10_tcp_can_be_elsewhere_or_off() {
    let off = Server::start("tcp_listen = []\n", &[]).await;
    let (_, answer) = session(&off, "live").await;
    assert_eq!(addresses(&answer), told(&[("udp", "127.0.0.1")]));
    let elsewhere = Server::start("tcp_listen = \"127.0.0.2:0\"\n", &[]).await;
    let (_, answer) = session(&elsewhere, "live").await;
    let expected = told(&[("udp", "127.0.0.1"), ("tcp", "127.0.0.2")]);
    assert_eq!(addresses(&answer), expected);
}

#[tokio::test]
async fn i10_private_and_loopback_addresses_are_not_told_beside_public_ones() {
    let public = "public_addresses = [\"203.0.113.7\", \"2001:db8::7\"]\n";
    let server = Server::start(public, &ALL).await;
    let (_, answer) = session(&server, "live").await;
    let mut expected = vec![("udp", "203.0.113.7"), ("tcp", "203.0.113.7")];
    if has_v6() {
        expected.insert(1, ("udp", "2001:db8::7"));
        expected.push(("tcp", "2001:db8::7"));
    }
    assert_eq!(addresses(&answer), told(&expected));
    // The demo is for who sits at this machine.
    let demo = Server::start(public, &[&ALL[..], &["--demo"]].concat()).await;
    let (_, answer) = session(&demo, "live").await;
    let all = addresses(&answer);
    assert!(
        all.contains(&("udp".to_owned(), "127.0.0.1".parse().expect("an address"))),
        "{answer}"
    );
}

#[tokio::test]
async fn i10_the_public_address_is_asked_of_a_stun_server() {
    let coturn = Coturn::start().await;
    let config = format!("stun_server = \"127.0.0.1:{}\"\n", coturn.port);
    let everywhere = ["--set", "webrtc.udp_listen=\"0.0.0.0:0\""];
    let server = Server::start(&config, &everywhere).await;
    let (_, answer) = session(&server, "live").await;
    // Coturn sees us at its own loopback address, and what it says counts as public: private ones are not told then.
    let all = addresses(&answer);
    for expected in told(&[("udp", "127.0.0.1"), ("tcp", "127.0.0.1")]) {
        assert!(all.contains(&expected), "{answer}");
    }
    let is_private = |ip: &IpAddr| matches!(ip, IpAddr::V4(ip) if ip.is_private());
    assert!(!all.iter().any(|(_, ip)| is_private(ip)), "{answer}");
    // Without it, what the machine has is told: something else, or loopback where there is nothing else.
    let server = Server::start("", &everywhere).await;
    let (_, answer) = session(&server, "live").await;
    let all = addresses(&answer);
    let real = all.iter().any(|(_, ip)| !ip.is_loopback());
    let loopback = all.iter().any(|(_, ip)| ip.is_loopback());
    assert!(real != loopback, "{answer}");
}

#[tokio::test]
async fn i10_a_stun_server_that_is_not_there_is_named_in_the_log_and_stops_nothing() {
    let config = "stun_server = \"127.0.0.1:9\"\n";
    let server = Server::start(config, &[]).await;
    let (_, answer) = session(&server, "live").await;
    let expected = [("udp", "127.0.0.1"), ("tcp", "127.0.0.1")];
    assert_eq!(addresses(&answer), told(&expected));
    let log = server.log();
    assert!(log.contains("webrtc.stun_server does not answer"), "{log}");
}
