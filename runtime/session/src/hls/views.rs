//! What players see of a broadcast: every rendition as it was last published, who waits for it, and the playlists
//! written of it, each once for all who ask alike.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use bytes::Bytes;
use lockgate_hls::{Ask, Rendition, Segment, Skip};
use lockgate_media::TrackId;
use tokio::sync::watch;

/// A text that many ask for.
#[derive(Debug)]
pub struct Text {
    /// Its bytes, in UTF-8.
    pub bytes: Bytes,
    /// A strong entity tag, without quotes.
    pub etag: String,
    packed: OnceLock<Option<Bytes>>,
}

impl Text {
    pub(super) fn new(text: String) -> Arc<Self> {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        Arc::new(Self {
            etag: format!("{:016x}-{:x}", hasher.finish(), text.len()),
            bytes: Bytes::from(text),
            packed: OnceLock::new(),
        })
    }

    /// The text compressed, by whoever asks first, for all others; `None` where that failed.
    pub fn packed(&self, pack: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<Bytes> {
        let packed = || pack(&self.bytes).map(Bytes::from);
        self.packed.get_or_init(packed).clone()
    }
}

/// How a playlist is written; two that are alike are the same text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Form {
    pub(super) track: TrackId,
    pub(super) skip: Option<Skip>,
    pub(super) dvr: bool,
    pub(super) query: Option<String>,
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Views {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    renditions: Vec<Arc<Rendition>>,
    /// Told of a rendition's news, with them.
    news: HashMap<TrackId, watch::Sender<Arc<Rendition>>>,
    texts: HashMap<Form, Arc<Text>>,
}

impl Views {
    /// Takes renditions as they are now, and wakes who waits for them.
    pub(super) fn publish(&self, changed: Vec<Arc<Rendition>>) {
        if changed.is_empty() {
            return;
        }
        let mut inner = self.lock();
        inner.texts.clear();
        for view in changed {
            let known = inner
                .renditions
                .iter_mut()
                .find(|known| known.track == view.track);
            match known {
                Some(known) => *known = Arc::clone(&view),
                None => inner.renditions.push(Arc::clone(&view)),
            }
            let told = inner.news.get(&view.track);
            match told {
                Some(news) => drop(news.send_replace(view)),
                None => {
                    let track = view.track.clone();
                    inner.news.insert(track, watch::Sender::new(view));
                }
            }
        }
    }

    /// A rendition as it is now, and its news.
    pub(super) fn watch(&self, track: &TrackId) -> Option<watch::Receiver<Arc<Rendition>>> {
        Some(self.lock().news.get(track)?.subscribe())
    }

    /// The playlist of a rendition as it is now; `None` if there is no such rendition. `earlier` is asked for what
    /// stands in front of it, given the window's first number.
    pub(super) fn text(
        &self,
        form: Form,
        earlier: impl FnOnce(u64) -> Vec<Arc<Segment>>,
    ) -> Option<Arc<Text>> {
        let mut inner = self.lock();
        if let Some(text) = inner.texts.get(&form) {
            return Some(Arc::clone(text));
        }
        let renditions = &inner.renditions;
        let view = renditions.iter().find(|view| view.track == form.track)?;
        let first = view.segments.first().map(|first| first.number);
        let earlier = first.map(earlier).unwrap_or_default();
        let text = Text::new(view.playlist_for(Ask {
            query: form.query.as_deref(),
            skip: form.skip,
            others: renditions,
            earlier: &earlier,
        }));
        // Tokens differ from viewer to viewer: what is not shared need not be kept.
        if inner.texts.len() < TEXTS_MAX {
            inner.texts.insert(form, Arc::clone(&text));
        }
        Some(text)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Texts kept of one state: a few for each rendition, and some with tokens.
const TEXTS_MAX: usize = 64;
