//! The sockets of our peers, which note when the last packet of each frame passes them.
//!
//! SRTP leaves the RTP header in clear (RFC 3711 §3.1), so the marker bit and the timestamp can be read here, below the
//! WebRTC library: what that library itself takes to send or to receive can be told apart from what the server takes.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use webrtc::runtime::{
    AsyncInterval, AsyncTcpListener, AsyncTcpStream, AsyncUdpSocket, JoinHandle, RecvMeta, Runtime,
    TokioRuntime, Transmit,
};

/// When the last packet of a frame passed, by the frame's RTP timestamp.
#[derive(Default)]
pub(crate) struct Stamps(Mutex<HashMap<u32, Instant>>);

impl Stamps {
    /// The moment for a timestamp.
    pub(crate) fn at(&self, timestamp: u32) -> Option<Instant> {
        let stamps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        stamps.get(&timestamp).copied()
    }

    fn note(&self, datagrams: &[u8], stride: usize, now: Instant) {
        for datagram in datagrams.chunks(stride.max(1)) {
            let [0x80..=0xbf, LAST_OF_FRAME, _, _, a, b, c, d, ..] = *datagram else {
                continue;
            };
            let timestamp = u32::from_be_bytes([a, b, c, d]);
            // A retransmission comes later and does not count.
            let mut stamps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            stamps.entry(timestamp).or_insert(now);
        }
    }
}

/// What a peer does to its datagrams, and what it notes of those that come.
#[derive(Debug, Default)]
pub struct Tricks {
    /// Nothing is sent any more.
    pub mute: AtomicBool,
    /// Before each packet of media or RTCP goes one that looks like it and was signed by nobody.
    pub forges: AtomicBool,
    /// Packets of media go twice, and every fifth after the one that follows it.
    pub shuffles: AtomicBool,
    held: Mutex<Option<Vec<u8>>>,
    /// Every so many packets of media that come are lost; 0 loses none.
    pub loses_every: AtomicU64,
    /// Datagrams that came.
    pub received: AtomicU64,
    /// The longest of those with media, in bytes.
    pub longest: AtomicUsize,
    /// Keyframes that the other end asked for (RFC 4585 §6.3.1, RFC 5104 §4.3.1).
    pub keyframes_asked: AtomicU64,
}

impl Tricks {
    /// Holds a packet back if it is a fifth one, by its number.
    fn holds(&self, packet: &[u8]) -> bool {
        let is_fifth = packet.get(3).is_some_and(|number| number % 5 == 0);
        if is_fifth {
            let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            *held = Some(packet.to_vec());
        }
        is_fifth
    }

    fn held(&self) -> Option<Vec<u8>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.take()
    }

    /// Notes a datagram that came; false if it is to be lost.
    fn takes(&self, datagram: &[u8]) -> bool {
        let count = self.received.fetch_add(1, Relaxed);
        if !is_media(datagram) {
            return true;
        }
        self.longest.fetch_max(datagram.len(), Relaxed);
        let every = self.loses_every.load(Relaxed);
        every == 0 || !count.is_multiple_of(every)
    }
}

/// RFC 5761 §4: RTP, and not RTCP beside it.
fn is_media(datagram: &[u8]) -> bool {
    matches!(*datagram, [0x80..=0xbf, kind, ..] if !(192..=223).contains(&kind))
}

/// The datagrams with their last byte changed, which is one of the signature's (RFC 3711 §3.1).
fn forged(datagrams: &[u8], stride: usize) -> Vec<u8> {
    let mut out = datagrams.to_vec();
    for datagram in out.chunks_mut(stride.max(1)) {
        if let Some(last) = datagram.last_mut() {
            *last ^= 0x55;
        }
    }
    out
}

/// Tokio, with watched sockets.
pub(crate) struct Watched {
    pub(crate) tricks: Arc<Tricks>,
    pub(crate) sent: Arc<Stamps>,
    pub(crate) received: Arc<Stamps>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watched")
    }
}

impl Runtime for Watched {
    fn spawn(&self, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Box<dyn JoinHandle> {
        TokioRuntime.spawn(future)
    }

    fn wrap_udp_socket(&self, socket: std::net::UdpSocket) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        Ok(Arc::new(Socket {
            inner: TokioRuntime.wrap_udp_socket(socket)?,
            tricks: Arc::clone(&self.tricks),
            sent: Arc::clone(&self.sent),
            received: Arc::clone(&self.received),
        }))
    }

