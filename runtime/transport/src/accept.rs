//! Offers that become peers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lockgate_broadcast::Broadcast;
use lockgate_media::VideoCodec;
use lockgate_ports::{Accepted, Attending, SignalError, Speaking, ViewerFeed};
use tokio::{sync::watch, task::JoinSet};

use crate::{
    connection::{Connection, Events, internal},
    egress::{Coding, Contract, Draft, Listeners, Stream, Terms, VideoType},
    ingest::{self, Ingest, Level},
    net::{Announced, Mux, Slot},
    peer::{Door, Session, Shared, random, random_credentials},
    sdp::{Agreed, Answer, Media, Offer, Ours, Purpose, Section, Source, agree, finished},
    talk::{self, Channels},
    viewer::{Arrival, Dtls, Identity, Places, Shards, Shown},
};

/// What takes peers in.
pub(crate) struct Core {
    pub(crate) mux: Arc<Mux>,
    pub(crate) announced: Arc<Announced>,
    pub(crate) peers_max: usize,
    pub(crate) connect_max: Duration,
    pub(crate) silence_max: Duration,
    /// Who we are to viewers.
    pub(crate) identity: Identity,
    /// Where viewers live.
    pub(crate) shards: Shards,
    /// The tasks of the publishers; those of a transport that is gone end.
    pub(crate) peers: Mutex<JoinSet<()>>,
}

impl Core {
    pub(crate) async fn publish(
        &self,
        sdp: &str,
        broadcast: Broadcast,
    ) -> Result<Accepted, SignalError> {
        let offer = Offer::check(sdp, Purpose::Publish)?;
        let work = |ingest, _| ingest::run(ingest);
        self.take(sdp, offer, broadcast, None, work).await
    }

    pub(crate) async fn speak(
        &self,
        sdp: &str,
        broadcast: Broadcast,
    ) -> Result<Speaking, SignalError> {
        let offer = Offer::check(sdp, Purpose::Speak)?;
        let (told, level) = watch::channel(None);
        let (hearing, saying, talk) = talk::ends();
        let work = |ingest, channels| async {
            tokio::join!(ingest::run(ingest), talk::run(channels, talk));
        };
        let level_of = Level::new(offer.level, told);
        let accepted = self
            .take(sdp, offer, broadcast, Some(level_of), work)
            .await?;
        Ok(Speaking {
            accepted,
            level,
            heard: hearing,
            say: saying,
        })
    }

    /// Takes in somebody who sends: a connection of the library, whose `work` runs while it lasts.
    async fn take<W, F>(
        &self,
        sdp: &str,
        mut offer: Offer,
        broadcast: Broadcast,
        level: Option<Level>,
        work: W,
    ) -> Result<Accepted, SignalError>
    where
        W: FnOnce(Ingest, Channels) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        wish(&mut offer);
        let (connection, mut events) = self.open(&offer).await?;
        let answer = connection.negotiate(sdp, &mut events).await?;
        let answer = self.finish(sdp, &offer, &answer);
        let shared = self.share(&offer, &answer, connection.slot());
        let ingest = Ingest {
            broadcast,
            video: offer
                .video()
                .iter()
                .map(|codec| (codec.payload_type, codec.codec))
                .collect(),
            audio: offer.audio().map(|audio| audio.payload_type),
            tracks: events.tracks,
            feedback: events.feedback,
            stats: Arc::clone(&shared.ingest),
            level,
        };
        let channels = events.channels;
        let work = move || work(ingest, channels);
        let peer = Session::start(&mut self.tasks(), shared, connection, events.states, work);
        Ok(Accepted {
            answer,
            video_codecs: kinds(&offer),
            video_section: offer.video_section(),
            peer,
        })
    }

    pub(crate) async fn subscribe(
        &self,
        sdp: &str,
        feed: ViewerFeed,
    ) -> Result<Accepted, SignalError> {
        let offer = Offer::check(sdp, Purpose::View)?;
        let cname = random(CNAME_LEN);
        // Sound and picture of one broadcast, in sync.
        let sources: Vec<Source> = offer
            .sections
            .iter()
            .map(|section| {
                source(
                    &section.media,
                    cname.clone(),
                    kind(&section.media).to_owned(),
                )
            })
            .collect();
        let shown = Shown::Broadcast(feed);
        self.view(sdp, &offer, &cname, &sources, shown).await
    }

    pub(crate) async fn attend(&self, sdp: &str) -> Result<Attending, SignalError> {
        let offer = Offer::check(sdp, Purpose::Attend)?;
        let named = offer.sections.iter().map(|section| {
            let mid = section.mid.clone().unwrap_or_default();
            (mid, section.is_video())
        });
        let sources: Vec<Source> = named
            .clone()
            .zip(&offer.sections)
            .map(|((mid, _), section)| {
                let track = format!("{}-{mid}", kind(&section.media));
                source(&section.media, format!("place-{mid}"), track)
            })
            .collect();
        let places = Places::new(named);
        let list = places.list().to_vec();
        let shown = Shown::Places(places);
        let cname = random(CNAME_LEN);
        let accepted = self.view(sdp, &offer, &cname, &sources, shown).await?;
        Ok(Attending {
            accepted,
            places: list.into_iter().map(|place| place as _).collect(),
        })
    }

    /// Takes in somebody who watches: a light peer of our own at a shard.
    async fn view(
        &self,
        sdp: &str,
        offer: &Offer,
        cname: &str,
        sources: &[Source],
        shown: Shown,
    ) -> Result<Accepted, SignalError> {
        if self.mux.occupancy().0 >= self.peers_max {
            return Err(SignalError::Full);
        }
        let ours = random_credentials();
        let agreed = agree(
            sdp,
            offer,
            &Ours {
                ice: &ours,
                fingerprint: self.identity.fingerprint(),
                candidates: &self.announced.candidates(),
                cname,
                sources,
            },
        )?;
        let fingerprints = agreed.fingerprints.clone();
        let dtls = Dtls::new(&self.identity, fingerprints, !offer.peer_is_dtls_client);
        let dtls = dtls.map_err(internal)?;
        let registration = self.mux.register(ours, offer.ice.clone());
        let shared = self.share(offer, &agreed.answer, Arc::clone(&registration.slot));
        let mut legs = drafts(offer, &agreed, sources);
        match &shown {
            Shown::Broadcast(_) => {
                for leg in legs.iter_mut().filter(|leg| leg.terms.coding.is_video()) {
                    leg.listeners.playing = Some(shared.playing.clone());
                }
            }
            Shown::Places(places) => {
                for (leg, place) in legs.iter_mut().zip(places.list()) {
                    leg.listeners = place.listeners();
                }
            }
        }
        let (peer, stopped) = Session::of(Arc::clone(&shared));
        let arrival = Arrival {
            shared,
            registration,
            dtls,
            shown,
            contract: Contract {
                legs,
                cname: cname.to_owned(),
            },
            stopped,
        };
        if !self.shards.take(arrival).await {
            return Err(internal("no shard takes viewers any more"));
        }
        Ok(Accepted {
            answer: agreed.answer,
            video_codecs: kinds(offer),
            video_section: offer.video_section(),
            peer,
        })
    }

    async fn open(&self, offer: &Offer) -> Result<(Connection, Events), SignalError> {
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
        let video: Vec<u8> = offer
            .video()
            .iter()
            .map(|codec| codec.payload_type)
            .collect();
        finished(&Answer {
            sdp: answer,
            candidates: &self.announced.candidates(),
            video: &video,
            reduced_size: offered.contains("a=rtcp-rsize"),
        })
    }
}

