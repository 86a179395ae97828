//! Who is shown and heard where.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use hyper::Method;
use lockgate_tests_peer::{Downlink, Person, Uplink, Viewer, moves, rests};
use serde_json::{Value, json};

use super::{LOUD, QUIET, WITHIN, host, join, peers, refused, server, speaker};
use crate::support::until;

struct Sender {
    person: Person,
    up: Uplink,
    down: Downlink,
}

/// Whom somebody's places show, each once and never oneself.
fn shown(person: &Person, kind: &str) -> BTreeSet<String> {
    let shown = person.shown(kind);
    let ids: BTreeSet<String> = shown.iter().map(|(id, _)| id.clone()).collect();
    assert_eq!(ids.len(), shown.len(), "somebody is shown twice: {shown:?}");
    assert!(!ids.contains(person.id()), "nobody is shown to themselves");
    ids
}

#[tokio::test]
async fn of_twelve_nine_are_shown_and_who_speaks_is_among_them() {
    const PEOPLE: usize = 12;
    const VIDEOS: usize = 9;
    const AUDIOS: usize = 3;
    let server = server("").await;
    let peers = peers();
    let mut all = Vec::new();
    for number in 0..PEOPLE {
        let name = format!("Person {number}");
        let person = join(&server, "many", &name, &speaker(&name), &peers).await;
        let down = person.watch(VIDEOS, AUDIOS).await.expect("it watches");
        let up = person.send(true, true).await.expect("it sends");
        assert!(up.says_level(), "the server asks how loud it is");
        up.is_loud(QUIET);
        all.push(Sender { person, up, down });
    }
    // Nobody has spoken: who came first is shown.
    let ids: Vec<&str> = all.iter().map(|one| one.person.id()).collect();
    for one in &all {
        let others = || ids.iter().filter(|id| **id != one.person.id());
        for (kind, count) in [("video", VIDEOS), ("audio", AUDIOS)] {
            let wanted: BTreeSet<String> =
                others().take(count).map(|id| (*id).to_owned()).collect();
            let seen = one
                .person
                .sees(kind, |person| shown(person, kind) == wanted);
            seen.await.expect("who came first is shown");
        }
    }
    let first = &all[0];
    let before = shown(&first.person, "video");
    for mid in 0..VIDEOS + AUDIOS {
        let moved = moves(&first.down, &mid.to_string()).await;
        moved.expect("each place is sent something");
    }
    let hidden: Vec<&Sender> = all[1..]
        .iter()
        .filter(|one| !before.contains(one.person.id()))
        .collect();
    assert_eq!(hidden.len(), PEOPLE - 1 - VIDEOS);

    // Who speaks comes in, for the one who has been silent longest; all others stay where they are.
    for one in hidden {
        let id = one.person.id();
        let before = first.person.shown("video");
        one.up.is_loud(LOUD);
        let shows = |person: &Person| person.place_of("video", id).is_some();
        let seen = first.person.sees("who speaks is shown", shows).await;
        seen.expect("who speaks is shown");
        let after = first.person.shown("video");
        assert_eq!(after.len(), VIDEOS);
        let stay = before.iter().filter(|place| after.contains(place)).count();
        assert_eq!(stay, VIDEOS - 1, "{before:?} and then {after:?}");
        let heard = |person: &Person| person.place_of("audio", id).is_some();
        let seen = first.person.sees("who speaks is heard", heard).await;
        seen.expect("who speaks is heard");
        for kind in ["video", "audio"] {
            let mid = first.person.place_of(kind, id).expect("they are there");
            moves(&first.down, &mid).await.expect("it is sent on");
        }
        let speaks = |told: &Value| told[0]["id"] == id;
        let told = first.person.signalling.hear("speakers", speaks).await;
        told.expect("all are told who speaks");
        one.up.is_loud(QUIET);
    }

    // Whoever looks on, and whoever speaks: each in turn is shown and heard, and what comes has no holes.
    for turn in [3, 7, 11] {
        let one = &all[turn];
        one.up.is_loud(LOUD);
        for other in all
            .iter()
            .filter(|other| other.person.id() != one.person.id())
        {
            let is = |person: &Person| {
                let place = |kind| person.place_of(kind, one.person.id()).is_some();
                place("video") && place("audio")
            };
            let seen = other.person.sees("who speaks is shown to all", is).await;
            seen.expect("who speaks is shown to all");
        }
        one.up.is_loud(QUIET);
    }
    for one in &all {
        shown(&one.person, "video");
        let (packets, lost): (u64, u64) = one.down.places.iter().fold((0, 0), |sum, place| {
            (sum.0 + place.packets(), sum.1 + place.lost())
        });
        // Nothing is between them but a machine with other things to do.
        assert!(lost * 20 < packets, "{lost} of {packets} packets are lost");
    }
}

