//! The API by its own document: who is let in where, and what HLS players report.

use std::collections::HashMap;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, header};
use serde_json::{Value, json};

use crate::support::{Answer, Server};

/// Nobody may do anything without a token.
const CLOSED: &str = "[auth]\nanonymous = []\n";

/// A route of the document with its parameters filled in.
pub(crate) struct Route {
    pub(crate) method: Method,
    /// As the document has it.
    pub(crate) pattern: String,
    pub(crate) path: String,
    /// The scope that is needed; `None` where everybody may.
    scope: Option<String>,
    /// Media type of the body that is wanted.
    pub(crate) body: Option<String>,
}

impl Route {
    fn what(&self) -> String {
        format!("{} {}", self.method, self.pattern)
    }
}

/// All routes of the running server's document.
pub(crate) async fn routes(server: &Server) -> Vec<Route> {
    let answer = server.get("/api/openapi.json").await;
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/json");
    let document = answer.json();
    let mut routes = Vec::new();
    for (pattern, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let needs = operation["security"][0]["token"][0].as_str();
            let body = operation["requestBody"]["content"].as_object();
            routes.push(Route {
                method: Method::from_bytes(method.to_uppercase().as_bytes()).expect("a method"),
                pattern: pattern.clone(),
                path: filled(pattern, None),
                scope: needs.map(str::to_owned),
                body: body.and_then(|content| content.keys().next().cloned()),
            });
        }
    }
    assert!(routes.len() > 40, "{} routes", routes.len());
    routes
}

/// A path with its parameters filled in, all with one value if one is given.
pub(crate) fn filled(pattern: &str, value: Option<&str>) -> String {
    let revocation = pattern.contains("/revocations/");
    let session = "0123456789abcdef0123456789abcdef";
    pattern
        .split('/')
        .map(|part| match (part, value) {
            (part, Some(value)) if part.starts_with('{') => value,
            ("{stream}", _) => "demo",
            ("{session}" | "{events}", _) => session,
            ("{rung}", _) => "720p60",
            ("{file}", _) => "playlist.m3u8",
            ("{kind}", _) if revocation => "jti",
            ("{kind}", _) => "abr",
            ("{id}" | "{path}", _) => "x",
            (part, _) => part,
        })
        .collect::<Vec<_>>()
        .join("/")
}

async fn call(server: &Server, route: &Route, token: Option<&str>) -> Answer {
    let mut request = server.request(route.method.clone(), &route.path);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let mut body = Bytes::new();
    if let Some(kind) = &route.body {
        request = request.header(header::CONTENT_TYPE, kind.as_str());
        body = Bytes::from_static(b"{}");
    }
    server
        .send(request.body(Full::from(body)).expect("a request"))
        .await
}

#[tokio::test]
async fn every_route_that_is_not_public_is_closed_to_nobody_and_to_the_wrong_scope() {
    let server = Server::start(CLOSED, &[]).await;
    let mut closed = 0;
    let mut tokens: HashMap<String, String> = HashMap::new();
    let mut token = |scopes: &str| {
        let new = || server.mint_all(scopes);
        tokens.entry(scopes.to_owned()).or_insert_with(new).clone()
    };
    for route in routes(&server).await {
        let what = route.what();
        let nobody = call(&server, &route, None).await;
        let Some(scope) = &route.scope else {
            assert!(
                ![401, 403].contains(&nobody.status.as_u16()),
                "{what}: {}",
                nobody.text()
            );
            assert!(nobody.status.as_u16() < 500, "{what}: {}", nobody.text());
            continue;
        };
        closed += 1;
        nobody.problem(401);
        assert_eq!(
            nobody.header(header::WWW_AUTHENTICATE),
            "Bearer realm=\"lockgate\"",
            "{what}"
        );
        let garbage = call(&server, &route, Some("a.b.c")).await;
        garbage.problem(401);
        assert!(
            garbage
                .header(header::WWW_AUTHENTICATE)
                .contains("invalid_token"),
            "{what}"
        );
        // Everything but what is needed, and what is needed for another broadcast.
        let wrong = match scope.as_str() {
            "admin" => "publish:* play:* join:*",
            "publish" => "publish:other play:* join:*",
            _ => "publish:* play:other join:other",
        };
        // The list of all is open to whoever may watch anything.
        let wrong = if route.pattern == "/api/streams" {
            "publish:*"
        } else {
            wrong
        };
        // To ask what a token is good for is what this one is for; INTERFACE has 401 for "nothing".
        let verify = route.pattern.ends_with("/verify");
        let wrong = if verify { "play:other" } else { wrong };
        let wrong = call(&server, &route, Some(&token(wrong))).await;
        wrong.problem(if verify { 401 } else { 403 });
        if !verify {
            assert!(
                wrong
                    .header(header::WWW_AUTHENTICATE)
                    .contains("insufficient_scope"),
                "{what}"
            );
        }
        let right = match scope.as_str() {
            "admin" => "admin".to_owned(),
            scope => format!("{scope}:demo"),
        };
        let right = call(&server, &route, Some(&token(&right))).await;
        let status = right.status.as_u16();
        assert!(
            ![401, 403].contains(&status) && status < 500,
            "{what}: {}",
            right.text()
        );
    }
    assert!(closed > 30, "only {closed} routes are closed");
}

