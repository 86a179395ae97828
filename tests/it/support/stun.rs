//! An ICE agent of the tests: it checks by hand, so that it can also do it wrong.

use std::{net::SocketAddr, time::Duration};

use hmac::{Hmac, Mac as _};
use sha1::Sha1;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpStream, UdpSocket,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Mutex,
};

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

/// Where an SDP says that its sender can be reached: protocol and address of each candidate.
pub(crate) fn candidates(sdp: &str) -> Vec<(String, SocketAddr)> {
    sdp.lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .map(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            let ip = fields[4].parse().expect("the candidate has an address");
            let port = fields[5].parse().expect("the candidate has a port");
            (fields[2].to_owned(), SocketAddr::new(ip, port))
        })
        .collect()
}

/// A check as a peer makes it, of anybody by anybody.
pub(crate) fn check(username: &str, password: &str) -> Vec<u8> {
    let priority = 1_000_000u32.to_be_bytes();
    let attributes: [(u16, &[u8]); 3] = [
        (USERNAME, username.as_bytes()),
        (PRIORITY, &priority),
        (USE_CANDIDATE, &[]),
    ];
    message(REQUEST, [3; 12], &attributes, password)
}

/// How a peer comes to the server.
enum Wire {
    Udp(UdpSocket),
    Tcp(Mutex<OwnedReadHalf>, Mutex<OwnedWriteHalf>),
}

/// A socket that checks one server.
pub(crate) struct IcePeer {
    wire: Wire,
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
    /// A new socket of a peer with these credentials, for the first candidate of an answer.
    pub(crate) async fn new(answer: &str, ours: Ice) -> Self {
        let candidates = candidates(answer);
        let (protocol, server) = candidates.first().expect("the server has a candidate");
        assert_eq!(protocol, "udp");
        Self::at(*server, ours).await
    }

    /// The same for an address.
    pub(crate) async fn at(server: SocketAddr, ours: Ice) -> Self {
        let any = if server.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        };
        let socket = UdpSocket::bind(any).await.expect("a socket");
        socket.connect(server).await.expect("UDP connects at once");
        Self {
            wire: Wire::Udp(socket),
            ours,
            number: 0,
        }
    }

    /// The same by TCP.
    pub(crate) async fn connect(server: SocketAddr, ours: Ice) -> Self {
        let stream = TcpStream::connect(server).await.expect("it listens");
        let (reader, writer) = stream.into_split();
        Self {
            wire: Wire::Tcp(Mutex::new(reader), Mutex::new(writer)),
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
        match &self.wire {
            Wire::Udp(socket) => {
                socket.send(datagram).await.expect("loopback takes it");
            }
            Wire::Tcp(_, writer) => {
                // RFC 4571 §2.
                let len = u16::try_from(datagram.len()).expect("a short one");
                let frame = [&len.to_be_bytes(), datagram].concat();
                let mut writer = writer.lock().await;
                writer.write_all(&frame).await.expect("it is connected");
            }
        }
    }

    /// The next datagram.
    pub(crate) async fn receive(&self) -> Vec<u8> {
        let read = async {
            match &self.wire {
                Wire::Udp(socket) => {
                    let mut buffer = [0; 2000];
                    let len = socket.recv(&mut buffer).await.expect("the socket works");
                    buffer[..len].to_vec()
                }
                Wire::Tcp(reader, _) => {
                    let mut reader = reader.lock().await;
                    let len = reader.read_u16().await.expect("a frame comes");
                    let mut datagram = vec![0; usize::from(len)];
                    let whole = reader.read_exact(&mut datagram).await;
                    whole.expect("it comes whole");
                    datagram
                }
            }
        };
        let read = tokio::time::timeout(Duration::from_secs(10), read);
        read.await.expect("something comes in time")
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

    /// Nominates this path and waits until both sides have checked it.
    pub(crate) async fn paired(&mut self, theirs: &Ice) {
        let id = self.send(theirs, true).await;
        self.answered(id).await;
        // The server checks right after its answer.
        let check = self.receive().await;
        assert_eq!(kind_of(&check), REQUEST);
        self.answer(&check).await;
    }

    /// Sends DTLS, again and again as it is meant to be, until a handshake message of this type comes back
    /// (RFC 6347 §4.3.2).
    pub(crate) async fn until_dtls(&self, datagram: &[u8], wanted: u8) -> Vec<u8> {
        for _ in 0..20 {
            self.raw(datagram).await;
            let wait = tokio::time::timeout(Duration::from_millis(500), async {
                loop {
                    let came = self.receive().await;
                    if came[0] == 22 && came[13] == wanted {
                        return came;
                    }
                }
            });
            if let Ok(came) = wait.await {
                return came;
            }
        }
        panic!("DTLS is not answered");
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
