//! Users, the operator's service, revocations, and sessions that are ended.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, header};
use serde_json::{Value, json};

use super::{hash, mint, service::Service};
use crate::{
    refused::OFFER,
    support::{Answer, Server, until},
};

async fn as_user(server: &Server, user: &str, password: &str, path: &str) -> Answer {
    let basic = STANDARD.encode(format!("{user}:{password}"));
    let request = server
        .request(Method::POST, path)
        .header(header::CONTENT_TYPE, "application/sdp")
        .header(header::AUTHORIZATION, format!("Basic {basic}"));
    server
        .send(request.body(Full::from(OFFER)).expect("a request"))
        .await
}

#[tokio::test]
async fn users_have_passwords_and_guessing_them_gets_slow() {
    let config = format!(
        "[[auth.users]]\nname = \"cam\"\npassword = \"{}\"\nscopes = [\"publish:cam-*\"]\n",
        hash("north wind")
    );
    let server = Server::start(&config, &["--set", "rate_limit.failed_logins=5"]).await;
    let good = as_user(&server, "cam", "north wind", "/whip/cam-1").await;
    assert_eq!(good.status, 201, "{}", good.text());
    as_user(&server, "cam", "north wind", "/whip/other")
        .await
        .problem(403);
    for (user, password) in [
        ("cam", "wrong"),
        ("cam", ""),
        ("nobody", "north wind"),
        ("cam", "x:y"),
    ] {
        let answer = as_user(&server, user, password, "/whip/cam-2").await;
        answer.problem(401);
        assert!(
            answer
                .header(header::WWW_AUTHENTICATE)
                .contains("invalid_token")
        );
    }
    // The fifth spends the budget: nothing is looked at any more, not even what is right.
    as_user(&server, "cam", "guess", "/whip/cam-2")
        .await
        .problem(401);
    as_user(&server, "cam", "guess", "/whip/cam-2")
        .await
        .problem(429);
    let closed = as_user(&server, "cam", "north wind", "/whip/cam-2").await;
    closed.problem(429);
    let wait: u64 = closed.header(header::RETRY_AFTER).parse().expect("seconds");
    assert!((1..=180).contains(&wait), "{wait}");
    // Who shows nothing, or a good token, is as welcome as before.
    assert_eq!(server.offer("/whip/live", OFFER).await.status, 201);
    assert_eq!(server.get("/api/streams").await.status, 200);
}