#[tokio::test]
async fn an_hls_player_reports_and_is_told_what_is_decided() {
    let server = Server::start("", &["--demo"]).await;
    server.running("demo").await;
    let report = |body: Value| {
        let body = Bytes::from(body.to_string());
        server.send_as(&server.token, Method::POST, "/api/streams/demo/stats", body)
    };
    // With the token of the reports: one player.
    let playlist = server.call(Method::GET, "/hls/demo/playlist.m3u8").await;
    assert_eq!(playlist.status, 200, "{}", playlist.text());
    // Where nothing is known, or the policies are late, what plays holds; then they have their say.
    let decided = |bandwidth_kbps: u32| {
        let report = &report;
        crate::support::until(
            "a decision",
            std::time::Duration::from_secs(30),
            move || async move {
                let body = json!({ "player": "a", "bandwidth_kbps": bandwidth_kbps, "buffer_s": 6.0, "stalls": 0 });
                let answer = report(body).await;
                assert_eq!(answer.status, 200, "{}", answer.text());
                let advice = answer.json();
                assert!(
                    advice["reason"]
                        .as_str()
                        .is_some_and(|reason| !reason.is_empty())
                );
                advice["rung"].as_str().map(str::to_owned)
            },
        )
    };
    let rungs = server.stream("demo").await["tracks"].clone();
    let rungs = rungs.as_array().expect("tracks");
    let kbps = |id: &str| {
        let track = rungs.iter().find(|track| track["id"] == *id);
        track
            .and_then(|track| track["bitrate_kbps"].as_u64())
            .expect("a rung that there is")
    };
    let poor = decided(700).await;
    assert!(kbps(&poor) <= 700, "{poor}");
    for (bad, word) in [
        (json!({ "buffer_s": -1 }), "buffer_s"),
        (json!({ "bufer_s": 1 }), "unknown field"),
        (json!([]), "no object"),
    ] {
        let detail = report(bad).await.problem(400);
        assert!(detail.contains(word), "{detail}");
    }
    // What was decided stands in the log with whoever asked.
    let admin = server.mint("admin");
    let log = server
        .send_as(
            &admin,
            Method::GET,
            "/api/policies/abr/decisions?limit=50",
            "",
        )
        .await;
    assert!(log.text().contains("/a\""), "{}", log.text());

    let metrics = server.get("/api/streams/demo/metrics").await.json();
    assert!(
        metrics["duration_s"]
            .as_f64()
            .is_some_and(|seconds| seconds > 0.0),
        "{metrics}"
    );
    assert_eq!(metrics["hls_players"], 1, "{metrics}");
    assert_eq!(metrics["participants"], 1, "{metrics}");
    server.get("/api/streams/none/metrics").await.problem(404);
}

#[tokio::test]
async fn the_document_is_served_to_machines_and_people() {
    let server = Server::start("", &[]).await;
    let document = server.get("/api/openapi.json").await;
    let etag = document.header(header::ETAG).to_owned();
    let again = server
        .request(Method::GET, "/api/openapi.json")
        .header(header::IF_NONE_MATCH, etag);
    let again = server
        .send(again.body(Full::default()).expect("a request"))
        .await;
    assert_eq!(again.status, 304);
    let page = server.get("/api/docs").await;
    assert!(page.header(header::CONTENT_TYPE).starts_with("text/html"));
    assert!(!page.header(header::CONTENT_SECURITY_POLICY).is_empty());
}