    fn wrap_tcp_listener(
        &self,
        listener: std::net::TcpListener,
    ) -> io::Result<Arc<dyn AsyncTcpListener>> {
        TokioRuntime.wrap_tcp_listener(listener)
    }

    fn connect_tcp<'a>(
        &'a self,
        remote: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<Arc<dyn AsyncTcpStream>>> + Send + 'a>> {
        TokioRuntime.connect_tcp(remote)
    }

    fn resolve_host<'a>(
        &'a self,
        host: &'a str,
    ) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>> {
        TokioRuntime.resolve_host(host)
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'static>> {
        TokioRuntime.sleep(duration)
    }

    fn interval(&self, period: Duration) -> Box<dyn AsyncInterval> {
        TokioRuntime.interval(period)
    }

    fn block_on(&self, future: Pin<Box<dyn Future<Output = ()> + '_>>) {
        TokioRuntime.block_on(future);
    }
}

struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    tricks: Arc<Tricks>,
    sent: Arc<Stamps>,
    received: Arc<Stamps>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl Socket {
    /// Sends a packet once more, and then the one that was held back before it.
    fn shuffle(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) {
        let held = self.tricks.held();
        for contents in [Some(transmit.contents), held.as_deref()]
            .into_iter()
            .flatten()
        {
            let more = Transmit {
                destination: transmit.destination,
                ecn: None,
                contents,
                segment_size: None,
                src_ip: transmit.src_ip,
            };
            // What the socket does not take now is lost, and asked for.
            drop(self.inner.poll_send(cx, &more));
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_gso_segments(&self) -> usize {
        self.inner.max_gso_segments()
    }

    fn max_gro_segments(&self) -> usize {
        self.inner.max_gro_segments()
    }

    fn poll_send(&self, cx: &mut Context<'_>, transmit: &Transmit<'_>) -> Poll<io::Result<usize>> {
        if self.tricks.mute.load(Relaxed) {
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        let stride = transmit.segment_size.unwrap_or(transmit.contents.len());
        let is_rtp = matches!(transmit.contents.first(), Some(0x80..=0xbf));
        if is_rtp && self.tricks.forges.load(Relaxed) {
            let contents = forged(transmit.contents, stride);
            let copy = Transmit {
                destination: transmit.destination,
                ecn: transmit.ecn,
                contents: &contents,
                segment_size: transmit.segment_size,
                src_ip: transmit.src_ip,
            };
            // What the socket does not take now is not forged.
            drop(self.inner.poll_send(cx, &copy));
        }
        let shuffles = stride >= transmit.contents.len()
            && is_media(transmit.contents)
            && self.tricks.shuffles.load(Relaxed);
        if shuffles && self.tricks.holds(transmit.contents) {
            return Poll::Ready(Ok(transmit.contents.len()));
        }
        // Before the call: on loopback it returns when the receiver already has the packet.
        let now = Instant::now();
        let sent = self.inner.poll_send(cx, transmit);
        if let Poll::Ready(Ok(_)) = sent {
            self.sent.note(transmit.contents, stride, now);
        }
        if shuffles {
            self.shuffle(cx, transmit);
        }
        sent
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = received {
            let now = Instant::now();
            for (buf, meta) in bufs.iter_mut().zip(meta).take(count) {
                let datagrams = buf.get(..meta.len).unwrap_or_default();
                self.received.note(datagrams, meta.stride, now);
                for datagram in buf
                    .get_mut(..meta.len)
                    .unwrap_or_default()
                    .chunks_mut(meta.stride.max(1))
                {
                    if !self.tricks.takes(datagram) {
                        // What is neither STUN nor DTLS nor RTP is passed over (RFC 7983 §7).
                        datagram[0] = 0xff;
                    }
                }
            }
        }
        received
    }
}

/// The payload type of video in our offers.
pub(crate) const H264: u8 = 102;
/// The second byte of an RTP header: marker bit and payload type.
const LAST_OF_FRAME: u8 = 0x80 | H264;
