//! The life of one viewer: joining, watching, over.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Instant,
};

use lockgate_broadcast::track::Track;
use lockgate_dtls::{Association, Heard};
use lockgate_ports::{ViewerFeed, signaller::CloseReason};
use tokio::sync::oneshot;

use super::{
    bell::Bell,
    channel::{Channel, News},
    place::Places,
    srtp::Srtp,
    uplink::Uplink,
    wire::{Run, Wire},
};
use crate::{
    egress::{Contract, Supply},
    net::Registration,
    peer::Shared,
};

/// A viewer that was accepted, on its way to a shard.
pub(crate) struct Arrival {
    pub(crate) shared: Arc<Shared>,
    pub(crate) registration: Registration,
    pub(crate) dtls: Association,
    pub(crate) shown: Shown,
    pub(crate) contract: Contract,
    /// What it sends itself.
    pub(crate) uplink: Option<Box<Uplink>>,
    /// Its handle is gone, or closes it.
    pub(crate) stopped: oneshot::Receiver<()>,
}

/// What a viewer is shown.
pub(crate) enum Shown {
    /// A broadcast, on all its legs.
    Broadcast(ViewerFeed),
    /// What its places are filled with, a leg each.
    Places(Places),
}

/// A viewer at its shard. Whatever ends it, its peer is over.
pub(super) struct Viewer {
    shared: Arc<Shared>,
    registration: Registration,
    dtls: Association,
    stage: Stage,
    /// What it is shown.
    channels: Vec<Channel>,
    places: Option<Box<Places>>,
    uplink: Option<Box<Uplink>>,
    stopped: oneshot::Receiver<()>,
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
    contract: Contract,
    /// There is a pair, and DTLS goes on.
    begun: bool,
}

struct Watching {
    srtp: Srtp,
    supply: Supply,
}

impl Viewer {
    pub(super) fn new(now: Instant, arrival: Arrival, bell: Arc<Bell>) -> Self {
        let Arrival {
            shared,
            registration,
            dtls,
            shown,
            contract,
            uplink,
            stopped,
        } = arrival;
        let (channels, places) = match shown {
            Shown::Broadcast(feed) => (vec![Channel::new(0..contract.legs.len(), feed)], None),
            Shown::Places(places) => (Vec::new(), Some(Box::new(places))),
        };
        Self {
            patience: now + shared.connect_max(),
            shared,
            registration,
            dtls,
            stage: Stage::Joining(Some(Box::new(Joining {
                contract,
                begun: false,
            }))),
            channels,
            places,
            uplink,
            stopped,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        }
    }

    /// Takes what came from outside and from its peer; why it is over, if it is.
    pub(super) fn look(&mut self, now: Instant, run: &mut Run) -> Option<CloseReason> {
        self.bell.answered();
        let waker = self.waker.clone();
        let mut cx = Context::from_waker(&waker);
        if Pin::new(&mut self.stopped).poll(&mut cx).is_ready() {
            return Some(CloseReason::Asked);
        }
        if let Some(places) = &mut self.places {
            for (leg, feed) in places.poll(&mut cx) {
                self.fill(now, leg, feed);
            }
        }
        for channel in &mut self.channels {
            while let Some(news) = channel.poll(&mut cx) {
                let Stage::Watching(watching) = &mut self.stage else {
                    continue;
                };
                match news {
                    News::Selection(wanted) => watching.supply.select(&channel.legs, &wanted),
                    News::Tracks => watching.supply.look(&channel.legs),
                }
            }
        }
        if let (Some(uplink), Stage::Watching(watching)) = (&mut self.uplink, &mut self.stage) {
            let (_, mut wire) = watching.with(&self.registration, run);
            uplink.ask(&mut cx, &mut wire);
        }
        while let Poll::Ready(datagram) = self.registration.slot.poll(&cx) {
            if let Some(reason) = self.datagram(now, &datagram, run) {
                return Some(reason);
            }
        }
        None
    }

    /// A place is filled, or emptied.
    fn fill(&mut self, now: Instant, leg: usize, feed: Option<ViewerFeed>) {
        let legs = leg..leg + 1;
        self.channels.retain(|channel| channel.legs != legs);
        let channel = feed.map(|feed| Channel::new(legs.clone(), feed));
        if let Stage::Watching(watching) = &mut self.stage {
            let shown = channel.as_ref();
            let shown = shown.map(|channel| (&channel.broadcast, &channel.wanted));
            watching.supply.show(now, &legs, shown);
        }
        self.channels.extend(channel);
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
                    Ok(Heard::Keys(keys)) => {
                        let crypto = keys.provider.crypto();
                        let srtp = Srtp::new(keys.profile, &keys.session, crypto);
                        let uplink = self.uplink.as_mut().map_or(Ok(()), |uplink| {
                            uplink.begin(keys.profile, &keys.session, crypto)
                        });
                        match uplink.and(srtp) {
                            Ok(srtp) => self.begin(now, srtp),
                            Err(error) => {
                                tracing::debug!(%error, "DTLS of a viewer gave no keys");
                                return Some(CloseReason::NeverConnected);
                            }
                        }
                    }
                    Ok(Heard::Goodbye) => return Some(CloseReason::Left),
                    // What cannot be read is dropped.
                    Err(error) => tracing::debug!(%error, "DTLS of a viewer"),
                }
                self.dtls
                    .is_refused()
                    .then_some(CloseReason::NeverConnected)
            }
            // RTCP (RFC 5761 §4).
            (128..=191, Stage::Watching(watching))
                if datagram
                    .get(1)
                    .is_some_and(|kind| (192..=223).contains(kind)) =>
            {
                match watching.srtp.open_rtcp(datagram) {
                    Ok(packets) => {
                        let (supply, mut wire) = watching.with(&self.registration, run);
                        let objected = supply.told(now, &packets, &mut wire);
                        wire.flush();
                        if objected {
                            self.channels.iter().for_each(Channel::congested);
                        }
                        if let Some(uplink) = &mut self.uplink {
                            uplink.told(now, packets);
                        }
                    }
                    Err(error) => tracing::trace!(%error, "RTCP of a viewer is dropped"),
                }
                None
            }
            (128..=191, _) => {
                if let Some(uplink) = &mut self.uplink {
                    uplink.take(now, datagram);
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
        let mut supply = Supply::new(now, joining.contract, Arc::clone(&self.shared.link));
        for channel in &self.channels {
            let shown = (&channel.broadcast, &channel.wanted);
            supply.show(now, &channel.legs, Some(shown));
        }
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
            if let Err(error) = self.dtls.timeout(now) {
                tracing::debug!(%error, "DTLS of a viewer");
            }
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
                if let Some(uplink) = &mut self.uplink {
                    uplink.due(now, &mut wire);
                }
                wire.flush();
                None
            }
        }
    }

    /// When [`Self::due`] has something to do.
    pub(super) fn deadline(&mut self) -> Instant {
        let mut deadline = self.patience;
        if let Some(dtls) = self.dtls.deadline() {
            deadline = deadline.min(dtls);
        }
        if let Stage::Watching(watching) = &self.stage {
            deadline = deadline.min(watching.supply.deadline());
            let reports = self.uplink.as_mut().and_then(|uplink| uplink.deadline());
            deadline = reports.map_or(deadline, |reports| deadline.min(reports));
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
            Stage::Watching(watching) => watching.supply.tracks(),
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
        if let Err(error) = self.dtls.close(now) {
            tracing::debug!(%error, "DTLS of a viewer");
        }
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
