//! The life of one viewer: joining, watching, over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use lockgate_broadcast::track::Track;
use lockgate_ports::{Selection, ViewerFeed, signaller::CloseReason};
use tokio::sync::{oneshot, watch};

use super::{
    bell::Bell,
    dtls::{Dtls, Heard},
    srtp::Srtp,
    wire::{Run, Wire},
};
use crate::{
    egress::{Contract, Listeners, Supply},
    net::Registration,
    peer::Shared,
};

/// A viewer that was accepted, on its way to a shard.
pub(crate) struct Arrival {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registration: Registration,
    pub(crate) dtls: Dtls,
    pub(crate) feed: ViewerFeed,
    pub(crate) contract: Contract,
    /// Its handle is gone, or closes it.
    pub(crate) stopped: oneshot::Receiver<()>,
}

/// A viewer at its shard. Whatever ends it, its peer is over.
pub(super) struct Viewer {
    shared: Arc<Shared>,
    registration: Registration,
    dtls: Dtls,
    stage: Stage,
    /// What is decided about it from outside.
    news: Pin<Box<dyn Future<Output = (News, Ears)> + Send>>,
    wanted: Selection,
    bell: Arc<Bell>,
    waker: Waker,
    /// When to look whether it has fallen silent, or never came.
    patience: Instant,
}

enum Stage {
    Joining(Option<Box<Joining>>),
    Watching(Box<Watching>),
}

struct Joining {
    feed: lockgate_broadcast::Broadcast,
    contract: Contract,
    listeners: Listeners,
    /// There is a pair, and DTLS goes on.
    begun: bool,
}

struct Watching {
    srtp: Srtp,
    supply: Supply,
}

/// What a viewer listens to besides its peer.
struct Ears {
    selection: Option<watch::Receiver<Selection>>,
    changes: Option<watch::Receiver<u64>>,
    stopped: oneshot::Receiver<()>,
}

enum News {
    Selection(Selection),
    Tracks,
    Stopped,
}

