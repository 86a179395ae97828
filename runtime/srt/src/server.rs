//! The port: one task that reads the socket and knows every publisher.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lockgate_ports::{
    Admitted, Gate, Refusal,
    ingest::Via,
    task::{Task, own},
};
use tokio::{net::UdpSocket, task::JoinSet, time::MissedTickBehavior};

use crate::{
    crypto::Keys,
    handshake::{self, Extensions, Handshake},
    packet::{self, Control, Data, Packet},
    publisher::{Opening, Publisher},
    stream_id::Wish,
};

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address and UDP port.
    pub listen: SocketAddr,
    /// Most publishers at a time; further ones are refused.
    pub connections_max: usize,
    /// How long a publisher may be silent before it is taken to be gone.
    pub silence_max: Duration,
    /// What is lost is waited for as long as this, or as long as the publisher wants, if that is longer.
    pub latency: Duration,
    /// With it, everything is encrypted; 10 to 79 characters.
    pub passphrase: Option<String>,
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    socket: UdpSocket,
    config: Config,
}

impl Listener {
    /// Binds the port.
    pub async fn bind(config: Config) -> io::Result<Self> {
        let socket = UdpSocket::bind(config.listen).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("UDP {} for SRT: {error}", config.listen),
            )
        })?;
        Ok(Self { socket, config })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Takes publishers in through the gate until the task is dropped, which ends all connections.
    pub fn serve(self, gate: Arc<dyn Gate>) -> Task {
        let port = Port {
            socket: self.socket,
            config: self.config,
            gate,
            zero: Instant::now(),
            cookies: RandomState::new(),
            publishers: HashMap::new(),
            by_caller: HashMap::new(),
            entering: HashSet::new(),
            asked: JoinSet::new(),
        };
        own(port.run())
    }
}

/// Who calls: its address and its socket.
type Caller = (SocketAddr, u32);

struct Port {
    socket: UdpSocket,
    config: Config,
    gate: Arc<dyn Gate>,
    /// Our timestamps count from here.
    zero: Instant,
    cookies: RandomState,
    /// By our socket.
    publishers: HashMap<u32, Publisher>,
    by_caller: HashMap<Caller, u32>,
    /// Callers that the gate is being asked about.
    entering: HashSet<Caller>,
    asked: JoinSet<(Opening, Result<Admitted, Refusal>)>,
}

