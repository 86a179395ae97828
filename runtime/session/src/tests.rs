//! The use cases with WebRTC and FFmpeg in memory, as values.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use lockgate_broadcast::{
    Broadcast,
    track::{Producer, Role},
};
use lockgate_media::{
    AccessUnit, AudioFormat, BroadcastName, Format, TrackId, VideoCodec, VideoFormat,
    ladder::default_rungs,
    stats::{IngestStats, LinkStats},
};
use lockgate_ports::{
    Accepted, BoxFuture, Feed, Peer, Selection, SignalError, Signaller, Transcode, TranscodeError,
    Transcoder, ViewerFeed,
    signaller::{CloseReason, IceTag, Patched, PeerState},
    transcoder::{Input, Job, Settings, State, Status},
};
use tokio::sync::watch;

use crate::{
    Config, Desk, Error, HlsConfig, LadderConfig, Principal, Report, SegmentConfig, Streams,
    Watcher, desk::LogConfig,
};

mod layers;
mod load;
mod publishers;
mod rooms;

/// A peer whose link and state the test sets.
struct FakePeer {
    state: watch::Sender<PeerState>,
    playing: watch::Sender<Option<TrackId>>,
    link: Mutex<LinkStats>,
    selection: Option<watch::Receiver<Selection>>,
}

impl Peer for FakePeer {
    fn patch(&self, _: &str, _: &IceTag) -> Result<Patched, SignalError> {
        Ok(Patched::Trickled)
    }

    fn ice_tag(&self) -> String {
        "tag".to_owned()
    }

    fn link(&self) -> LinkStats {
        self.link.lock().unwrap().clone()
    }

    fn ingest(&self) -> IngestStats {
        IngestStats::default()
    }

    fn playing(&self) -> watch::Receiver<Option<TrackId>> {
        self.playing.subscribe()
    }

    fn state(&self) -> watch::Receiver<PeerState> {
        self.state.subscribe()
    }

    fn close(&self) {
        self.state
            .send_replace(PeerState::Closed(CloseReason::Asked));
    }
}

/// Accepts everything, keeps the peers, and refuses the offer `bad`.
#[derive(Default)]
struct FakeSignaller {
    peers: Mutex<Vec<Arc<FakePeer>>>,
}

impl FakeSignaller {
    fn accept(
        &self,
        offer: &str,
        selection: Option<watch::Receiver<Selection>>,
    ) -> Result<Accepted, SignalError> {
        if offer == "bad" {
            return Err(SignalError::Malformed("no SDP".to_owned()));
        }
        let peer = Arc::new(FakePeer {
            state: watch::Sender::new(PeerState::Connected),
            playing: watch::Sender::new(None),
            link: Mutex::default(),
            selection,
        });
        self.peers.lock().unwrap().push(Arc::clone(&peer));
        Ok(Accepted {
            answer: "answer".to_owned(),
            video_codecs: vec![VideoCodec::H264],
            video_section: Some(0),
            peer,
        })
    }

    fn peer(&self, at: usize) -> Arc<FakePeer> {
        Arc::clone(&self.peers.lock().unwrap()[at])
    }
}

impl Signaller for FakeSignaller {
    fn publish(&self, offer: String, _: Broadcast) -> BoxFuture<'_, Result<Accepted, SignalError>> {
        Box::pin(async move { self.accept(&offer, None) })
    }

    fn subscribe(
        &self,
        offer: String,
        feed: ViewerFeed,
    ) -> BoxFuture<'_, Result<Accepted, SignalError>> {
        Box::pin(async move { self.accept(&offer, Some(feed.selection)) })
    }
}

/// Publishes two rungs and audio at once, without encoding anything.
#[derive(Default)]
struct FakeTranscoder {
    running: Arc<AtomicUsize>,
    statuses: Arc<Mutex<Vec<watch::Sender<Status>>>>,
    /// What was last shed.
    shed: watch::Sender<Vec<TrackId>>,
    feeds: Arc<Mutex<Vec<Feed>>>,
}

