//! Who is shown where, in which rung and with how much of the link.

use super::*;

/// A camera's layers: 720, 360 and 180 lines.
const LAYERS: [(&str, u64, u32); 3] = [
    ("source", 1500, 720),
    ("source-h", 500, 360),
    ("source-q", 150, 180),
];

/// What a participant sends, as long as it is held.
pub(super) struct Sending {
    _tracks: Vec<Producer>,
    at: usize,
}

impl Inn {
    /// Lets somebody send a camera of several layers, and sound.
    pub(super) async fn sends(&self, seat: &Seat) -> Sending {
        self.sends_from(seat, Source::Camera).await
    }

    async fn sends_from(&self, seat: &Seat, source: Source) -> Sending {
        let speech = Speech { source, ..camera() };
        seat.speak(speech).await.unwrap();
        let speakers = self.conference.speakers.lock().unwrap();
        let speaker = speakers.last().unwrap();
        let mut tracks: Vec<Producer> = LAYERS
            .iter()
            .map(|(id, kbps, height)| {
                let format = Format::Video(VideoFormat {
                    codec: VideoCodec::H264,
                    width: height * 16 / 9,
                    height: *height,
                    frame_rate: None,
                    bitrate_bps: Some(kbps * 1000),
                    parameter_sets: None,
                    reordered: false,
                });
                let id = TrackId::new(id).unwrap();
                speaker.broadcast.publish(id, Role::Ingest, format).unwrap()
            })
            .collect();
        let sound = Format::Audio(AudioFormat::opus(2, None));
        let sound = speaker
            .broadcast
            .publish(TrackId::opus(), Role::Ingest, sound);
        tracks.extend(sound.ok());
        Sending {
            _tracks: tracks,
            at: speakers.len() - 1,
        }
    }

    fn place(&self, mid: usize) -> Arc<FakePlace> {
        let attendants = self.conference.attendants.lock().unwrap();
        Arc::clone(&attendants.last().unwrap().places[mid])
    }

    fn link(&self, bandwidth_kbps: f64) {
        let attendants = self.conference.attendants.lock().unwrap();
        *attendants.last().unwrap().peer.link.lock().unwrap() = LinkStats {
            bandwidth_kbps: Some(bandwidth_kbps),
            ..LinkStats::default()
        };
    }

    fn level(&self, sending: &Sending, level: u8) {
        let speakers = self.conference.speakers.lock().unwrap();
        speakers[sending.at].level.send_replace(Some(level));
    }

    /// Waits until a place is sent that video.
    async fn gets(&self, mid: usize, video: &str) {
        let what = format!(
            "place {mid} to get {video}, not {:?}",
            self.place(mid).video()
        );
        until(&what, || self.place(mid).video().as_deref() == Some(video)).await;
    }
}

impl FakePlace {
    fn broadcast(&self) -> Option<String> {
        let feed = self.feed.lock().unwrap();
        feed.as_ref().map(|feed| feed.broadcast.name().to_string())
    }

    fn video(&self) -> Option<String> {
        let feed = self.feed.lock().unwrap();
        let selection = feed.as_ref()?.selection.borrow().clone();
        selection.video.map(|video| video.to_string())
    }

    fn audio(&self) -> Option<String> {
        let feed = self.feed.lock().unwrap();
        let selection = feed.as_ref()?.selection.borrow().clone();
        selection.audio.map(|audio| audio.to_string())
    }
}

/// What the core calls the camera of a participant.
fn camera_of(seat: &Seat) -> Option<String> {
    Some(format!("room.{:.8}.camera", seat.id().to_string()))
}

#[tokio::test]
async fn each_is_shown_the_others_and_never_oneself() {
    let inn = inn(5);
    let (ann, mut mail) = inn.join(guest("ann"));
    let (bob, _bob_mail) = inn.join(guest("bob"));
    let (cat, _cat_mail) = inn.join(guest("cat"));
    let _sending = (
        inn.sends(&ann).await,
        inn.sends(&bob).await,
        inn.sends(&cat).await,
    );
    assert_eq!(ann.attend("vvva".to_owned()).await.unwrap().sdp, "answer");
    let places = next(&mut mail, "places").await;
    let shown: Vec<_> = places
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["participant"].clone())
        .collect();
    assert_eq!(
        shown,
        [
            json!(bob.id()),
            json!(cat.id()),
            json!(null),
            json!(bob.id())
        ]
    );
    assert_eq!(places[3]["kind"], "audio");
    assert_eq!(inn.place(0).broadcast(), camera_of(&bob));
    assert_eq!(inn.place(1).broadcast(), camera_of(&cat));
    assert_eq!(inn.place(2).broadcast(), None);
    assert_eq!(inn.place(3).audio().as_deref(), Some("opus"));
    // Nobody can ask for them, and no ladder was started.
    assert!(inn.house.streams.list().is_empty());
    assert_eq!(inn.house.running.load(Ordering::SeqCst), 0);
    // Whoever leaves is shown no more.
    bob.leave();
    let places = next(&mut mail, "places").await;
    assert_eq!(places[0]["participant"], json!(null));
    assert_eq!(inn.place(0).broadcast(), None);
    assert_eq!(inn.place(3).broadcast(), camera_of(&cat));
}

