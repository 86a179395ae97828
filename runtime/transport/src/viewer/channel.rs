//! A feed of a viewer, and what is decided about it from outside.

use std::{
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use lockgate_broadcast::Broadcast;
use lockgate_ports::{Selection, ViewerFeed};
use tokio::sync::{Notify, watch};

/// What some legs of a viewer are sent: all of them where it watches a broadcast, one where each is a place.
pub(super) struct Channel {
    pub(super) legs: Range<usize>,
    pub(super) broadcast: Broadcast,
    pub(super) wanted: Selection,
    congested: Arc<Notify>,
    news: Pin<Box<dyn Future<Output = (News, Ears)> + Send>>,
}

/// Something was decided.
pub(super) enum News {
    /// Another selection.
    Selection(Selection),
    /// The broadcast has other tracks.
    Tracks,
}

/// What is listened to.
struct Ears {
    selection: Option<watch::Receiver<Selection>>,
    changes: Option<watch::Receiver<u64>>,
}

impl Channel {
    pub(super) fn new(legs: Range<usize>, feed: ViewerFeed) -> Self {
        let ViewerFeed {
            broadcast,
            mut selection,
            congested,
        } = feed;
        let wanted = selection.borrow_and_update().clone();
        let ears = Ears {
            selection: Some(selection),
            changes: Some(broadcast.changes()),
        };
        Self {
            legs,
            broadcast,
            wanted,
            congested,
            news: Box::pin(listen(ears)),
        }
    }

    /// What was decided since.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<News> {
        let Poll::Ready((news, ears)) = self.news.as_mut().poll(cx) else {
            return None;
        };
        self.news = Box::pin(listen(ears));
        if let News::Selection(wanted) = &news {
            self.wanted = wanted.clone();
        }
        Some(news)
    }

    /// The link carries less than it was taken to.
    pub(super) fn congested(&self) {
        self.congested.notify_one();
    }
}

/// The next that is decided outside.
async fn listen(mut ears: Ears) -> (News, Ears) {
    loop {
        tokio::select! {
            biased;
            changed = changed(&mut ears.selection) => match changed {
                Some(wanted) => return (News::Selection(wanted), ears),
                // A selection that nobody can change any more stays as it is.
                None => ears.selection = None,
            },
            changed = changed(&mut ears.changes) => match changed {
                Some(_) => return (News::Tracks, ears),
                None => ears.changes = None,
            },
        }
    }
}

async fn changed<T: Clone>(receiver: &mut Option<watch::Receiver<T>>) -> Option<T> {
    match receiver {
        Some(receiver) => {
            receiver.changed().await.ok()?;
            Some(receiver.borrow_and_update().clone())
        }
        None => std::future::pending().await,
    }
}
