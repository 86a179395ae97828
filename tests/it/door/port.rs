//! Who may connect, and as whom; and what stands on every answer.

use std::time::Duration;

use http_body_util::Full;
use hyper::{Method, header};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Server, until};

fn address(server: &Server) -> String {
    server.url("").trim_start_matches("http://").to_owned()
}

const GET: &[u8] = b"GET /api/streams HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// What a server answers to these bytes, until it closes.
async fn raw(server: &Server, pieces: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(address(server))
        .await
        .expect("a connection");
    for piece in pieces {
        // Whoever is refused may be so before all was sent.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    // It may be reset instead of closed.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A header of version 2 for an IPv4 client (PROXY protocol §2.2).
fn version_2(client: [u8; 4], local: bool) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.push(if local { 0x20 } else { 0x21 });
    // A value that we do not know follows the addresses.
    header.extend([0x11, 0, 12 + 5]);
    header.extend(client);
    header.extend([127, 0, 0, 1, 0x12, 0x34, 0, 80]);
    header.extend([0xEE, 0, 2, 1, 2]);
    header
}

#[tokio::test]
async fn a_trusted_proxy_says_whom_it_speaks_for() {
    let limited = [
        "--set",
        "rate_limit.requests=2",
        "--set",
        "http.proxy_protocol=true",
        "--set",
        "rate_limit.trusted_proxies=[\"127.0.0.1\"]",
        "--set",
        "http.timeouts.handshake_s=1",
    ];
    let server = Server::start("", &limited).await;
    let one = b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 80\r\n";
    for _ in 0..2 {
        let answer = raw(&server, &[one, GET]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let answer = raw(&server, &[one, GET]).await;
    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    // In pieces, and of the other version.
    let header = version_2([192, 0, 2, 2], false);
    let answer = raw(&server, &[&header[..7], &header[7..], GET]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = raw(&server, &[b"PROXY TCP6 2001:db8::1 ::1 4000 80\r\n", GET]).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for own in [&version_2([0; 4], true)[..], b"PROXY UNKNOWN\r\n"] {
        let answer = raw(&server, &[own, GET]).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    for bad in [
        &b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.300 127.0.0.1 4000 80\r\n",
        b"PROXY TCP4 192.0.2.1\r\n",
        b"PROXY NONSENSE\r\n",
        &[b'P'; 4000],
        b"\r\n\r\n\0\r\nQUIT\n\xFF\xFF\xFF\xFF",
        b"PROXY TCP4 ",
        b"",
    ] {
        assert_eq!(raw(&server, &[bad]).await, "", "{bad:?}");
    }
}

#[tokio::test]
async fn proxies_that_are_trusted_later_are_believed_later() {
    let server = Server::start("", &["--set", "http.proxy_protocol=true"]).await;
    let named = b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 80\r\n";
    let answer = raw(&server, &[named, GET]).await;
    assert!(!answer.contains(" 200"), "{answer}");
    let file = server.folder().join("lockgate.toml");
    let changed = std::fs::read_to_string(file).expect("it was written")
        + "\n[rate_limit]\ntrusted_proxies = [\"127.0.0.1\"]\n";
    server.write("lockgate.toml", &changed);
    until(
        "the proxy to be believed",
        Duration::from_secs(30),
        || async {
            let answer = raw(&server, &[named, GET]).await;
            answer.starts_with("HTTP/1.1 200").then_some(())
        },
    )
    .await;
    // Now every connection from there begins with a header.
    assert_eq!(raw(&server, &[GET]).await, "");
}

#[tokio::test]
async fn an_untrusted_client_is_not_believed_and_has_so_many_connections() {
    let most = "http.connections_per_address_max=3";
    let server = Server::start("", &["--set", most, "--set", "http.proxy_protocol=true"]).await;
    let answer = raw(
        &server,
        &[b"PROXY TCP4 192.0.2.1 127.0.0.1 4000 80\r\n", GET],
    )
    .await;
    assert!(!answer.contains(" 200"), "{answer}");
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(address(&server))
            .await
            .expect("a connection");
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("it is taken");
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        held.push(stream);
    }
    assert_eq!(raw(&server, &[GET]).await, "");
    held.pop();
    until("a place", Duration::from_secs(5), || async {
        raw(&server, &[GET])
            .await
            .starts_with("HTTP/1.1 200")
            .then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_answer_has_what_keeps_browsers_safe() {
    let cors = "http.cors=[\"https://a.example\", \"https://b.example:8443\"]";
    let server = Server::start("", &["--set", cors]).await;
    let from = |origin: &str, path: &str| {
        let request = server
            .request(Method::GET, path)
            .header(header::ORIGIN, origin);
        server.send(request.body(Full::default()).expect("a request"))
    };
    for (origin, allowed) in [
        ("https://a.example", "https://a.example"),
        ("https://b.example:8443", "https://b.example:8443"),
        ("https://b.example", ""),
        ("https://a.example.evil", ""),
        ("null", ""),
    ] {
        let answer = from(origin, "/api/streams").await;
        assert_eq!(
            answer.header(header::ACCESS_CONTROL_ALLOW_ORIGIN),
            allowed,
            "{origin}"
        );
        assert!(answer.header(header::VARY).contains("Origin"));
    }
    for path in [
        "/",
        "/watch/demo",
        "/studio",
        "/dashboard",
        "/livez",
        "/nowhere",
        "/api/streams",
        "/assets/none",
    ] {
        let answer = server.get(path).await;
        assert_eq!(
            answer.header(header::X_CONTENT_TYPE_OPTIONS),
            "nosniff",
            "{path}"
        );
        assert_eq!(
            answer.header(header::REFERRER_POLICY),
            "no-referrer",
            "{path}"
        );
        // Without TLS that would be a promise we cannot keep.
        assert_eq!(
            answer.header(header::STRICT_TRANSPORT_SECURITY),
            "",
            "{path}"
        );
        let csp = answer.header(header::CONTENT_SECURITY_POLICY);
        for word in [
            "default-src 'self'",
            "frame-ancestors 'self'",
            "base-uri 'none'",
        ] {
            let is_page = ["/", "/watch/demo", "/studio", "/dashboard"].contains(&path);
            assert_eq!(csp.contains(word), is_page, "{path}: {csp}");
        }
        assert!(!csp.contains("unsafe"), "{path}: {csp}");
    }
    let open = Server::start("", &[]).await;
    assert_eq!(
        open.get("/api/streams")
            .await
            .header(header::ACCESS_CONTROL_ALLOW_ORIGIN),
        "*"
    );
}
