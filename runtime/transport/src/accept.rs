//! Offers that become peers.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lockgate_broadcast::Broadcast;
use lockgate_dtls::{Association, Identity};
use lockgate_media::VideoCodec;
use lockgate_ports::{
    Accepted, Attending, Muted, Place, SignalError, Speaking, ViewerFeed, task::own,
};
use rtc::dtls::extension::extension_use_srtp::SrtpProtectionProfile;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use crate::{
    connection::{Connection, Events, internal},
    egress::{Coding, Contract, Draft, Listeners, Stream, Terms, VideoType},
    ingest::{self, Floor, Ingest, Level},
    net::{Announced, Credentials, Mux, Slot},
    peer::{Door, Session, Shared, random, random_credentials},
    sdp::{
        Answer, Media, Offer, OfferSection, Ours, PLACES_MAX, Purpose, Section, Source, agree,
        finished, invitation, invited, taken_up,
    },
    talk::{self, Channels},
    viewer::{Arrival, Ends, Places, Shards, Shown, Uplink},
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
        let purpose = Purpose::of_speaker(sdp);
        let offer = Offer::check(sdp, purpose)?;
        let (told, level) = watch::channel(None);
        let (mute, muted) = watch::channel(Muted::default());
        let floor = Floor {
            level: Level::new(offer.level(), told),
            muted,
        };
        if purpose == Purpose::Converse {
            let attending = self.converse(sdp, offer, broadcast, floor).await?;
            let (_, heard) = mpsc::channel(1); // it has no channel to be heard over
            return Ok(Speaking {
                accepted: attending.accepted.clone(),
                attending: Some(attending),
                level,
                mute,
                heard,
                say: mpsc::channel(1).0,
            });
        }
        let (hearing, saying, talk) = talk::ends();
        let work = |ingest, channels| async {
            tokio::join!(ingest::run(ingest), talk::run(channels, talk));
        };
        let accepted = self.take(sdp, offer, broadcast, Some(floor), work).await?;
        Ok(Speaking {
            accepted,
            attending: None,
            level,
            mute,
            heard: hearing,
            say: saying,
        })
    }

    /// Takes in somebody who sends and is shown others over one connection: a light peer of our own, with an ingest.
    async fn converse(
        &self,
        sdp: &str,
        mut offer: Offer,
        broadcast: Broadcast,
        floor: Floor,
    ) -> Result<Attending, SignalError> {
        wish_for_sound(&mut offer);
        let shown = offer.only(|section| section.receives);
        let sources = of_places(&shown);
        let (places, list) = places(&shown);
        let party = Party::new(shown, random(CNAME_LEN), sources, Shown::Places(places));
        let answer = self.answer(sdp, &offer, &party)?;
        let sends = Sends {
            offer: offer.only(|section| section.sends),
            broadcast,
            floor,
        };
        let accepted = self.view(party, Some(sends), answer).await?;
        Ok(Attending {
            accepted,
            places: list,
        })
    }

    /// Takes in somebody who sends: a connection of the library, whose `work` runs while it lasts.
    async fn take<W, F>(
        &self,
        sdp: &str,
        mut offer: Offer,
        broadcast: Broadcast,
        floor: Option<Floor>,
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
        let came = Ends {
            tracks: events.tracks,
            feedback: events.feedback,
        };
        let ingest = ingest_of(&offer, came, broadcast, &shared, floor);
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
        let source = |section: &OfferSection| {
            let track = kind(section).to_owned();
            source(section, cname.clone(), track)
        };
        let sources = offer.sections.iter().map(source).collect();
        let party = Party::new(offer, cname, sources, Shown::Broadcast(feed));
        let answer = self.answer(sdp, &party.offer, &party)?;
        self.view(party, None, answer).await
    }

    pub(crate) async fn attend(&self, sdp: &str) -> Result<Attending, SignalError> {
        let offer = Offer::check(sdp, Purpose::Attend)?;
        let sources = of_places(&offer);
        let (places, list) = places(&offer);
        let party = Party::new(offer, random(CNAME_LEN), sources, Shown::Places(places));
        let answer = self.answer(sdp, &party.offer, &party)?;
        let accepted = self.view(party, None, answer).await?;
        Ok(Attending {
            accepted,
            places: list,
        })
    }

    /// An offer of our own, and what takes the answer. Nothing is held in between.
    pub(crate) fn invite(
        self: &Arc<Self>,
        video: usize,
        audio: usize,
    ) -> Result<(String, Invited), SignalError> {
        let count = video.saturating_add(audio);
        if !(1..=PLACES_MAX).contains(&count) {
            return Err(SignalError::Unsupported(format!(
                "{count} places are asked for; from 1 to {PLACES_MAX} are offered"
            )));
        }
        let sections = invited(video, audio);
        // The first picture and the first sound are one stream, and so on: who is shown in both is in sync.
        let sources: Vec<Source> = sections
            .iter()
            .map(|section| {
                let at = section.at.checked_sub(video).unwrap_or(section.at);
                let track = format!("{}-{at}", kind(section));
                source(section, format!("place-{at}"), track)
            })
            .collect();
        let (ours, cname) = (random_credentials(), random(CNAME_LEN));
        let offer = invitation(
            &sections,
            &Ours {
                ice: &ours,
                fingerprint: self.identity.fingerprint(),
                candidates: &self.announced.candidates(),
                cname: &cname,
                sources: &sources,
            },
        );
        let invited = Invited {
            core: Arc::clone(self),
            ours,
            cname,
            sections,
            sources,
            offer: offer.clone(),
        };
        Ok((offer, invited))
    }

    fn answer(&self, sdp: &str, offer: &Offer, party: &Party) -> Result<String, SignalError> {
        let ours = Ours {
            ice: &party.ours,
            fingerprint: self.identity.fingerprint(),
            candidates: &self.announced.candidates(),
            cname: &party.cname,
            sources: &party.sources,
        };
        agree(sdp, offer, &ours)
    }

    /// Takes in somebody who watches, and perhaps sends: a light peer of our own at a shard. `description` is what we said.
    async fn view(
        &self,
        party: Party,
        sends: Option<Sends>,
        description: String,
    ) -> Result<Accepted, SignalError> {
        let Party {
            offer,
            ours,
            cname,
            sources,
            shown,
        } = party;
        if self.mux.occupancy().0 >= self.peers_max {
            return Err(SignalError::Full);
        }
        let fingerprints = offer.fingerprints.clone();
        let is_client = !offer.peer_is_dtls_client;
        let dtls = Association::new(&self.identity, fingerprints, &PROFILES, is_client);
        let dtls = dtls.map_err(internal)?;
        let registration = self.mux.register(ours, offer.ice.clone());
        let shared = self.share(&offer, &description, Arc::clone(&registration.slot));
        let mut legs = drafts(&offer, &sources);
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
        let uplink = sends.map(|sends| Box::new(sends.begin(&shared)));
        let (peer, stopped) = Session::of(Arc::clone(&shared));
        let arrival = Arrival {
            shared,
            registration,
            dtls,
            shown,
            contract: Contract { legs, cname },
            uplink,
            stopped,
        };
        if !self.shards.take(arrival).await {
            return Err(internal("no shard takes viewers any more"));
        }
        Ok(Accepted {
            answer: description,
            video_codecs: kinds(&offer),
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

/// Somebody who watches, as it was negotiated.
struct Party {
    offer: Offer,
    ours: Credentials,
    cname: String,
    /// What we send in the sections of the offer.
    sources: Vec<Source>,
    shown: Shown,
}

impl Party {
    fn new(offer: Offer, cname: String, sources: Vec<Source>, shown: Shown) -> Self {
        Self {
            offer,
            ours: random_credentials(),
            cname,
            sources,
            shown,
        }
    }
}

/// Somebody who was made an offer.
pub(crate) struct Invited {
    core: Arc<Core>,
    ours: Credentials,
    cname: String,
    sections: Vec<OfferSection>,
    sources: Vec<Source>,
    offer: String,
}

impl Invited {
    /// Takes the answer.
    pub(crate) async fn answered(self, sdp: &str) -> Result<Attending, SignalError> {
        let offer = taken_up(sdp, &self.sections)?;
        let is_taken = |at: usize| offer.sections.iter().any(|section| section.at == at);
        let sources = (0..).zip(self.sources).filter(|(at, _)| is_taken(*at));
        let sources = sources.map(|(_, source)| source).collect();
        let (places, list) = places(&offer);
        let party = Party {
            ours: self.ours,
            ..Party::new(offer, self.cname, sources, Shown::Places(places))
        };
        let mut accepted = self.core.view(party, None, self.offer).await?;
        accepted.answer = String::new();
        Ok(Attending {
            accepted,
            places: list,
        })
    }
}

/// What somebody who is shown others sends over the same connection.
struct Sends {
    offer: Offer,
    broadcast: Broadcast,
    floor: Floor,
}

impl Sends {
    fn begin(self, shared: &Shared) -> Uplink {
        let Self {
            offer,
            broadcast,
            floor,
        } = self;
        Uplink::new(&offer, |ends| {
            let ingest = ingest_of(&offer, ends, broadcast, shared, Some(floor));
            own(ingest::run(ingest))
        })
    }
}

/// What takes in what was offered to be sent.
fn ingest_of(
    offer: &Offer,
    came: Ends,
    broadcast: Broadcast,
    shared: &Shared,
    floor: Option<Floor>,
) -> Ingest {
    let video = offer.video().iter();
    Ingest {
        broadcast,
        video: video
            .map(|codec| (codec.payload_type, codec.codec))
            .collect(),
        audio: offer.audio().map(|audio| audio.payload_type),
        tracks: came.tracks,
        feedback: came.feedback,
        stats: Arc::clone(&shared.ingest),
        floor,
    }
}

/// The places of an offer, and their handles.
fn places(offer: &Offer) -> (Places, Vec<Arc<dyn Place>>) {
    let places = Places::new(offer.sections.iter().map(|section| {
        let mid = section.mid.clone().unwrap_or_default();
        (mid, section.is_video())
    }));
    let handles = places.list().iter().map(|place| Arc::clone(place) as _);
    let handles = handles.collect();
    (places, handles)
}

/// What we would like a publisher to do.
fn wish(offer: &mut Offer) {
    // The library does not know whose retransmissions (RFC 4588) come in a stream that is told by `rrid` alone (RFC 8852
    // §3.2), as that of a simulcast publisher. Without it packets are sent again where they were missed.
    if !offer.names_rtx {
        for section in &mut offer.sections {
            if let Media::Video(codecs) = &mut section.media {
                codecs.iter_mut().for_each(|codec| codec.rtx = None);
            }
        }
    }
    wish_for_sound(offer);
}

/// An answer says what we like to be sent (RFC 7587 §7): audio that can be mended from the packet after it.
fn wish_for_sound(offer: &mut Offer) {
    for section in &mut offer.sections {
        if let Media::Audio { opus, .. } = &mut section.media
            && section.sends
            && !opus.fmtp.contains("useinbandfec")
        {
            let between = if opus.fmtp.is_empty() { "" } else { ";" };
            opus.fmtp.push_str(between);
            opus.fmtp.push_str("useinbandfec=1");
        }
    }
}

/// What we send in the places of an offer.
fn of_places(offer: &Offer) -> Vec<Source> {
    let sections = offer.sections.iter();
    sections
        .map(|section| {
            let mid = section.mid.as_deref().unwrap_or_default();
            let track = format!("{}-{mid}", kind(section));
            source(section, format!("place-{mid}"), track)
        })
        .collect()
}

/// What we send in a section: random numbers (RFC 3550 §8.1).
fn source(section: &OfferSection, stream: String, track: String) -> Source {
    let rtx = match &section.media {
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

fn kind(section: &OfferSection) -> &'static str {
    if section.is_video() { "video" } else { "audio" }
}

/// The streams of a viewer, which start at random numbers (RFC 3550 §5.1).
fn drafts(offer: &Offer, sources: &[Source]) -> Vec<Draft> {
    // Sections that offer the same share what was negotiated.
    let mut types: Vec<Arc<[VideoType]>> = Vec::new();
    let sections = offer.sections.iter().zip(sources);
    sections
        .map(|(section, source)| {
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
                    number: section.numbers.transport_wide,
                    playout: section.numbers.playout,
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

/// What media to viewers is encrypted with, best first: the ciphers that encrypt where a packet is sent from.
const PROFILES: [SrtpProtectionProfile; 2] = [
    SrtpProtectionProfile::Srtp_Aead_Aes_128_Gcm,
    SrtpProtectionProfile::Srtp_Aes128_Cm_Hmac_Sha1_80,
];
/// So long that a description of the source (RFC 3550 §6.5) ends without padding: the library writes the number of padded
/// octets into the last of them, where zeros belong, and readers that look refuse the whole report.
const CNAME_LEN: usize = 17;