#[tokio::test]
async fn whoever_watches_over_another_connection_is_told_what_its_places_show() {
    let inn = inn(5);
    let (ann, mut mail) = inn.join(guest("ann"));
    let (bob, _bob_mail) = inn.join(guest("bob"));
    let _sending = inn.sends(&bob).await;
    ann.attend("va".to_owned()).await.unwrap();
    let first = next(&mut mail, "places").await;
    assert_eq!(first[0]["participant"], json!(bob.id()));
    // The same is shown in places of the same names.
    ann.attend("va".to_owned()).await.unwrap();
    assert_eq!(next(&mut mail, "places").await, first);
    assert_eq!(inn.place(0).broadcast(), camera_of(&bob));
}

#[tokio::test]
async fn the_places_of_one_link_share_it_and_none_is_given_all() {
    let inn = inn(5);
    let (ann, _mail) = inn.join(guest("ann"));
    let (bob, _bob_mail) = inn.join(guest("bob"));
    let (cat, _cat_mail) = inn.join(guest("cat"));
    let _sending = (inn.sends(&bob).await, inn.sends(&cat).await);
    ann.attend("vva".to_owned()).await.unwrap();
    inn.link(20_000.0);
    inn.gets(0, "source").await;
    inn.gets(1, "source").await;
    // What would do for one alone is not enough for two.
    inn.link(1700.0);
    inn.gets(0, "source-h").await;
    inn.gets(1, "source-h").await;
    let wishes = |bob_max, cat_max| {
        let wish = |mid: &str, seat: &Seat, height_max| Wish {
            mid: mid.to_owned(),
            participant: Some(seat.id()),
            source: None,
            height_max: Some(height_max),
            off: false,
        };
        ann.subscribe(
            vec![wish("0", &bob, bob_max), wish("1", &cat, cat_max)],
            None,
        )
    };
    // A small picture leaves what it does not use to the large one.
    inn.link(3000.0);
    wishes(720, 180).unwrap();
    inn.gets(1, "source-q").await;
    inn.gets(0, "source").await;
    let shares: Vec<f64> = inn.rooms.participants(&name("room")).unwrap()[0]
        .places
        .iter()
        .filter_map(|place| place.share_kbps)
        .collect();
    assert_eq!(shares.len(), 2);
    assert!(
        shares.iter().sum::<f64>() <= 3000.0 && shares[0] > 2000.0,
        "{shares:?}"
    );
    // No picture is higher than it is asked for, whatever the link carries.
    wishes(360, 200).unwrap();
    inn.gets(0, "source-h").await;
    inn.link(50_000.0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(inn.place(0).video().as_deref(), Some("source-h"));
    assert_eq!(inn.place(1).video().as_deref(), Some("source-q"));
    // What is off is not sent.
    let off = Wish {
        mid: "1".to_owned(),
        participant: None,
        source: None,
        height_max: None,
        off: true,
    };
    ann.subscribe(vec![off], None).unwrap();
    until("an empty place", || inn.place(1).broadcast().is_none()).await;
}

#[tokio::test]
async fn whoever_only_hears_is_decided_about_too() {
    let inn = inn(5);
    let (ann, _mail) = inn.join(guest("ann"));
    let (bob, _bob_mail) = inn.join(guest("bob"));
    let _sending = inn.sends(&bob).await;
    ann.attend("va".to_owned()).await.unwrap();
    inn.gets(0, "source").await;
    inn.place(1).link.lock().unwrap().loss_pct = Some(5.0);
    let twice = || {
        let place = inn.place(1);
        let feed = place.feed.lock().unwrap();
        feed.as_ref()?.selection.borrow().audio_twice
    };
    until("a decision about the pictures", || twice() == Some(false)).await;
    // Without pictures it is the sound that is lost which counts.
    bob.mute(None, None, Some(true)).unwrap();
    until("a decision about the sound", || twice() == Some(true)).await;
    assert!(inn.place(0).broadcast().is_none());
    assert_eq!(inn.place(1).audio().as_deref(), Some("opus"));
    bob.mute(None, None, Some(false)).unwrap();
    until("a decision about the pictures again", || {
        twice() == Some(false)
    })
    .await;
}

#[tokio::test]
async fn what_is_muted_is_sent_to_nobody() {
    let inn = inn(5);
    let (ann, _mail) = inn.join(guest("ann"));
    let (bob, _bob_mail) = inn.join(guest("bob"));
    let _sending = inn.sends(&bob).await;
    ann.attend("va".to_owned()).await.unwrap();
    let shows = |mid: usize| inn.place(mid).broadcast().is_some();
    let taken = |audio: bool, video: bool| {
        let speakers = inn.conference.speakers.lock().unwrap();
        *speakers[0].muted.borrow()
            == Muted {
                audio: !audio,
                video: !video,
            }
    };
    until("both", || shows(0) && shows(1)).await;
    bob.mute(None, Some(true), None).unwrap();
    assert!(taken(false, true));
    until("no sound", || shows(0) && !shows(1)).await;
    bob.mute(None, Some(false), Some(true)).unwrap();
    assert!(taken(true, false));
    until("no picture", || !shows(0) && shows(1)).await;
    inn.rooms
        .mute(&name("room"), bob.id(), None, Some(false))
        .unwrap();
    until("both again", || shows(0) && shows(1)).await;
    // A listener is not heard, and what they sent is over.
    inn.rooms
        .set_role(&name("room"), bob.id(), RoomRole::Listener)
        .unwrap();
    until("nothing", || !shows(0) && !shows(1)).await;
    let state = inn.conference.speakers.lock().unwrap()[0]
        .peer
        .state
        .borrow()
        .clone();
    assert_eq!(state, PeerState::Closed(CloseReason::Asked));
}

#[tokio::test]
async fn one_place_shows_whoever_speaks_and_who_speaks_is_told() {
    let inn = inn(5);
    let (ann, mut mail) = inn.join(guest("ann"));
    let (bob, _bob_mail) = inn.join(guest("bob"));
    let (cat, _cat_mail) = inn.join(guest("cat"));
    let (bobs, cats) = (inn.sends(&bob).await, inn.sends(&cat).await);
    ann.attend("va".to_owned()).await.unwrap();
    until("somebody", || inn.place(0).broadcast() == camera_of(&bob)).await;
    inn.level(&cats, 25);
    let speakers = next(&mut mail, "speakers").await;
    assert_eq!(speakers, json!([{ "id": cat.id(), "level": 25 }]));
    until("who speaks", || inn.place(0).broadcast() == camera_of(&cat)).await;
    assert_eq!(inn.place(1).broadcast(), camera_of(&cat));
    inn.level(&bobs, 20);
    let speakers = next(&mut mail, "speakers").await;
    assert_eq!(
        (&speakers[0]["id"], &speakers[1]["id"]),
        (&json!(bob.id()), &json!(cat.id()))
    );
    // Whoever is muted does not speak.
    bob.mute(None, Some(true), None).unwrap();
    until("who is heard", || {
        inn.place(1).broadcast() == camera_of(&cat)
    })
    .await;
}

#[tokio::test]
async fn the_hosts_camera_is_the_broadcast_named_as_the_room() {
    let inn = inn(5);
    let (boss, _boss_mail) = inn.join(host());
    let (ann, mut mail) = inn.join(guest("ann"));
    let sending = inn.sends(&boss).await;
    let info = inn.house.streams.info(&name("room")).unwrap();
    assert_eq!((info.source, info.publisher), ("room", Some("connected")));
    assert_eq!(
        inn.house.running.load(Ordering::SeqCst),
        1,
        "it has a ladder"
    );
    ann.attend("va".to_owned()).await.unwrap();
    until("the host", || {
        inn.place(0).broadcast().as_deref() == Some("room")
    })
    .await;
    inn.gets(0, "source").await;
    // Over another connection it goes on, and whoever watches stays.
    drop(sending);
    let again = inn.sends(&boss).await;
    assert_eq!(again.at, 1);
    let first = inn.conference.speakers.lock().unwrap()[0]
        .peer
        .state
        .borrow()
        .clone();
    assert_eq!(first, PeerState::Closed(CloseReason::Asked));
    assert!(inn.house.streams.info(&name("room")).is_ok());
    // The broadcast goes with the host, wherever the seat goes.
    inn.rooms
        .set_role(&name("room"), ann.id(), RoomRole::Host)
        .unwrap();
    until("its end", || inn.house.streams.info(&name("room")).is_err()).await;
    until("an empty place", || inn.place(0).broadcast().is_none()).await;
    next(&mut mail, "user-updated").await;
    let _sending = inn.sends(&ann).await;
    assert!(inn.house.streams.info(&name("room")).is_ok());
    ann.leave();
    assert!(inn.house.streams.info(&name("room")).is_err());
}

#[tokio::test(start_paused = true)]
async fn connections_outlive_a_lost_socket_as_long_as_the_seat_is_kept() {
    let inn = inn(5);
    let (boss, _boss_mail) = inn.join(host());
    let (bob, bob_mail) = inn.join(guest("bob"));
    let secret = bob.welcome().unwrap().seat;
    bob.speak(camera()).await.unwrap();
    bob.attend("va".to_owned()).await.unwrap();
    let is_open = || {
        let state = |peer: &Arc<FakePeer>| *peer.state.borrow() == PeerState::Connected;
        let up = state(&inn.conference.speakers.lock().unwrap()[0].peer);
        let down = state(&inn.conference.attendants.lock().unwrap()[0].peer);
        assert_eq!(up, down);
        up
    };
    drop((bob, bob_mail));
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert!(is_open());
    let (bob, bob_mail) = inn
        .rooms
        .join(&name("room"), guest("bob"), Some(secret))
        .unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(is_open());
    drop((bob, bob_mail));
    tokio::time::sleep(Duration::from_secs(21)).await;
    assert!(!is_open());
    drop(boss);
}

#[tokio::test(start_paused = true)]
async fn texts_go_over_the_data_channel_where_there_is_one() {
    let inn = inn(5);
    let (ann, mut ann_mail) = inn.join(guest("ann"));
    let (bob, mut bob_mail) = inn.join(guest("bob"));
    let channel_alone = Speech {
        has_media: false,
        ..camera()
    };
    ann.speak(channel_alone).await.unwrap();
    let heard = inn.conference.speakers.lock().unwrap()[0].heard.clone();
    heard
        .send(r#"{"type":"chat","text":"hello"}"#.to_owned())
        .await
        .unwrap();
    // Bob has none: he is told by signalling.
    let line = next(&mut bob_mail, "chat").await;
    assert_eq!(
        (&line["text"], &line["from"]),
        (&json!("hello"), &json!(ann.id()))
    );
    let said = || {
        let said = inn.conference.speakers.lock().unwrap()[0].said.try_recv();
        said.ok()
            .map(|text| serde_json::from_str::<serde_json::Value>(&text).unwrap())
    };
    assert_eq!(said().unwrap()["text"], "hello");
    bob.react("👍".to_owned()).unwrap();
    let reaction = said().unwrap();
    assert_eq!(
        (&reaction["type"], &reaction["emoji"]),
        (&json!("reaction"), &json!("👍"))
    );
    for bad in [
        "",
        "{}",
        r#"{"type":"chat"}"#,
        r#"{"type":"chat","text":""}"#,
    ] {
        heard.send(bad.to_owned()).await.unwrap();
        let mut answer = None;
        until("what is wrong", || {
            answer = said();
            answer.is_some()
        })
        .await;
        assert_eq!(answer.unwrap()["type"], "error", "{bad}");
    }
    while let Ok(event) = ann_mail.try_recv() {
        assert_ne!(event.name(), "chat", "it came over the channel already");
    }
}

#[tokio::test]
async fn a_screen_is_seen_and_heard_whatever_is_muted_and_what_is_sent_anew_stays_muted() {
    let inn = inn(5);
    let (ann, _mail) = inn.join(guest("ann"));
    let (bob, _bob_mail) = inn.join(guest("bob"));
    bob.mute(None, Some(true), Some(true)).unwrap();
    let _camera = inn.sends(&bob).await;
    let _screen = inn.sends_from(&bob, Source::Screen).await;
    ann.attend("vva".to_owned()).await.unwrap();
    let shown = |mid: usize| inn.place(mid).broadcast();
    until("the screen", || shown(0).is_some() && shown(2).is_some()).await;
    assert_ne!(shown(0), camera_of(&bob));
    assert_ne!(shown(2), camera_of(&bob));
    assert_eq!(shown(1), None);
    let speakers = inn.conference.speakers.lock().unwrap();
    let muted: Vec<Muted> = speakers.iter().map(|one| *one.muted.borrow()).collect();
    let all = Muted {
        audio: true,
        video: true,
    };
    assert_eq!(muted, [all, Muted::default()]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_negotiated_twice_over_a_connection_that_is_up() {
    let inn = inn(5);
    let (ann, _mail) = inn.join(guest("ann"));
    let named = |name: &str| Speech {
        offer: format!("v=0\r\na=ice-ufrag:{name}\r\n"),
        ..camera()
    };
    ann.speak(named("one")).await.unwrap();
    let again = ann.speak(named("one")).await;
    assert!(matches!(again, Err(Error::Unusable(_))), "{again:?}");
    let down = ann.attend(named("one").offer).await;
    assert!(matches!(down, Err(Error::Unusable(_))), "{down:?}");
    ann.speak(named("two")).await.unwrap();
    // Whoever has lost it may say the same again.
    let speakers = || inn.conference.speakers.lock().unwrap();
    let lost = PeerState::Closed(CloseReason::Gone);
    speakers().last().unwrap().peer.state.send_replace(lost);
    ann.speak(named("two")).await.unwrap();
    speakers()
        .last()
        .unwrap()
        .peer
        .state
        .send_replace(PeerState::Connecting);
    ann.speak(named("two")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn of_what_a_listener_offers_for_both_ways_only_what_receives_is_taken() {
    let inn = inn(5);
    let (bob, _bob_mail) = inn.join(guest("bob"));
    let _sending = inn.sends(&bob).await;
    let listener = Guest {
        role: RoomRole::Listener,
        ..guest("eve")
    };
    let (eve, _mail) = inn.join(listener);
    let speaks = |receives, has_channel| Speech {
        offer: "va".to_owned(),
        has_channel,
        receives,
        ..camera()
    };
    for (receives, has_channel) in [(false, false), (true, true)] {
        let refused = eve.speak(speaks(receives, has_channel)).await;
        assert!(matches!(refused, Err(Error::NotAllowed(_))), "{refused:?}");
    }
    let answered = eve.speak(speaks(true, false)).await.unwrap();
    assert!(!answered.sends);
    inn.gets(0, "source").await;
    assert_eq!(inn.conference.speakers.lock().unwrap().len(), 1);
}

/// A connection for both ways: its places are filled as any, until there is one to receive alone.
#[tokio::test(start_paused = true)]
async fn whoever_sends_over_a_connection_for_both_ways_is_shown_the_others_over_it() {
    let inn = inn(5);
    let (ann, mut mail) = inn.join(guest("ann"));
    let (bob, _bob_mail) = inn.join(guest("bob"));
    let sending = inn.sends(&bob).await;
    let both = |source| Speech {
        source,
        offer: "va".to_owned(),
        has_channel: false,
        receives: true,
        ..camera()
    };
    let places = || -> Vec<Vec<Arc<FakePlace>>> {
        let attendants = inn.conference.attendants.lock().unwrap();
        attendants.iter().map(|one| one.places.clone()).collect()
    };
    let first = ann.speak(both(Source::Camera)).await.unwrap();
    inn.gets(0, "source").await;
    let told = next(&mut mail, "places").await;
    assert_eq!(told[0]["participant"], json!(bob.id()));
    let welcome = ann.welcome().unwrap();
    assert_eq!(welcome.places.len(), 2);

    // Another from there takes over; one of a screen does not.
    let again = ann.speak(both(Source::Camera)).await.unwrap();
    assert_ne!(again.session, first.session);
    inn.gets(0, "source").await;
    ann.speak(both(Source::Screen)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let of = places();
    let shown: Vec<_> = of.iter().map(|places| places[0].video()).collect();
    assert_eq!(shown, [None, Some("source".to_owned()), None]);

    // One to receive alone is taken instead. The other goes on sending, and none is offered.
    ann.attend("v".to_owned()).await.unwrap();
    inn.gets(0, "source").await;
    assert_eq!(places()[1][0].video(), None);
    let peers = || -> Vec<PeerState> {
        let attendants = inn.conference.attendants.lock().unwrap();
        let all = attendants.iter();
        all.map(|one| one.peer.state.borrow().clone()).collect()
    };
    let closed = PeerState::Closed(CloseReason::Asked);
    assert_eq!(
        peers(),
        [
            closed,
            PeerState::Connected,
            PeerState::Connected,
            PeerState::Connected
        ]
    );
    tokio::time::sleep(Duration::from_secs(60)).await;
    let events = std::iter::from_fn(|| mail.try_recv().ok());
    assert!(!events.into_iter().any(|event| event.name() == "offer"));
    drop(sending);
}
