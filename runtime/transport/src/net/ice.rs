//! ICE towards the peer, as a lite agent does it (RFC 8445 §2.5): it answers checks and goes where it is nominated,
//! once an answer from there has shown that the peer really is there.
//!
//! That answer is more than a lite agent has to ask for. Without it a viewer could nominate somebody else's address
//! with a forged source, and have its media sent there (RFC 7675 §1).
//!
//! The `webrtc` crate's own agent forgets the old session the moment a restart is asked for, and it loses a simulcast
//! publisher's layers over one. So the crate never sees the peer's addresses nor a restart: to it the peer is always
//! at the same place (`super::slot`), and this value decides where that is.

use std::time::{Duration, Instant};

use rtc::{crypto::RTCCrypto, stun::message::TransactionId};

use super::{
    stun::{self, BindingRequest, BindingSuccess},
    via::Via,
};

/// A username fragment and its password (RFC 8445 §5.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) ufrag: String,
    pub(crate) password: String,
}

/// One ICE session; a restart begins the next (RFC 8445 §9).
#[derive(Debug)]
struct Generation {
    ours: Credentials,
    theirs: Credentials,
}

/// The agent of one peer.
#[derive(Debug)]
pub(super) struct Agent {
    current: Generation,
    /// Asked for by a restart. It takes over with its first pair; until then the current one goes on.
    next: Option<Generation>,
    /// Where checks came from, oldest first.
    paths: Vec<Path>,
    selected: Option<Selected>,
}

/// A pair of addresses that a good check came over.
#[derive(Debug)]
struct Path {
    via: Via,
    priority: u32,
    /// Names our own check of this path.
    id: TransactionId,
    /// The ufrag of the session it is to be used in, once it is to be.
    wanted: Option<String>,
}

#[derive(Debug)]
struct Selected {
    via: Via,
    priority: u32,
    checked: Instant,
}

/// What a good check brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Checked {
    /// The answer to it.
    pub(super) response: Vec<u8>,
    /// Our own check of where it came from.
    pub(super) probe: Option<Vec<u8>>,
    /// A way that had to go for this one.
    pub(super) evicted: Option<Via>,
}

impl Agent {
    pub(super) fn new(ours: Credentials, theirs: Credentials) -> Self {
        Self {
            current: Generation { ours, theirs },
            next: None,
            paths: Vec::new(),
            selected: None,
        }
    }

    /// Begins a restart; returns the ufrag of one that was begun before and is not wanted any more.
    pub(super) fn restart(&mut self, ours: Credentials, theirs: Credentials) -> Option<String> {
        let before = self.next.replace(Generation { ours, theirs });
        before.map(|generation| generation.ours.ufrag)
    }

    /// Takes a check. `None` if it is not signed for one of the sessions: then nothing has happened (RFC 8445 §7.3).
    pub(super) fn check(
        &mut self,
        now: Instant,
        via: &Via,
        request: &mut BindingRequest,
        crypto: &dyn RTCCrypto,
    ) -> Option<Checked> {
        let next = self.next.as_ref();
        let is_next = next.is_some_and(|next| next.ours.ufrag == request.ufrag());
        let generation = next.filter(|_| is_next).unwrap_or(&self.current);
        let (ours, theirs) = (generation.ours.clone(), generation.theirs.clone());
        if ours.ufrag != request.ufrag()
            || theirs.ufrag != request.their_ufrag()
            || !request.is_signed_with(&ours.password, crypto)
        {
            return None;
        }
        // RFC 8445 §7.3.1.1: a lite agent is always the controlled one.
        let conflict = request.is_controlled();
        let response = if conflict {
            request.role_conflict(&ours.password, crypto)?
        } else {
            request.success(via.remote(), &ours.password, crypto)?
        };
        let evicted = self.remember(via, request.priority());
        let wanted = !conflict && self.wants(now, via, request, is_next);
        if !is_next
            && let Some(selected) = &mut self.selected
            && selected.via == *via
        {
            selected.checked = now;
            // It may have come to another of our addresses.
            selected.via = via.clone();
        }
        let mut probe = None;
        if wanted && let Some(path) = self.paths.iter_mut().find(|path| path.via == *via) {
            probe = stun::probe(path.id, &ours.ufrag, &theirs, path.priority, crypto);
            path.wanted = Some(ours.ufrag);
        }
        Some(Checked {
            response,
            probe,
            evicted,
        })
    }

