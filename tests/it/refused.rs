//! Bad input from outside: each a clear word, and nobody else is harmed.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, header};

use crate::support::{Server, lockgate};

/// What a small WHIP client offers.
pub(crate) const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n\
    a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\na=setup:actpass\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=rtpmap:96 H264/90000\r\na=fmtp:96 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n";

#[tokio::test]
async fn bad_offers_are_client_errors_with_a_reason() {
    let server = Server::start("", &["--demo"]).await;
    let no_media = OFFER.split("m=video").next().unwrap_or_default().to_owned();
    let cases: [(&str, String, &[u16]); 8] = [
        ("empty", String::new(), &[400]),
        ("no SDP", "hello".to_owned(), &[400]),
        ("without media", no_media, &[400, 422]),
        (
            "without a fingerprint",
            OFFER.replace("a=fingerprint", "a=x-fingerprint"),
            &[400, 422],
        ),
        (
            "without ICE",
            OFFER.replace("a=ice-", "a=x-ice-"),
            &[400, 422],
        ),
        (
            "holdconn",
            OFFER.replace("actpass", "holdconn"),
            &[400, 422],
        ),
        (
            "an unknown codec",
            OFFER.replace("H264/90000", "H266/90000"),
            &[422],
        ),
        (
            "receiving only",
            OFFER.replace("sendonly", "recvonly"),
            &[400, 422],
        ),
    ];
    for (what, offer, statuses) in cases {
        let answer = server.offer("/whip/live", &offer).await;
        let status = answer.status.as_u16();
        assert!(
            statuses.contains(&status),
            "{what}: {status} {}",
            answer.text()
        );
        answer.problem(status);
    }
    let giant = format!("{OFFER}{}", "a=x-filler:0123456789\r\n".repeat(7000));
    server.offer("/whip/live", &giant).await.problem(413);
    // None of them took the name, and the other broadcast never noticed.
    let accepted = server.offer("/whip/live", OFFER).await;
    assert_eq!(accepted.status, 201, "{}", accepted.text());
    server.running("demo").await;
}

#[tokio::test]
async fn whoever_sends_too_much_learns_why_however_often() {
    let server = Server::start("", &[]).await;
    let giant = format!("{OFFER}{}", "a=x-filler:0123456789\r\n".repeat(20_000));
    for _ in 0..20 {
        server.offer("/whip/live", &giant).await.problem(413);
        let typeless = server.send_as(&server.token, Method::POST, "/whip/live", giant.clone());
        typeless.await.problem(415);
    }
}

#[tokio::test]
async fn a_session_keeps_the_rules_of_rfc_9725() {
    let server = Server::start("", &["--demo"]).await;
    let accepted = server.offer("/whip/live", OFFER).await;
    assert_eq!(accepted.status, 201, "{}", accepted.text());
    assert_eq!(accepted.header(header::CONTENT_TYPE), "application/sdp");
    let location = accepted.header(header::LOCATION).to_owned();
    let etag = accepted.header(header::ETAG).to_owned();
    assert!(location.starts_with("/whip/live/"), "{location}");
    assert!(
        etag.len() > 2 && etag.starts_with('"') && etag.ends_with('"'),
        "{etag}"
    );

    let taken = server.offer("/whip/live", OFFER).await.problem(409);
    assert!(taken.contains("live"), "{taken}");
    server.offer("/whip/demo", OFFER).await.problem(409);

    let patch = |if_match: Option<&str>, kind: &'static str| {
        let mut request = server
            .request(Method::PATCH, &location)
            .header(header::CONTENT_TYPE, kind)
            .header(header::AUTHORIZATION, format!("Bearer {}", server.token));
        if let Some(tag) = if_match {
            request = request.header(header::IF_MATCH, tag);
        }
        let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=video 9 UDP/TLS/RTP/SAVPF 0\r\n\
                        a=mid:0\r\na=candidate:1 1 UDP 2130706431 127.0.0.1 50000 typ host\r\n";
        server.send(request.body(Full::from(fragment)).expect("a request"))
    };
    let fragment = "application/trickle-ice-sdpfrag";
    patch(None, fragment).await.problem(428);
    patch(Some("\"stale\""), fragment).await.problem(412);
    patch(Some(&etag), "text/plain").await.problem(415);
    let trickled = patch(Some(&etag), fragment).await;
    assert_eq!(
        (
            trickled.status.as_u16(),
            trickled.body.len(),
            trickled.header(header::ETAG)
        ),
        (204, 0, "")
    );

    assert!(server.get(&location).await.status.is_success());
    let options = server.call(Method::OPTIONS, "/whip/live").await;
    assert_eq!(
        (options.status.as_u16(), options.header("accept-post")),
        (200, "application/sdp")
    );
    assert_eq!(server.call(Method::DELETE, &location).await.status, 200);
    server.call(Method::DELETE, &location).await.problem(404);
    assert_eq!(server.offer("/whip/live", OFFER).await.status, 201);
}

