//! An ICE agent of the tests: it checks by hand, so that it can also do it wrong.

use std::{net::SocketAddr, time::Duration};

use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use tokio::net::UdpSocket;

/// Credentials of an SDP or a fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ice {
    pub(crate) ufrag: String,
    pub(crate) password: String,
}

impl Ice {
    pub(crate) fn new(ufrag: &str, password: &str) -> Self {
        Self {
            ufrag: ufrag.to_owned(),
            password: password.to_owned(),
        }
    }

    pub(crate) fn of(sdp: &str) -> Self {
        let value = |prefix: &str| {
            let line = sdp.lines().find_map(|line| line.strip_prefix(prefix));
            line.unwrap_or_else(|| panic!("no {prefix} in {sdp}"))
        };
        Self::new(value("a=ice-ufrag:"), value("a=ice-pwd:"))
    }
}

/// A socket that checks one server.
pub(crate) struct IcePeer {
    socket: UdpSocket,
    ours: Ice,
    number: u64,
}

const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;

fn message(kind: u16, id: [u8; 12], attributes: &[(u16, &[u8])], password: &str) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend(kind.to_be_bytes());
    out.extend([0, 0, 0x21, 0x12, 0xa4, 0x42]);
    out.extend(id);
    let add = |out: &mut Vec<u8>, kind: u16, value: &[u8]| {
        out.extend(kind.to_be_bytes());
        out.extend((value.len() as u16).to_be_bytes());
        out.extend(value);
        out.resize(out.len().next_multiple_of(4), 0);
    };
    for (kind, value) in attributes {
        add(&mut out, *kind, value);
    }
    // The length already counts the attribute that is being made (RFC 8489 §14.5).
    let len = (out.len() - 20 + 24) as u16;
    out[2..4].copy_from_slice(&len.to_be_bytes());
    let mut mac = Hmac::<Sha1>::new_from_slice(password.as_bytes()).expect("any key will do");
    mac.update(&out);
    let digest = mac.finalize().into_bytes();
    add(&mut out, MESSAGE_INTEGRITY, &digest);
    out
}

fn kind_of(datagram: &[u8]) -> u16 {
    u16::from_be_bytes([datagram[0], datagram[1]])
}

impl IcePeer {
    /// A new socket of a peer with these credentials.
    pub(crate) async fn new(answer: &str, ours: Ice) -> Self {
        let candidate = answer
            .lines()
            .find(|line| line.starts_with("a=candidate:"))
            .expect("the server has a candidate");
        let fields: Vec<&str> = candidate.split(' ').collect();
        let server: SocketAddr = format!("{}:{}", fields[4], fields[5])
            .parse()
            .expect("the candidate has an address");
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        socket.connect(server).await.expect("UDP connects at once");
        Self {
            socket,
            ours,
            number: 0,
        }
    }

    /// Goes on with other credentials.
    pub(crate) fn restart(&mut self, ours: Ice) {
        self.ours = ours;
    }

    /// Sends a check; returns its transaction.
    pub(crate) async fn send(&mut self, theirs: &Ice, nominates: bool) -> [u8; 12] {
        let username = format!("{}:{}", theirs.ufrag, self.ours.ufrag);
        self.send_as(&username, &theirs.password, nominates).await
    }

    /// The same with any username and password.
    pub(crate) async fn send_as(
        &mut self,
        username: &str,
        password: &str,
        nominates: bool,
    ) -> [u8; 12] {
        self.number += 1;
        let mut id = [7; 12];
        id[..8].copy_from_slice(&self.number.to_be_bytes());
        let priority = 1_000_000u32.to_be_bytes();
        let mut attributes: Vec<(u16, &[u8])> =
            vec![(USERNAME, username.as_bytes()), (PRIORITY, &priority)];
        if nominates {
            attributes.push((USE_CANDIDATE, &[]));
        }
        self.raw(&message(REQUEST, id, &attributes, password)).await;
        id
    }

    pub(crate) async fn raw(&self, datagram: &[u8]) {
        self.socket.send(datagram).await.expect("loopback takes it");
    }

    /// The next datagram.
    pub(crate) async fn receive(&self) -> Vec<u8> {
        let mut buffer = [0; 2000];
        let read = tokio::time::timeout(Duration::from_secs(10), self.socket.recv(&mut buffer));
        let len = read
            .await
            .expect("something comes in time")
            .expect("the socket works");
        buffer[..len].to_vec()
    }

    /// Waits for the answer to a check; checks of the server are answered meanwhile. All that is not STUN is returned.
    pub(crate) async fn answered(&self, id: [u8; 12]) -> Vec<Vec<u8>> {
        let mut others = Vec::new();
        loop {
            let datagram = self.receive().await;
            match datagram[0] {
                0..=3 if kind_of(&datagram) == REQUEST => self.answer(&datagram).await,
                0..=3 => {
                    assert_eq!(kind_of(&datagram), SUCCESS, "an error response");
                    assert_eq!(&datagram[8..20], &id, "an answer to another check");
                    return others;
                }
                _ => others.push(datagram),
            }
        }
    }

    async fn answer(&self, request: &[u8]) {
        let mut id = [0; 12];
        id.copy_from_slice(&request[8..20]);
        self.raw(&message(SUCCESS, id, &[], &self.ours.password))
            .await;
    }

    /// Nominates this path and waits until the server uses it: the first thing it sends there that is not STUN.
    pub(crate) async fn nominated(&mut self, theirs: &Ice) -> Vec<u8> {
        let id = self.send(theirs, true).await;
        if let Some(first) = self.answered(id).await.into_iter().next() {
            return first;
        }
        loop {
            let datagram = self.receive().await;
            match datagram[0] {
                0..=3 if kind_of(&datagram) == REQUEST => self.answer(&datagram).await,
                0..=3 => {}
                _ => return datagram,
            }
        }
    }
}