struct FakeLadder {
    status: watch::Sender<Status>,
    shed: watch::Sender<Vec<TrackId>>,
    _producers: Vec<Producer>,
    running: Arc<AtomicUsize>,
    feeds: Arc<Mutex<Vec<Feed>>>,
}

impl Transcoder for FakeTranscoder {
    fn start(&self, _: Job, broadcast: Broadcast) -> Result<Arc<dyn Transcode>, TranscodeError> {
        let video = |kbps: u64, height: u32| {
            Format::Video(VideoFormat {
                codec: VideoCodec::H264,
                width: height * 16 / 9,
                height,
                frame_rate: None,
                bitrate_bps: Some(kbps * 1000),
                parameter_sets: None,
                reordered: false,
            })
        };
        let id = |text| TrackId::new(text).unwrap();
        let mut producers = vec![
            broadcast.publish(id("720p60"), Role::Rung, video(2500, 720))?,
            broadcast.publish(id("360p30"), Role::Rung, video(600, 360))?,
            broadcast.publish(
                TrackId::opus(),
                Role::Rung,
                Format::Audio(AudioFormat::opus(2, None)),
            )?,
        ];
        for (name, bps) in [("opus24", 24_000), ("opus12", 12_000)] {
            let format = Format::Audio(AudioFormat::opus(1, Some(bps)));
            producers.push(broadcast.publish(id(name), Role::Rung, format)?);
        }
        producers[0].push(AccessUnit::new(0, true, Bytes::from_static(b"idr")));
        self.running.fetch_add(1, Ordering::SeqCst);
        let status = watch::Sender::new(Status::default());
        self.statuses.lock().unwrap().push(status.clone());
        Ok(Arc::new(FakeLadder {
            status,
            shed: self.shed.clone(),
            _producers: producers,
            feeds: Arc::clone(&self.feeds),
            running: Arc::clone(&self.running),
        }))
    }
}

impl Transcode for FakeLadder {
    fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    fn shed(&self, rungs: Vec<TrackId>) {
        self.shed.send_replace(rungs);
    }

    fn feed(&self, feed: Feed) {
        self.feeds.lock().unwrap().push(feed);
    }
}

impl Drop for FakeLadder {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::SeqCst);
    }
}

struct House {
    streams: Streams,
    shed: watch::Sender<Vec<TrackId>>,
    signaller: Arc<FakeSignaller>,
    running: Arc<AtomicUsize>,
    statuses: Arc<Mutex<Vec<watch::Sender<Status>>>>,
    feeds: Arc<Mutex<Vec<Feed>>>,
}

fn house() -> House {
    let signaller = Arc::new(FakeSignaller::default());
    let transcoder = FakeTranscoder::default();
    let running = Arc::clone(&transcoder.running);
    let statuses = Arc::clone(&transcoder.statuses);
    let shed = transcoder.shed.clone();
    let feeds = Arc::clone(&transcoder.feeds);
    let config = Config {
        ladder: LadderConfig {
            rungs: default_rungs(),
            max_quality: None,
            passthrough: true,
            cpu_budget: 8.0,
            shed: true,
        },
        encode: Settings {
            encoder: "libx264".to_owned(),
            preset: "superfast".to_owned(),
            gop_s: 2,
            on_demand: true,
            opus_bps: 96_000,
            aac_bps: 128_000,
            protocols: Vec::new(),
            hosts: Vec::new(),
        },
        hls: HlsConfig {
            segments: SegmentConfig::default(),
            on_demand: true,
            keep_alive: Duration::from_secs(30),
            dvr: None,
        },
        record: crate::RecordConfig::default(),
        rooms: crate::RoomConfig::default(),
        viewers_max: 2,
        playout_delay_max: Duration::from_millis(500),
        resume: Duration::from_secs(10),
        linger: Duration::from_millis(200),
    };
    let desk = Desk::start(
        Duration::from_secs(5),
        LogConfig::default(),
        |_| serde_json::json!({ "up_after_s": 1.5 }),
        |_| lockgate_policy::host::Grants::new(),
    )
    .unwrap();
    let streams = Streams::new(
        config,
        desk,
        Arc::clone(&signaller) as Arc<dyn Signaller>,
        Arc::new(transcoder),
    );
    House {
        streams,
        shed,
        signaller,
        running,
        statuses,
        feeds,
    }
}

