//! The port: one task for each publisher.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use lockgate_ports::{
    Admitted, Gate, Wish,
    ingest::{LineState, Via},
    task::{Task, own},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

use crate::{Connection, Event};

/// What the operator chose.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Address and TCP port.
    pub listen: SocketAddr,
    /// Most publishers at a time; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// How long a publisher may be silent before it is taken to be gone.
    pub silence_max: Duration,
}

/// A bound port.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    config: Config,
}

impl Listener {
    /// Binds the port.
    pub async fn bind(config: Config) -> io::Result<Self> {
        let listener = TcpListener::bind(config.listen).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("TCP {} for RTMP: {error}", config.listen),
            )
        })?;
        Ok(Self { listener, config })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Takes publishers in through the gate until the task is dropped, which ends all connections.
    pub fn serve(self, gate: Arc<dyn Gate>) -> Task {
        own(accept(self.listener, self.config, gate))
    }
}

async fn accept(listener: TcpListener, config: Config, gate: Arc<dyn Gate>) {
    let room = Arc::new(Semaphore::new(config.connections_max));
    let mut tasks = JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let accepted = loop {
            tokio::select! {
                accepted = listener.accept() => break accepted,
                Some(_) = tasks.join_next() => {}
            }
        };
        match accepted {
            Ok((socket, peer)) => {
                if !gate.knock(peer.ip()) {
                    tracing::debug!(%peer, "an RTMP connection is one too many of its address");
                    continue;
                }
                let gate = Arc::clone(&gate);
                tasks.spawn(async move {
                    let why = serve(socket, peer, config.silence_max, gate.as_ref()).await;
                    tracing::debug!(%peer, why, "an RTMP connection is over");
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others have to go first.
                tracing::warn!(%error, "an RTMP connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves one connection to its end, and says why it ended.
async fn serve(
    mut socket: TcpStream,
    peer: SocketAddr,
    silence_max: Duration,
    gate: &dyn Gate,
) -> &'static str {
    // Commands are short and waited for.
    socket.set_nodelay(true).ok();
    let mut connection = Connection::new(random());
    let mut admitted: Option<Admitted> = None;
    let mut buffer = vec![0; READ_LEN];
    let publish_by = Instant::now() + PUBLISH_WITHIN;
    loop {
        let by = match &admitted {
            Some(_) => Instant::now() + silence_max,
            None => publish_by,
        };
        let read = tokio::select! {
            read = timeout_at(by, socket.read(&mut buffer)) => read,
            () = closed(admitted.as_ref()) => {
                connection.end();
                send(&mut socket, &mut connection).await;
                return "the server ended the publication";
            }
        };
        let len = match read {
            Err(_) => return "the peer is silent",
            Ok(Ok(0)) => return "the peer closed it",
            Ok(Err(_)) => return "the peer is gone",
            Ok(Ok(len)) => len,
        };
        if let Err(fault) = connection.push(buffer.get(..len).unwrap_or_default()) {
            tracing::debug!(%peer, %fault, "an RTMP connection cannot go on");
            return "it is not RTMP";
        }
        loop {
            match connection.poll() {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if let Some(why) = take(event, &mut connection, &mut admitted, peer, gate).await
                    {
                        send(&mut socket, &mut connection).await;
                        return why;
                    }
                }
                Err(fault) => {
                    tracing::warn!(%peer, %fault, "an RTMP connection cannot go on");
                    return "it is not RTMP";
                }
            }
        }
        if !send(&mut socket, &mut connection).await {
            return "the peer does not read";
        }
    }
}

/// Does what the peer wants; why the connection is over, if it is.
async fn take(
    event: Event,
    connection: &mut Connection,
    admitted: &mut Option<Admitted>,
    peer: SocketAddr,
    gate: &dyn Gate,
) -> Option<&'static str> {
    match event {
        Event::Publish { name, credentials } => {
            let wish = Wish {
                name,
                credentials,
                peer: peer.ip().to_canonical(),
                via: Via::Rtmp,
            };
            match gate.enter(wish.clone()).await {
                Ok(new) => {
                    *admitted = Some(new);
                    connection.accept();
                    None
                }
                Err(refusal) => {
                    tracing::info!(%peer, name = ?wish.name, status = refusal.status, "an RTMP publisher was refused: {refusal}");
                    connection.refuse(refusal.status, &refusal.detail);
                    Some("the publisher was refused")
                }
            }
        }
        Event::Media(pieces) => {
            let admitted = admitted.as_ref()?;
            for piece in pieces {
                let len = match &piece {
                    lockgate_ports::Piece::Head(_, bytes)
                    | lockgate_ports::Piece::Media { bytes, .. } => bytes.len(),
                };
                admitted.line.came(len);
                tokio::select! {
                    sent = admitted.pieces.send(piece) => if sent.is_err() {
                        return Some("nobody wants its media any more");
                    },
                    () = closed(Some(admitted)) => return Some("the server ended the publication"),
                }
            }
            None
        }
        Event::Done => {
            if let Some(admitted) = admitted.as_ref() {
                admitted.line.end(LineState::Done);
            }
            Some("the publisher said goodbye")
        }
        Event::Unusable(text) => {
            tracing::warn!(%peer, "an RTMP publisher was closed: {text}");
            // It would come back with the same.
            if let Some(admitted) = admitted.as_ref() {
                admitted.line.end(LineState::Done);
            }
            Some("its media cannot be used")
        }
    }
}

/// Waits until the core does not want the publisher any more.
async fn closed(admitted: Option<&Admitted>) {
    match admitted {
        Some(admitted) => {
            let mut state = admitted.line.state();
            // The sender lives as long as the line.
            state.wait_for(|state| *state != LineState::Open).await.ok();
        }
        None => std::future::pending().await,
    }
}

/// Sends what there is to send. False if the peer does not take it.
async fn send(socket: &mut TcpStream, connection: &mut Connection) -> bool {
    let output = connection.output();
    output.is_empty()
        || matches!(
            timeout(WRITE_WITHIN, socket.write_all(&output)).await,
            Ok(Ok(()))
        )
}

fn random() -> [u8; 1528] {
    let mut bytes = [0; 1528];
    rand::Rng::fill(&mut rand::rng(), &mut bytes[..]);
    bytes
}

/// From the first byte to `publish`.
const PUBLISH_WITHIN: Duration = Duration::from_secs(15);
/// A peer that does not take an answer for so long is closed.
const WRITE_WITHIN: Duration = Duration::from_secs(10);
const READ_LEN: usize = 64 << 10;