    /// Whether media should go to where this check came from, and does not yet.
    fn wants(&self, now: Instant, via: &Via, request: &BindingRequest, is_next: bool) -> bool {
        let nominates = request.nominates();
        let Some(selected) = self.selected.as_ref().filter(|_| !is_next) else {
            return nominates;
        };
        // A peer may nominate all its pairs (RFC 5245 §8.1.1.2), and then the best counts. One that checks only
        // elsewhere has moved, whether it knows (a new nomination) or not (a NAT that gave it another port).
        *via != selected.via
            && ((nominates && request.priority() >= selected.priority)
                || now.saturating_duration_since(selected.checked) >= MOVED_AFTER)
    }

    /// Takes an answer to a check of ours: media goes there from now on. Returns the ufrag that this puts out of use,
    /// if it completes a restart. `None` if it is no such answer.
    #[expect(
        clippy::option_option,
        reason = "no answer, and an answer that retires nothing"
    )]
    pub(super) fn answered(
        &mut self,
        now: Instant,
        via: &Via,
        answer: &mut BindingSuccess,
        crypto: &dyn RTCCrypto,
    ) -> Option<Option<String>> {
        let path = self
            .paths
            .iter_mut()
            .find(|path| path.via == *via && path.id == answer.id())?;
        let wanted = path.wanted.as_deref()?;
        let next = self.next.as_ref();
        let is_next = next.is_some_and(|next| next.ours.ufrag == wanted);
        let generation = next.filter(|_| is_next).unwrap_or(&self.current);
        if generation.ours.ufrag != wanted
            || !answer.is_signed_with(&generation.theirs.password, crypto)
        {
            return None;
        }
        path.wanted = None;
        self.selected = Some(Selected {
            via: path.via.clone(),
            priority: path.priority,
            checked: now,
        });
        let begun = self.next.take_if(|_| is_next);
        Some(begun.map(|begun| std::mem::replace(&mut self.current, begun).ours.ufrag))
    }

    /// Remembers a way to the peer; returns the one that had to go for it, if any.
    fn remember(&mut self, via: &Via, priority: u32) -> Option<Via> {
        if let Some(path) = self.paths.iter_mut().find(|path| path.via == *via) {
            (path.via, path.priority) = (via.clone(), priority);
            return None;
        }
        self.paths.push(Path {
            via: via.clone(),
            priority,
            id: TransactionId::new(),
            wanted: None,
        });
        if self.paths.len() <= PATHS_MAX {
            return None;
        }
        let selected = self.selected.as_ref().map(|selected| &selected.via);
        let oldest = self
            .paths
            .iter()
            .position(|path| Some(&path.via) != selected)?;
        Some(self.paths.remove(oldest).via)
    }

    /// Forgets a way that is closed. Where it was the selected one, the peer has to nominate another.
    pub(super) fn lost(&mut self, via: &Via) {
        self.paths.retain(|path| path.via != *via);
        self.selected.take_if(|selected| selected.via == *via);
    }

    /// Where media goes; `None` without a pair.
    pub(super) fn destination(&self) -> Option<&Via> {
        self.selected.as_ref().map(|selected| &selected.via)
    }

    /// All ways that good checks came along.
    pub(super) fn ways(&self) -> impl Iterator<Item = &Via> {
        self.paths.iter().map(|path| &path.via)
    }

    /// The ufrags that checks may name now.
    pub(super) fn ufrags(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.current)
            .chain(&self.next)
            .map(|generation| generation.ours.ufrag.as_str())
    }
}

/// A peer checks its consent every 5 s ± 20 % (RFC 7675 §5.1); after this it left one out.
const MOVED_AFTER: Duration = Duration::from_millis(6500);
/// A peer behind a NAT shows a few addresses in its life; more is an attack or a fault.
const PATHS_MAX: usize = 16;

#[cfg(test)]
impl Agent {
    pub(super) fn probe(&self, via: &Via, crypto: &dyn RTCCrypto) -> Option<Vec<u8>> {
        let path = self.paths.iter().find(|path| path.via == *via)?;
        let nobody = Credentials {
            ufrag: String::new(),
            password: String::new(),
        };
        stun::probe(path.id, "", &nobody, 0, crypto)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::SocketAddr, sync::Arc};

