//! How many may be in a room, and how long it lasts: limits that change, hosts that leave.

use std::time::Duration;

use hyper::Method;
use lockgate_tests_peer::{Downlink, Person, Signalling, moves};
use serde_json::{Value, json};

use super::{WITHIN, host, join, peers, refused, server, speaker};
use crate::support::{Server, until};

/// Changes the server's configuration and waits until it holds.
async fn change(server: &Server, from: &str, to: &str) {
    let path = server.folder().join("lockgate.toml");
    let config = std::fs::read_to_string(path).expect("it was written");
    let changed = config.replace(from, to);
    assert_ne!(changed, config);
    server.write("lockgate.toml", &changed);
    let admin = server.mint("admin");
    let reload = server.send_as(&admin, Method::POST, "/api/config/reload", "");
    let answer = reload.await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Everybody who came is there, and is sent what they were sent before.
async fn all_are_there(server: &Server, room: &str, all: &[(Person, Downlink)]) {
    let path = format!("/api/rooms/{room}/participants");
    let there = server.call(Method::GET, &path).await.json();
    let there = there["participants"].as_array().expect("a list").clone();
    assert_eq!(there.len(), all.len(), "{there:?}");
    for (one, down) in all {
        let is_there = |other: &&Value| other["id"] == one.id() && other["away"] == false;
        assert!(there.iter().any(|other| is_there(&other)), "{there:?}");
        assert!(one.signalling.heard("removed").is_empty());
        moves(down, "0").await.expect("it goes on");
    }
}

#[tokio::test]
async fn seats_end_at_the_limit_and_a_change_holds_for_rooms_that_are_open() {
    let server = server("[room]\nmax_participants = 3\n").await;
    let peers = peers();
    let mut all = Vec::new();
    let come = async |name: &str| {
        let one = join(&server, "full", name, &speaker(name), &peers).await;
        let _sends = one.send(true, true).await.expect("it sends");
        let down = one.watch(1, 1).await.expect("it watches");
        (one, down)
    };
    for name in ["ann", "bob", "cat"] {
        all.push(come(name).await);
    }
    assert_eq!(all[2].0.joined["max_participants"], 3);
    all_are_there(&server, "full", &all).await;
    let (status, why) = refused(&server, "full", Some(&speaker("dan"))).await;
    assert_eq!(status, 503);
    assert!(why.contains("has its 3 participants already"), "{why}");
    // Whoever may be host has no seat of their own.
    let (status, why) = refused(&server, "full", Some(&host("boss"))).await;
    assert_eq!((status, why.is_empty()), (503, false));

    change(&server, "max_participants = 3", "max_participants = 4").await;
    all.push(come("dan").await);
    assert_eq!(all[3].0.joined["max_participants"], 4);
    all_are_there(&server, "full", &all).await;
    let (status, why) = refused(&server, "full", Some(&speaker("eve"))).await;
    assert_eq!(status, 503);
    assert!(why.contains("has its 4 participants already"), "{why}");

    // Fewer than there are: nobody has to go, and nobody else comes.
    change(&server, "max_participants = 4", "max_participants = 2").await;
    all_are_there(&server, "full", &all).await;
    refused(&server, "full", Some(&speaker("eve"))).await;
    let (gone, down) = all.remove(0);
    gone.ask("leave", json!({})).await.expect("it may leave");
    drop((gone, down));
    let (status, _) = refused(&server, "full", Some(&speaker("eve"))).await;
    assert_eq!(status, 503, "three are still more than two");
    all_are_there(&server, "full", &all).await;
}

#[tokio::test]
async fn a_room_ends_some_time_after_its_host_has_left_unless_another_is_host() {
    let server = server("[room]\nhost_grace_s = 2\n").await;
    let peers = peers();
    let open = async |room: &str| {
        let boss = join(&server, room, "Boss", &host("boss"), &peers).await;
        let ann = join(&server, room, "Ann", &speaker("ann"), &peers).await;
        let _sends = boss.send(true, true).await.expect("the host sends");
        let down = ann.watch(1, 1).await.expect("she watches");
        moves(&down, "0").await.expect("the host is seen");
        (boss, ann, down)
    };
    // The seat of host is handed over before, taken over after, or left empty.
    let (boss, handed, _) = open("handed").await;
    let wish = json!({ "participant": handed.id(), "role": "host" });
    boss.ask("role", wish).await.expect("the host may");
    let ann = handed.id().to_owned();
    let is_host = |one: &Value| one["id"] == ann.as_str() && one["role"] == "host";
    let told = handed.signalling.hear("user-updated", is_host).await;
    told.expect("she is told");
    boss.ask("leave", json!({})).await.expect("he may leave");

    let (boss, taken, _) = open("taken").await;
    boss.ask("leave", json!({})).await.expect("he may leave");
    let second = join(&server, "taken", "Second", &host("second"), &peers).await;
    assert_eq!(second.role(), "host");

    let (boss, left, down) = open("left").await;
    boss.ask("leave", json!({})).await.expect("he may leave");
    let over = left.signalling.hear("room-ended", |_| true).await;
    assert_eq!(over.expect("the end is told")["reason"], "the host left");
    let no = left
        .signalling
        .refused("chat", json!({ "text": "?" }))
        .await;
    assert!(no.is_ok(), "she is in no room");
    drop(down);
    let gone = server.call(Method::GET, "/api/rooms/left").await;
    assert_eq!(gone.status, 404);
    assert_eq!(server.stream("left").await, Value::Null);

    // By then the others have been without that host for longer.
    for (one, room, host) in [
        (&handed, "handed", handed.id()),
        (&taken, "taken", second.id()),
    ] {
        assert!(one.signalling.heard("room-ended").is_empty(), "{room}");
        let info = server
            .call(Method::GET, &format!("/api/rooms/{room}"))
            .await;
        assert_eq!(info.json()["host"], host, "{room}: {}", info.text());
    }
    // Whoever is host now is the broadcast of that name.
    let _sends = handed.send(true, true).await.expect("the host sends");
    until("the broadcast", WITHIN, || async {
        (server.stream("handed").await["publisher"] == "connected").then_some(())
    })
    .await;

    let record = record(&server, "stream=left&role=room").await;
    assert_eq!(record["end_reason"], "host-left", "{record}");
    assert!(record["duration_s"].as_f64() >= Some(2.0), "{record}");
    let path = "/api/sessions?stream=left&role=participant";
    let admin = server.mint("admin");
    let found = server.send_as(&admin, Method::GET, path, "").await.json();
    let mut reasons: Vec<&str> = (found["sessions"].as_array().into_iter().flatten())
        .filter_map(|one| one["end_reason"].as_str())
        .collect();
    reasons.sort_unstable();
    assert_eq!(reasons, ["left", "room-ended"], "{found}");
}

/// Waits for the one session of a query that has ended and is on the disk.
async fn record(server: &Server, query: &str) -> Value {
    let admin = server.mint("admin");
    let path = format!("/api/sessions?{query}&state=ended");
    until(query, Duration::from_secs(40), || async {
        let answer = server.send_as(&admin, Method::GET, &path, "").await;
        let found = answer.json()["sessions"].as_array().cloned();
        let found = found.unwrap_or_else(|| panic!("{}", answer.text()));
        assert!(found.len() <= 1, "{found:?}");
        found.into_iter().find(|one| one["recorded"] == true)
    })
    .await
}

#[tokio::test]
async fn a_host_who_loses_the_socket_comes_back_as_host() {
    let server = server("[room]\nhost_grace_s = 0\n").await;
    let peers = peers();
    let ann = join(&server, "kept", "Ann", &speaker("ann"), &peers).await;
    let boss = join(&server, "kept", "Boss", &host("boss"), &peers).await;
    let _sends = boss.send(true, true).await.expect("the host sends");
    let down = ann.watch(1, 1).await.expect("she watches");
    moves(&down, "0").await.expect("the host is seen");
    let (id, seat) = (boss.id().to_owned(), boss.joined["seat"].clone());
    let is_away = |is: bool| {
        let id = id.clone();
        move |one: &Value| one["id"] == id.as_str() && one["away"] == is
    };
    // The socket is cut, and nothing else: who is gone so is not gone yet.
    drop(boss);
    let told = ann.signalling.hear("user-updated", is_away(true)).await;
    told.expect("she is told");
    moves(&down, "0").await.expect("the host is still seen");
    // By the secret of the seat, over whatever connection.
    let socket = Signalling::connect(&server.url(""), Some(&speaker("boss, elsewhere"))).await;
    let socket = socket.expect("anybody with a token connects");
    let wish = json!({ "room": "kept", "seat": seat });
    let boss = Person::enter(socket, wish, &peers).await;
    let boss = boss.expect("the seat is his");
    assert_eq!((boss.id(), boss.role()), (id.as_str(), "host"));
    assert_eq!(boss.joined["resumed"], true);
    let last = || ann.signalling.last("user-updated").unwrap_or_default();
    let told = ann
        .signalling
        .hear("user-updated", |_| is_away(false)(&last()));
    told.await.expect("she is told");
    assert!(ann.signalling.heard("room-ended").is_empty());
    moves(&down, "0").await.expect("the host is seen");
    boss.ask("end", json!({})).await.expect("he is host");
    let over = ann.signalling.hear("room-ended", |_| true).await;
    assert_eq!(
        over.expect("the end is told")["reason"],
        "the host ended the room"
    );
}