#[tokio::test]
async fn who_is_muted_by_the_host_is_sent_to_nobody() {
    let server = server("").await;
    let peers = peers();
    let boss = join(&server, "hush", "Boss", &host("boss"), &peers).await;
    let ann = join(&server, "hush", "Ann", &speaker("ann"), &peers).await;
    let bob = join(&server, "hush", "Bob", &speaker("bob"), &peers).await;
    let _up = ann.send(true, true).await.expect("she sends");
    let (boss_down, bob_down) = tokio::join!(boss.watch(1, 1), bob.watch(1, 1));
    let all = [
        boss_down.expect("he watches"),
        bob_down.expect("he watches"),
    ];
    for down in &all {
        moves(down, "0").await.expect("pictures");
        moves(down, "1").await.expect("sound");
    }
    let mute = |audio: bool, video: bool| json!({ "participant": ann.id(), "audio": audio, "video": video });
    let no = bob.signalling.refused("mute", mute(true, true)).await;
    assert_eq!(no.expect("he is not host").status, 403);

    boss.ask("mute", mute(true, false))
        .await
        .expect("he is host");
    let told = ann
        .signalling
        .hear("muted", |told| told["audio"] == true)
        .await;
    let told = told.expect("she is told");
    assert_eq!(
        (&told["video"], &told["by"]),
        (&json!(false), &json!(boss.id()))
    );
    for down in &all {
        rests(down, "1").await.expect("no sound");
        moves(down, "0").await.expect("pictures go on");
    }
    boss.ask("mute", mute(true, true))
        .await
        .expect("he is host");
    for down in &all {
        rests(down, "0").await.expect("no pictures");
    }
    let muted = |one: &Value| one["id"] == ann.id() && one["muted"]["video"] == true;
    let told = bob.signalling.hear("user-updated", muted).await;
    told.expect("all are told");
    // She may speak again by herself: it was an interruption.
    ann.ask("mute", json!({ "audio": false, "video": false }))
        .await
        .expect("herself");
    for down in &all {
        moves(down, "0").await.expect("pictures again");
        moves(down, "1").await.expect("sound again");
    }
}

