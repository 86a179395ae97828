//! The transport: where peers are accepted.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::Duration,
};

use lockgate_broadcast::Broadcast;
use lockgate_dtls::Identity;
use lockgate_ports::{
    Accepted, Attending, BoxFuture, Conference, Invitation, SignalError, Signaller, Speaking,
    ViewerFeed,
    task::{Task, own},
};

use crate::{
    accept::Core,
    config::{BindError, Config},
    connection::internal,
    net::{Bound, Counters, Keeper, Mux, Room, Udp, accept},
    viewer::Shards,
};

/// WebRTC for everyone, over one port.
///
/// Dropping it closes the port and ends all peers.
pub struct Transport {
    core: Arc<Core>,
    udp: Vec<SocketAddr>,
    tcp: Vec<SocketAddr>,
    _tasks: Vec<Task>,
}

impl Transport {
    /// Binds the sockets and starts to receive.
    pub async fn bind(config: Config) -> Result<Arc<Self>, BindError> {
        let Bound {
            udp,
            tcp: listeners,
        } = Bound::new(&config)?;
        let mux = Mux::new(udp)?;
        let udp: Vec<SocketAddr> = mux.sockets().iter().map(Udp::local_addr).collect();
        let mut tasks: Vec<Task> = (0..udp.len())
            .map(|socket| {
                let receiver = Arc::clone(&mux);
                own(async move { receiver.receive(socket).await })
            })
            .collect();
        let shaking = Arc::clone(&mux);
        tasks.push(own(async move { shaking.shake().await }));
        let room = Arc::<Room>::default();
        let within = config.connect_max.min(STRANGER_MAX);
        let mut tcp = Vec::with_capacity(listeners.len());
        for (address, listener) in listeners {
            tcp.push(address);
            let (mux, room) = (Arc::clone(&mux), Arc::clone(&room));
            tasks.push(own(accept(mux, listener, room, within)));
        }
        tracing::info!(?udp, ?tcp, "WebRTC listens");
        let keeper = Keeper::start(Arc::clone(&mux), tcp.clone(), config.clone()).await;
        let announced = keeper.announced();
        let identity =
            Identity::new("lockgate").map_err(|error| BindError::Crypto(error.to_string()))?;
        tasks.push(own(keeper.run()));
        Ok(Arc::new(Self {
            core: Arc::new(Core {
                mux,
                announced,
                peers_max: config.peers_max,
                connect_max: config.connect_max,
                silence_max: config.silence_max,
                identity,
                shards: Shards::start(),
                peers: Mutex::default(),
            }),
            udp,
            tcp,
            _tasks: tasks,
        }))
    }

    /// The first UDP address that is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.udp.first().copied().unwrap_or(NOWHERE)
    }

    /// The UDP addresses that are bound.
    pub fn udp_addresses(&self) -> &[SocketAddr] {
        &self.udp
    }

    /// The TCP addresses that are bound.
    pub fn tcp_addresses(&self) -> &[SocketAddr] {
        &self.tcp
    }

    /// How many peers there are, connecting ones included.
    pub fn peers(&self) -> usize {
        self.core.mux.occupancy().0
    }

    /// How many ways to peers are known: addresses they were seen at, and their connections.
    pub fn remote_addresses(&self) -> usize {
        self.core.mux.occupancy().1
    }

    /// What happened at the sockets.
    pub fn counters(&self) -> Counters {
        self.core.mux.counters()
    }
}

impl Signaller for Transport {
    fn publish(
        &self,
        offer: String,
        broadcast: Broadcast,
    ) -> BoxFuture<'_, Result<Accepted, SignalError>> {
        let core = Arc::clone(&self.core);
        guarded(async move { core.publish(&offer, broadcast).await })
    }

    fn subscribe(
        &self,
        offer: String,
        feed: ViewerFeed,
    ) -> BoxFuture<'_, Result<Accepted, SignalError>> {
        let core = Arc::clone(&self.core);
        guarded(async move { core.subscribe(&offer, feed).await })
    }
}

impl Conference for Transport {
    fn speak(
        &self,
        offer: String,
        broadcast: Broadcast,
    ) -> BoxFuture<'_, Result<Speaking, SignalError>> {
        let core = Arc::clone(&self.core);
        guarded(async move { core.speak(&offer, broadcast).await })
    }

    fn attend(&self, offer: String) -> BoxFuture<'_, Result<Attending, SignalError>> {
        let core = Arc::clone(&self.core);
        guarded(async move { core.attend(&offer).await })
    }

    fn invite(&self, video: usize, audio: usize) -> Result<Invitation, SignalError> {
        let (offer, invited) = self.core.invite(video, audio)?;
        Ok(Invitation {
            offer,
            answered: Box::new(move |answer| {
                guarded(async move { invited.answered(&answer).await })
            }),
        })
    }
}

/// In a task of its own: should the library panic over an offer, that offer is refused and nothing else happens.
fn guarded<'a, T, F>(accept: F) -> BoxFuture<'a, Result<T, SignalError>>
where
    T: Send + 'static,
    F: Future<Output = Result<T, SignalError>> + Send + 'static,
{
    Box::pin(async move {
        own(accept)
            .await
            .unwrap_or_else(|error| Err(internal(format!("accepting the offer: {error}"))))
    })
}

/// What is said of a socket that is not there.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// How long a connection may take to its first check.
const STRANGER_MAX: Duration = Duration::from_secs(10);
