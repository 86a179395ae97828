//! Seats, roles, and what hosts do.

use super::*;

#[tokio::test(start_paused = true)]
async fn one_more_than_there_are_seats_is_refused_with_a_reason() {
    let inn = inn(50);
    let seats: Vec<_> = (0..50).map(|at| inn.join(guest(&at.to_string()))).collect();
    let refused = inn
        .rooms
        .join(&name("room"), guest("late"), None)
        .err()
        .unwrap();
    let full = Error::RoomFull {
        room: name("room"),
        max: 50,
    };
    assert_eq!(refused, full);
    assert_eq!(
        refused.to_string(),
        "the room room has its 50 participants already"
    );
    // Whoever leaves makes room, at once.
    seats[7].0.leave();
    inn.join(guest("late"));
    let joins = inn
        .rooms
        .joins()
        .map(|(result, count)| (result.name(), count));
    assert_eq!(joins[0], ("joined", 51));
    assert_eq!(joins[2], ("full", 1));
}

#[tokio::test(start_paused = true)]
async fn whoever_drops_keeps_the_seat_for_twenty_seconds() {
    let inn = inn(2);
    let (_host, mut told) = inn.join(host());
    let (seat, mail) = inn.join(guest("ann"));
    let (id, secret) = (seat.id(), seat.welcome().unwrap().seat);
    assert_eq!(next(&mut told, "user-joined").await["id"], json!(id));
    drop((seat, mail));
    assert_eq!(next(&mut told, "user-updated").await["away"], true);
    // Nobody else gets it meanwhile.
    let other = inn.rooms.join(&name("room"), guest("bob"), None);
    assert!(matches!(other, Err(Error::RoomFull { .. })));
    tokio::time::sleep(Duration::from_secs(19)).await;
    let (seat, _mail) = inn
        .rooms
        .join(&name("room"), guest("ann"), Some(secret))
        .unwrap();
    assert_eq!(seat.id(), id);
    assert!(seat.welcome().unwrap().resumed);
    assert_eq!(next(&mut told, "user-updated").await["away"], false);
    // By who it is, without the secret; but never somebody of whom nothing is known.
    drop(seat);
    let nobody = Guest {
        is_known: false,
        ..guest("ann")
    };
    assert!(inn.rooms.join(&name("room"), nobody, None).is_err());
    let (seat, _mail) = inn.join(guest("ann"));
    assert_eq!(seat.id(), id);
    drop(seat);
    let before = tokio::time::Instant::now();
    assert_eq!(
        next(&mut told, "user-left").await,
        json!({ "id": id, "reason": "gone" })
    );
    let waited = before.elapsed().as_secs_f64();
    assert!((20.0..20.5).contains(&waited), "{waited} s");
    let (seat, _mail) = inn
        .rooms
        .join(&name("room"), guest("ann"), Some(secret))
        .unwrap();
    assert_ne!(seat.id(), id);
}

#[tokio::test(start_paused = true)]
async fn a_seat_that_is_taken_again_is_lost_to_the_connection_before() {
    let inn = inn(5);
    let (first, mut mail) = inn.join(host());
    let secret = first.welcome().unwrap().seat;
    let (second, _mail) = inn
        .rooms
        .join(&name("room"), guest("host"), Some(secret))
        .unwrap();
    assert_eq!(first.id(), second.id());
    assert!(
        mail.recv()
            .await
            .is_some_and(|event| event.name() == "user-updated")
            || mail.recv().await.is_none()
    );
    assert!(matches!(
        first.chat("hi".to_owned(), None),
        Err(Error::NotAllowed(_))
    ));
    // Neither does dropping or leaving by it do anything to who is there now.
    first.leave();
    drop(first);
    assert!(second.chat("hi".to_owned(), None).is_ok());
    assert_eq!(inn.role(&second), RoomRole::Host);
}

