use std::net::SocketAddr;

use super::super::{
    socket::Bound,
    stream::Stream,
    stun::tests::{Check, binding_request},
};
use super::*;
use crate::config::Config;

fn address(port: u16) -> Via {
    Via::udp(SocketAddr::from(([192, 0, 2, 1], port)))
}

fn mux() -> Arc<Mux> {
    let config = Config {
        udp_listen: "127.0.0.1:0".parse().unwrap(),
        ..Config::default()
    };
    Mux::new(Bound::new(&config).unwrap().udp).unwrap()
}

fn queued(registration: &Registration) -> usize {
    let probe = std::task::Context::from_waker(std::task::Waker::noop());
    std::iter::from_fn(|| registration.slot.poll(&probe).is_ready().then_some(())).count()
}

fn credentials(ufrag: &str) -> Credentials {
    Credentials {
        ufrag: ufrag.to_owned(),
        password: format!("password of {ufrag}"),
    }
}

impl Mux {
    fn place(self: &Arc<Self>, ufrag: &str) -> Registration {
        self.register(credentials(ufrag), credentials("peer"))
    }

    fn checked(&self, port: u16, username: &str, password: &str, nominates: bool) {
        let check = Check {
            username,
            password,
            nominates,
            ..Check::default()
        };
        let raw = binding_request(check, self.crypto.crypto());
        self.dispatch(&address(port), &raw);
    }

    /// Checks and answers the check that comes back for it, which is not waited for but made again.
    fn paired(&self, of: &Registration, port: u16, ours: &str, theirs: &str) {
        let username = format!("{ours}:{theirs}");
        self.checked(port, &username, &format!("password of {ours}"), true);
        let probe = of.slot.probe(&address(port)).unwrap();
        let answer = stun::answer_for(&probe, &credentials(theirs), self.crypto.crypto()).unwrap();
        self.dispatch(&address(port), &answer);
    }
}

const DTLS: &[u8] = &[22, 254, 253];
const SRTP: &[u8] = &[128, 96];

#[tokio::test]
async fn an_address_is_bound_only_by_a_signed_request_and_freed_with_its_peer() {
    let mux = mux();
    let (alice, bob) = (mux.place("alice"), mux.place("bob"));

    mux.dispatch(&address(1), DTLS); // from nowhere
    mux.checked(1, "alice:peer", "wrong", true);
    mux.checked(1, "alice:other", "password of alice", true);
    mux.checked(1, "carol:peer", "password of alice", true);
    assert_eq!(mux.occupancy(), (2, 0));
    assert_eq!((mux.counters().unknown, mux.counters().forged), (2, 2));

    // Checked, but without a pair: DTLS has to wait.
    mux.checked(1, "alice:peer", "password of alice", false);
    mux.dispatch(&address(1), DTLS);
    assert_eq!((mux.occupancy(), queued(&alice)), ((2, 1), 0));
    mux.paired(&alice, 1, "alice", "peer");
    mux.dispatch(&address(1), DTLS);
    assert_eq!(queued(&alice), 2);

    // A stranger behind the same address who does not know bob's password changes nothing …
    mux.paired(&bob, 2, "bob", "peer");
    mux.checked(1, "bob:peer", "password of alice", true);
    mux.dispatch(&address(1), SRTP);
    assert_eq!((queued(&alice), queued(&bob)), (1, 1));
    // … and one who does gets the address: the same client came back from the same port.
    mux.checked(1, "bob:peer", "password of bob", true);
    mux.dispatch(&address(1), SRTP);
    assert_eq!((queued(&alice), queued(&bob)), (0, 1));

    drop(alice);
    assert_eq!(mux.occupancy(), (1, 2));
    drop(bob);
    assert_eq!(mux.occupancy(), (0, 0));
    assert!(mux.table().by_ufrag.is_empty());
}

#[tokio::test]
async fn a_restart_adds_a_name_and_its_first_pair_takes_the_old_one_away() {
    let mux = mux();
    let alice = mux.place("alice");
    mux.paired(&alice, 1, "alice", "peer");
    for ufrag in ["first", "second"] {
        assert!(mux.restart(&alice.slot, credentials(ufrag), credentials("again")));
    }
    let names = |mux: &Mux| {
        let mut names: Vec<String> = mux.table().by_ufrag.keys().cloned().collect();
        names.sort();
        names
    };
    assert_eq!(names(&mux), ["alice", "second"]);
    mux.paired(&alice, 2, "second", "again");
    assert_eq!(
        (names(&mux), mux.occupancy()),
        (vec!["second".to_owned()], (1, 2))
    );
    assert_eq!(alice.slot.destination(), Some(address(2)));

    mux.revoke(&alice.slot);
    assert!(names(&mux).is_empty());
    assert!(!mux.restart(&alice.slot, credentials("third"), credentials("again")));
    drop(alice);
    assert_eq!(mux.occupancy(), (0, 0));
}

#[tokio::test]
async fn a_connection_ends_with_its_peer_and_a_peer_outlives_its_connection() {
    let mux = mux();
    let alice = mux.place("alice");
    let ways: Vec<Via> = (0..2)
        .map(|_| Via::Tcp(Stream::new(mux.number(), "192.0.2.1:9".parse().unwrap()).0))
        .collect();
    let check = |via: &Via, nominates| {
        let check = Check {
            username: "alice:peer",
            password: "password of alice",
            nominates,
            ..Check::default()
        };
        mux.dispatch(via, &binding_request(check, mux.crypto.crypto()))
    };
    for via in &ways {
        assert!(check(via, true));
        let probe = alice.slot.probe(via).unwrap();
        let answer = stun::answer_for(&probe, &credentials("peer"), mux.crypto.crypto()).unwrap();
        mux.dispatch(via, &answer);
    }
    assert_eq!(mux.occupancy(), (1, 2));
    assert_eq!(alice.slot.destination().as_ref(), Some(&ways[1]));
    mux.lost(&ways[1]);
    assert_eq!(mux.occupancy(), (1, 1));
    assert_eq!(alice.slot.destination(), None);
    drop(alice);
    assert_eq!(mux.occupancy(), (0, 0));
    let Via::Tcp(stream) = &ways[0] else {
        panic!("both are connections");
    };
    stream.closed().await;
    assert!(!check(&ways[0], true));
}