#[tokio::test]
async fn watching_nothing_is_a_conflict_to_be_tried_again() {
    let server = Server::start("", &[]).await;
    let answer = server
        .offer("/whep/nothing", &OFFER.replace("sendonly", "recvonly"))
        .await;
    let detail = answer.problem(409);
    assert!(detail.contains("nothing"), "{detail}");
    assert!(!answer.header(header::RETRY_AFTER).is_empty());
    server.get("/hls/nothing/playlist.m3u8").await.problem(404);
    server.get("/api/streams/nothing").await.problem(404);
}

#[tokio::test]
async fn whoever_has_no_good_token_stays_outside() {
    let server = Server::start("", &[]).await;
    let post = |authorization: Option<String>| {
        let mut request = server
            .request(Method::POST, "/whip/live")
            .header(header::CONTENT_TYPE, "application/sdp");
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        server.send(request.body(Full::from(OFFER)).expect("a request"))
    };
    let none = post(None).await;
    none.problem(401);
    assert_eq!(
        none.header(header::WWW_AUTHENTICATE),
        "Bearer realm=\"lockgate\""
    );
    let wrong = post(Some("Bearer eyJhbGciOiJIUzI1NiJ9.e30.x".to_owned())).await;
    wrong.problem(401);
    assert!(
        wrong
            .header(header::WWW_AUTHENTICATE)
            .contains("invalid_token")
    );
    post(Some("Basic dXNlcjpwYXNz".to_owned()))
        .await
        .problem(401);
    let listing = server.call(Method::GET, "/api/streams/x/sessions").await;
    let detail = listing.problem(403);
    assert!(detail.contains("admin"), "{detail}");
}

#[tokio::test]
async fn every_error_of_the_router_is_a_problem_too() {
    let server = Server::start("", &[]).await;
    server.get("/nowhere").await.problem(404);
    server.get("/hls/a/b/c/d").await.problem(404);
    server.call(Method::PUT, "/api/streams").await.problem(405);
    for name in ["..%2fetc", "%00", "a%20b", "%ff", ".hidden"] {
        let answer = server.get(&format!("/hls/{name}/playlist.m3u8")).await;
        assert!(
            [400, 404].contains(&answer.status.as_u16()),
            "{name}: {}",
            answer.status
        );
        answer.problem(answer.status.as_u16());
    }
    let typed = server
        .request(Method::POST, "/whip/live")
        .header(header::AUTHORIZATION, format!("Bearer {}", server.token))
        .header(header::CONTENT_TYPE, "text/plain");
    server
        .send(
            typed
                .body(Full::from(Bytes::from_static(b"x")))
                .expect("a request"),
        )
        .await
        .problem(415);
    let page = server.get("/watch/demo").await;
    assert!(page.header(header::CONTENT_TYPE).starts_with("text/html"));
    assert!(
        page.header(header::CONTENT_SECURITY_POLICY)
            .contains("default-src 'self'")
    );
}

#[tokio::test]
async fn a_port_in_use_and_an_unknown_key_end_the_start_with_a_clear_word() {
    let server = Server::start("", &[]).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let address = server.url("").trim_start_matches("http://").to_owned();
    let run = |arguments: &[&str]| {
        let output = lockgate(folder.path())
            .args(arguments)
            .output()
            .expect("the binary runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let (code, said) = run(&["serve", "--set", &format!("http.listen={address}")]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains(&address) && said.contains("http.listen"),
        "{said}"
    );

    std::fs::write(folder.path().join("bad.toml"), "[http]\nlissten = \"x\"\n")
        .expect("a file is written");
    let (code, said) = run(&["serve", "--config", "bad.toml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("bad.toml:2:1: ") && said.contains("did you mean `listen`?"),
        "{said}"
    );
    let (code, said) = run(&["check-config", "none.toml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("none.toml"), "{said}");
    let (code, _) = run(&["sevre"]);
    assert_eq!(code, Some(2));
}