#[tokio::test(start_paused = true)]
async fn there_is_one_host_and_without_one_the_room_ends_after_a_grace() {
    let inn = inn(5);
    let (boss, _boss_mail) = inn.join(host());
    let (second, mut told) = inn.join(Guest {
        may_host: true,
        ..guest("deputy")
    });
    assert_eq!(
        (inn.role(&boss), inn.role(&second)),
        (RoomRole::Host, RoomRole::Speaker)
    );
    boss.leave();
    let left = tokio::time::Instant::now();
    assert_eq!(next(&mut told, "user-left").await["reason"], "left");
    // A host who comes in time keeps it open.
    tokio::time::sleep(Duration::from_secs(50)).await;
    let (boss, _boss_mail) = inn.join(host());
    assert_eq!(inn.role(&boss), RoomRole::Host);
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert!(inn.rooms.info(&name("room")).is_ok());
    boss.leave();
    assert_eq!(
        next(&mut told, "room-ended").await["reason"],
        "the host left"
    );
    let lasted = left.elapsed().as_secs_f64();
    assert!((160.0..161.0).contains(&lasted), "{lasted} s");
    assert!(told.recv().await.is_none());
    until("the room is gone", || inn.rooms.list().is_empty()).await;
    assert_eq!(
        second.chat("hi".to_owned(), None),
        Err(Error::NoRoom(name("room")))
    );
}

