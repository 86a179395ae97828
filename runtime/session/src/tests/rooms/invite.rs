//! Offers of the server to those who do not offer a connection to receive over.

use tokio::time::{Instant, sleep};

use super::*;

/// Who offers their own, or is offered one.
fn who(name: &str, receive: Receive) -> Guest {
    Guest {
        receive,
        ..guest(name)
    }
}

impl Inn {
    /// The name of the next offer, and after how many seconds it came.
    async fn offered(&self, mail: &mut Mail) -> (SessionId, u64) {
        let asked = Instant::now();
        let offer = next(mail, "offer").await;
        assert_eq!(offer["from"], "server");
        assert_eq!(offer["direction"], "subscribe");
        assert_eq!(offer["sdp"], "vvvvvvvvvaaa");
        assert_eq!(
            offer["offer"],
            json!({ "type": "offer", "sdp": offer["sdp"] })
        );
        let session: String = serde_json::from_value(offer["session"].clone()).unwrap();
        (session.parse().unwrap(), asked.elapsed().as_secs())
    }

    /// Whom the places of the last connection are for.
    fn shown(&self, seat: &Seat) -> Vec<Option<SessionId>> {
        let places = seat.welcome().unwrap().places;
        places.into_iter().map(|place| place.participant).collect()
    }
}

/// Whether an offer has come.
fn is_offered(mail: &mut Mail) -> bool {
    std::iter::from_fn(|| mail.try_recv().ok()).any(|event| event.name() == "offer")
}

#[tokio::test(start_paused = true)]
async fn whoever_offers_nothing_to_receive_over_is_made_an_offer() {
    let inn = inn(5);
    let (ann, mut mail) = inn.join(guest("ann"));
    let (bob, mut bob_mail) = inn.join(guest("bob"));
    let sending = inn.sends(&bob).await;
    let (session, after_s) = inn.offered(&mut mail).await;
    assert!((3..=4).contains(&after_s), "{after_s} s");
    // Nobody else sends.
    sleep(Duration::from_secs(60)).await;
    assert!(!is_offered(&mut bob_mail));
    assert!(!is_offered(&mut mail), "one is open");
    // A candidate that comes before the answer is no mistake.
    ann.trickle(
        Some(session),
        "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n",
    )
    .unwrap();
    let other = ann.answer(Some(bob.id()), "answer".to_owned()).await;
    assert!(matches!(other, Err(Error::Unusable(_))), "{other:?}");
    let answered = ann.answer(None, "answer".to_owned()).await.unwrap();
    assert_eq!(answered, session);
    next(&mut mail, "places").await;
    let shown = inn.shown(&ann);
    assert_eq!(shown.iter().flatten().count(), 2, "{shown:?}");
    assert_eq!((shown[0], shown[9]), (Some(bob.id()), Some(bob.id())));
    let twice = ann.answer(Some(session), "answer".to_owned()).await;
    assert!(matches!(twice, Err(Error::Unusable(_))), "{twice:?}");
    // Their own takes its place, and no other offer comes.
    ann.attend("v".to_owned()).await.unwrap();
    let first = Arc::clone(&inn.conference.attendants.lock().unwrap()[0].peer);
    assert_eq!(*first.state.borrow(), PeerState::Closed(CloseReason::Asked));
    sleep(Duration::from_secs(60)).await;
    assert!(!is_offered(&mut mail));
    assert_eq!(inn.shown(&ann), [Some(bob.id())]);
    drop(sending);
}

#[tokio::test(start_paused = true)]
async fn whoever_says_so_is_made_an_offer_at_once_or_never() {
    let inn = inn(5);
    let (_ann, mut ann_mail) = inn.join(who("ann", Receive::Own));
    let (_bob, mut bob_mail) = inn.join(who("bob", Receive::Offered));
    let (cat, mut cat_mail) = inn.join(guest("cat"));
    assert_eq!(inn.offered(&mut bob_mail).await.1, 0);
    // Whoever offers to receive where they send will not offer it again.
    let both_ways = Speech {
        receives: true,
        ..camera()
    };
    cat.speak(both_ways).await.unwrap();
    let (dan, mut dan_mail) = inn.join(who("dan", Receive::Own));
    sleep(Duration::from_secs(60)).await;
    assert!(!is_offered(&mut cat_mail), "nobody else sends");
    let _sending = inn.sends(&dan).await;
    assert_eq!(inn.offered(&mut cat_mail).await.1, 0);
    sleep(Duration::from_secs(60)).await;
    assert!(!is_offered(&mut ann_mail) && !is_offered(&mut dan_mail));
}

#[tokio::test(start_paused = true)]
async fn an_offer_is_made_anew_where_it_was_in_vain_or_what_came_of_it_is_gone() {
    let inn = inn(5);
    let (ann, mut mail) = inn.join(who("ann", Receive::Offered));
    let secret = ann.welcome().unwrap().seat;
    let (first, _) = inn.offered(&mut mail).await;
    let refused = ann.answer(Some(first), "nonsense".to_owned()).await;
    assert!(matches!(refused, Err(Error::Signal(_))), "{refused:?}");
    let (second, after_s) = inn.offered(&mut mail).await;
    assert!(second != first && (6..=7).contains(&after_s), "{after_s} s");
    ann.answer(Some(second), "answer".to_owned()).await.unwrap();
    // The connection is lost.
    let peer = {
        let attendants = inn.conference.attendants.lock().unwrap();
        Arc::clone(&attendants.last().unwrap().peer)
    };
    peer.state
        .send_replace(PeerState::Closed(CloseReason::Gone));
    let (third, after_s) = inn.offered(&mut mail).await;
    assert!((12..=13).contains(&after_s), "{after_s} s");
    // So is the socket: whoever comes back is made another offer, and the one before holds no more.
    drop((ann, mail));
    sleep(Duration::from_secs(10)).await;
    let back = who("ann", Receive::Offered);
    let (ann, mut mail) = inn.rooms.join(&name("room"), back, Some(secret)).unwrap();
    let (fourth, after_s) = inn.offered(&mut mail).await;
    assert_eq!(after_s, 0);
    let late = ann.answer(Some(third), "answer".to_owned()).await;
    assert!(matches!(late, Err(Error::Unusable(_))), "{late:?}");
    ann.answer(Some(fourth), "answer".to_owned()).await.unwrap();
    sleep(Duration::from_secs(60)).await;
    assert!(!is_offered(&mut mail));
}
