//! The audio a viewer is sent: from which track, and when the next one takes over.

use lockgate_broadcast::{
    Broadcast,
    track::{Consumer, Item, Start, Track},
};
use lockgate_media::{AudioCodec, TrackId};

/// Follows a selection of audio tracks. Every unit stands by itself, so the old track goes on until the first unit of
/// the new one: a track that is encoded only while it is read takes a moment.
pub(super) struct Sound {
    broadcast: Broadcast,
    wanted: Option<TrackId>,
    playing: Option<Source>,
    coming: Option<Source>,
    last_90k: Option<i64>,
    revision: u32,
}

struct Source {
    id: TrackId,
    consumer: Consumer,
}

impl Sound {
    pub(super) fn new(broadcast: Broadcast) -> Self {
        Self {
            broadcast,
            wanted: None,
            playing: None,
            coming: None,
            last_90k: None,
            revision: 0,
        }
    }

    /// Another selection. `None` mutes at once.
    pub(super) fn select(&mut self, wanted: Option<TrackId>) {
        if wanted.is_none() {
            self.playing = None;
            self.revision += 1;
        }
        self.wanted = wanted;
        self.look();
    }

    /// Looks for the wanted track: after a selection, and whenever the broadcast's tracks change.
    pub(super) fn look(&mut self) {
        for source in [&mut self.playing, &mut self.coming] {
            if source.take_if(|source| source.consumer.is_over()).is_some() {
                self.revision += 1;
            }
        }
        let is = |source: &Option<Source>, wanted: &TrackId| {
            source.as_ref().is_some_and(|source| source.id == *wanted)
        };
        let opened = match &self.wanted {
            Some(wanted) if is(&self.coming, wanted) && !is(&self.playing, wanted) => return,
            Some(wanted) if !is(&self.playing, wanted) => self.open(wanted),
            _ => None,
        };
        if opened.is_some() || self.coming.is_some() {
            self.revision += 1;
        }
        self.coming = opened;
    }

    /// The next unit, if there is one.
    pub(super) fn take(&mut self) -> Option<Item> {
        loop {
            let item = if let Some(item) = next(&mut self.coming) {
                self.playing = self.coming.take();
                self.revision += 1;
                item
            } else if let Some(item) = next(&mut self.playing) {
                item
            } else {
                break;
            };
            if let Some(item) = self.given(item) {
                return Some(item);
            }
        }
        let mut sources = self.playing.iter().chain(&self.coming);
        if sources.any(|source| source.consumer.is_over()) {
            self.look();
        }
        None
    }

    /// Changes whenever [`Self::tracks`] does.
    pub(super) fn revision(&self) -> u32 {
        self.revision
    }

    /// What is read.
    pub(super) fn tracks(&self) -> impl Iterator<Item = Track> + '_ {
        let sources = self.playing.iter().chain(&self.coming);
        sources.map(|source| source.consumer.track())
    }

    /// A unit to send. A track that lags behind the one before it begins where that one ended.
    fn given(&mut self, item: Item) -> Option<Item> {
        let pts_90k = item.unit.pts_90k;
        let is_heard = self
            .last_90k
            .is_some_and(|last| pts_90k <= last && last - pts_90k < LAG_MAX_90K);
        if is_heard {
            return None;
        }
        self.last_90k = Some(pts_90k);
        Some(item)
    }

    fn open(&self, id: &TrackId) -> Option<Source> {
        let track = self.broadcast.track(id)?;
        let format = track.format();
        let is_opus = format
            .audio()
            .is_some_and(|audio| audio.codec == AudioCodec::Opus);
        is_opus.then(|| Source {
            id: id.clone(),
            consumer: track.consume(Start::NextKeyframe),
        })
    }
}

fn next(source: &mut Option<Source>) -> Option<Item> {
    source.as_mut()?.consumer.take()
}

/// What is further back belongs to another timeline.
const LAG_MAX_90K: i64 = 90_000;
