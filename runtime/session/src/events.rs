//! What a viewer is told about its broadcast (WHEP extensions, server-sent events).
//!
//! An event is a state: of what changed while nobody read an event stream, the newest is told.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
};

use lockgate_media::{BroadcastName, TrackId, VideoCodec};
use tokio::sync::watch;

use crate::{
    Error, SessionId, Streams,
    control::Rendition,
    stream::{Ended, Stream},
    viewer::Viewer,
};

/// A type of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// Somebody publishes.
    Active,
    /// Nobody publishes any more.
    Inactive,
    /// The renditions there are.
    Layers,
    /// The viewer is to come again.
    Reconnect,
    /// How many watch by WebRTC.
    ViewerCount,
}

impl EventKind {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Active,
        Self::Inactive,
        Self::Layers,
        Self::Reconnect,
        Self::ViewerCount,
    ];

    /// The name of the type, as the extension has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Layers => "layers",
            Self::Reconnect => "reconnect",
            Self::ViewerCount => "viewercount",
        }
    }

    /// The type of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody publishes.
    Active,
    /// Nobody publishes any more: the session is over.
    Inactive,
    /// What the viewer can be sent.
    Layers {
        /// The place of the video section in the SDP.
        section: usize,
        /// The renditions in a codec of the viewer's.
        layers: Vec<Layer>,
    },
    /// The server goes down: the viewer is to come again.
    Reconnect,
    /// How many watch by WebRTC.
    ViewerCount(usize),
}

/// A rendition that a viewer may ask for.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Its track.
    pub id: TrackId,
    /// Measured bitrate in bit/s; `None` while nothing flows.
    pub bitrate_bps: Option<u64>,
    /// Bitrate it is encoded for, in bit/s, where known.
    pub target_bitrate_bps: Option<u64>,
    /// Width in pixels, where known.
    pub width: Option<u32>,
    /// Height in pixels, where known.
    pub height: Option<u32>,
    codec: VideoCodec,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "bitrates are positive and far below 2^63"
)]
fn bps(kbps: f64) -> u64 {
    (kbps * 1000.0) as u64
}

impl Layer {
    fn of(rendition: &Rendition) -> Self {
        let known = |side: u32| (side > 0).then_some(side);
        Self {
            id: rendition.id.clone(),
            bitrate_bps: rendition.measured_kbps.map(bps),
            target_bitrate_bps: rendition.declared_kbps.map(bps),
            width: known(rendition.width),
            height: known(rendition.height),
            codec: rendition.codec,
        }
    }

    /// Whether a viewer need not be told of the difference: bitrates move every second.
    fn is_like(&self, other: &Self) -> bool {
        let bitrate_bps = self.bitrate_bps.and(other.bitrate_bps);
        bitrate_bps.is_some() == self.bitrate_bps.or(other.bitrate_bps).is_some()
            && *other
                == Self {
                    bitrate_bps: other.bitrate_bps,
                    ..self.clone()
                }
    }
}

/// What there is to tell about a broadcast, kept by its control step.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Outlook {
    layers: Vec<Layer>,
    viewers: usize,
}

impl Outlook {
    pub(crate) fn new(renditions: &[Rendition], viewers: usize) -> Self {
        Self {
            layers: renditions.iter().map(Layer::of).collect(),
            viewers,
        }
    }

    /// Whether nobody need be told of the difference.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let mut pairs = self.layers.iter().zip(&other.layers);
        self.viewers == other.viewers
            && self.layers.len() == other.layers.len()
            && pairs.all(|(one, other)| one.is_like(other))
    }
}

/// An event stream of a viewer, which it made.
pub(crate) struct EventStream {
    id: SessionId,
    kinds: Vec<EventKind>,
    /// Gone when the event stream is.
    open: watch::Sender<()>,
}

impl Streams {
    /// Makes an event stream for a viewer, with these types of events. Of too many, the oldest ends.
    pub fn open_events(
        &self,
        name: &BroadcastName,
        session: SessionId,
        kinds: Vec<EventKind>,
    ) -> Result<SessionId, Error> {
        let viewer = self.live(name)?.viewer(session)?;
        let id = SessionId::random();
        let mut events = viewer.events();
        if events.len() >= EVENT_STREAMS_MAX {
            events.pop_front();
        }
        events.push_back(EventStream {
            id,
            kinds,
            open: watch::Sender::new(()),
        });
        Ok(id)
    }

    /// Reads an event stream.
    pub fn events(
        &self,
        name: &BroadcastName,
        session: SessionId,
        id: SessionId,
    ) -> Result<Events, Error> {
        let stream = self.live(name)?;
        let viewer = stream.viewer(session)?;
        let found = viewer
            .events()
            .iter()
            .find(|events| events.id == id)
            .map(|events| (events.kinds.clone(), events.open.subscribe()));
        let (kinds, open) = found.ok_or_else(|| stream.no_session(id))?;
        Ok(Events::new(&stream, &viewer, kinds, open))
    }

    /// Wakes whenever a broadcast has other tracks, or one of them is of another format.
    pub fn watch_tracks(&self, name: &BroadcastName) -> Result<watch::Receiver<u64>, Error> {
        Ok(self.live(name)?.broadcast.changes())
    }

