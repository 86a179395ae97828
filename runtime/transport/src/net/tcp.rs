//! Connections of peers whose network lets no UDP through (RFC 6544): we listen, they connect.

use std::{
    collections::HashMap,
    io::ErrorKind,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    mux::{DATAGRAM_MAX, Mux},
    stream::{Stream, read_frame, write},
    via::Via,
};

/// Takes connections for ever. Whoever has not sent a good check `within` this time is put out again.
pub(crate) async fn accept(
    mux: Arc<Mux>,
    listener: TcpListener,
    room: Arc<Room>,
    within: Duration,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        match accepted {
            Ok((socket, remote)) => match Room::enter(&room, remote.ip()) {
                Some(stranger) => {
                    connections.spawn(serve(Arc::clone(&mux), socket, remote, stranger, within));
                }
                None => {
                    mux.refused();
                    tracing::debug!(%remote, "too many connections wait for a check; one is closed");
                }
            },
            Err(error) => {
                // Out of descriptors, or the peer was gone already: the next accept may do better.
                tracing::warn!(%error, "a connection for media could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(
    mux: Arc<Mux>,
    mut socket: TcpStream,
    remote: SocketAddr,
    stranger: Stranger,
    within: Duration,
) {
    // What waits in the kernel comes late; what waits with us is dropped when it is too much.
    let handle = SockRef::from(&socket);
    let set = handle
        .set_tcp_nodelay(true)
        .and_then(|()| handle.set_tcp_notsent_lowat(UNSENT_MAX));
    if let Err(error) = set {
        tracing::debug!(%error, "a connection keeps its buffers");
    }
    let (stream, queued) = Stream::new(mux.number(), remote);
    let via = Via::Tcp(Arc::clone(&stream));
    let (reader, mut writer) = socket.split();
    let reading = async {
        let mut reader = BufReader::with_capacity(READ_BUFFER, reader);
        let mut buffer = vec![0; DATAGRAM_MAX];
        // A connection becomes a peer's with its first frame, a check signed for a session, or it is nobody's.
        let first = tokio::time::timeout(within, read_frame(&mut reader, &mut buffer));
        let first = first.await.unwrap_or(Err(ErrorKind::TimedOut.into()));
        let is_peer = first.is_ok_and(|len| {
            let frame = buffer.get(..len).unwrap_or_default();
            mux.dispatch(&via, frame)
        });
        if !is_peer {
            mux.refused();
            return;
        }
        drop(stranger);
        while let Ok(len) = read_frame(&mut reader, &mut buffer).await {
            mux.dispatch(&via, buffer.get(..len).unwrap_or_default());
        }
    };
    let closing = async {
        stream.closed().await;
        tokio::time::sleep(GOODBYE_MAX).await;
    };
    tokio::select! {
        () = reading => {}
        _ = write(&stream, &mut writer, queued) => {}
        () = closing => {}
    }
    mux.lost(&via);
}

/// Room for connections that nobody vouches for yet: so many in all, and so many from one network.
#[derive(Default)]
pub(crate) struct Room(Mutex<HashMap<IpAddr, usize>>);

/// A place in the room, given back when it is dropped.
struct Stranger {
    room: Arc<Room>,
    network: IpAddr,
}

impl Room {
    fn enter(room: &Arc<Self>, address: IpAddr) -> Option<Stranger> {
        let network = network(address);
        let mut waiting = room.lock();
        let here = waiting.get(&network).copied().unwrap_or_default();
        if here >= STRANGERS_OF_ONE_MAX || waiting.values().sum::<usize>() >= STRANGERS_MAX {
            return None;
        }
        waiting.insert(network, here + 1);
        Some(Stranger {
            room: Arc::clone(room),
            network,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut waiting = self.room.lock();
        match waiting.get_mut(&self.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                waiting.remove(&self.network);
            }
        }
    }
}

/// An IPv4 address, or the /64 that one subscriber has at least (RFC 6177).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// A viewer opens one connection for each of our addresses at most; a school has many viewers behind one address.
const STRANGERS_OF_ONE_MAX: usize = 64;
const STRANGERS_MAX: usize = 1024;
/// Some packets: a frame is 2 kB at most.
const READ_BUFFER: usize = 8 << 10;
/// What the kernel may hold unsent, in bytes: 100 ms at 2.5 Mbit/s.
const UNSENT_MAX: u32 = 32 << 10;
/// How long the last words may take.
const GOODBYE_MAX: Duration = Duration::from_millis(500);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_network_cannot_take_the_room_of_others() {
        let room = Arc::<Room>::default();
        let enter = |text: &str| Room::enter(&room, text.parse().unwrap());
        let mut inside: Vec<Stranger> = (0..STRANGERS_OF_ONE_MAX)
            .map(|at| enter(&format!("2001:db8::{at:x}")).unwrap())
            .collect();
        assert!(enter("2001:db8::ffff").is_none());
        assert!(enter("2001:db8:0:1::1").is_some() && enter("192.0.2.1").is_some());
        inside.pop();
        assert!(enter("2001:db8::ffff").is_some());
        let many: Vec<Stranger> = (0..=255)
            .flat_map(|at| (0..4).map_while(move |_| Some(at)))
            .filter_map(|at| enter(&format!("192.0.2.{at}")))
            .collect();
        assert_eq!(many.len(), STRANGERS_MAX - inside.len());
        drop((many, inside));
        assert!(room.lock().is_empty());
    }
}
