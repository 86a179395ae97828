//! The video a viewer is sent: from which track, and when the next one takes over.

use std::sync::Arc;

use lockgate_broadcast::{
    Broadcast,
    track::{Consumer, Item, Start},
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
        }
    }

    /// Another selection. `None` pauses at once.
    pub(super) fn select(&mut self, wanted: Option<TrackId>) {
        if wanted.is_none() {
            self.playing = None;
        }
        self.wanted = wanted;
        self.look();
    }

    /// Looks for the wanted track: after a selection, and whenever the broadcast's tracks change.
    pub(super) fn look(&mut self) {
        let Some(wanted) = &self.wanted else {
            self.coming = None;
            return;
        };
        let is =
            |source: &Option<Source>| source.as_ref().is_some_and(|source| source.id == *wanted);
        if is(&self.playing) {
            self.coming = None;
            return;
        }
        if is(&self.coming) {
            return;
        }
        self.coming = self.open(wanted);
    }

    /// The next picture. Never ends; cancel safe.
    pub(super) async fn next(&mut self) -> Picture {
        loop {
            tokio::select! {
                biased;
                item = next(&mut self.coming) => match item {
                    // The first unit of a consumer is a keyframe: the hub sees to that.
                    Some(item) => {
                        self.playing = self.coming.take();
                        if let Some(picture) = picture(&self.playing, item) {
                            return picture;
                        }
                    }
                    None => {
                        self.coming = None;
                        self.look();
                    }
                },
                item = next(&mut self.playing) => match item {
                    Some(item) => {
                        if let Some(picture) = picture(&self.playing, item) {
                            return picture;
                        }
                    }
                    None => {
                        // Its writer is gone; it may be back already, with the same name.
                        self.playing = None;
                        self.look();
                    }
                },
            }
        }
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

async fn next(source: &mut Option<Source>) -> Option<Item> {
    match source {
        Some(source) => source.consumer.next().await,
        None => std::future::pending().await,
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
