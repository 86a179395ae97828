//! The transport: where peers are accepted.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lockgate_broadcast::Broadcast;
use lockgate_media::VideoCodec;
use lockgate_ports::{
    Accepted, BoxFuture, SignalError, Signaller, ViewerFeed,
    task::{Task, own},
};
use tokio::task::JoinSet;

use crate::{
    config::{BindError, Config},
    connection::{Connection, internal},
    egress::{Contract, Leg, Stream, Terms},
    ingest::{self, Ingest},
    net::{Announced, Bound, Counters, Keeper, Mux, Room, Slot, Udp, accept},
    peer::{Door, Session, Shared, random, random_credentials},
    sdp::{Answer, Offer, Ours, Purpose, Section, agree, finished},
    viewer::{Arrival, Dtls, Identity, Shards},
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

struct Core {
    mux: Arc<Mux>,
    announced: Arc<Announced>,
    peers_max: usize,
    connect_max: Duration,
    silence_max: Duration,
    /// Who we are to viewers.
    identity: Identity,
    /// Where viewers live.
    shards: Shards,
    /// The tasks of the publishers; those of a transport that is gone end.
    peers: Mutex<JoinSet<()>>,
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
        let identity = Identity::new().map_err(|error| BindError::Crypto(error.to_string()))?;
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

/// In a task of its own: should the library panic over an offer, that offer is refused and nothing else happens.
fn guarded<'a, F>(accept: F) -> BoxFuture<'a, Result<Accepted, SignalError>>
where
    F: Future<Output = Result<Accepted, SignalError>> + Send + 'static,
{
    Box::pin(async move {
        own(accept)
            .await
            .unwrap_or_else(|error| Err(internal(format!("accepting the offer: {error}"))))
    })
}

impl Core {
    async fn publish(&self, sdp: &str, broadcast: Broadcast) -> Result<Accepted, SignalError> {
        let mut offer = Offer::check(sdp, Purpose::Publish)?;
        // The library does not know whose retransmissions (RFC 4588) come in a stream that is told by `rrid` alone
        // (RFC 8852 §3.2), as that of a simulcast publisher. Without it packets are sent again where they were missed.
        if !offer.names_rtx {
            for codec in &mut offer.video {
                codec.rtx = None;
            }
        }
        // An answer says what we like to be sent (RFC 7587 §7): audio that can be mended from the packet after it.
        if let Some(audio) = &mut offer.audio
            && !audio.fmtp.contains("useinbandfec")
        {
            let between = if audio.fmtp.is_empty() { "" } else { ";" };
            audio.fmtp.push_str(between);
            audio.fmtp.push_str("useinbandfec=1");
        }
        let (connection, mut events) = self.open(&offer).await?;
        let answer = connection.negotiate(sdp, &mut events).await?;
        let answer = self.finish(sdp, &offer, &answer);
        let shared = self.share(&offer, &answer, connection.slot());
        let ingest = Ingest {
            broadcast,
            video: offer
                .video
                .iter()
                .map(|codec| (codec.payload_type, codec.codec))
                .collect(),
            audio: offer.audio.as_ref().map(|audio| audio.payload_type),
            tracks: events.tracks,
            feedback: events.feedback,
            stats: Arc::clone(&shared.ingest),
        };
        let work = move || ingest::run(ingest);
        let peer = Session::start(&mut self.tasks(), shared, connection, events.states, work);
        Ok(Accepted {
            answer,
            video_codecs: kinds(&offer),
            video_section: offer.video_section,
            peer,
        })
    }

    async fn subscribe(&self, sdp: &str, feed: ViewerFeed) -> Result<Accepted, SignalError> {
        let offer = Offer::check(sdp, Purpose::View)?;
        if self.mux.occupancy().0 >= self.peers_max {
            return Err(SignalError::Full);
        }
        let ours = random_credentials();
        let cname = random(CNAME_LEN);
        let rtx = offer.video.first().and_then(|first| first.rtx);
        let rtx = rtx.map(|_| rand::random());
        let [video, audio] = rand::random();
        let agreed = agree(
            sdp,
            &offer,
            &Ours {
                ice: &ours,
                fingerprint: self.identity.fingerprint(),
                candidates: &self.announced.candidates(),
                cname: &cname,
                video,
                rtx,
                audio,
            },
        )?;
        let dtls = Dtls::new(
            &self.identity,
            agreed.fingerprints,
            !offer.peer_is_dtls_client,
        );
        let dtls = dtls.map_err(internal)?;
        let registration = self.mux.register(ours, offer.ice.clone());
        let shared = self.share(&offer, &agreed.answer, Arc::clone(&registration.slot));
        let base = rand::random();
        let [number, audio_number] = agreed.numbers;
        let video = offer.video.first().map(|_| Leg {
            stream: Stream::new(video, 90_000, base, rand::random()),
            terms: Terms {
                ssrc: video,
                number,
                playout: agreed.playout,
                rtx,
            },
        });
        let audio = offer.audio.as_ref().map(|_| Leg {
            stream: Stream::new(audio, 48_000, base, rand::random()),
            terms: Terms {
                ssrc: audio,
                number: audio_number,
                ..Terms::default()
            },
        });
        let contract = Contract {
            video,
            video_codecs: offer
                .video
                .iter()
                .map(|codec| (codec.codec, codec.payload_type))
                .collect(),
            rtx_types: offer
                .video
                .iter()
                .filter_map(|codec| Some((codec.payload_type, codec.rtx?)))
                .collect(),
            audio,
            audio_type: offer.audio.as_ref().map_or(0, |audio| audio.payload_type),
            audio_red: offer.red.as_ref().map(|red| red.payload_type),
            cname,
        };
        let (peer, stopped) = Session::of(Arc::clone(&shared));
        let arrival = Arrival {
            shared,
            registration,
            dtls,
            feed,
            contract,
            stopped,
        };
        if !self.shards.take(arrival).await {
            return Err(internal("no shard takes viewers any more"));
        }
        Ok(Accepted {
            answer: agreed.answer,
            video_codecs: kinds(&offer),
            video_section: offer.video_section,
            peer,
        })
    }

    async fn open(
        &self,
        offer: &Offer,
    ) -> Result<(Connection, crate::connection::Events), SignalError> {
        if self.mux.occupancy().0 >= self.peers_max {
            return Err(SignalError::Full);
        }
        let ours = random_credentials();
        Connection::open(&self.mux, ours, offer).await
    }

    /// What the peer's handle shares with whatever carries its stay.
    fn share(&self, offer: &Offer, answer: &str, slot: Arc<Slot>) -> Arc<Shared> {
        let door = Door {
            mux: Arc::clone(&self.mux),
            slot,
            announced: Arc::clone(&self.announced),
            section: Section::of(answer),
        };
        Shared::new(
            offer.ice.clone(),
            door,
            (self.connect_max, self.silence_max),
        )
    }

    /// The tasks of the peers, without those that ended.
    fn tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        // A set of tasks cannot be left half changed.
        let mut tasks = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(ended) = tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "the task of a peer failed; only that peer is closed");
            }
        }
        tasks
    }

    fn finish(&self, offered: &str, offer: &Offer, answer: &str) -> String {
        let video: Vec<u8> = offer.video.iter().map(|codec| codec.payload_type).collect();
        finished(&Answer {
            sdp: answer,
            candidates: &self.announced.candidates(),
            video: &video,
            reduced_size: offered.contains("a=rtcp-rsize"),
        })
    }
}

fn kinds(offer: &Offer) -> Vec<VideoCodec> {
    let mut kinds: Vec<VideoCodec> = offer.video.iter().map(|codec| codec.codec).collect();
    kinds.dedup();
    kinds
}

/// What is said of a socket that is not there.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// How long a connection may take to its first check.
const STRANGER_MAX: Duration = Duration::from_secs(10);
/// So long that a description of the source (RFC 3550 §6.5) ends without padding: the library writes the number of padded
/// octets into the last of them, where zeros belong, and readers that look refuse the whole report.
const CNAME_LEN: usize = 17;
