//! The ICE agent of a client (RFC 8445): full, controlling, one component, one socket.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use rand::Rng as _;
use rtc::{crypto::RTCCrypto, stun::message::TransactionId};

use super::{
    Out,
    stun::{self, Said},
};

/// A username fragment and its password (RFC 8445 §5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    /// 4 to 256 letters, digits, `+` and `/`.
    pub(crate) ufrag: String,
    /// 22 to 256 of the same.
    pub(crate) password: String,
}

impl Credentials {
    /// New ones.
    pub(crate) fn random() -> Self {
        use rand::distr::{Alphanumeric, SampleString as _};
        let random = |len| Alphanumeric.sample_string(&mut rand::rng(), len);
        Self {
            ufrag: random(8),
            password: random(24),
        }
    }
}

/// The agent.
pub(super) struct Agent {
    ours: Credentials,
    theirs: Credentials,
    /// A lite agent checks nothing, so its first answer is as good as any, and the pair is nominated with it.
    is_lite: bool,
    tie_breaker: u64,
    /// Towards each of the other side's addresses, best first.
    pairs: Vec<Pair>,
    selected: Option<Selected>,
    until: Instant,
    failed: bool,
}

struct Pair {
    remote: SocketAddr,
    id: TransactionId,
    nominates: bool,
    tries: u32,
    /// When the next check is due; `None` once all are made.
    next: Option<Instant>,
}

struct Selected {
    remote: SocketAddr,
    id: TransactionId,
    /// When consent is asked for next (RFC 7675).
    next: Instant,
}

impl Agent {
    /// An agent that begins to check at once.
    pub(super) fn new(
        now: Instant,
        ours: Credentials,
        theirs: Credentials,
        is_lite: bool,
        remotes: &[SocketAddr],
    ) -> Self {
        let mut agent = Self {
            ours,
            theirs,
            is_lite,
            tie_breaker: rand::random(),
            pairs: Vec::new(),
            selected: None,
            until: now + CONNECT_WITHIN,
            failed: false,
        };
        for (at, remote) in (0u32..).zip(remotes.iter().take(PAIRS_MAX)) {
            agent.add(*remote, now + PACE * at);
        }
        agent
    }

    fn add(&mut self, remote: SocketAddr, next: Instant) {
        self.pairs.push(Pair {
            remote,
            id: TransactionId::new(),
            nominates: self.is_lite,
            tries: 0,
            next: Some(next),
        });
    }

    /// Where media goes, once a pair is nominated.
    pub(super) fn destination(&self) -> Option<SocketAddr> {
        self.selected.as_ref().map(|selected| selected.remote)
    }

    /// Whether no pair came up in time, or consent ran out.
    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    /// Takes a datagram of STUN.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        crypto: &dyn RTCCrypto,
        out: &mut Out,
    ) {
        match stun::read(datagram, &self.ours, &self.theirs, crypto) {
            Some(Said::Request(request)) => {
                if let Some(answer) = stun::success(&request, from, &self.ours, crypto) {
                    out.push((from, answer));
                }
                // A check from where we have not checked yet (RFC 8445 §7.3.1.4).
                let is_known = self.pairs.iter().any(|pair| pair.remote == from);
                if self.selected.is_none() && !is_known && self.pairs.len() < PAIRS_MAX {
                    self.add(from, now);
                    self.timeout(now, crypto, out);
                }
            }
            Some(Said::Success(id)) => self.answered(now, from, id, crypto, out),
            Some(Said::Error(id)) => {
                if let Some(pair) = self.pairs.iter_mut().find(|pair| pair.id == id) {
                    pair.next = None;
                }
            }
            None => {}
        }
    }

    fn answered(
        &mut self,
        now: Instant,
        from: SocketAddr,
        id: TransactionId,
        crypto: &dyn RTCCrypto,
        out: &mut Out,
    ) {
        if let Some(selected) = &mut self.selected {
            if selected.id == id && selected.remote == from {
                self.until = now + CONSENT;
            }
            return;
        }
        // Symmetric (RFC 8445 §7.2.5.2.1): the answer comes from where the check went.
        let is_asked = |pair: &&mut Pair| pair.id == id && pair.remote == from;
        let Some(pair) = self.pairs.iter_mut().find(is_asked) else {
            return;
        };
        if pair.nominates {
            self.selected = Some(Selected {
                remote: pair.remote,
                id: TransactionId::new(),
                next: now + consent_interval(),
            });
            self.pairs = Vec::new();
            self.until = now + CONSENT;
            return;
        }
        pair.nominates = true;
        pair.id = TransactionId::new();
        pair.tries = 0;
        pair.next = Some(now);
        // It will do; no other is looked for.
        let remote = pair.remote;
        self.pairs.retain(|pair| pair.remote == remote);
        self.timeout(now, crypto, out);
    }

    /// Sends what is due.
    pub(super) fn timeout(&mut self, now: Instant, crypto: &dyn RTCCrypto, out: &mut Out) {
        if now >= self.until {
            self.failed = true;
            return;
        }
        let check = |id, nominates| {
            let (ours, theirs) = (&self.ours, &self.theirs);
            stun::check(id, ours, theirs, self.tie_breaker, nominates, crypto)
        };
        if let Some(selected) = &mut self.selected {
            if now >= selected.next {
                selected.next = now + consent_interval();
                selected.id = TransactionId::new();
                out.extend(check(selected.id, false).map(|raw| (selected.remote, raw)));
            }
            return;
        }
        for pair in &mut self.pairs {
            if pair.next.is_some_and(|next| now >= next) {
                out.extend(check(pair.id, pair.nominates).map(|raw| (pair.remote, raw)));
                let wait = RETRY * 2u32.pow(pair.tries.min(4));
                pair.tries += 1;
                pair.next = (pair.tries < TRIES_MAX).then_some(now + wait);
            }
        }
    }

    /// When [`Agent::timeout`] is due.
    pub(super) fn deadline(&self) -> Instant {
        let checks = self.pairs.iter().filter_map(|pair| pair.next);
        let consent = self.selected.as_ref().map(|selected| selected.next);
        checks.chain(consent).fold(self.until, Instant::min)
    }
}

/// RFC 7675 §5.1: 5 s, and a fifth more or less.
fn consent_interval() -> Duration {
    Duration::from_millis(rand::rng().random_range(4000..6000))
}

/// RFC 7675 §5.1.
const CONSENT: Duration = Duration::from_secs(30);
/// A server that many join at once may take its time.
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// Between the first checks of two pairs (RFC 8445 §14.2).
const PACE: Duration = Duration::from_millis(50);
/// Until a check is repeated, doubled four times.
const RETRY: Duration = Duration::from_millis(100);
const TRIES_MAX: u32 = 14;
/// A server has a few addresses; what names more is not checked whole.
const PAIRS_MAX: usize = 16;
