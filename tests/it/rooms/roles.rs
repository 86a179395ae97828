//! Who is what in a room: by the claim of the token, by the policy, by the scopes; and what a listener cannot do.

use lockgate_tests_peer::moves;
use serde_json::json;

use super::{host, join, peers, refused, server, speaker, token};
use crate::support::Server;

#[tokio::test]
async fn the_claim_counts_before_the_scopes() {
    let server = server("anonymous = []\n").await;
    let peers = peers();
    let enter = async |room: &str, scope: &str, claims| {
        let token = token(&format!("{room} {scope} {claims}"), scope, claims);
        join(&server, room, "Somebody", &token, &peers).await
    };
    // Nobody is there yet.
    let boss = enter("claims", "join:*", json!({ "role": "host" })).await;
    assert_eq!(boss.role(), "host");
    assert_eq!(boss.joined["host"], boss.id());
    let second = enter("claims", "join:claims", json!({ "role": "host" })).await;
    assert_eq!(second.role(), "speaker", "there is one host");
    let hears = enter("claims", "join:* publish:*", json!({ "role": "listener" })).await;
    assert_eq!(hears.role(), "listener");
    let speaks = enter("claims", "join:*", json!({ "role": "speaker" })).await;
    assert_eq!(speaks.role(), "speaker");
    let odd = enter("claims", "join:*", json!({ "role": "emperor" })).await;
    assert_eq!(odd.role(), "speaker", "what is no role says nothing");

    // Without a claim the scopes count.
    let speaks = enter("scopes", "join:scopes", json!({})).await;
    assert_eq!(speaks.role(), "speaker");
    let boss = enter("scopes", "publish:sc*", json!({})).await;
    assert_eq!(boss.role(), "host", "the seat was free");
    let second = enter("scopes", "admin", json!({})).await;
    assert_eq!(second.role(), "speaker");
    let hears = enter("scopes", "play:scopes", json!({})).await;
    assert_eq!(hears.role(), "listener");
    let roles = server.call(hyper::Method::GET, "/api/rooms/scopes").await;
    assert_eq!(
        roles.json()["roles"],
        json!({ "host": 1, "speaker": 2, "listener": 1 })
    );

    // Scopes for another room are none, and who may only watch opens no room.
    let stranger = token(
        "stranger",
        "join:other play:other",
        json!({ "role": "host" }),
    );
    let (status, why) = refused(&server, "scopes", Some(&stranger)).await;
    assert_eq!(status, 403, "{why}");
    let (status, why) = refused(&server, "scopes", None).await;
    assert_eq!(status, 401, "{why}");
    let watcher = token("watcher", "play:*", json!({}));
    let (status, why) = refused(&server, "empty", Some(&watcher)).await;
    assert_eq!(status, 404, "{why}");
}

/// By name; who is not named keeps what the token says, but for one.
const POLICY: &str = "--!strict\nlocal policy = {}\nfunction policy.authorize(request)\n\
    \tif request.action ~= \"join\" then return { deny = true, status = 403, reason = \"join instead\" } end\n\
    \tlocal roles = { ann = \"host\", bob = \"listener\", cat = \"\" }\n\
    \tlocal role = roles[request.claims.sub]\n\
    \tif not role then return { deny = true, status = 403, reason = \"not on the list\" } end\n\
    \treturn { allow = true, ttl_s = 60, role = role }\nend\nreturn policy\n";

#[tokio::test]
async fn the_policy_counts_before_the_claim() {
    let config = format!(
        "[auth]\nsecret = \"{}\"\nanonymous = []\n[policies]\nauth = \"auth.luau\"\n",
        super::SECRET
    );
    let server = Server::start_with(&config, &[], &[("auth.luau", POLICY)]).await;
    let peers = peers();
    let mut inside = Vec::new();
    for (name, claims, role) in [
        ("ann", json!({ "role": "listener" }), "host"),
        ("bob", json!({ "role": "host" }), "listener"),
        ("cat", json!({ "role": "listener" }), "listener"),
    ] {
        let token = token(name, "", claims);
        let one = join(&server, "listed", name, &token, &peers).await;
        assert_eq!(one.role(), role, "{name}");
        inside.push(one);
    }
    let (status, why) = refused(&server, "listed", Some(&host("dan"))).await;
    assert_eq!(status, 403, "{why}");
}

#[tokio::test]
async fn a_listener_is_shown_others_and_cannot_send_until_the_host_says_so() {
    let server = server("").await;
    let peers = peers();
    let boss = join(&server, "stage", "Boss", &host("boss"), &peers).await;
    let ann = join(&server, "stage", "Ann", &speaker("ann"), &peers).await;
    let bob_token = token("bob", "play:*", json!({}));
    let bob = join(&server, "stage", "Bob", &bob_token, &peers).await;
    assert_eq!(bob.role(), "listener");
    let _sends = ann.send(true, true).await.expect("a speaker sends");
    let down = bob.watch(2, 1).await.expect("a listener watches");
    moves(&down, "0").await.expect("pictures of the speaker");
    moves(&down, "2").await.expect("sound of the speaker");

    for (audio, video) in [(true, true), (true, false), (false, true)] {
        let offer = peers.offer_up(audio, video).expect("an offer");
        let no = bob.signalling.refused("offer", json!({ "sdp": offer.sdp }));
        let no = no.await.expect("a listener does not send");
        assert_eq!(no.status, 403, "{no}");
        assert!(no.detail.contains("listeners only receive"), "{no}");
    }
    let wish = json!({ "participant": bob.id(), "role": "speaker" });
    let no = ann.signalling.refused("role", wish.clone()).await;
    assert_eq!(no.expect("a speaker is no host").status, 403);

    boss.ask("role", wish).await.expect("the host may");
    let id = bob.id().to_owned();
    let is_bob = |one: &serde_json::Value| one["id"] == id.as_str();
    let speaks = |one: &serde_json::Value| is_bob(one) && one["role"] == "speaker";
    bob.signalling
        .hear("user-updated", speaks)
        .await
        .expect("it is told");
    let _sends = bob.send(true, true).await.expect("a speaker sends");
    let seen = |one: &serde_json::Value| is_bob(one) && one["video"] == true;
    boss.signalling
        .hear("user-updated", seen)
        .await
        .expect("all see it");

    // And back: what is sent is sent to nobody any more.
    let watching = ann.watch(2, 2).await.expect("a speaker watches");
    let shows = |ann: &lockgate_tests_peer::Person| ann.place_of("video", bob.id()).is_some();
    ann.sees("Bob", shows).await.expect("Bob is shown");
    let place = ann.place_of("video", bob.id()).expect("he is shown");
    moves(&watching, &place).await.expect("pictures of Bob");
    let wish = json!({ "participant": bob.id(), "role": "listener" });
    boss.ask("role", wish).await.expect("the host may");
    ann.sees("Bob is gone", |ann| !shows(ann))
        .await
        .expect("Bob is shown no more");
    lockgate_tests_peer::rests(&watching, &place)
        .await
        .expect("nothing of Bob");
}
