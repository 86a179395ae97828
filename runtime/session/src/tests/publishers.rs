//! Publishers: names taken and given back, cuts and returns.

use lockgate_ports::{
    Piece,
    ingest::{LineState, Via},
};

use super::*;

#[tokio::test]
async fn a_name_is_taken_until_its_publisher_leaves() {
    let house = house();
    let first = house
        .streams
        .publish(name("cam"), offer(), me())
        .await
        .unwrap();
    assert_eq!(
        house
            .streams
            .publish(name("cam"), offer(), me())
            .await
            .unwrap_err(),
        Error::NameTaken(name("cam"))
    );
    house
        .streams
        .publish(name("other"), offer(), me())
        .await
        .unwrap();
    house
        .streams
        .unpublish(&name("cam"), first.session)
        .unwrap();
    assert_eq!(
        house.streams.info(&name("cam")).unwrap_err(),
        Error::NotLive(name("cam"))
    );
    house
        .streams
        .publish(name("cam"), offer(), me())
        .await
        .unwrap();
    assert!(house.streams.info(&name("other")).is_ok());
}

#[tokio::test]
async fn a_refused_offer_gives_the_name_back() {
    let house = house();
    let refused = house
        .streams
        .publish(name("cam"), "bad".to_owned(), me())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::Signal(SignalError::Malformed(_))),
        "{refused:?}"
    );
    assert!(
        house
            .streams
            .publish(name("cam"), offer(), me())
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_goes_silent_ends_its_broadcast_and_frees_everything() {
    let house = house();
    house
        .streams
        .publish(name("cam"), offer(), me())
        .await
        .unwrap();
    house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap();
    assert_eq!(house.running.load(Ordering::SeqCst), 1);
    house
        .signaller
        .peer(0)
        .state
        .send_replace(PeerState::Closed(CloseReason::Gone));
    let mut viewer = house.signaller.peer(1).state.subscribe();
    viewer
        .wait_for(|state| matches!(state, PeerState::Closed(_)))
        .await
        .unwrap();
    // Its last playlists stay a while; then nothing is left, the ladder included.
    while !house.streams.list().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while house.running.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
}

fn somebody_else() -> Principal {
    Principal::new("somebody else")
}

/// Waits until the stream's publisher is as it should be.
async fn publisher_is(house: &House, how: &str) {
    loop {
        let info = house.streams.info(&name("cam")).unwrap();
        if info.publisher == Some(how) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_was_cut_comes_back_and_nobody_else_does() {
    let house = house();
    let first = house
        .streams
        .publish(name("cam"), offer(), me())
        .await
        .unwrap();
    let viewer = house
        .streams
        .subscribe(&name("cam"), offer(), Watcher::default())
        .await
        .unwrap();
    let gone = PeerState::Closed(CloseReason::Gone);
    house.signaller.peer(0).state.send_replace(gone.clone());
    publisher_is(&house, "away").await;
    let refused = house
        .streams
        .publish(name("cam"), offer(), somebody_else())
        .await;
    assert!(
        matches!(refused, Err(Error::Kept { left_s: 1..=10, .. })),
        "{refused:?}"
    );
    let second = house
        .streams
        .publish(name("cam"), offer(), me())
        .await
        .unwrap();
    assert_ne!(first.session, second.session);
    publisher_is(&house, "connected").await;
    assert!(house.streams.viewer(&name("cam"), viewer.session).is_ok());
    assert_eq!(
        house.running.load(Ordering::SeqCst),
        1,
        "the ladder went on"
    );
    // While it is there and sends, its name is taken, for itself, too.
    let again = house.streams.publish(name("cam"), offer(), me()).await;
    assert_eq!(again.unwrap_err(), Error::NameTaken(name("cam")));
    // Gone again, and too long.
    let cut = tokio::time::Instant::now();
    house.signaller.peer(2).state.send_replace(gone);
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(house.streams.info(&name("cam")).is_ok());
    // The desk's thread is not on this clock, and the stream may be waiting for it.
    while house.streams.info(&name("cam")).is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(cut.elapsed() >= Duration::from_secs(10));
    assert!(
        house
            .streams
            .publish(name("cam"), offer(), somebody_else())
            .await
            .is_ok()
    );
}

#[tokio::test(start_paused = true)]
async fn a_byte_stream_goes_to_the_ladder_and_its_end_is_a_cut_or_a_goodbye() {
    let house = house();
    let publish = || house.streams.publish_stream(name("cam"), Via::Rtmp, me());
    let (_, first) = publish().await.unwrap();
    first.pieces.try_send(Piece::Head(0, Bytes::new())).unwrap();
    assert_eq!(house.feeds.lock().unwrap().len(), 1);
    assert_eq!(house.streams.info(&name("cam")).unwrap().source, "rtmp");
    // A cut, and back over another protocol.
    drop(first);
    publisher_is(&house, "away").await;
    let over_webrtc = house.streams.publish(name("cam"), offer(), me()).await;
    assert_eq!(over_webrtc.unwrap_err(), Error::NameTaken(name("cam")));
    let (_, second) = house
        .streams
        .publish_stream(name("cam"), Via::Srt, me())
        .await
        .unwrap();
    assert_eq!(house.feeds.lock().unwrap().len(), 2);
    assert_eq!(house.streams.info(&name("cam")).unwrap().source, "srt");
    // Ended by somebody: the adapter is told.
    house.streams.stop(&name("cam")).unwrap();
    assert_eq!(*second.line.state().borrow(), LineState::Closed);
    // A goodbye ends it at once.
    let (_, third) = publish().await.unwrap();
    third.line.end(LineState::Done);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(house.streams.info(&name("cam")).is_err());
}