impl Port {
    async fn run(mut self) {
        let mut buffer = vec![0; DATAGRAM_LEN_MAX];
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                received = self.socket.recv_from(&mut buffer) => {
                    let mut received = received;
                    // Drain what came with it: one wake-up for a burst.
                    for _ in 0..BURST_MAX {
                        match received {
                            Ok((len, from)) => {
                                self.datagram(from, buffer.get_mut(..len).unwrap_or_default());
                            }
                            // An answer of ours could not be delivered; that is the peer's affair.
                            Err(_) => break,
                        }
                        received = self.socket.try_recv_from(&mut buffer);
                    }
                }
                Some(Ok((opening, answer))) = self.asked.join_next() => self.answered(opening, answer),
                _ = tick.tick(), if !self.publishers.is_empty() => self.tick(),
            }
        }
    }

    fn datagram(&mut self, from: SocketAddr, datagram: &mut [u8]) {
        match Packet::parse(datagram) {
            Some(Packet::Data(data)) => {
                let Data {
                    sequence, key, to, ..
                } = data;
                let now = Instant::now();
                let Some(publisher) = self.publishers.get_mut(&to).filter(|one| one.peer == from)
                else {
                    return;
                };
                let at = datagram.len() - data_len(datagram);
                let payload = datagram.get_mut(at..).unwrap_or_default();
                publisher.data(now, sequence, key, payload);
                self.say(to, now);
            }
            Some(Packet::Control(control)) => self.control(from, &control),
            None => {}
        }
    }

    fn control(&mut self, from: SocketAddr, control: &Control<'_>) {
        if control.kind == packet::HANDSHAKE {
            if let Some(shake) = Handshake::parse(control.body) {
                self.handshake(from, &shake);
            }
            return;
        }
        let now = Instant::now();
        let Some(publisher) = self
            .publishers
            .get_mut(&control.to)
            .filter(|one| one.peer == from)
        else {
            return;
        };
        publisher.heard(now);
        match (control.kind, control.subkind) {
            (packet::ACKACK, _) => publisher.receiver.acknowledged(now, control.info),
            (packet::DROP_REQUEST, _) => publisher.receiver.drop_request(control.body),
            (packet::SHUTDOWN, _) => {
                publisher.goodbye();
                self.forget(control.to, "it said goodbye");
            }
            (packet::USER, handshake::EXT_KMREQ) => {
                let Some(passphrase) = &self.config.passphrase else {
                    return;
                };
                if publisher.renew(control.body, passphrase) {
                    let (to, peer) = (publisher.caller, publisher.peer);
                    let kind = (u32::from(packet::USER) << 16) | u32::from(handshake::EXT_KMRSP);
                    self.send_kind(peer, kind, 0, to, control.body);
                }
            }
            _ => {}
        }
    }

    fn handshake(&mut self, from: SocketAddr, shake: &Handshake<'_>) {
        let peer = from.ip();
        match shake.kind {
            handshake::INDUCTION => {
                let cookie = self.cookie(from, 0);
                let answer = handshake::induced(shake, cookie, peer);
                self.send(from, packet::HANDSHAKE, 0, shake.socket, &answer);
            }
            handshake::CONCLUSION => {
                if ![0, 1]
                    .iter()
                    .any(|ago| self.cookie(from, *ago) == shake.cookie)
                {
                    return;
                }
                let caller = (from, shake.socket);
                if let Some(publisher) = self
                    .by_caller
                    .get(&caller)
                    .and_then(|id| self.publishers.get(id))
                {
                    // Our answer was lost.
                    let answer = publisher.answer.clone();
                    self.send(from, packet::HANDSHAKE, 0, shake.socket, &answer);
                } else if !self.entering.contains(&caller)
                    && let Err((reason, why)) = self.conclude(caller, shake)
                {
                    tracing::info!(peer = %from, "an SRT caller was refused: {why}");
                    let answer = handshake::refused(shake, reason, peer);
                    self.send(from, packet::HANDSHAKE, 0, shake.socket, &answer);
                }
            }
            _ => {}
        }
    }

    /// Asks the gate about a caller, or says why not.
    fn conclude(&mut self, caller: Caller, shake: &Handshake<'_>) -> Result<(), (u32, String)> {
        let http = |status: u32, why: &dyn std::fmt::Display| {
            (handshake::REASON_HTTP + status, why.to_string())
        };
        if shake.version != 5 {
            return Err((
                handshake::REASON_VERSION,
                "it is older than SRT 1.3".to_owned(),
            ));
        }
        if self.publishers.len() + self.entering.len() >= self.config.connections_max {
            return Err(http(503, &"there is no room for another publisher"));
        }
        // The cookie came back, so the address is its own.
        if !self.gate.knock(caller.0.ip()) {
            return Err(http(429, &"that is one connection too many of its address"));
        }
        let extensions = Extensions::parse(shake.rest);
        let keys = match (&self.config.passphrase, extensions.keys) {
            (Some(passphrase), Some(message)) => Some(
                Keys::unwrap(message, passphrase)
                    .map_err(|error| (handshake::REASON_SECRET, error.to_string()))?,
            ),
            (None, None) => None,
            (Some(_), None) => {
                let why = "a passphrase is needed here";
                return Err((handshake::REASON_UNSECURE, why.to_owned()));
            }
            (None, Some(_)) => {
                let why = "no passphrase is known here; set ingest.srt.passphrase";
                return Err((handshake::REASON_UNSECURE, why.to_owned()));
            }
        };
        let wish = Wish::parse(&extensions.stream_id.unwrap_or_default())
            .map_err(|error| http(400, &error))?;
        let ours_ms = u16::try_from(self.config.latency.as_millis()).unwrap_or(u16::MAX);
        let latency_ms = extensions
            .latency_ms
            .unwrap_or(0)
            .max(ours_ms)
            .min(LATENCY_MS_MAX);
        let socket = rand::random::<u32>() >> 2 | 1;
        let opening = Opening {
            peer: caller.0,
            caller: caller.1,
            socket,
            first: shake.sequence & packet::SEQUENCE_MASK,
            latency: Duration::from_millis(latency_ms.into()),
            answer: handshake::concluded(shake, socket, caller.0.ip(), latency_ms, extensions.keys),
            refusal: handshake::refused(shake, 0, caller.0.ip()),
            keys,
        };
        let wish = lockgate_ports::Wish {
            name: wish.name,
            credentials: wish.credentials,
            peer: caller.0.ip().to_canonical(),
            via: Via::Srt,
        };
        let gate = Arc::clone(&self.gate);
        self.entering.insert(caller);
        self.asked
            .spawn(async move { (opening, gate.enter(wish).await) });
        Ok(())
    }

    fn answered(&mut self, opening: Opening, answer: Result<Admitted, Refusal>) {
        let caller = (opening.peer, opening.caller);
        self.entering.remove(&caller);
        match answer {
            Ok(admitted) => {
                self.send(
                    opening.peer,
                    packet::HANDSHAKE,
                    0,
                    opening.caller,
                    &opening.answer,
                );
                self.by_caller.insert(caller, opening.socket);
                let socket = opening.socket;
                let publisher = Publisher::new(opening, admitted, Instant::now());
                self.publishers.insert(socket, publisher);
            }
            Err(refusal) => {
                tracing::info!(peer = %opening.peer, status = refusal.status, "an SRT publisher was refused: {refusal}");
                let answer = opening.refused(handshake::REASON_HTTP + u32::from(refusal.status));
                self.send(opening.peer, packet::HANDSHAKE, 0, opening.caller, &answer);
            }
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        let ids: Vec<u32> = self.publishers.keys().copied().collect();
        for id in ids {
            let Some(publisher) = self.publishers.get_mut(&id) else {
                continue;
            };
            publisher.deliver(now);
            if publisher.is_unwanted() {
                let (peer, caller) = (publisher.peer, publisher.caller);
                self.send(peer, packet::SHUTDOWN, 0, caller, &[]);
                self.forget(id, "the server ended the publication");
            } else if publisher.silence(now) > self.config.silence_max {
                self.forget(id, "it is silent");
            } else {
                self.say(id, now);
            }
        }
    }

    /// Sends what a publisher is to be told.
    fn say(&mut self, id: u32, now: Instant) {
        let Some(publisher) = self.publishers.get_mut(&id) else {
            return;
        };
        let said = publisher.receiver.poll(now);
        let keeps_alive = publisher.is_owed_a_word(now, said.ack.is_some() || said.nak.is_some());
        let (peer, caller) = (publisher.peer, publisher.caller);
        if let Some((number, body)) = said.ack {
            self.send(peer, packet::ACK, number, caller, &body);
        }
        if let Some(body) = said.nak {
            self.send(peer, packet::NAK, 0, caller, &body);
        }
        if keeps_alive {
            self.send(peer, packet::KEEPALIVE, 0, caller, &[]);
        }
    }

    fn forget(&mut self, id: u32, why: &str) {
        if let Some(publisher) = self.publishers.remove(&id) {
            self.by_caller.remove(&(publisher.peer, publisher.caller));
            let (lost, dropped) = (publisher.receiver.lost(), publisher.dropped());
            tracing::info!(peer = %publisher.peer, lost, dropped, "an SRT connection is over: {why}");
        }
    }

    fn cookie(&self, from: SocketAddr, minutes_ago: u64) -> u32 {
        let minute = (self.zero.elapsed().as_secs() / 60).saturating_sub(minutes_ago);
        let hash = self.cookies.hash_one((from, minute));
        u32::try_from(hash >> 32).unwrap_or(0)
    }

    fn send(&self, to: SocketAddr, kind: u16, info: u32, socket: u32, body: &[u8]) {
        self.send_kind(to, u32::from(kind) << 16, info, socket, body);
    }

    fn send_kind(&self, to: SocketAddr, kind: u32, info: u32, socket: u32, body: &[u8]) {
        #[expect(clippy::cast_possible_truncation, reason = "timestamps wrap (§3)")]
        let timestamp = self.zero.elapsed().as_micros() as u32;
        let datagram: Bytes = packet::control(kind, info, timestamp, socket, body);
        // What does not fit the socket's queue is lost, as it may be on the way.
        self.socket.try_send_to(&datagram, to).ok();
    }
}

/// The length of a data packet's payload.
fn data_len(datagram: &[u8]) -> usize {
    datagram.len().saturating_sub(packet::HEAD_LEN)
}

/// §4.8.1: acknowledgements are sent each 10 ms.
const TICK: Duration = Duration::from_millis(10);
/// Datagrams taken in one wake-up.
const BURST_MAX: usize = 256;
const DATAGRAM_LEN_MAX: usize = 2048;
/// What a publisher may want us to wait for.
const LATENCY_MS_MAX: u16 = 8_000;