/// What the host sends is the broadcast of the room's name, which people watch who are in no room.
#[tokio::test]
async fn a_host_whose_camera_is_off_is_seen_by_nobody_at_all() {
    let server = server("").await;
    let peers = peers();
    let boss = join(&server, "stage", "Boss", &host("boss"), &peers).await;
    let _up = boss.send(true, true).await.expect("he sends");
    server.running("stage").await;
    let mut viewer = Viewer::join(&server, "stage").await.expect("it joins");
    viewer.read().await.expect("packets");
    let viewer = viewer;
    until("pictures", WITHIN, async || {
        (viewer.frames() > 10).then_some(())
    })
    .await;

    // The operator's word, whatever the client goes on sending.
    let path = format!("/api/rooms/stage/participants/{}", boss.id());
    let admin = server.mint("admin");
    let mute = async |video: bool| {
        let wish = json!({ "muted": { "video": video } }).to_string();
        let answer = server.send_as(&admin, Method::PATCH, &path, wish).await;
        assert!(answer.status.is_success(), "{}", answer.text());
    };
    mute(true).await;
    let last = Mutex::new((0, Instant::now()));
    until("no pictures", WITHIN, async || {
        let mut last = last.lock().expect("no panic");
        if last.0 != viewer.packets() {
            *last = (viewer.packets(), Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(1)).then_some(())
    })
    .await;
    let before = viewer.frames();
    mute(false).await;
    let more = async || (viewer.frames() > before + 10).then_some(());
    until("pictures again", WITHIN, more).await;
}

#[tokio::test]
async fn a_screen_takes_a_place_as_long_as_it_is_shared() {
    let server = server("").await;
    let (cameras, screens) = (peers(), peers());
    let ann = join(&server, "slides", "Ann", &speaker("ann"), &cameras).await;
    let bob = join(&server, "slides", "Bob", &speaker("bob"), &cameras).await;
    let _camera = ann.send(true, true).await.expect("she sends");
    let down = bob.watch(2, 1).await.expect("he watches");
    let wish = json!({ "places": [{ "mid": "1", "source": "screen" }] });
    bob.ask("subscribe", wish).await.expect("he may wish");
    moves(&down, "0").await.expect("her camera");
    assert_eq!(down.place("1").map(|place| place.packets()), Some(0));

    // Over a connection of its own, which stops without a word later.
    let offer = screens.offer_up(false, true).expect("an offer");
    let asked = json!({ "sdp": offer.sdp, "source": "screen" });
    let answer = ann.ask("offer", asked).await.expect("it is taken");
    assert_eq!(
        (&answer["direction"], &answer["source"]),
        (&json!("publish"), &json!("screen"))
    );
    let sdp = answer["sdp"].as_str().expect("an answer");
    screens.send(offer, sdp).await.expect("she shares");
    let of_screen = |person: &Person| {
        let places = person.signalling.last("places").unwrap_or_default();
        places[1]["participant"] == ann.id() && places[1]["source"] == "screen"
    };
    let seen = bob.sees("the screen", of_screen).await;
    seen.expect("it is in its place");
    moves(&down, "1").await.expect("pictures of the screen");
    moves(&down, "0").await.expect("her camera, too");
    assert_eq!(bob.place_of("video", ann.id()).as_deref(), Some("0"));
    let shares = |is: bool| move |one: &Value| one["screen"] == is;
    let told = bob.signalling.hear("user-updated", shares(true)).await;
    told.expect("all are told");

    // Whom to show can be said, too.
    let wish = json!({ "places": [
        { "mid": "0", "participant": ann.id(), "source": "screen" },
        { "mid": "1", "participant": ann.id() },
    ] });
    bob.ask("subscribe", wish).await.expect("he may wish");
    let turned = |person: &Person| {
        let places = person.signalling.last("places").unwrap_or_default();
        places[0]["source"] == "screen" && places[1]["source"] == "camera"
    };
    let seen = bob.sees("the other way round", turned).await;
    seen.expect("as he wished");
    moves(&down, "0").await.expect("pictures of the screen");
    moves(&down, "1").await.expect("pictures of the camera");

    let wish = json!({ "places": [{ "mid": "1", "source": "screen" }] });
    bob.ask("subscribe", wish).await.expect("he may wish");
    bob.sees("the screen", of_screen).await.expect("once more");
    assert_eq!(Arc::strong_count(&screens), 1);
    drop(screens);
    let gone = |person: &Person| {
        let places = person.signalling.last("places").unwrap_or_default();
        places[1]["participant"].is_null()
    };
    let seen = bob.sees("an empty place", gone).await;
    seen.expect("nothing comes of the screen any more");
    let ends = bob.signalling.last("user-updated");
    assert_eq!(ends.map(|one| one["screen"].clone()), Some(json!(false)));
    moves(&down, "0").await.expect("her camera goes on");
}

#[tokio::test]
async fn whoever_an_operator_sends_out_is_out_within_a_second() {
    let server = server("").await;
    let peers = peers();
    let admin = server.mint("admin");
    let bob = join(&server, "strict", "Bob", &speaker("bob"), &peers).await;
    let down = bob.watch(1, 1).await.expect("he watches");
    for (name, path) in [
        ("ann", "/api/rooms/strict/participants"),
        ("cat", "/api/sessions"),
    ] {
        let token = speaker(name);
        let one = join(&server, "strict", name, &token, &peers).await;
        let _up = one.send(true, true).await.expect("they send");
        moves(&down, "0").await.expect("they are seen");
        moves(&down, "1").await.expect("they are heard");

        let asked = Instant::now();
        let path = format!("{path}/{}", one.id());
        let answer = server.send_as(&admin, Method::DELETE, &path, "").await;
        assert_eq!(answer.status, 204, "{}", answer.text());
        let told = one.signalling.hear("removed", |_| true).await;
        let reason = told.expect("they are told")["reason"].clone();
        let took = asked.elapsed();
        assert!(took < Duration::from_secs(1), "{took:?}");
        assert!(
            reason
                .as_str()
                .is_some_and(|why| why.contains("administrator")),
            "{reason}"
        );
        let left = |told: &Value| told["id"] == one.id() && told["reason"] == "removed";
        let told = bob.signalling.hear("user-left", left).await;
        told.expect("the others are told");
        rests(&down, "0").await.expect("no pictures");
        rests(&down, "1").await.expect("no sound");
        let no = one.signalling.refused("chat", json!({ "text": "?" })).await;
        no.expect("they are in no room");
        let (status, why) = refused(&server, "strict", Some(&token)).await;
        assert_eq!(status, 403, "{why}");
    }
    assert!(bob.signalling.heard("removed").is_empty());
}

#[tokio::test]
async fn another_connection_takes_the_place_of_the_one_there_was() {
    let server = server("").await;
    let (first, second) = (peers(), peers());
    let ann = join(&server, "again", "Ann", &speaker("ann"), &first).await;
    let bob = join(&server, "again", "Bob", &speaker("bob"), &first).await;
    let _up = ann.send(true, true).await.expect("she sends");
    let down = bob.watch(1, 1).await.expect("he watches");
    moves(&down, "0").await.expect("pictures");
    moves(&down, "1").await.expect("sound");

    // She sends over another one: nothing is negotiated with him, and the numbers of what he is sent go on.
    let offer = second.offer_up(true, true).expect("an offer");
    let answer = ann.ask("offer", json!({ "sdp": offer.sdp })).await;
    let answer = answer.expect("it is taken in place of the first");
    let sdp = answer["sdp"].as_str().expect("an answer");
    second.send(offer, sdp).await.expect("she sends");
    moves(&down, "0").await.expect("pictures go on");
    moves(&down, "1").await.expect("sound goes on");
    for place in &down.places {
        let (packets, lost) = (place.packets(), place.lost());
        assert!(lost * 10 < packets, "{lost} of {packets} packets are lost");
    }
    assert_eq!(bob.place_of("video", ann.id()).as_deref(), Some("0"));

    // He watches over another one, with more places.
    let more = bob.watch(2, 2).await.expect("he watches");
    moves(&more, "0").await.expect("pictures");
    moves(&more, "2").await.expect("sound");
    rests(&down, "0").await.expect("the first one is over");
    let wide = |person: &Person| {
        let places = person.signalling.last("places").unwrap_or_default();
        places.as_array().map(Vec::len) == Some(4)
    };
    bob.sees("four places", wide).await.expect("he is told");
    assert_eq!(bob.place_of("audio", ann.id()).as_deref(), Some("2"));
}