    /// The place of a viewer's video section in its SDP, counted from 0.
    pub fn video_section(
        &self,
        name: &BroadcastName,
        session: SessionId,
    ) -> Result<Option<usize>, Error> {
        Ok(self.live(name)?.viewer(session)?.video_section)
    }

    /// Ends an event stream.
    pub fn close_events(
        &self,
        name: &BroadcastName,
        session: SessionId,
        id: SessionId,
    ) -> Result<(), Error> {
        let stream = self.live(name)?;
        let viewer = stream.viewer(session)?;
        let mut events = viewer.events();
        let before = events.len();
        events.retain(|events| events.id != id);
        if events.len() == before {
            return Err(stream.no_session(id));
        }
        Ok(())
    }
}

impl Viewer {
    fn events(&self) -> std::sync::MutexGuard<'_, VecDeque<EventStream>> {
        self.event_streams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The events of one event stream, as they come.
pub struct Events {
    kinds: Vec<EventKind>,
    section: Option<usize>,
    codecs: Vec<VideoCodec>,
    outlook: watch::Receiver<Outlook>,
    ended: watch::Receiver<Option<Ended>>,
    open: watch::Receiver<()>,
    told: Option<Outlook>,
    waiting: VecDeque<Event>,
    over: bool,
}

impl Events {
    fn new(
        stream: &Arc<Stream>,
        viewer: &Arc<Viewer>,
        kinds: Vec<EventKind>,
        open: watch::Receiver<()>,
    ) -> Self {
        let mut outlook = stream.audience.outlook.subscribe();
        outlook.mark_changed();
        Self {
            kinds,
            section: viewer.video_section,
            codecs: viewer.bounds().codecs.to_vec(),
            outlook,
            ended: stream.ended.subscribe(),
            open,
            told: None,
            waiting: VecDeque::from([Event::Active]),
            over: false,
        }
    }

    /// The next event; `None` when the event stream is over.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(event) = self.waiting.pop_front() {
                if self.kinds.contains(&event.kind()) {
                    return Some(event);
                }
            }
            if self.over {
                return None;
            }
            let news = tokio::select! {
                biased;
                end = self.ended.wait_for(Option::is_some) => Err(end.ok().and_then(|end| *end)),
                // Its sender is never used: it is there or gone.
                _ = self.open.changed() => return None,
                changed = self.outlook.changed() => Ok(changed),
            };
            match news {
                Ok(changed) => {
                    changed.ok()?;
                    self.look();
                }
                Err(end) => {
                    self.over = true;
                    self.waiting.push_back(match end {
                        Some(Ended::ServerStops) => Event::Reconnect,
                        _ => Event::Inactive,
                    });
                }
            }
        }
    }

    fn look(&mut self) {
        let new = self.outlook.borrow_and_update().clone();
        let mut layers = new.layers.clone();
        layers.retain(|layer| self.codecs.contains(&layer.codec));
        let new = Outlook { layers, ..new };
        let told = self.told.as_ref();
        let count_changed = told.is_none_or(|told| told.viewers != new.viewers);
        let layers_changed = told.is_none_or(|told| {
            !told.is_like(&Outlook {
                viewers: told.viewers,
                ..new.clone()
            })
        });
        if let Some(section) = self.section
            && layers_changed
        {
            self.waiting.push_back(Event::Layers {
                section,
                layers: new.layers.clone(),
            });
        }
        if count_changed {
            self.waiting.push_back(Event::ViewerCount(new.viewers));
        }
        self.told = Some(new);
    }
}

impl Event {
    /// Its type.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Active => EventKind::Active,
            Self::Inactive => EventKind::Inactive,
            Self::Layers { .. } => EventKind::Layers,
            Self::Reconnect => EventKind::Reconnect,
            Self::ViewerCount(_) => EventKind::ViewerCount,
        }
    }
}

/// Most event streams of one viewer.
const EVENT_STREAMS_MAX: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(bitrate_bps: Option<u64>, width: u32) -> Layer {
        Layer {
            id: TrackId::new("360p30").unwrap(),
            bitrate_bps,
            target_bitrate_bps: Some(600_000),
            width: Some(width),
            height: Some(360),
            codec: VideoCodec::H264,
        }
    }

    fn outlook(layer: Layer, viewers: usize) -> Outlook {
        Outlook {
            layers: vec![layer],
            viewers,
        }
    }

    #[test]
    fn a_bitrate_that_moves_is_no_news_and_one_that_stops_is() {
        let before = outlook(layer(Some(500_000), 640), 1);
        let same = |layer, viewers| before.is_like(&outlook(layer, viewers));
        assert!(same(layer(Some(510_000), 640), 1));
        assert!(!same(layer(None, 640), 1));
        assert!(!same(layer(Some(500_000), 320), 1));
        assert!(!same(layer(Some(500_000), 640), 2));
        assert!(!before.is_like(&Outlook::default()));
    }

    #[test]
    fn every_kind_reads_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::named(kind.name()), Some(kind));
        }
        assert_eq!(EventKind::named("scte35"), None);
    }
}
