//! How much anybody may ask for.

use http_body_util::Full;
use hyper::{Method, header};

use crate::{
    refused::OFFER,
    support::{Answer, Server},
};

const LIMITED: [&str; 6] = [
    "--set",
    "rate_limit.requests=4",
    "--set",
    "rate_limit.admin_requests=6",
    "--set",
    "rate_limit.joins=3",
];

async fn forwarded(server: &Server, chain: &str) -> Answer {
    let request = server
        .request(Method::GET, "/api/streams")
        .header("X-Forwarded-For", chain);
    server
        .send(request.body(Full::default()).expect("a request"))
        .await
}

#[tokio::test]
async fn a_budget_is_spent_by_whoever_asks_and_by_nobody_else() {
    let server = Server::start("", &LIMITED).await;
    for left in (0..4).rev() {
        let answer = server.get("/api/streams").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), "\"api\";q=4;w=900");
        let said = answer.header("ratelimit");
        assert!(said.starts_with(&format!("\"api\";r={left};t=")), "{said}");
    }
    let answer = server.get("/api/streams").await;
    answer.problem(429);
    let problem = answer.json();
    assert_eq!(
        problem["type"],
        "https://iana.org/assignments/http-problem-types#quota-exceeded"
    );
    assert_eq!(problem["violated-policies"], serde_json::json!(["api"]));
    let wait: u64 = answer.header(header::RETRY_AFTER).parse().expect("seconds");
    let said = answer.header("ratelimit");
    assert_eq!(said, format!("\"api\";r=0;t={wait}"));
    assert!((1..=225).contains(&wait), "{wait}");
    // A page on another origin may read how long.
    let exposed = answer.header(header::ACCESS_CONTROL_EXPOSE_HEADERS);
    assert!(
        exposed.contains("RateLimit") && exposed.contains("Retry-After"),
        "{exposed}"
    );

    // It is not told that it is somebody else, nor by a bad token.
    forwarded(&server, "192.0.2.1").await.problem(429);
    server
        .send_as("bad", Method::GET, "/api/streams", "")
        .await
        .problem(429);
    // A subject has a budget of its own, and an administrator a larger one.
    let (ann, admin) = (server.mint("play:*"), server.mint("admin"));
    for (token, most) in [(&ann, 4), (&admin, 6)] {
        for _ in 0..most {
            let answer = server.send_as(token, Method::GET, "/api/streams", "").await;
            assert_eq!(answer.status, 200);
        }
        server
            .send_as(token, Method::GET, "/api/streams", "")
            .await
            .problem(429);
    }
    // What players and probes need is not counted.
    for _ in 0..10 {
        assert_eq!(server.get("/livez").await.status, 200);
        server.get("/hls/none/playlist.m3u8").await.problem(404);
    }
    for _ in 0..3 {
        server.offer("/whip/live", "no offer").await.problem(400);
    }
    server.offer("/whip/live", OFFER).await.problem(429);
    assert_eq!(
        server.call(Method::OPTIONS, "/api/streams").await.status,
        200
    );
}

#[tokio::test]
async fn behind_a_trusted_proxy_each_client_has_its_own_budget() {
    let trusting = [
        &LIMITED[..],
        &["--set", "rate_limit.trusted_proxies=[\"127.0.0.0/8\"]"],
    ]
    .concat();
    let server = Server::start("", &trusting).await;
    for client in ["192.0.2.1", "192.0.2.2", "2001:db8::1"] {
        for _ in 0..4 {
            // What stands before was written by the client, and changes nothing.
            let chain = format!("{}, {client}, 127.0.0.9", rand_address());
            assert_eq!(forwarded(&server, &chain).await.status, 200, "{client}");
        }
        forwarded(&server, client).await.problem(429);
    }
    // Another address of the same network of IPv6.
    forwarded(&server, "2001:db8::2").await.problem(429);
    assert_eq!(forwarded(&server, "2001:db8:1::2").await.status, 200);
}

fn rand_address() -> String {
    use std::sync::atomic::{AtomicU8, Ordering};
    static NEXT: AtomicU8 = AtomicU8::new(1);
    format!("198.51.100.{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
