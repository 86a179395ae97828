//! Peers of rooms: each sends over one connection and receives over another, as many at once as it offers places.
//!
//! Whoever uses this carries offers and answers; how is not known here.

use std::{
    collections::BTreeMap,
    net::{IpAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::time::sleep;

use crate::{
    Error,
    crowd::{Answered, bind, face},
    engine::{Engine, Machine},
    histogram::Spread,
    media::mark::Clock,
    peer::{Credentials, Identity},
    process::Usage,
    report::Cost,
    sdp::{self, Media},
    synthetic,
    tally::Tally,
    whep::{self, Gauge, Packets, Watches},
    whip::{self, Content},
};

/// What the peers send, and how they look at what they are sent.
#[derive(Debug, Clone)]
pub struct Config {
    /// Threads that the sockets are spread over.
    pub threads: usize,
    /// Of a picture, without headers.
    pub video_bps: u64,
    /// Of sound.
    pub audio_bps: u64,
    /// One receiving connection in so many decrypts all it gets, from 1 for each; the others decrypt a sample.
    pub decrypt_one_in: usize,
    /// The server's process, where it runs on this machine: what it takes is told, too.
    pub server_pid: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 1,
            video_bps: 300_000,
            audio_bps: 32_000,
            decrypt_one_in: 1,
            server_pid: None,
        }
    }
}

/// The peers of a process. Dropping it silences them all, without a goodbye.
pub struct Peers {
    config: Config,
    local: IpAddr,
    engine: Engine,
    identity: Identity,
    content: Arc<Content>,
    /// How many there were so far.
    downlinks: AtomicUsize,
    own_before: Usage,
    server_before: Option<Usage>,
}

/// An offer that waits for its answer.
pub struct Offer {
    /// The offer.
    pub sdp: String,
    sections: Vec<Media>,
    ice: Credentials,
    socket: UdpSocket,
    posted: Instant,
}

/// Somebody who sends.
#[derive(Debug)]
pub struct Uplink {
    loudness: Arc<AtomicU8>,
    says_level: bool,
}

/// Somebody who receives.
#[derive(Debug)]
pub struct Downlink {
    /// Its places, in the order of the sections.
    pub places: Vec<Arc<Gauge>>,
}

impl Uplink {
    /// Is so loud from now on, in dB below full scale, 0 (loudest) to 127 (silence, as at first).
    pub fn is_loud(&self, level: u8) {
        self.loudness.store(level.min(SILENCE), Ordering::Relaxed);
    }

    /// Whether the server wants to be told how loud it is (RFC 6464).
    pub fn says_level(&self) -> bool {
        self.says_level
    }
}

impl Downlink {
    /// The place of that name.
    pub fn place(&self, mid: &str) -> Option<&Gauge> {
        let mut places = self.places.iter();
        places.find(|place| place.mid() == mid).map(AsRef::as_ref)
    }
}

impl Peers {
    /// Nobody yet; `local` is the address that faces the server.
    pub fn new(config: &Config, local: IpAddr) -> Result<Self, Error> {
        let own_before = Usage::now();
        let clock = Clock::default();
        let engine = Engine::start(config.threads, clock);
        Ok(Self {
            local,
            engine: engine.map_err(|error| Error::Machine(error.to_string()))?,
            identity: Identity::new("lockgate-load")
                .map_err(|error| Error::Machine(error.to_string()))?,
            content: Arc::new(Content {
                video: synthetic::video(config.video_bps),
                audio: Some(synthetic::audio(config.audio_bps)),
                clock,
                marks_all: false,
            }),
            downlinks: AtomicUsize::new(0),
            own_before,
            server_before: config.server_pid.map(|pid| Usage::of(Some(pid))),
            config: config.clone(),
        })
    }

    /// Offers to send sound, pictures, or both.
    pub fn offer_up(&self, audio: bool, video: bool) -> Result<Offer, Error> {
        let audio = audio.then(|| Media {
            says_level: true,
            ..Media::AUDIO.from(rand::random())
        });
        let video = video.then(|| Media::VIDEO.from(rand::random()));
        self.offer(audio.into_iter().chain(video).collect())
    }

    /// Offers to receive: so many places for pictures, then so many for sound.
    pub fn offer_down(&self, videos: usize, audios: usize) -> Result<Offer, Error> {
        let videos = std::iter::repeat_n(Media::VIDEO, videos);
        let audios = std::iter::repeat_n(Media::AUDIO, audios);
        self.offer(videos.chain(audios).collect())
    }

    fn offer(&self, sections: Vec<Media>) -> Result<Offer, Error> {
        let ice = Credentials::random();
        let (socket, address) = bind(Some(self.local))?;
        let offer = sdp::Offer {
            ice: &ice,
            fingerprint: self.identity.fingerprint(),
            address,
            sections: &sections,
        };
        Ok(Offer {
            sdp: offer.text(),
            sections,
            ice,
            socket,
            posted: Instant::now(),
        })
    }