#[tokio::test(start_paused = true)]
async fn a_room_lasts_as_long_as_it_may_and_ends_when_all_have_left() {
    let inn = inn(5);
    let (seat, mut told) = inn.join(host());
    let began = tokio::time::Instant::now();
    loop {
        match timeout(Duration::from_secs(4000), told.recv())
            .await
            .unwrap()
        {
            Some(event) if event.name() == "room-ended" => {
                assert_eq!(
                    event.data()["reason"],
                    "the room has lasted as long as a room may"
                );
                break;
            }
            Some(_) => {}
            None => panic!("the end was not told"),
        }
    }
    let lasted = began.elapsed().as_secs_f64();
    assert!((3600.0..3601.0).contains(&lasted), "{lasted} s");
    drop(seat);
    let (seat, _mail) = inn.join(host());
    seat.leave();
    until("an empty room is gone", || inn.rooms.list().is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn the_host_mutes_promotes_and_sends_out_and_nobody_else_does() {
    let inn = inn(5);
    let (boss, mut boss_mail) = inn.join(host());
    let (ann, mut ann_mail) = inn.join(guest("ann"));
    let (bob, mut bob_mail) = inn.join(Guest {
        role: RoomRole::Listener,
        ..guest("bob")
    });
    let refused = |done: Result<(), Error>| matches!(done, Err(Error::NotAllowed(_)));
    assert!(refused(ann.mute(Some(boss.id()), Some(true), None)));
    assert!(refused(ann.remove(bob.id(), None)));
    assert!(refused(ann.set_role(ann.id(), RoomRole::Host)));
    assert!(refused(ann.end()));
    assert!(refused(boss.remove(boss.id(), None)));

    boss.mute(Some(ann.id()), Some(true), None).unwrap();
    let muted = next(&mut ann_mail, "muted").await;
    assert_eq!(
        muted,
        json!({ "audio": true, "video": false, "by": boss.id() })
    );
    let updated = next(&mut bob_mail, "user-updated").await;
    assert_eq!(
        (&updated["id"], &updated["muted"]["audio"]),
        (&json!(ann.id()), &json!(true))
    );
    // It is an interruption: she may speak again.
    ann.mute(None, Some(false), None).unwrap();
    let updated = next(&mut bob_mail, "user-updated").await;
    assert_eq!(updated["muted"]["audio"], false);

    assert!(matches!(
        bob.speak(camera()).await,
        Err(Error::NotAllowed(_))
    ));
    boss.set_role(bob.id(), RoomRole::Speaker).unwrap();
    assert!(bob.speak(camera()).await.is_ok());
    // The seat of the host goes to another; there is one.
    boss.set_role(ann.id(), RoomRole::Host).unwrap();
    assert_eq!(
        (inn.role(&boss), inn.role(&ann)),
        (RoomRole::Speaker, RoomRole::Host)
    );
    assert!(refused(boss.end()));

    ann.remove(bob.id(), Some("too loud".to_owned())).unwrap();
    assert_eq!(next(&mut bob_mail, "removed").await["reason"], "too loud");
    assert!(bob_mail.recv().await.is_none());
    assert_eq!(next(&mut boss_mail, "user-left").await["reason"], "removed");
    let again = inn.rooms.join(&name("room"), guest("bob"), None).err();
    assert_eq!(again, Some(Error::Banned(name("room"))));
    ann.end().unwrap();
    assert_eq!(
        next(&mut boss_mail, "room-ended").await["reason"],
        "the host ended the room"
    );
    // Another room of the name knows nothing of that.
    until("the room is gone", || inn.rooms.list().is_empty()).await;
    inn.join(guest("bob"));
}

#[tokio::test(start_paused = true)]
async fn a_listener_opens_no_room() {
    let inn = inn(5);
    let listener = || Guest {
        role: RoomRole::Listener,
        ..guest("ann")
    };
    let refused = inn.rooms.join(&name("room"), listener(), None).err();
    assert_eq!(refused, Some(Error::NoRoom(name("room"))));
    let (_host, _mail) = inn.join(host());
    let (ann, _mail) = inn.join(listener());
    assert_eq!(inn.role(&ann), RoomRole::Listener);
}

#[tokio::test(start_paused = true)]
async fn what_is_said_gets_to_all_or_to_one_and_not_too_often() {
    let inn = inn(5);
    let (ann, mut ann_mail) = inn.join(guest("ann"));
    let (bob, mut bob_mail) = inn.join(guest("bob"));
    let (_eve, mut eve_mail) = inn.join(guest("eve"));
    ann.chat("hello".to_owned(), None).unwrap();
    for mail in [&mut ann_mail, &mut bob_mail, &mut eve_mail] {
        let line = next(mail, "chat").await;
        assert_eq!(
            (&line["from"], &line["name"], &line["text"]),
            (&json!(ann.id()), &json!("ann"), &json!("hello"))
        );
        assert!(line["at_ms"].as_u64().is_some_and(|at_ms| at_ms > 0));
    }
    ann.chat("only you".to_owned(), Some(bob.id())).unwrap();
    assert_eq!(next(&mut bob_mail, "chat").await["to"], json!(bob.id()));
    ann.react("👋".to_owned()).unwrap();
    let event = eve_mail.recv().await.unwrap();
    assert_eq!(
        (event.name(), event.data()["emoji"].clone()),
        ("reaction", json!("👋"))
    );
    for bad in ["", "  ", &"x".repeat(4001)] {
        assert!(matches!(
            ann.chat(bad.to_owned(), None),
            Err(Error::Unusable(_))
        ));
    }
    ann.chat("ä".repeat(4000), None).unwrap();
    let said = (0..100)
        .filter(|_| ann.chat("x".to_owned(), None).is_ok())
        .count();
    assert_eq!(said, 6, "four were said before");
    let nobody = SessionId::random();
    assert!(matches!(
        bob.chat("x".to_owned(), Some(nobody)),
        Err(Error::NoParticipant { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn offers_answers_and_candidates_are_handed_on_with_whose_they_are() {
    let inn = inn(5);
    let (ann, _mail) = inn.join(guest("ann"));
    let (bob, mut bob_mail) = inn.join(guest("bob"));
    let payload = json!({ "sdp": "v=0", "to": bob.id(), "mine": 7 });
    ann.relay(bob.id(), Relay::Offer, payload).unwrap();
    let offer = next(&mut bob_mail, "offer").await;
    assert_eq!(offer, json!({ "sdp": "v=0", "from": ann.id(), "mine": 7 }));
    let flood = (0..1000)
        .filter(|_| ann.relay(bob.id(), Relay::Candidate, json!({})).is_ok())
        .count();
    assert_eq!(flood, 99);
    drop(bob);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let id = inn.rooms.participants(&name("room")).unwrap()[1].info.id;
    assert!(matches!(
        ann.relay(id, Relay::Answer, json!({})),
        Err(Error::NoParticipant { .. })
    ));
}
