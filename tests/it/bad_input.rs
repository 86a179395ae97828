//! Hostile requests to every route of the document: names, bodies and headers. Each is refused in words or let fall,
//! and the server goes on.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    api::{filled, routes},
    support::Server,
};

/// What nobody's name is.
const NAMES: &[&str] = &[
    "..",
    ".",
    "%2e%2e",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "..%5c..%5cwindows",
    "..;",
    "%252e%252e%252f",
    "%c0%ae%c0%ae%c0%af",
    "%ff%fe",
    "%00",
    "demo%00.m3u8",
    "%0d%0aSet-Cookie:%20a=b",
    "%20",
    "demo%20",
    ".hidden",
    "%F0%9F%92%A9",
    "d%C3%A9mo",
    "%E2%80%AEomed",
    "*",
    "$(id)",
    "%60id%60",
    "'%22;--",
    "%3Cscript%3E",
    "{stream}",
    "~root",
    "C:",
    "%",
    "%zz",
];

fn resident_kb(server: &Server) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok())
        .expect("the kernel tells")
}

#[tokio::test]
async fn a_name_that_is_none_is_refused_on_every_route() {
    let server = Server::start("", &[]).await;
    let admin = server.mint("admin");
    let long = "a".repeat(5000);
    let routes = routes(&server).await;
    let mut asked = 0;
    for route in routes.iter().filter(|route| route.pattern.contains('{')) {
        for name in NAMES.iter().copied().chain([long.as_str()]) {
            let path = filled(&route.pattern, Some(name));
            // What is no URI at all, no client sends; tests over raw sockets do.
            if path.parse::<hyper::Uri>().is_err() {
                continue;
            }
            asked += 1;
            let mut request = server
                .request(route.method.clone(), &path)
                .header(header::AUTHORIZATION, format!("Bearer {admin}"));
            if let Some(kind) = &route.body {
                request = request.header(header::CONTENT_TYPE, kind.as_str());
            }
            let body = Bytes::from_static(b"{}");
            let answer = server
                .send(request.body(Full::from(body)).expect("a request"))
                .await;
            let what = format!(
                "{} {path}: {} {}",
                route.method,
                answer.status,
                answer.text()
            );
            let status = answer.status.as_u16();
            assert!(status < 500, "{what}");
            assert!(answer.headers.get(header::SET_COOKIE).is_none(), "{what}");
            assert!(!answer.text().contains("root:x"), "{what}");
            // Pages and empty resources are the same whatever the name is.
            let page = |path: &str| route.pattern.starts_with(path);
            let public = page("/watch/")
                || page("/rooms/")
                || [204, 200].contains(&status) && route.pattern.starts_with("/wh");
            if !public {
                assert!((400..500).contains(&status), "{what}");
                answer.problem(status);
            }
        }
    }
    assert!(asked > 500, "{asked}");
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn giant_bodies_are_refused_on_every_route_and_cost_no_memory() {
    let server = Server::start("", &[]).await;
    let admin = server.mint("admin");
    let giant = Bytes::from(vec![b'x'; 8 << 20]);
    let before = resident_kb(&server);
    for route in routes(&server).await {
        let mut request = server
            .request(route.method.clone(), &route.path)
            .header(header::AUTHORIZATION, format!("Bearer {admin}"));
        if let Some(kind) = &route.body {
            request = request.header(header::CONTENT_TYPE, kind.as_str());
        }
        let client = server.anew();
        let request = request.body(Full::from(giant.clone())).expect("a request");
        // Where the answer is early the connection may close under what is still being sent.
        if let Some(answer) = client.try_send(request).await {
            let what = format!("{} {}: {}", route.method, route.path, answer.status);
            assert!(answer.status.as_u16() < 500, "{what}");
            if route.body.is_some() {
                assert!(answer.status.is_client_error(), "{what}");
            }
        }
    }
    let grown = resident_kb(&server).saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB more");
    assert_eq!(server.get("/livez").await.status, 200);
}

/// Writes until the other side has had enough; what it answered.
async fn pour(server: &Server, head: &str, drop_by_drop: &[u8], most: usize) -> String {
    let address = server.url("").trim_start_matches("http://").to_owned();
    let mut stream = TcpStream::connect(&address).await.expect("it listens");
    stream
        .write_all(head.as_bytes())
        .await
        .expect("it reads the head");
    let (mut reader, mut writer) = stream.split();
    let mut said = Vec::new();
    let mut poured = 0;
    let mut chunk = [0; 4096];
    loop {
        tokio::select! {
            read = reader.read(&mut chunk) => match read {
                Ok(0) | Err(_) => break,
                Ok(len) => {
                    said.extend_from_slice(&chunk[..len]);
                    break;
                }
            },
            written = writer.write_all(drop_by_drop), if poured < most && !drop_by_drop.is_empty() => {
                if written.is_err() {
                    break;
                }
                poured += drop_by_drop.len();
            }
        }
    }
    assert!(
        poured < most,
        "it took {poured} bytes and still had no word"
    );
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn bodies_without_an_end_are_cut_off_on_every_route() {
    let server = Server::start("", &[]).await;
    let admin = server.mint("admin");
    let chunk = [b"2000\r\n".as_slice(), &[b' '; 0x2000], b"\r\n"].concat();
    for route in routes(&server).await {
        let kind = route.body.as_deref().unwrap_or("application/json");
        let head = format!(
            "{} {} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n",
            route.method, route.path
        );
        let poured = pour(&server, &head, &chunk, 256 << 20);
        let said = tokio::time::timeout(Duration::from_secs(60), poured).await;
        let said = said.unwrap_or_else(|_| panic!("{} {} never answers", route.method, route.path));
        assert!(
            !said.starts_with("HTTP/1.1 5"),
            "{} {}: {said}",
            route.method,
            route.path
        );
    }
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn header_floods_and_requests_that_are_none_end_their_connection_only() {
    let server = Server::start("", &[]).await;
    let many = "X-Flood: 0123456789\r\n".repeat(50);
    let long = format!("X-Long: {}\r\n", "a".repeat(16 << 10));
    let before = resident_kb(&server);
    for (what, head, drop_by_drop) in [
        (
            "ever more headers",
            "GET / HTTP/1.1\r\nHost: x\r\n",
            many.as_bytes(),
        ),
        (
            "a header without an end",
            "GET / HTTP/1.1\r\nHost: x\r\nX: ",
            b"aaaaaaaaaaaaaaaa".as_slice(),
        ),
        (
            "long headers",
            "GET /api/streams HTTP/1.1\r\nHost: x\r\n",
            long.as_bytes(),
        ),
        ("a path without an end", "GET /", b"aaaaaaaaaaaaaaaa"),
        ("a method without an end", "G", b"GGGGGGGGGGGGGGGG"),
        (
            "no HTTP",
            "\x16\x03\x01\x02\x00\x01\x00\x01",
            b"\xfc\x03\x03",
        ),
        ("line breaks", "\r\n", b"\r\n\r\n\r\n\r\n"),
        (
            "two lengths",
            "POST /api/revocations HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n",
            b"{}",
        ),
        (
            "length and chunks",
            "POST /api/revocations HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"{}",
        ),
        (
            "a raw traversal",
            "GET /hls/../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
            b"",
        ),
        (
            "no UTF-8",
            "GET /api/streams/%ff HTTP/1.1\r\nHost: x\r\nX-A: \u{80}\r\n\r\n",
            b"",
        ),
    ] {
        let poured = pour(&server, head, drop_by_drop, 64 << 20);
        let said = tokio::time::timeout(Duration::from_secs(60), poured).await;
        let said = said.unwrap_or_else(|_| panic!("{what}: it goes on for ever"));
        assert!(
            said.is_empty() || said.starts_with("HTTP/1.1 4"),
            "{what}: {said}"
        );
    }
    let grown = resident_kb(&server).saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB more");
    assert_eq!(server.get("/livez").await.status, 200);
}