    /// Sends what was offered, from the answer on until the server ends it or all peers are dropped.
    pub async fn send(&self, offer: Offer, answer: &str) -> Result<Uplink, Error> {
        let (answered, sections, socket) = answered(offer, answer)?;
        let loudness = Arc::new(AtomicU8::new(SILENCE));
        let says_level = answered.answer.level.is_some();
        let machine = whip::Client::new(
            &self.identity,
            answered,
            Arc::clone(&self.content),
            &sections,
            Some(Arc::clone(&loudness)),
        );
        self.seat(machine, socket).await;
        Ok(Uplink {
            loudness,
            says_level,
        })
    }

    /// Receives in all places that were offered.
    pub async fn receive(&self, offer: Offer, answer: &str) -> Result<Downlink, Error> {
        let (answered, _, socket) = answered(offer, answer)?;
        let number = self.downlinks.fetch_add(1, Ordering::Relaxed);
        let decrypts = number.is_multiple_of(self.config.decrypt_one_in.max(1));
        let machine = whep::Client::new(&self.identity, answered, Watches::Places, decrypts);
        let places = machine.gauges();
        self.seat(machine, socket).await;
        Ok(Downlink { places })
    }

    async fn seat(&self, machine: impl Machine + 'static, socket: UdpSocket) {
        self.engine.add(Box::new(machine), socket).await;
    }

    /// Waits for so long, and says what came meanwhile; `people` are those whom the memory is spread over.
    pub async fn measure(&self, time: Duration, people: usize) -> Report {
        let before = self.moment().await;
        sleep(time).await;
        let after = self.moment().await;
        Report::new(self, people, &before, after)
    }

    async fn moment(&self) -> Moment {
        Moment {
            tally: self.engine.tally().await,
            own: Usage::now(),
            server: self.config.server_pid.map(|pid| Usage::of(Some(pid))),
        }
    }
}

/// What was negotiated, and a socket that reaches the server.
fn answered(offer: Offer, answer: &str) -> Result<(Answered, Vec<Media>, UdpSocket), Error> {
    let Offer {
        sections,
        ice,
        socket,
        posted,
        ..
    } = offer;
    let mut answer = sdp::Answer::read(answer).map_err(|why| Error::Answer {
        url: "a room".to_owned(),
        why,
    })?;
    let socket = face(socket, &mut answer)?;
    let answered = Answered {
        ice,
        answer,
        posted,
    };
    Ok((answered, sections, socket))
}

/// What there is at one moment.
struct Moment {
    tally: Tally,
    own: Usage,
    server: Option<Usage>,
}

/// What all peers together sent and saw in a while.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How long was measured.
    pub seconds: f64,
    /// Connections that have keys: those that send, and those that receive.
    pub connected: [usize; 2],
    /// Packets of media that came in this time.
    pub packets: Packets,
    /// All that came by SRTP, retransmissions and probes among it.
    pub packets_per_s: f64,
    /// The same in Mbit/s, without IP and UDP.
    pub mbit_per_s: f64,
    /// Pictures that came, in all places together.
    pub frames_per_s: f64,
    /// What was sent, in packets.
    pub sent_packets_per_s: f64,
    /// From one peer to the whole keyframe at another, in ms. Whom a place shows anew may begin with a keyframe that the server
    /// had already.
    pub forward_delay_ms: Option<Spread>,
    /// Datagrams that our own machine did not take.
    pub unsent: u64,
    /// What the peers themselves took.
    pub own: Cost,
    /// What the server's process took, where it is known.
    pub server: Option<Cost>,
    /// Why connections are not there, and how many.
    pub failures: BTreeMap<String, u64>,
}

impl Report {
    fn new(peers: &Peers, people: usize, before: &Moment, after: Moment) -> Self {
        let (seconds, _) = after.own.since(&before.own);
        let rate = |now: u64, then: u64| (now - then) as f64 / seconds.max(0.001);
        let (was, is) = (&before.tally.viewers, &after.tally.viewers);
        let (sent_before, sent) = (&before.tally.publishers, &after.tally.publishers);
        let both = before.server.as_ref().zip(after.server.as_ref());
        let server = peers.server_before.as_ref().zip(both);
        let delay = after.tally.delay.since(&before.tally.delay);
        Self {
            seconds,
            connected: [sent.connect_ms.len(), is.connect_ms.len()],
            packets: Packets::between(was, is),
            packets_per_s: rate(is.packets, was.packets),
            mbit_per_s: rate(is.bytes, was.bytes) * 8.0 / 1e6,
            frames_per_s: rate(is.frames, was.frames),
            sent_packets_per_s: rate(sent.packets, sent_before.packets),
            forward_delay_ms: delay.spread_ms(),
            unsent: after.tally.unsent - before.tally.unsent,
            own: Cost::new(&peers.own_before, &before.own, &after.own, people),
            server: server.map(|(start, (then, now))| Cost::new(start, then, now, people)),
            failures: after.tally.failures,
        }
    }
}

/// In dB below full scale.
const SILENCE: u8 = 127;
