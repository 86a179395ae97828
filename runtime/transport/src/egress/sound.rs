//! The audio a viewer is sent: from which track, and when the next one takes over.

use lockgate_broadcast::{
    Broadcast,
    track::{Consumer, Item, Start},
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
        }
    }

    /// Another selection. `None` mutes at once.
    pub(super) fn select(&mut self, wanted: Option<TrackId>) {
        if wanted.is_none() {
            self.playing = None;
        }
        self.wanted = wanted;
        self.look();
    }

    /// Looks for the wanted track: after a selection, and whenever the broadcast's tracks change.
    pub(super) fn look(&mut self) {
        let is = |source: &Option<Source>, wanted: &TrackId| {
            source.as_ref().is_some_and(|source| source.id == *wanted)
        };
        match &self.wanted {
            Some(wanted) if is(&self.playing, wanted) => self.coming = None,
            Some(wanted) if is(&self.coming, wanted) => {}
            Some(wanted) => self.coming = self.open(wanted),
            None => self.coming = None,
        }
    }

    /// The next unit. Never ends; cancel safe.
    pub(super) async fn next(&mut self) -> Item {
        loop {
            tokio::select! {
                biased;
                item = next(&mut self.coming) => match item {
                    Some(item) => {
                        self.playing = self.coming.take();
                        if let Some(item) = self.given(item) {
                            return item;
                        }
                    }
                    None => {
                        self.coming = None;
                        self.look();
                    }
                },
                item = next(&mut self.playing) => match item {
                    Some(item) => {
                        if let Some(item) = self.given(item) {
                            return item;
                        }
                    }
                    None => {
                        self.playing = None;
                        self.look();
                    }
                },
            }
        }
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

async fn next(source: &mut Option<Source>) -> Option<Item> {
    match source {
        Some(source) => source.consumer.next().await,
        None => std::future::pending().await,
    }
}

/// What is further back belongs to another timeline.
const LAG_MAX_90K: i64 = 90_000;
