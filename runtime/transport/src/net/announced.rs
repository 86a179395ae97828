//! What peers are told now, looked up again from time to time.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rtc::shared::ifaces::ifaces;

use super::{
    addresses::{Candidate, Known, choose},
    mux::Mux,
    reflexive,
    socket::Udp,
};
use crate::config::Config;

/// The candidates of an answer. Sessions that are there keep those they were told.
pub(crate) struct Announced {
    current: Mutex<Arc<[Candidate]>>,
}

impl Announced {
    /// The candidates for a new session.
    pub(crate) fn candidates(&self) -> Arc<[Candidate]> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    fn set(&self, config: &Config, known: &Known) {
        let (candidates, wanting) = choose(config, known);
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if **current == *candidates {
            return;
        }
        let told: Vec<String> = candidates
            .iter()
            .map(|candidate| format!("{} {}", candidate.wire, candidate.address))
            .collect();
        tracing::info!(candidates = %told.join(", "), "what peers are told");
        if wanting {
            tracing::info!(
                "no public address is known, so peers are told private ones, which reach as far as this network; for \
                 the internet set webrtc.public_addresses or webrtc.stun_server"
            );
        }
        *current = candidates.into();
    }
}

/// The addresses that a server of this configuration tells its peers, best first, apart from what a STUN server says.
pub fn advertised(config: &Config) -> Vec<IpAddr> {
    let listen = |listen: &crate::config::Listen| listen.addresses().to_vec();
    let interfaces = ifaces().unwrap_or_default().into_iter();
    let known = Known {
        udp: listen(&config.udp_listen),
        tcp: listen(config.tcp_listen.as_ref().unwrap_or(&config.udp_listen)),
        interfaces: interfaces
            .filter_map(|interface| Some(interface.addr?.ip()))
            .collect(),
        ..Known::default()
    };
    let mut told: Vec<IpAddr> = Vec::new();
    for candidate in choose(config, &known).0 {
        if !told.contains(&candidate.address.ip()) {
            told.push(candidate.address.ip());
        }
    }
    told
}

/// What keeps [`Announced`] true.
pub(crate) struct Keeper {
    mux: Arc<Mux>,
    config: Config,
    known: Known,
    announced: Arc<Announced>,
    /// Whether the STUN server is known not to answer.
    silent: bool,
}

impl Keeper {
    /// Finds out what to tell. Waits a moment for the STUN server, if there is one.
    pub(crate) async fn start(mux: Arc<Mux>, tcp: Vec<SocketAddr>, config: Config) -> Self {
        let udp: Vec<SocketAddr> = mux.sockets().iter().map(Udp::local_addr).collect();
        let missing = |public: &&IpAddr| !udp.iter().any(|of| of.is_ipv4() == public.is_ipv4());
        for address in config.public_addresses.iter().filter(missing) {
            tracing::warn!(
                %address,
                "peers are not told this address of webrtc.public_addresses: webrtc.udp_listen has none of its family"
            );
        }
        let mut keeper = Self {
            mux,
            config,
            known: Known {
                udp,
                tcp,
                ..Known::default()
            },
            announced: Arc::new(Announced {
                current: Mutex::new(Arc::from([])),
            }),
            silent: false,
        };
        let asked = tokio::time::timeout(START_MAX, keeper.ask()).await;
        if asked.is_err() {
            keeper.missed();
        }
        keeper.tell();
        keeper
    }

    pub(crate) fn announced(&self) -> Arc<Announced> {
        Arc::clone(&self.announced)
    }

    /// Looks again, for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let every = self.config.stun_every;
            let pause = if self.silent { every.min(AGAIN) } else { every };
            tokio::time::sleep(pause).await;
            self.ask().await;
            self.tell();
        }
    }

    fn tell(&mut self) {
        match ifaces() {
            Ok(list) => {
                let addresses = list.into_iter().filter_map(|interface| interface.addr);
                self.known.interfaces = addresses.map(|address| address.ip()).collect();
            }
            Err(error) => tracing::warn!(%error, "the addresses of the interfaces are not known"),
        }
        self.announced.set(&self.config, &self.known);
    }

    /// Asks the STUN server from each socket. What it said last holds while it says nothing.
    async fn ask(&mut self) {
        let Some(server) = self.config.stun_server.clone() else {
            return;
        };
        let servers: Vec<SocketAddr> = match tokio::net::lookup_host(&server).await {
            Ok(found) => found.collect(),
            Err(error) => {
                tracing::debug!(%server, %error, "the name of the STUN server");
                Vec::new()
            }
        };
        let mut mapped = Vec::new();
        for (socket, of) in self.mux.sockets().iter().enumerate() {
            let local = of.local_addr();
            let same = |server: &&SocketAddr| server.is_ipv4() == local.is_ipv4();
            if let Some(server) = servers.iter().find(same)
                && let Some(seen) = reflexive::ask(&self.mux, socket, *server).await
            {
                if seen.port() != local.port() && !self.known.mapped.contains(&seen) {
                    tracing::warn!(
                        %local, %seen,
                        "a NAT before this server gives its UDP port another number; forward UDP port {} to it",
                        local.port()
                    );
                }
                mapped.push(seen);
            }
        }
        if mapped.is_empty() {
            self.missed();
        } else {
            self.silent = false;
            self.known.mapped = mapped;
        }
    }

    fn missed(&mut self) {
        if !std::mem::replace(&mut self.silent, true) {
            tracing::warn!(
                server = self.config.stun_server.as_deref().unwrap_or_default(),
                "webrtc.stun_server does not answer; it is asked again"
            );
        }
    }
}

/// How long a start waits for the STUN server.
const START_MAX: Duration = Duration::from_secs(2);
/// How often to ask a STUN server that does not answer.
const AGAIN: Duration = Duration::from_secs(5);
