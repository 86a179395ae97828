//! The places of a viewer of many: from outside they are filled and emptied, and the viewer follows in its turn.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use lockgate_media::{TrackId, stats::LinkStats};
use lockgate_ports::ViewerFeed;
use tokio::sync::{Notify, watch};

use crate::egress::Listeners;

/// One place.
pub(crate) struct Place {
    mid: String,
    is_video: bool,
    next: Mutex<Next>,
    /// Told when `next` is another, of all places of the viewer.
    told: Arc<Notify>,
    playing: watch::Sender<Option<TrackId>>,
    stats: Arc<Mutex<LinkStats>>,
}

/// What was decided and is not done yet.
enum Next {
    Nothing,
    Show(Option<ViewerFeed>),
    /// The viewer is over.
    Over,
}

/// All places of a viewer, in the order of its legs.
pub(crate) struct Places {
    list: Vec<Arc<Place>>,
    told: Arc<Notify>,
    news: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Places {
    /// Empty places of these names (`a=mid`), for video or else for audio.
    pub(crate) fn new(sections: impl Iterator<Item = (String, bool)>) -> Self {
        let told = Arc::<Notify>::default();
        let list = sections.map(|(mid, is_video)| {
            Arc::new(Place {
                mid,
                is_video,
                next: Mutex::new(Next::Nothing),
                told: Arc::clone(&told),
                playing: watch::Sender::new(None),
                stats: Arc::default(),
            })
        });
        Self {
            list: list.collect(),
            news: Box::pin(notified(Arc::clone(&told))),
            told,
        }
    }

    pub(crate) fn list(&self) -> &[Arc<Place>] {
        &self.list
    }

    /// What was decided since, by the place of the leg.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Vec<(usize, Option<ViewerFeed>)> {
        let mut decided = Vec::new();
        while self.news.as_mut().poll(cx) == Poll::Ready(()) {
            self.news = Box::pin(notified(Arc::clone(&self.told)));
            for (leg, place) in self.list.iter().enumerate() {
                let mut next = place.next();
                if let Next::Show(feed) = std::mem::replace(&mut *next, Next::Nothing) {
                    decided.push((leg, feed));
                }
            }
        }
        decided
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        for place in &self.list {
            *place.next() = Next::Over;
            place.playing.send_replace(None);
        }
    }
}

impl Place {
    /// Whom its leg tells what.
    pub(crate) fn listeners(&self) -> Listeners {
        Listeners {
            playing: self.is_video.then(|| self.playing.clone()),
            stats: Some(Arc::clone(&self.stats)),
        }
    }

    fn next(&self) -> MutexGuard<'_, Next> {
        // It is replaced as a whole, so a panic elsewhere leaves it sound.
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl lockgate_ports::Place for Place {
    fn mid(&self) -> &str {
        &self.mid
    }

    fn is_video(&self) -> bool {
        self.is_video
    }

    fn show(&self, feed: Option<ViewerFeed>) {
        let mut next = self.next();
        if !matches!(*next, Next::Over) {
            *next = Next::Show(feed);
            self.told.notify_one();
        }
    }

    fn playing(&self) -> watch::Receiver<Option<TrackId>> {
        self.playing.subscribe()
    }

    fn link(&self) -> LinkStats {
        let stats = self.stats.lock();
        stats.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn notified(told: Arc<Notify>) {
    told.notified().await;
}
