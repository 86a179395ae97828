//! Rooms with a conference in memory, in virtual time.

use lockgate_ports::{Attending, Conference, Invitation, Muted, Place, Speaking};
use serde_json::json;
use tokio::{sync::mpsc, time::timeout};

use super::*;
use crate::{
    RoomConfig, Rooms, SessionId,
    rooms::{Guest, Receive, Relay, Role as RoomRole, RoomEvent, Seat, Source, Speech, Wish},
};

mod invite;
mod media;
mod people;

/// Takes everybody in, and keeps what they were given.
#[derive(Default)]
struct FakeConference {
    speakers: Mutex<Vec<FakeSpeaker>>,
    attendants: Attendants,
}

type Attendants = Arc<Mutex<Vec<FakeAttendant>>>;

struct FakeSpeaker {
    peer: Arc<FakePeer>,
    broadcast: Broadcast,
    level: watch::Sender<Option<u8>>,
    muted: watch::Receiver<Muted>,
    heard: mpsc::Sender<String>,
    said: mpsc::Receiver<String>,
}

struct FakeAttendant {
    peer: Arc<FakePeer>,
    places: Vec<Arc<FakePlace>>,
}

struct FakePlace {
    mid: String,
    is_video: bool,
    feed: Mutex<Option<ViewerFeed>>,
    playing: watch::Sender<Option<TrackId>>,
    link: Mutex<LinkStats>,
}

impl Place for FakePlace {
    fn mid(&self) -> &str {
        &self.mid
    }

    fn is_video(&self) -> bool {
        self.is_video
    }

    fn show(&self, feed: Option<ViewerFeed>) {
        *self.feed.lock().unwrap() = feed;
    }

    fn playing(&self) -> watch::Receiver<Option<TrackId>> {
        self.playing.subscribe()
    }

    fn link(&self) -> LinkStats {
        self.link.lock().unwrap().clone()
    }
}

fn peer() -> Arc<FakePeer> {
    Arc::new(FakePeer {
        state: watch::Sender::new(PeerState::Connected),
        playing: watch::Sender::new(None),
        link: Mutex::default(),
        selection: None,
    })
}

fn accepted(peer: &Arc<FakePeer>) -> Accepted {
    Accepted {
        answer: "answer".to_owned(),
        video_codecs: vec![VideoCodec::H264],
        video_section: Some(0),
        peer: Arc::clone(peer) as Arc<dyn Peer>,
    }
}

impl Conference for FakeConference {
    /// An offer that is only sections, as of [`seat`], is one for both ways.
    fn speak(
        &self,
        offer: String,
        broadcast: Broadcast,
    ) -> BoxFuture<'_, Result<Speaking, SignalError>> {
        let is_both = offer.bytes().all(|section| b"va".contains(&section));
        let attending = is_both.then(|| seat(&self.attendants, &offer));
        let peer = match self.attendants.lock().unwrap().last() {
            Some(attendant) if is_both => Arc::clone(&attendant.peer),
            _ => peer(),
        };
        let (level, levels) = watch::channel(None);
        let (mute, muted) = watch::channel(Muted::default());
        let (heard, hears) = mpsc::channel(64);
        let (say, said) = mpsc::channel(64);
        let speaking = Speaking {
            accepted: accepted(&peer),
            attending,
            level: levels,
            mute,
            heard: hears,
            say,
        };
        self.speakers.lock().unwrap().push(FakeSpeaker {
            peer,
            broadcast,
            level,
            muted,
            heard,
            said,
        });
        Box::pin(async move { Ok(speaking) })
    }

    fn attend(&self, offer: String) -> BoxFuture<'_, Result<Attending, SignalError>> {
        let attending = seat(&self.attendants, &offer);
        Box::pin(async move { Ok(attending) })
    }

    fn invite(&self, video: usize, audio: usize) -> Result<Invitation, SignalError> {
        let offer = "v".repeat(video) + &"a".repeat(audio);
        let (offered, attendants) = (offer.clone(), Arc::clone(&self.attendants));
        Ok(Invitation {
            offer,
            answered: Box::new(move |answer| {
                let unreadable = || SignalError::Malformed("the answer is no SDP".to_owned());
                let answered = (answer == "answer").then(|| seat(&attendants, &offered));
                Box::pin(async move { answered.ok_or_else(unreadable) })
            }),
        })
    }
}

/// The offer says its sections: `v` for video, `a` for audio.
fn seat(attendants: &Attendants, offer: &str) -> Attending {
    let peer = peer();
    let place = |(at, kind): (usize, char)| {
        Arc::new(FakePlace {
            mid: at.to_string(),
            is_video: kind == 'v',
            feed: Mutex::default(),
            playing: watch::Sender::new(None),
            link: Mutex::default(),
        })
    };
    let places: Vec<Arc<FakePlace>> = offer.chars().enumerate().map(place).collect();
    let attending = Attending {
        accepted: accepted(&peer),
        places: places
            .iter()
            .map(|place| Arc::clone(place) as Arc<dyn Place>)
            .collect(),
    };
    attendants
        .lock()
        .unwrap()
        .push(FakeAttendant { peer, places });
    attending
}

/// A house with rooms, each of `participants_max`.
struct Inn {
    house: House,
    rooms: Rooms,
    conference: Arc<FakeConference>,
}

type Mail = mpsc::Receiver<Arc<RoomEvent>>;

fn inn(participants_max: usize) -> Inn {
    let house = house();
    let conference = Arc::new(FakeConference::default());
    house
        .streams
        .confer_over(Arc::clone(&conference) as Arc<dyn Conference>);
    let config = Config {
        rooms: RoomConfig {
            participants_max,
            ..RoomConfig::default()
        },
        ..(*house.streams.inner.config()).clone()
    };
    house.streams.configure(config);
    Inn {
        rooms: house.streams.rooms(),
        house,
        conference,
    }
}

fn guest(name: &str) -> Guest {
    Guest {
        principal: Principal::new(format!("subject {name}")),
        is_known: true,
        name: Some(name.to_owned()),
        may_host: false,
        role: RoomRole::Speaker,
        cap_kbps: None,
        receive: Receive::Either,
    }
}

fn host() -> Guest {
    Guest {
        may_host: true,
        ..guest("host")
    }
}

/// What is sent from a camera, with a data channel.
fn camera() -> Speech {
    Speech {
        source: Source::Camera,
        offer: offer(),
        has_media: true,
        has_channel: true,
        receives: false,
    }
}

impl Inn {
    fn join(&self, guest: Guest) -> (Seat, Mail) {
        self.rooms.join(&name("room"), guest, None).unwrap()
    }

    fn role(&self, seat: &Seat) -> RoomRole {
        let all = self.rooms.participants(&name("room")).unwrap();
        all.into_iter()
            .find(|one| one.info.id == seat.id())
            .unwrap()
            .info
            .role
    }
}

/// The next event of that name, with what it says.
async fn next(mail: &mut Mail, wanted: &str) -> serde_json::Value {
    let wait = async {
        loop {
            let event = mail
                .recv()
                .await
                .unwrap_or_else(|| panic!("{wanted} never came"));
            if event.name() == wanted {
                return event.data();
            }
        }
    };
    timeout(Duration::from_secs(600), wait)
        .await
        .unwrap_or_else(|_| panic!("{wanted} did not come"))
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(60), wait)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}