/// What we would like a publisher to do.
fn wish(offer: &mut Offer) {
    for section in &mut offer.sections {
        match &mut section.media {
            // The library does not know whose retransmissions (RFC 4588) come in a stream that is told by `rrid` alone
            // (RFC 8852 §3.2), as that of a simulcast publisher. Without it packets are sent again where they were
            // missed.
            Media::Video(codecs) if !offer.names_rtx => {
                for codec in codecs {
                    codec.rtx = None;
                }
            }
            Media::Video(_) => {}
            // An answer says what we like to be sent (RFC 7587 §7): audio that can be mended from the packet after it.
            Media::Audio { opus, .. } => {
                if !opus.fmtp.contains("useinbandfec") {
                    let between = if opus.fmtp.is_empty() { "" } else { ";" };
                    opus.fmtp.push_str(between);
                    opus.fmtp.push_str("useinbandfec=1");
                }
            }
        }
    }
}

/// What we send in a section: random numbers (RFC 3550 §8.1).
fn source(media: &Media, stream: String, track: String) -> Source {
    let rtx = match media {
        Media::Video(codecs) => codecs.first().and_then(|first| first.rtx),
        Media::Audio { .. } => None,
    };
    Source {
        ssrc: rand::random(),
        rtx: rtx.map(|_| rand::random()),
        stream,
        track,
    }
}

fn kind(media: &Media) -> &'static str {
    match media {
        Media::Video(_) => "video",
        Media::Audio { .. } => "audio",
    }
}

/// The streams of a viewer, which start at random numbers (RFC 3550 §5.1).
fn drafts(offer: &Offer, agreed: &Agreed, sources: &[Source]) -> Vec<Draft> {
    // Sections that offer the same share what was negotiated.
    let mut types: Vec<Arc<[VideoType]>> = Vec::new();
    let sections = offer.sections.iter().zip(sources).zip(&agreed.extensions);
    sections
        .map(|((section, source), extensions)| {
            let (coding, clock_hz) = match &section.media {
                Media::Video(codecs) => {
                    let own: Vec<VideoType> = codecs
                        .iter()
                        .map(|codec| VideoType {
                            codec: codec.codec,
                            payload_type: codec.payload_type,
                            rtx: codec.rtx,
                        })
                        .collect();
                    let known = types.iter().find(|known| ***known == *own).cloned();
                    let shared = known.unwrap_or_else(|| {
                        let own: Arc<[VideoType]> = own.into();
                        types.push(Arc::clone(&own));
                        own
                    });
                    (Coding::Video(shared), 90_000)
                }
                Media::Audio { opus, red } => {
                    let coding = Coding::Audio {
                        opus: opus.payload_type,
                        red: red.as_ref().map(|red| red.payload_type),
                    };
                    (coding, 48_000)
                }
            };
            Draft {
                stream: Stream::new(source.ssrc, clock_hz, rand::random(), rand::random()),
                terms: Terms {
                    ssrc: source.ssrc,
                    rtx: source.rtx,
                    number: extensions.transport_wide,
                    playout: extensions.playout,
                    coding,
                },
                listeners: Listeners::default(),
            }
        })
        .collect()
}

fn kinds(offer: &Offer) -> Vec<VideoCodec> {
    let mut kinds: Vec<VideoCodec> = offer.video().iter().map(|codec| codec.codec).collect();
    kinds.dedup();
    kinds
}

/// So long that a description of the source (RFC 3550 §6.5) ends without padding: the library writes the number of padded
/// octets into the last of them, where zeros belong, and readers that look refuse the whole report.
const CNAME_LEN: usize = 17;