    use rtc::crypto::{RTCCryptoProvider, default_provider};

    use super::super::stun::tests::{Check, binding_request};
    use super::*;

    struct Bench {
        agent: Agent,
        provider: Arc<dyn RTCCryptoProvider>,
        now: Instant,
    }

    fn address(port: u16) -> Via {
        Via::udp(SocketAddr::from(([192, 0, 2, 1], port)))
    }

    fn credentials(ufrag: &str) -> Credentials {
        Credentials {
            ufrag: ufrag.to_owned(),
            password: format!("password of {ufrag}"),
        }
    }

    impl Bench {
        fn new() -> Self {
            Self {
                agent: Agent::new(credentials("one"), credentials("peer")),
                provider: default_provider().unwrap(),
                now: Instant::now(),
            }
        }

        fn checked(&mut self, port: u16, check: Check<'_>) -> Option<Checked> {
            let raw = binding_request(check, self.provider.crypto());
            let mut request = BindingRequest::parse(&raw).unwrap();
            let crypto = self.provider.crypto();
            self.agent
                .check(self.now, &address(port), &mut request, crypto)
        }

        /// The peer answers our check as whoever it is; the ufrag that this retires.
        fn answers(&mut self, port: u16, probe: &[u8], theirs: &str) -> Option<Option<String>> {
            let crypto = self.provider.crypto();
            let raw = stun::answer_for(probe, &credentials(theirs), crypto).unwrap();
            let mut answer = BindingSuccess::parse(&raw).unwrap();
            self.agent
                .answered(self.now, &address(port), &mut answer, crypto)
        }

        /// A check, and an answer to ours if there is one.
        fn both(&mut self, port: u16, check: Check<'_>, theirs: &str) -> Option<String> {
            let probe = self.checked(port, check).unwrap().probe?;
            self.answers(port, &probe, theirs).unwrap()
        }

        fn at(&self) -> Option<u16> {
            self.agent.destination().map(|via| via.remote().port())
        }
    }

    fn good<'a>(username: &'a str, password: &'a str) -> Check<'a> {
        Check {
            username,
            password,
            nominates: true,
            ..Check::default()
        }
    }

