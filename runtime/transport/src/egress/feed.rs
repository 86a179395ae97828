//! The video a viewer is sent: from which track, and when the next one takes over.

use std::sync::Arc;

use lockgate_broadcast::{
    Broadcast,
    track::{Consumer, Item, Start, Track},
};
use lockgate_media::{AccessUnit, TrackId, VideoCodec};

/// Follows a selection of video tracks: the old track goes on until the first keyframe of the new one.
pub(super) struct Feed {
    broadcast: Broadcast,
    codecs: Vec<VideoCodec>,
    wanted: Option<TrackId>,
    playing: Option<Source>,
    /// The track that takes over at its next keyframe.
    coming: Option<Source>,
    revision: u32,
}

struct Source {
    id: TrackId,
    codec: VideoCodec,
    consumer: Consumer,
}

/// A unit to send.
pub(super) struct Picture {
    pub(super) codec: VideoCodec,
    pub(super) unit: Arc<AccessUnit>,
    /// Units passed over before it.
    pub(super) skipped: u64,
}

impl Feed {
    pub(super) fn new(broadcast: Broadcast, codecs: Vec<VideoCodec>) -> Self {
        Self {
            broadcast,
            codecs,
            wanted: None,
            playing: None,
            coming: None,
            revision: 0,
        }
    }

    /// Another selection. `None` pauses at once.
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
        // A track whose writer is gone may be back already, with the same name.
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

    /// The next picture, if there is one.
    pub(super) fn take(&mut self) -> Option<Picture> {
        if let Some(source) = &mut self.coming
            // The first unit of a consumer is a keyframe: the hub sees to that.
            && let Some(item) = source.consumer.take()
        {
            self.playing = self.coming.take();
            self.revision += 1;
            return picture(&self.playing, item);
        }
        if let Some(source) = &mut self.playing
            && let Some(item) = source.consumer.take()
        {
            return picture(&self.playing, item);
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

    /// What is being sent.
    pub(super) fn playing(&self) -> Option<&TrackId> {
        self.playing.as_ref().map(|source| &source.id)
    }

    /// Asks the track that is sent, and the one that is to come, for a keyframe.
    pub(super) fn request_keyframe(&self) {
        for source in self.playing.iter().chain(&self.coming) {
            source.consumer.request_keyframe();
        }
    }

    fn open(&self, id: &TrackId) -> Option<Source> {
        let track = self.broadcast.track(id)?;
        let codec = track.format().video()?.codec;
        if !self.codecs.contains(&codec) {
            return None;
        }
        let consumer = track.consume(Start::NextKeyframe);
        consumer.request_keyframe();
        Some(Source {
            id: id.clone(),
            codec,
            consumer,
        })
    }
}

fn picture(source: &Option<Source>, item: Item) -> Option<Picture> {
    let source = source.as_ref()?;
    Some(Picture {
        codec: source.codec,
        unit: item.unit,
        skipped: item.skipped,
    })
}