#[tokio::test]
async fn the_operators_service_is_asked_once_a_session_and_fails_closed() {
    let mut service = Service::start(|body| {
        let question: Value = serde_json::from_str(body).expect("it is sent JSON");
        match question["token"].as_str() {
            Some("open sesame") => (200, r#"{"ttl_s": 600}"#.to_owned()),
            Some("no body") => (204, String::new()),
            Some("polite") => (
                200,
                r#"{"allowed": false, "reason": "not today"}"#.to_owned(),
            ),
            Some("forbidden") => (403, String::new()),
            _ => (401, String::new()),
        }
    })
    .await;
    let config = format!(
        "[auth]\nanonymous = []\nchain = [\"http\"]\n[auth.http]\nurl = \"{}/auth\"\ndeadline_ms = 2000\n",
        service.origin
    );
    let server = Server::start(&config, &["--demo"]).await;
    let hls = async |token: &str| {
        let path = "/hls/demo/playlist.m3u8";
        server
            .send_as(token, Method::GET, path, "")
            .await
            .status
            .as_u16()
    };
    until("the playlist", Duration::from_secs(30), || async {
        (hls("open sesame").await == 200).then_some(())
    })
    .await;
    // A player's whole session costs one question.
    for _ in 0..20 {
        assert_eq!(hls("open sesame").await, 200);
    }
    let asked = service.asked();
    assert_eq!(asked.len(), 1, "{asked:?}");
    let question: Value = serde_json::from_str(&asked[0]).expect("it is sent JSON");
    assert_eq!(
        question,
        json!({"action": "play", "path": "demo", "protocol": "hls", "ip": "127.0.0.1", "user": "",
               "password": "", "token": "open sesame", "user_agent": ""})
    );
    assert_eq!(hls("no body").await, 200);
    for (token, status) in [("polite", 403), ("forbidden", 403), ("guess", 401)] {
        assert_eq!(hls(token).await, status, "{token}");
    }
    let published = server
        .send_as("open sesame", Method::POST, "/api/streams/x/verify", "")
        .await;
    assert_eq!(
        published.json()["actions"],
        json!(["publish", "play", "join"])
    );
    let user = as_user(&server, "cam", "north", "/whip/cam").await;
    user.problem(401);
    let last = service.asked().pop().expect("it was asked");
    let last: Value = serde_json::from_str(&last).expect("it is sent JSON");
    assert_eq!(
        (&last["user"], &last["password"]),
        (&"cam".into(), &"north".into())
    );

    // What is on goes on for a while; nobody new comes in.
    service.stop().await;
    assert_eq!(hls("open sesame").await, 200);
    assert_eq!(hls("somebody else").await, 403);
    assert!(
        !server.log().contains("open sesame"),
        "a token is in the log"
    );
}

/// Whether the session of a WebRTC peer is there.
async fn is_there(server: &Server, admin: &str, stream: &str, session: &str) -> bool {
    let path = format!("/api/streams/{stream}/sessions");
    let answer = server.send_as(admin, Method::GET, &path, "").await;
    let id = session.rsplit('/').next().expect("an id");
    answer.text().contains(id)
}

/// Waits until it is gone.
async fn gone(server: &Server, admin: &str, stream: &str, session: &str) {
    until("the session to end", Duration::from_secs(10), || async {
        (!is_there(server, admin, stream, session).await).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revoked_token_is_no_longer_good_and_what_came_in_by_it_is_ended() {
    let mut server = Server::start("[auth]\nanonymous = []\n", &["--demo"]).await;
    server.running_as("demo").await;
    let admin = server.mint("admin");
    let ann = mint(
        &server,
        &["--scope", "play:*", "--scope", "publish:*", "--sub", "ann"],
    );
    let other = mint(&server, &["--scope", "play:*", "--sub", "ann"]);
    let offer = OFFER.replace("sendonly", "recvonly");
    let whep = async |token: &str| {
        let request = server
            .request(Method::POST, "/whep/demo")
            .header(header::CONTENT_TYPE, "application/sdp")
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        let body = Full::<Bytes>::from(offer.clone());
        server.send(request.body(body).expect("a request")).await
    };
    let watching = whep(&ann).await;
    assert_eq!(watching.status, 201, "{}", watching.text());
    let session = watching.header(header::LOCATION).to_owned();
    let hls = format!("/hls/demo/playlist.m3u8?token={ann}");
    assert_eq!(server.get(&hls).await.status, 200);
    let publishing = server.send(
        server
            .request(Method::POST, "/whip/live")
            .header(header::CONTENT_TYPE, "application/sdp")
            .header(header::AUTHORIZATION, format!("Bearer {ann}"))
            .body(Full::from(OFFER))
            .expect("a request"),
    );
    assert_eq!(publishing.await.status, 201);

    let body = json!({ "token": ann }).to_string();
    let revoked = server
        .send_as(&admin, Method::POST, "/api/revocations", body)
        .await;
    assert_eq!(revoked.status, 201, "{}", revoked.text());
    let id = revoked.json()["jti"].as_str().expect("an id").to_owned();
    gone(&server, &admin, "demo", &session).await;
    server.get(&hls).await.problem(401);
    whep(&ann).await.problem(401);
    let live = server
        .send_as(&admin, Method::GET, "/api/streams/live", "")
        .await;
    live.problem(404);
    // The other token of the same subject is as good as before, until the subject is revoked.
    assert_eq!(whep(&other).await.status, 201);
    let body = json!({"sub": "ann"}).to_string();
    let revoked = server
        .send_as(&admin, Method::POST, "/api/revocations", body)
        .await;
    assert_eq!(revoked.status, 201, "{}", revoked.text());
    whep(&other).await.problem(401);

    for bad in [
        "{}",
        r#"{"jti":"a","sub":"b"}"#,
        r#"{"jti":""}"#,
        "no JSON",
        r#"{"token":"x"}"#,
    ] {
        server
            .send_as(&admin, Method::POST, "/api/revocations", bad)
            .await
            .problem(400);
    }
    server
        .send_as(
            &server.token,
            Method::POST,
            "/api/revocations",
            r#"{"jti":"a"}"#,
        )
        .await
        .problem(403);

    // It is remembered.
    server.crash_and_start_again(&["--demo"]).await;
    let answer = server.send_as(&ann, Method::GET, "/api/streams", "").await;
    answer.problem(401);
    let listed = server
        .send_as(&admin, Method::GET, "/api/revocations", "")
        .await;
    assert_eq!(
        listed.json()["revocations"].as_array().map(Vec::len),
        Some(2)
    );
    let path = format!("/api/revocations/jti/{id}");
    assert_eq!(
        server
            .send_as(&admin, Method::DELETE, &path, "")
            .await
            .status,
        204
    );
    server
        .send_as(&admin, Method::DELETE, &path, "")
        .await
        .problem(404);
    let path = "/api/revocations/sub/ann";
    assert_eq!(
        server
            .send_as(&admin, Method::DELETE, path, "")
            .await
            .status,
        204
    );
    assert_eq!(
        server
            .send_as(&ann, Method::GET, "/api/streams", "")
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_session_that_is_ended_is_gone_and_stays_out() {
    let server = Server::start("", &["--demo"]).await;
    server.running("demo").await;
    let admin = server.mint("admin");
    let offer = OFFER.replace("sendonly", "recvonly");
    let watching = server.offer("/whep/demo", &offer).await;
    let session = watching.header(header::LOCATION).to_owned();
    let id = session.rsplit('/').next().expect("an id").to_owned();
    for path in [
        "/api/sessions/none".to_owned(),
        format!("/api/sessions/{}", "0".repeat(32)),
    ] {
        server
            .send_as(&admin, Method::DELETE, &path, "")
            .await
            .problem(404);
    }
    let path = format!("/api/sessions/{id}");
    server.call(Method::DELETE, &path).await.problem(403);
    let path = format!("/api/streams/other/sessions/{id}");
    server
        .send_as(&admin, Method::DELETE, &path, "")
        .await
        .problem(404);
    let path = format!("/api/streams/demo/sessions/{id}");
    assert_eq!(
        server
            .send_as(&admin, Method::DELETE, &path, "")
            .await
            .status,
        204
    );
    gone(&server, &admin, "demo", &session).await;
    let again = server.offer("/whep/demo", &offer).await;
    assert!(again.problem(403).contains("ended by an administrator"));
    // Somebody else is not meant.
    let other = server.mint("play:*");
    let playing = |token: &str, agent: &str| {
        let request = server
            .request(Method::GET, "/hls/demo/playlist.m3u8")
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::USER_AGENT, agent);
        server.send(request.body(Full::default()).expect("a request"))
    };
    assert_eq!(playing(&other, "vlc").await.status, 200);
    assert_eq!(playing(&other, "hls.js").await.status, 200);
    let listed = server
        .send_as(&admin, Method::GET, "/api/streams/demo/sessions", "")
        .await;
    let listed = listed.json()["hls"].clone();
    let one = listed.as_array().into_iter().flatten();
    let one: Vec<&Value> = one.filter(|one| one["agent"] == "vlc").collect();
    let id = one[0]["id"].as_str().expect("an id");
    assert_eq!(one.len(), 1, "{listed}");
    let path = format!("/api/sessions/{id}");
    assert_eq!(
        server
            .send_as(&admin, Method::DELETE, &path, "")
            .await
            .status,
        204
    );
    playing(&other, "vlc").await.problem(403);
    assert_eq!(playing(&other, "hls.js").await.status, 200);

    // A publisher, too; its broadcast ends with it.
    let publisher = server.mint("publish:*");
    let publish = || async {
        let request = server
            .request(Method::POST, "/whip/live")
            .header(header::CONTENT_TYPE, "application/sdp")
            .header(header::AUTHORIZATION, format!("Bearer {publisher}"));
        server
            .send(request.body(Full::from(OFFER)).expect("a request"))
            .await
    };
    assert_eq!(publish().await.status, 201);
    let listed = server
        .send_as(&admin, Method::GET, "/api/streams/live/sessions", "")
        .await;
    let id = listed.json()["publisher"]
        .as_str()
        .expect("an id")
        .to_owned();
    let path = format!("/api/sessions/{id}");
    assert_eq!(
        server
            .send_as(&admin, Method::DELETE, &path, "")
            .await
            .status,
        204
    );
    server.get("/api/streams/live").await.problem(404);
    publish().await.problem(403);
}

#[tokio::test]
async fn another_policy_is_asked_about_those_who_are_in() {
    let script = "local policy = {}\nfunction policy.authorize(request)\n\
                  \tif request.action ~= \"play\" then return { allow = true, ttl_s = 60 } end\n\
                  \tif request.claims.sub == \"ann\" then return { allow = true, ttl_s = 3600 } end\n\
                  \treturn { deny = true, status = 403, reason = \"closed\" }\nend\nreturn policy\n";
    let config = "[auth]\nanonymous = []\n[policies]\nauth = \"auth.luau\"\n";
    let server = Server::start_with(config, &["--demo"], &[("auth.luau", script)]).await;
    let admin = server.mint("admin");
    let ann = mint(&server, &["--scope", "join:*", "--sub", "ann"]);
    let hls = async || {
        let path = "/hls/demo/playlist.m3u8";
        let answer = server.send_as(&ann, Method::GET, path, "").await;
        answer.status.as_u16()
    };
    until("the playlist", Duration::from_secs(30), || async {
        (hls().await == 200).then_some(())
    })
    .await;
    let request = server
        .request(Method::POST, "/whep/demo")
        .header(header::CONTENT_TYPE, "application/sdp")
        .header(header::AUTHORIZATION, format!("Bearer {ann}"));
    let body = Full::<Bytes>::from(OFFER.replace("sendonly", "recvonly"));
    let watching = server.send(request.body(body).expect("a request")).await;
    assert_eq!(watching.status, 201, "{}", watching.text());
    let session = watching.header(header::LOCATION).to_owned();
    assert!(is_there(&server, &admin, "demo", &session).await);
    // The verdict was to hold for an hour, by a policy that does not decide any more.
    server.write("auth.luau", &script.replace("\"ann\"", "\"bob\""));
    gone(&server, &admin, "demo", &session).await;
    assert_eq!(hls().await, 403);
}