    fn one() -> Check<'static> {
        good("one:peer", "password of one")
    }

    fn two() -> Check<'static> {
        good("two:other", "password of two")
    }

    #[test]
    fn both_halves_of_the_username_and_the_password_must_fit() {
        let mut bench = Bench::new();
        for (username, password) in [
            ("one:peer", "password of two"),
            ("one:stranger", "password of one"),
            ("one", "password of one"),
            ("two:peer", "password of one"),
        ] {
            assert_eq!(
                bench.checked(1, good(username, password)),
                None,
                "{username}"
            );
        }
        assert_eq!((bench.at(), bench.agent.ways().count()), (None, 0));
        let plain = Check {
            nominates: false,
            ..one()
        };
        assert_eq!(bench.checked(1, plain).unwrap().probe, None);
        assert_eq!((bench.at(), bench.agent.ways().count()), (None, 1));
        assert_eq!(bench.both(1, one(), "peer"), None);
        assert_eq!(bench.at(), Some(1));
    }

    #[test]
    fn media_goes_only_where_an_answer_came_from() {
        let mut bench = Bench::new();
        let probe = bench.checked(1, one()).unwrap().probe.unwrap();
        assert_eq!(bench.at(), None);
        for (port, theirs) in [(2, "peer"), (1, "stranger")] {
            assert_eq!(bench.answers(port, &probe, theirs), None);
        }
        let forged = one();
        bench.checked(3, forged).unwrap();
        assert_eq!(bench.answers(3, &probe, "peer"), None);
        assert_eq!(bench.at(), None);
        assert_eq!(bench.answers(1, &probe, "peer"), Some(None));
        assert_eq!(bench.at(), Some(1));
        assert_eq!(bench.answers(1, &probe, "peer"), None);
    }

    #[test]
    fn media_follows_the_better_nomination_and_a_peer_that_moved() {
        let mut bench = Bench::new();
        let with = |priority, nominates| Check {
            priority,
            nominates,
            ..one()
        };
        bench.both(1, with(100, true), "peer");
        bench.both(2, with(99, true), "peer");
        assert_eq!(bench.at(), Some(1));
        bench.both(2, with(100, true), "peer");
        assert_eq!(bench.at(), Some(2));
        // A NAT rebinding: the peer goes on checking from a new port without knowing of it.
        bench.both(3, with(1, false), "peer");
        assert_eq!(bench.at(), Some(2));
        bench.now += MOVED_AFTER;
        bench.both(3, with(1, false), "peer");
        assert_eq!(bench.at(), Some(3));
    }

    #[test]
    fn a_restart_takes_over_with_its_first_pair_and_not_before() {
        let mut bench = Bench::new();
        bench.both(1, one(), "peer");
        let begun = bench
            .agent
            .restart(credentials("two"), credentials("other"));
        assert_eq!(begun, None);
        assert_eq!(bench.agent.ufrags().collect::<Vec<_>>(), ["one", "two"]);
        let plain = Check {
            nominates: false,
            ..two()
        };
        assert_eq!(bench.checked(2, plain).unwrap().probe, None);
        let probe = bench.checked(2, two()).unwrap().probe.unwrap();
        assert!(bench.checked(1, one()).is_some());
        assert_eq!(bench.at(), Some(1));
        assert_eq!(
            bench.answers(2, &probe, "other"),
            Some(Some("one".to_owned()))
        );
        assert_eq!(bench.at(), Some(2));
        assert_eq!(bench.checked(1, one()), None);
    }

    #[test]
    fn a_restart_may_stay_at_the_same_address() {
        let mut bench = Bench::new();
        bench.both(1, one(), "peer");
        bench
            .agent
            .restart(credentials("two"), credentials("other"));
        assert_eq!(bench.both(1, two(), "other").as_deref(), Some("one"));
        assert_eq!(bench.at(), Some(1));
    }

    #[test]
    fn a_restart_that_comes_to_nothing_leaves_everything_as_it_was() {
        let mut bench = Bench::new();
        bench.both(1, one(), "peer");
        bench
            .agent
            .restart(credentials("two"), credentials("other"));
        let probe = bench.checked(2, two()).unwrap().probe.unwrap();
        let dropped = bench
            .agent
            .restart(credentials("three"), credentials("third"));
        assert_eq!(dropped.as_deref(), Some("two"));
        assert_eq!(bench.checked(2, two()), None);
        assert_eq!(bench.answers(2, &probe, "other"), None);
        assert!(bench.checked(1, one()).is_some());
        assert_eq!(bench.at(), Some(1));
    }

    #[test]
    fn a_peer_that_says_it_is_controlled_is_told_of_the_conflict() {
        let mut bench = Bench::new();
        let confused = Check {
            controlled: true,
            ..one()
        };
        let told = bench.checked(1, confused).unwrap();
        assert_eq!(told.response.get(..2), Some(&[0x01, 0x11][..]));
        assert_eq!((told.probe, bench.at()), (None, None));
    }

    #[test]
    fn a_way_that_is_closed_is_not_sent_along_and_another_is_nominated() {
        let mut bench = Bench::new();
        bench.both(1, one(), "peer");
        bench.agent.lost(&address(1));
        assert_eq!((bench.at(), bench.agent.ways().count()), (None, 0));
        let low = Check {
            priority: 0,
            ..one()
        };
        bench.both(2, low, "peer");
        assert_eq!(bench.at(), Some(2));
        bench.agent.lost(&address(3));
        assert_eq!(bench.at(), Some(2));
    }

    #[test]
    fn the_oldest_path_goes_but_never_the_selected() {
        let mut bench = Bench::new();
        let plain = Check {
            nominates: false,
            ..one()
        };
        bench.both(1, one(), "peer");
        for port in 2..=16 {
            assert_eq!(bench.checked(port, plain).unwrap().evicted, None);
        }
        assert_eq!(bench.checked(17, plain).unwrap().evicted, Some(address(2)));
        assert_eq!(bench.agent.ways().count(), PATHS_MAX);
        assert_eq!(bench.at(), Some(1));
    }
}
