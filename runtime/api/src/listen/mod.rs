//! Our own accept loop: `axum::serve` 0.8 has no header timeout, so a half-sent request would hold its connection for
//! ever.
//!
//! What a connection can hold is bounded at each stage: how many there are, altogether and from one address, how long a
//! PROXY header, a TLS handshake, a request's head and body may take, how slowly a response may be read, how many
//! streams may be begun and given up, and how long nothing at all may happen.

mod activity;
mod body;
mod connection;
mod paced;
mod penalty;
mod proxy;
mod tally;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};

use crate::{Trusted, tls::Tls};

pub(crate) use body::{is_too_slow, paced_bodies};
use connection::Terms;
use penalty::Penalties;
pub(crate) use tally::{Counted, Tally};

/// A bound HTTP listener.
pub struct Listener {
    tcp: TcpListener,
    rules: Rules,
}

/// What connections have to keep.
#[derive(Clone, Default)]
pub struct Rules {
    /// Most connections at a time; further ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Most from one address; further ones are closed at once. 0 is no limit.
    pub per_address_max: usize,
    /// Proxies, which have as many connections as they need.
    pub proxies: Trusted,
    /// Whether those begin each connection with a PROXY header.
    pub proxy_protocol: bool,
    /// TLS, if the port speaks it.
    pub tls: Option<Tls>,
    /// How long things may take.
    pub timeouts: Timeouts,
}

/// How long things may take on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// A PROXY header and a TLS handshake, each.
    pub handshake: Duration,
    /// The head of a request, from its first byte or, for the first one, from the connection's begin.
    pub header: Duration,
    /// The body of a request, besides the time it takes at 16 KiB/s.
    pub body: Duration,
    /// A response of which hardly anything is read.
    pub write: Duration,
    /// A connection on which nothing is asked for.
    pub idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            header: Duration::from_secs(15),
            body: Duration::from_secs(20),
            write: Duration::from_secs(20),
            idle: Duration::from_secs(60),
        }
    }
}

impl Listener {
    /// Binds the address. An error names it.
    pub async fn bind(address: SocketAddr, rules: Rules) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await.map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("cannot listen for HTTP on {address}: {error}"),
            )
        })?;
        Ok(Self { tcp, rules })
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// The proxies it trusts, which can be others later.
    pub fn proxies(&self) -> Trusted {
        self.rules.proxies.clone()
    }

    /// Serves until `stop` is done, then lets running requests finish for a few seconds.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) {
        let room = Arc::new(Semaphore::new(self.rules.connections_max));
        let graceful = GracefulShutdown::new();
        let terms = Arc::new(Terms {
            tally: Tally::new(self.rules.per_address_max),
            penalties: Penalties::new(),
            rules: self.rules,
            router,
        });
        let mut connections = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        loop {
            // A place first, so that what is beyond the limit waits in the kernel's bounded backlog.
            let place = tokio::select! {
                place = Arc::clone(&room).acquire_owned() => place,
                () = &mut stop => break,
            };
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = &mut stop => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (terms, watcher) = (Arc::clone(&terms), graceful.watcher());
                    connections.spawn(connection::run(stream, peer, place.ok(), terms, watcher));
                }
                Err(error) => {
                    // Out of descriptors, or the client was gone already: the next accept may do better.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.tcp);
        if tokio::time::timeout(GRACE, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::info!("some connections did not finish in time and are cut");
        }
        connections.shutdown().await;
    }
}

/// How long running requests may still take when the server stops.
const GRACE: Duration = Duration::from_secs(5);
/// After a failed accept, so that running out of descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