fn name(text: &str) -> BroadcastName {
    BroadcastName::new(text).unwrap()
}

fn me() -> Principal {
    Principal::new("me")
}

fn offer() -> String {
    "offer".to_owned()
}

#[tokio::test]
async fn viewers_of_nothing_and_viewers_too_many_are_refused() {
    let house = house();
    assert_eq!(
        house
            .streams
            .subscribe(&name("cam"), offer(), Watcher::default())
            .await
            .unwrap_err(),
        Error::NotLive(name("cam"))
    );
    house
        .streams
        .add_source(
            name("cam"),
            Input::Demo {
                width: 64,
                height: 36,
                fps: 5,
            },
        )
        .unwrap();
    let first = house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap();
    house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap();
    let full = house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap_err();
    assert_eq!(
        full,
        Error::Full {
            broadcast: name("cam"),
            max: 2
        }
    );
    house
        .streams
        .unsubscribe(&name("cam"), first.session)
        .unwrap();
    assert!(
        house
            .streams
            .subscribe(&name("cam"), offer(), Watcher::default())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn each_viewer_gets_what_its_link_carries_and_may_choose_itself() {
    let house = house();
    house
        .streams
        .add_source(
            name("cam"),
            Input::Demo {
                width: 64,
                height: 36,
                fps: 5,
            },
        )
        .unwrap();
    let joined = house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap();
    let peer = house.signaller.peer(0);
    let mut selection = peer.selection.clone().unwrap();
    let wanted = |id: &str| {
        let id = TrackId::new(id).unwrap();
        move |selection: &Selection| selection.video.as_ref() == Some(&id)
    };
    // Nothing is known of its link yet: it starts at the default, with sound.
    let first = selection.wait_for(wanted("720p60")).await.unwrap().clone();
    assert_eq!(first.audio, Some(TrackId::opus()));
    *peer.link.lock().unwrap() = LinkStats {
        bandwidth_kbps: Some(900.0),
        ..LinkStats::default()
    };
    selection.wait_for(wanted("360p30")).await.unwrap();
    *peer.link.lock().unwrap() = LinkStats {
        bandwidth_kbps: Some(9000.0),
        ..LinkStats::default()
    };
    let before = tokio::time::Instant::now();
    selection.wait_for(wanted("720p60")).await.unwrap();
    assert!(
        before.elapsed() >= Duration::from_millis(1500),
        "up only after it has fitted for its time"
    );

    let choose = async |id: Option<&str>| {
        let id = id.map(|id| TrackId::new(id).unwrap());
        house.streams.choose(&name("cam"), joined.session, id).await
    };
    choose(Some("360p30")).await.unwrap();
    selection.wait_for(wanted("360p30")).await.unwrap();
    assert!(matches!(
        choose(Some("8k")).await.unwrap_err(),
        Error::NoTrack { .. }
    ));
    assert!(matches!(
        choose(Some("opus")).await.unwrap_err(),
        Error::NoTrack { .. }
    ));
    choose(None).await.unwrap();
    selection.wait_for(wanted("720p60")).await.unwrap();
    // The other kinds have described it.
    let infos = house.streams.sessions(&name("cam")).unwrap();
    let score = infos[0].judged.score.as_ref().unwrap();
    assert!(
        score["score"].as_f64().is_some_and(|score| score > 0.0),
        "{score:?}"
    );
    assert!(infos[0].judged.optimize.is_some());
    // It is told so for what it says of itself.
    let report = Report {
        screen_height: Some(360.0),
        ..Report::default()
    };
    let told = house
        .streams
        .hear(&name("cam"), joined.session, &report)
        .unwrap();
    assert_eq!(told.wanted, Some(TrackId::new("720p60").unwrap()));
    assert!(told.automatic && !told.reason.is_empty(), "{told:?}");
    assert!(told.score.unwrap()["score"].as_f64().is_some());
}

#[tokio::test]
async fn what_optimize_decides_is_carried_out_and_shown() {
    let house = house();
    let demo = Input::Demo {
        width: 64,
        height: 36,
        fps: 5,
    };
    house.streams.add_source(name("cam"), demo).unwrap();
    let joined = house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap();
    let peer = house.signaller.peer(0);
    let mut selection = peer.selection.clone().unwrap();
    let first = selection
        .wait_for(|selection| selection.video.is_some())
        .await
        .unwrap()
        .clone();
    assert_eq!(first.video.unwrap().as_str(), "720p60");
    assert_eq!(
        (first.audio_twice, first.fps, first.playout_delay_ms),
        (Some(false), Some(60), Some(0))
    );

    *peer.link.lock().unwrap() = LinkStats {
        bandwidth_kbps: Some(900.0),
        loss_pct: Some(5.0),
        ..LinkStats::default()
    };
    let bad = selection
        .wait_for(|selection| selection.audio_twice == Some(true))
        .await
        .unwrap()
        .clone();
    assert_eq!((bad.fps, bad.playout_delay_ms), (Some(24), Some(500)));
    assert_eq!(bad.audio.unwrap().as_str(), "opus24");

    // On a link that carries everything, who asks to save data is still sent less, for as long as it asks; what was
    // saved already is not saved on again, so that it stays there.
    *peer.link.lock().unwrap() = LinkStats {
        bandwidth_kbps: Some(9000.0),
        ..LinkStats::default()
    };
    let wanted = |id: &'static str| {
        move |selection: &Selection| selection.video.as_ref().is_some_and(|on| on.as_str() == id)
    };
    selection.wait_for(wanted("720p60")).await.unwrap();
    let save = async |on| {
        house
            .streams
            .save_data(&name("cam"), joined.session, on)
            .await
    };
    save(true).await.unwrap();
    selection.wait_for(wanted("360p30")).await.unwrap();
    let effect = || house.streams.sessions(&name("cam")).unwrap()[0].in_effect;
    for _ in 0..3 {
        save(true).await.unwrap();
        assert_eq!(effect().cap_kbps, Some(1750));
    }
    save(false).await.unwrap();
    assert_eq!(effect().cap_kbps, None);
    selection.wait_for(wanted("720p60")).await.unwrap();
}

#[tokio::test]
async fn a_source_that_ends_or_fails_ends_its_broadcast() {
    let house = house();
    for (at, state) in [State::Ended, State::Failed].into_iter().enumerate() {
        let input = Input::Url {
            url: "x".to_owned(),
            looped: false,
        };
        house.streams.add_source(name("over"), input).unwrap();
        house.statuses.lock().unwrap()[at].send_replace(Status {
            state,
            ..Status::default()
        });
        while house.streams.info(&name("over")).is_ok() {
            tokio::task::yield_now().await;
        }
        // The ladder stops at once; only the playlists stay.
        assert_eq!(house.running.load(Ordering::SeqCst), 0);
        assert_eq!(house.streams.list().len(), 1);
    }
}

#[tokio::test]
async fn an_ended_name_is_free_at_once_and_nobody_enters_a_server_going_down() {
    let house = house();
    house
        .streams
        .add_source(
            name("file"),
            Input::Url {
                url: "x".to_owned(),
                looped: false,
            },
        )
        .unwrap();
    house.streams.stop(&name("file")).unwrap();
    assert_eq!(
        house.streams.info(&name("file")).unwrap_err(),
        Error::NotLive(name("file"))
    );
    // Its name is free at once.
    house
        .streams
        .add_source(
            name("file"),
            Input::Url {
                url: "x".to_owned(),
                looped: false,
            },
        )
        .unwrap();
    house.streams.end_all();
    assert_eq!(
        house
            .streams
            .publish(name("new"), offer(), me())
            .await
            .unwrap_err(),
        Error::ShuttingDown
    );
    house.streams.forget();
    assert!(house.streams.list().is_empty());
}