impl Viewer {
    pub(super) fn new(now: Instant, arrival: Arrival, bell: Arc<Bell>) -> Self {
        let Arrival {
            shared,
            registration,
            dtls,
            feed:
                ViewerFeed {
                    broadcast,
                    mut selection,
                    congested,
                },
            contract,
            stopped,
        } = arrival;
        let wanted = selection.borrow_and_update().clone();
        let ears = Ears {
            selection: Some(selection),
            changes: Some(broadcast.changes()),
            stopped,
        };
        let listeners = Listeners {
            playing: shared.playing.clone(),
            stats: Arc::clone(&shared.link),
            congested,
        };
        Self {
            patience: now + shared.connect_max(),
            shared,
            registration,
            dtls,
            stage: Stage::Joining(Some(Box::new(Joining {
                feed: broadcast,
                contract,
                listeners,
                begun: false,
            }))),
            news: Box::pin(listen(ears)),
            wanted,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    /// Takes what came from outside and from its peer; why it is over, if it is.
    pub(super) fn look(&mut self, now: Instant, run: &mut Run) -> Option<CloseReason> {
        self.bell.answered();
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        while let Poll::Ready((news, ears)) = self.news.as_mut().poll(&mut cx) {
            self.news = Box::pin(listen(ears));
            match news {
                News::Stopped => return Some(CloseReason::Asked),
                News::Selection(wanted) => {
                    self.wanted = wanted;
                    if let Stage::Watching(watching) = &mut self.stage {
                        watching.supply.select(self.wanted.clone());
                    }
                }
                News::Tracks => {
                    if let Stage::Watching(watching) = &mut self.stage {
                        watching.supply.look();
                    }
                }
            }
        }
        while let Poll::Ready(datagram) = self.registration.slot.poll(&cx) {
            if let Some(reason) = self.datagram(now, &datagram, run) {
                return Some(reason);
            }
        }
        None
    }

    fn datagram(&mut self, now: Instant, datagram: &[u8], run: &mut Run) -> Option<CloseReason> {
        // RFC 7983 §7.
        match (datagram.first()?, &mut self.stage) {
            // What the place at the socket says when there is a pair.
            (0..=3, Stage::Joining(Some(joining))) => {
                if !std::mem::replace(&mut joining.begun, true) {
                    if let Err(error) = self.dtls.begin(now) {
                        tracing::debug!(%error, "DTLS of a viewer cannot begin");
                        return Some(CloseReason::NeverConnected);
                    }
                    self.shake();
                }
                None
            }
            (20..=63, _) => {
                let heard = self.dtls.read(now, datagram);
                self.shake();
                match heard {
                    Ok(Heard::Nothing) => {}
                    Ok(Heard::Keys(srtp)) => self.begin(now, *srtp),
                    Ok(Heard::Goodbye) => return Some(CloseReason::Left),
                    Err(error) => {
                        tracing::debug!(%error, "DTLS of a viewer gave no keys");
                        return Some(CloseReason::NeverConnected);
                    }
                }
                self.dtls
                    .is_refused()
                    .then_some(CloseReason::NeverConnected)
            }
            // RTCP (RFC 5761 §4); a viewer sends no media.
            (128..=191, Stage::Watching(watching))
                if datagram
                    .get(1)
                    .is_some_and(|kind| (192..=223).contains(kind)) =>
            {
                match watching.srtp.open_rtcp(datagram) {
                    Ok(packets) => {
                        let (supply, mut wire) = watching.with(&self.registration, run);
                        supply.told(now, &packets, &mut wire);
                        wire.flush();
                    }
                    Err(error) => tracing::trace!(%error, "RTCP of a viewer is dropped"),
                }
                None
            }
            _ => None,
        }
    }

    /// Sends what DTLS has to send.
    fn shake(&mut self) {
        let Registration { mux, slot } = &self.registration;
        while let Some(datagram) = self.dtls.poll() {
            // What is lost of a handshake is sent again.
            let _sent = mux.send_run(slot, &datagram, datagram.len());
        }
    }

    /// The handshake is done: media begins.
    fn begin(&mut self, now: Instant, srtp: Srtp) {
        let Stage::Joining(joining) = &mut self.stage else {
            return;
        };
        let Some(joining) = joining.take() else {
            return;
        };
        let Joining {
            feed,
            contract,
            listeners,
            ..
        } = *joining;
        let supply = Supply::new(now, feed, contract, self.wanted.clone(), listeners);
        self.stage = Stage::Watching(Box::new(Watching { srtp, supply }));
        self.patience = now;
        self.shared.connected();
    }

    /// Sends what the tracks have.
    pub(super) fn pump(&mut self, now: Instant, run: &mut Run) {
        if let Stage::Watching(watching) = &mut self.stage {
            let (supply, mut wire) = watching.with(&self.registration, run);
            supply.pump(now, &mut wire);
            wire.flush();
        }
    }

    /// Does what is due; why it is over, if it is.
    pub(super) fn due(&mut self, now: Instant, run: &mut Run) -> Option<CloseReason> {
        if self.dtls.deadline().is_some_and(|due| due <= now) {
            self.dtls.timeout(now);
            self.shake();
        }
        match &mut self.stage {
            Stage::Joining(_) => (self.patience <= now).then_some(CloseReason::NeverConnected),
            Stage::Watching(watching) => {
                if self.patience <= now {
                    // RFC 7675 §5.1: who is not heard of must not be sent to.
                    let silence = self.registration.slot.silence();
                    let left = self.shared.silence_max().saturating_sub(silence);
                    if left.is_zero() {
                        return Some(CloseReason::Gone);
                    }
                    self.patience = now + left;
                }
                let (supply, mut wire) = watching.with(&self.registration, run);
                supply.due(now, &mut wire);
                wire.flush();
                None
            }
        }
    }

    /// When [`Self::due`] has something to do.
    pub(super) fn deadline(&self) -> Instant {
        let mut deadline = self.patience;
        if let Some(dtls) = self.dtls.deadline() {
            deadline = deadline.min(dtls);
        }
        if let Stage::Watching(watching) = &self.stage {
            deadline = deadline.min(watching.supply.deadline());
        }
        deadline
    }

    /// Changes whenever [`Self::tracks`] does.
    pub(super) fn revision(&self) -> u32 {
        match &self.stage {
            Stage::Joining(_) => 0,
            Stage::Watching(watching) => watching.supply.revision(),
        }
    }

    /// What it reads.
    pub(super) fn tracks(&self) -> Vec<Track> {
        match &self.stage {
            Stage::Joining(_) => Vec::new(),
            Stage::Watching(watching) => watching.supply.tracks().collect(),
        }
    }

    /// It is over: says goodbye to its peer, so that it need not find out by silence, and frees everything.
    pub(super) fn close(mut self, now: Instant, reason: CloseReason, run: &mut Run) {
        let was = match &self.stage {
            Stage::Joining(_) => "joining",
            Stage::Watching(_) => "watching",
        };
        tracing::debug!(?reason, was, "a viewer is over");
        self.shared.end(reason);
        if let Stage::Watching(watching) = &mut self.stage {
            let (supply, mut wire) = watching.with(&self.registration, run);
            supply.goodbye(&mut wire);
        }
        self.dtls.close(now);
        self.shake();
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.shared.end(CloseReason::Gone); // the first reason stays
    }
}

impl Watching {
    fn with<'a>(
        &'a mut self,
        registration: &'a Registration,
        run: &'a mut Run,
    ) -> (&'a mut Supply, Wire<'a>) {
        let wire = Wire {
            srtp: &mut self.srtp,
            run,
            mux: &registration.mux,
            slot: &registration.slot,
        };
        (&mut self.supply, wire)
    }
}

/// The next that is decided outside.
async fn listen(mut ears: Ears) -> (News, Ears) {
    loop {
        tokio::select! {
            biased;
            _ = &mut ears.stopped => return (News::Stopped, ears),
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
