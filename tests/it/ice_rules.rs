//! ICE by UDP (RFC 8445, RFC 7675): checks by hand against the server's one port.

use http_body_util::Full;
use hyper::{Method, header};

use crate::{
    refused::OFFER,
    support::{Ice, IcePeer, Server},
};

/// What the offer of the tests has.
fn ours() -> Ice {
    Ice::of(&OFFER.replace("\r\n", "\n"))
}

/// The server is to begin with DTLS, so that it can be seen when it does.
async fn session(server: &Server, name: &str) -> (String, String) {
    let created = server.offer(&format!("/whip/{name}"), OFFER).await;
    assert_eq!(created.status, 201, "{}", created.text());
    let answer = created.text().replace("\r\n", "\n");
    assert!(answer.contains("a=setup:active"));
    (created.header(header::LOCATION).to_owned(), answer)
}

#[tokio::test]
async fn i01_a_check_with_a_wrong_username_or_password_is_dropped_in_silence() {
    let server = Server::start("", &[]).await;
    let (_, answer) = session(&server, "live").await;
    let (theirs, ours) = (Ice::of(&answer), ours());
    let mut peer = IcePeer::new(&answer, ours.clone()).await;
    let (right, password) = (format!("{}:{}", theirs.ufrag, ours.ufrag), &theirs.password);
    for (username, password) in [
        (right.clone(), "0123456789012345678901"),
        (format!("{}:stranger", theirs.ufrag), password.as_str()),
        (format!("stranger:{}", ours.ufrag), password),
        (theirs.ufrag.clone(), password),
    ] {
        peer.send_as(&username, password, true).await;
    }
    // One socket takes all in turn: the first answer is to the good check, so there was none to the others.
    let good = peer.send(&theirs, false).await;
    peer.answered(good).await;
}

#[tokio::test]
async fn i03_i04_no_dtls_before_a_nominated_pair_that_was_checked_both_ways() {
    let server = Server::start("", &[]).await;
    let (_, answer) = session(&server, "live").await;
    let theirs = Ice::of(&answer);
    let mut peer = IcePeer::new(&answer, ours()).await;
    // A ClientHello out of nowhere, before and after a check that nominates nothing.
    let hello = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    for _ in 0..3 {
        peer.raw(&hello).await;
        let id = peer.send(&theirs, false).await;
        assert!(peer.answered(id).await.is_empty(), "DTLS came too early");
    }
    // Nominated, but whoever did it does not answer: nothing but STUN is sent there.
    let mut mute = IcePeer::new(&answer, ours()).await;
    mute.send(&theirs, true).await;
    for _ in 0..2 {
        assert!(mute.receive().await[0] <= 3);
    }
    let first = peer.nominated(&theirs).await;
    assert_eq!(first[0], 22, "the handshake begins");
}

#[tokio::test]
async fn i05_a_profile_without_feedback_or_encryption_is_refused() {
    let server = Server::start("", &[]).await;
    // RFC 8834 §4.2 asks for feedback (RFC 5124).
    for profile in ["UDP/TLS/RTP/SAVP", "RTP/SAVPF", "RTP/AVPF", "RTP/AVP"] {
        let offer = OFFER.replace("UDP/TLS/RTP/SAVPF", profile);
        let detail = server.offer("/whip/live", &offer).await.problem(422);
        assert!(detail.contains(profile), "{detail}");
    }
    assert_eq!(server.offer("/whip/live", OFFER).await.status, 201);
}

#[tokio::test]
async fn i07_rtcp_mux_that_is_not_offered_is_not_assumed() {
    let server = Server::start("", &[]).await;
    let offer = OFFER.replace("a=rtcp-mux\r\n", "");
    let detail = server.offer("/whip/live", &offer).await.problem(422);
    assert!(detail.contains("rtcp-mux"), "{detail}");
}

