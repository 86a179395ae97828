//! `lockgate check`: our own server keeps every rule, and one that is wrong is told which it breaks.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use crate::support::{Server, check_server as check, with};

#[tokio::test]
async fn our_own_server_keeps_every_rule_and_nothing_is_left_behind() {
    let config = "[ladder]\nmax_quality = \"360p30\"\n[auth]\nanonymous = []\n";
    let server = Server::start(config, &["--demo"]).await;
    server.running_as("demo").await;
    let whip = server.url("/whip/live");
    let (code, report) = check(&["whip", &whip, "--token", &server.token]).await;
    assert_eq!(
        (code, with(&report, "pass").len()),
        (Some(0), 17),
        "{report:#}"
    );
    let whep = server.url("/whep/demo");
    let (code, report) = check(&["whep", &whep, "--token", &server.token]).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(with(&report, "skip"), ["P3"], "{report:#}");

    let streams = server.call(Method::GET, "/api/streams").await.json();
    let streams = streams["streams"].as_array().expect("a list");
    let live: Vec<_> = streams
        .iter()
        .filter(|stream| stream["state"] == "live")
        .collect();
    assert_eq!(
        (live.len(), &live[0]["viewers"]),
        (1, &0.into()),
        "{live:?}"
    );
}

#[tokio::test]
async fn what_is_no_url_is_a_wrong_use() {
    for url in ["nothing", "/whip/live", "ftp://example.org/whip/live"] {
        assert_eq!(check(&["whip", url]).await.0, Some(2), "{url}");
    }
    // Nobody listens: trouble, not a wrong use.
    let (code, _) = check(&["whip", "http://127.0.0.1:1/whip/live"]).await;
    assert_eq!(code, Some(1));
}

/// A server with mistakes that real ones make: an unquoted tag, no preconditions, 204 to DELETE and OPTIONS, numbered
/// sessions, 500 to bad offers, and a half answer.
async fn wrong(request: Request<Incoming>, number: usize) -> Response<Full<Bytes>> {
    use http_body_util::BodyExt as _;
    let method = request.method().clone();
    let body = request.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let offer = String::from_utf8_lossy(&body).into_owned();
    let response = Response::builder();
    let built = match method {
        Method::POST if !offer.contains("m=audio") => response.status(500).body(Full::default()),
        Method::POST => response
            .status(201)
            .header(header::CONTENT_TYPE, "application/sdp")
            .header(header::LOCATION, format!("/whip/session{number}"))
            .header(header::ETAG, "unquoted")
            .body(Full::from(
                "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=setup:active\r\na=recvonly\r\na=rtcp-mux\r\n\
                 m=video 0 UDP/TLS/RTP/SAVPF 96\r\n",
            )),
        Method::PATCH => response
            .status(204)
            .header(header::ETAG, "*")
            .body(Full::default()),
        Method::GET => response.status(200).body(Full::from("hello")),
        _ => response.status(204).body(Full::default()),
    };
    built.expect("a response")
}

/// Serves it; ends with the set.
async fn serve_wrong(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        let number = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        while let Ok((stream, _)) = listener.accept().await {
            let number = std::sync::Arc::clone(&number);
            connections.spawn(async move {
                let service = service_fn(move |request| {
                    let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    async move { Ok::<_, Infallible>(wrong(request, number).await) }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // The client hangs up when it is done.
                drop(connection.await);
            });
        }
    });
    address
}

#[tokio::test]
async fn a_wrong_server_is_told_the_rules_it_breaks() {
    let mut tasks = JoinSet::new();
    let address = serve_wrong(&mut tasks).await;
    let (code, report) = check(&["whip", &format!("http://{address}/whip/live")]).await;
    assert_eq!(code, Some(1));
    assert_eq!(
        with(&report, "fail"),
        [
            "W02", "W03", "W04", "W05", "W06", "W07", "W08", "W09", "W10", "W11", "W13", "W15",
            "W16"
        ],
        "{report:#}"
    );
    assert_eq!(with(&report, "pass"), ["W01", "W12"], "{report:#}");
}

#[tokio::test]
async fn a_wrong_server_for_viewers_is_told_so_too() {
    let mut tasks = JoinSet::new();
    let address = serve_wrong(&mut tasks).await;
    let (code, report) = check(&["whep", &format!("http://{address}/whep/live")]).await;
    assert_eq!(code, Some(1));
    let broken = with(&report, "fail");
    for rule in [
        "P2", "W02", "W03", "W05", "W06", "W07", "W08", "W09", "W10", "W11", "W13", "W15", "W16",
    ] {
        assert!(broken.contains(&rule.to_owned()), "{rule}: {report:#}");
    }
}