#[tokio::test]
async fn i09_candidates_may_come_twice_or_be_unusable_and_half_a_restart_changes_nothing() {
    let server = Server::start("", &[]).await;
    let (location, answer) = session(&server, "live").await;
    let patch = |ufrag: &str, line: &str| {
        let fragment = format!(
            "a=ice-ufrag:{ufrag}\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na={line}\r\n"
        );
        let request = server
            .request(Method::PATCH, &location)
            .header(header::CONTENT_TYPE, "application/trickle-ice-sdpfrag")
            .header(header::AUTHORIZATION, format!("Bearer {}", server.token))
            .header(header::IF_MATCH, "*")
            .body(Full::from(fragment));
        server.send(request.expect("a request"))
    };
    let host = "candidate:1 1 udp 2 192.0.2.1 5000 typ host";
    let local = "candidate:2 1 udp 2 6a0e1b3e.local 5000 typ host";
    for line in [host, host, local, "end-of-candidates", "end-of-candidates"] {
        assert_eq!(patch("abcd", line).await.status, 204, "{line}");
    }
    assert_eq!(patch("efgh", host).await.status, 400);
    let theirs = Ice::of(&answer);
    let mut peer = IcePeer::new(&answer, ours()).await;
    assert_eq!(peer.nominated(&theirs).await[0], 22);

    let many: String = (0..300)
        .map(|at| format!("a={host} generation {at}\r\n"))
        .collect();
    let detail = server
        .offer("/whip/other", &format!("{OFFER}{many}"))
        .await
        .problem(400);
    assert!(detail.contains("300 candidates"), "{detail}");
    let detail = patch("abcd", &format!("mid:0\r\n{}", many.trim_end())).await;
    assert!(detail.problem(400).contains("300 candidates"));
    // A browser that hides its addresses (RFC 8828 §5.2) names nothing else.
    let hidden = format!("{OFFER}a={local}\r\na=end-of-candidates\r\n");
    assert_eq!(server.offer("/whip/hidden", &hidden).await.status, 201);
}

#[tokio::test]
async fn i11_a_new_session_from_the_same_address_has_nothing_of_the_old_one() {
    let server = Server::start("", &[]).await;
    let (location, answer) = session(&server, "live").await;
    let before = Ice::of(&answer);
    let mut peer = IcePeer::new(&answer, ours()).await;
    let hello = peer.nominated(&before).await;
    assert_eq!(server.call(Method::DELETE, &location).await.status, 200);
    // The old session's last word is an alert (RFC 9147 §5.10).
    while peer.receive().await[0] != 21 {}

    let (_, answer) = session(&server, "live").await;
    let after = Ice::of(&answer);
    assert!(after.ufrag != before.ufrag && after.password != before.password);
    // Late packets of the old session are nobody's: neither its check nor its handshake gets an answer.
    peer.send(&before, true).await;
    peer.raw(&hello).await;
    let id = peer.send(&after, false).await;
    assert!(peer.answered(id).await.is_empty());
    let fresh = peer.nominated(&after).await;
    // Behind the headers of record and handshake and the version (RFC 9147 §5.3).
    let random = |hello: &[u8]| hello[27..59].to_vec();
    assert_eq!(fresh[0], 22);
    assert_ne!(random(&fresh), random(&hello), "the old handshake went on");
}

#[tokio::test]
async fn w08_after_a_restart_the_old_credentials_hold_until_the_new_pair_is_up() {
    let server = Server::start("", &[]).await;
    let (location, answer) = session(&server, "live").await;
    let before = Ice::of(&answer);
    let mut old = IcePeer::new(&answer, ours()).await;
    assert_eq!(old.nominated(&before).await[0], 22);

    let renewed = Ice::new("renewed", "abcdefghijklmnopqrstuvwx");
    let fragment = format!(
        "a=mid:0\r\na=ice-ufrag:{}\r\na=ice-pwd:{}\r\n",
        renewed.ufrag, renewed.password
    );
    let request = server
        .request(Method::PATCH, &location)
        .header(header::CONTENT_TYPE, "application/trickle-ice-sdpfrag")
        .header(header::AUTHORIZATION, format!("Bearer {}", server.token))
        .header(header::IF_MATCH, "*")
        .body(Full::from(fragment))
        .expect("a request");
    let restarted = server.send(request).await;
    assert_eq!(restarted.status, 200, "{}", restarted.text());
    let after = Ice::of(&restarted.text().replace("\r\n", "\n"));
    assert_ne!(after, before);

    let id = old.send(&before, false).await;
    old.answered(id).await;
    // The same peer behind another port: its handshake goes on there.
    let mut new = IcePeer::new(&answer, renewed.clone()).await;
    let id = new.send(&after, false).await;
    new.answered(id).await;
    let id = old.send(&before, false).await;
    old.answered(id).await;
    assert_eq!(new.nominated(&after).await[0], 22);

    // From now on only the new ones are answered.
    old.send(&before, true).await;
    old.restart(renewed);
    let id = old.send(&after, false).await;
    old.answered(id).await;
}

#[tokio::test]
async fn w09_delete_revokes_consent_at_once() {
    let server = Server::start("", &[]).await;
    let (location, answer) = session(&server, "live").await;
    let theirs = Ice::of(&answer);
    let mut peer = IcePeer::new(&answer, ours()).await;
    assert_eq!(peer.nominated(&theirs).await[0], 22);
    let (_, other) = session(&server, "other").await;
    assert_eq!(server.call(Method::DELETE, &location).await.status, 200);
    peer.send(&theirs, true).await;
    let good = peer.send(&Ice::of(&other), false).await;
    peer.answered(good).await;
}
