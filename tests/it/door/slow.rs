//! Those who hold connections without using them, and floods of requests that are given up.

use std::{
    collections::{HashMap, hash_map::Entry},
    process::Stdio,
    time::Duration,
};

use bytes::Bytes;
use hyper::Request;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
};

use crate::support::{Server, until};

const HURRIED: [&str; 8] = [
    "--set",
    "http.timeouts.header_s=2",
    "--set",
    "http.timeouts.body_s=2",
    "--set",
    "http.timeouts.write_s=2",
    "--set",
    "http.timeouts.idle_s=4",
];

/// Attacks with slowhttptest, and returns what became of it.
async fn attack(server: &Server, path: &str, arguments: &[&str]) -> String {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new("slowhttptest")
        .current_dir(folder.path())
        .args(["-u", &server.url(path)])
        .args(["-c", "60", "-r", "60", "-l", "20", "-p", "8"])
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("slowhttptest is installed by `make test`");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ended = text.rsplit("Exit status:").next();
    ended.unwrap_or_default().to_owned()
}

/// How many connections the server has, as the kernel sees it.
fn open_connections(server: &Server) -> usize {
    let port = server
        .url("")
        .rsplit(':')
        .next()
        .and_then(|port| port.parse::<u16>().ok());
    let local = format!("0100007F:{:04X}", port.expect("a port"));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux has it");
    let rows = table.lines().map(str::split_ascii_whitespace);
    let established = rows.filter(|row| {
        let mut row = row.clone().skip(1);
        row.next() == Some(&local) && row.nth(1) == Some("01")
    });
    established.count()
}

/// The path of the largest script that the watch page has loaded.
async fn largest_script(server: &Server) -> String {
    let mut texts = vec![server.get("/watch/demo").await.text()];
    let mut sizes = HashMap::new();
    while let Some(text) = texts.pop() {
        let quoted = text.split(['"', '\'', '`']);
        for name in quoted.filter(|part| part.ends_with(".js") && part.len() < 100) {
            let name = name.rsplit('/').next().unwrap_or_default();
            let path = format!("/assets/{name}");
            if let Entry::Vacant(size) = sizes.entry(path) {
                let answer = server.get(size.key()).await;
                size.insert(answer.body.len());
                texts.extend(answer.status.is_success().then(|| answer.text()));
            }
        }
    }
    let (path, size) = sizes
        .into_iter()
        .max_by_key(|(_, size)| *size)
        .expect("a script");
    assert!(
        size > 300_000,
        "{path} has {size} bytes: the kernel takes it all"
    );
    path
}

#[tokio::test]
async fn slow_clients_are_cut_and_others_never_notice() {
    let server = Server::start("", &HURRIED).await;
    let big = largest_script(&server).await;
    let head = ["-H", "-i", "1"];
    let body = [
        "-B",
        "-i",
        "1",
        "-s",
        "4096",
        "-t",
        "POST",
        "-f",
        "application/sdp",
    ];
    let read = [
        "-X", "-n", "1", "-z", "16", "-w", "256", "-y", "512", "-k", "3",
    ];
    let others = async {
        for _ in 0..40 {
            assert_eq!(server.get("/livez").await.status, 200);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let (heads, bodies, ()) = tokio::join!(
        attack(&server, "/", &head),
        attack(&server, "/whip/x", &body),
        others,
    );
    for (what, ended) in [("head", heads), ("body", bodies)] {
        assert!(
            ended.contains("No open connections left"),
            "{what}: {ended}"
        );
    }
    // Who reads slowly goes on with what came before the end, so that the end is seen here alone.
    let connected = async |what: &str, enough: fn(usize) -> bool| {
        until(what, Duration::from_secs(15), || {
            let open = open_connections(&server);
            async move { enough(open).then_some(()) }
        })
        .await;
    };
    tokio::select! {
        _ = attack(&server, &big, &read) => panic!("it ended before it was cut"),
        () = async {
            connected("the connections", |open| open >= 50).await;
            connected("their end", |open| open <= 5).await;
        } => {}
    }
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn a_flood_of_requests_that_are_given_up_is_cut() {
    let server = Server::start("", &[]).await;
    let address = server.url("").trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(&address).await.expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let mut tasks = tokio::task::JoinSet::new();
    // How it ends is told by what is sent after that.
    tasks.spawn(async move { drop(connection.await) });
    let mut sent: u32 = 0;
    let mut client = client;
    loop {
        client = match client.ready().await {
            Ok(client) => client,
            Err(_) => break,
        };
        let uri = format!("http://{address}/api/streams");
        let request = Request::get(uri).body(()).expect("a request");
        match client.send_request(request, true) {
            Ok((_, mut stream)) => stream.send_reset(h2::Reason::CANCEL),
            Err(_) => break,
        }
        sent += 1;
        assert!(sent < 50_000, "the server takes them all");
        if sent.is_multiple_of(50) {
            tokio::task::yield_now().await;
        }
    }
    tasks
        .join_next()
        .await
        .expect("the connection ended")
        .expect("no panic");
    // Over HTTP/1 the same address is served as ever; by HTTP/2 its next connection waits a little, and then is, too.
    let mut raw = TcpStream::connect(&address).await.expect("a connection");
    raw.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .expect("it is written");
    assert_eq!(server.anew().get("/livez").await.status, 200);
    let mut first = [0; 1];
    assert_eq!(
        raw.try_read(&mut first).map_err(|error| error.kind()),
        Err(std::io::ErrorKind::WouldBlock),
        "it is answered at once"
    );
    let stream = TcpStream::connect(&address).await.expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tasks.spawn(async move { drop(connection.await) });
    let mut client = client.ready().await.expect("it is taken in");
    let request = Request::get(format!("http://{address}/livez")).body(());
    let (answer, _) = client
        .send_request(request.expect("a request"), true)
        .expect("it is sent");
    assert_eq!(answer.await.expect("it is answered").status(), 200);
}

#[tokio::test]
async fn an_idle_connection_over_http_1_is_closed_and_one_that_is_used_is_not() {
    let server = Server::start("", &HURRIED).await;
    let address = server.url("").trim_start_matches("http://").to_owned();
    let mut used = TcpStream::connect(&address).await.expect("a connection");
    let mut idle = TcpStream::connect(&address).await.expect("a connection");
    let ask = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut buffer = [0; 4096];
    let mut first = [0; 4096];
    idle.write_all(ask).await.expect("it is sent");
    assert!(idle.read(&mut first).await.expect("it is answered") > 0);
    let asking = async {
        // Each in time, and all together for longer than anything may be idle.
        for _ in 0..12 {
            used.write_all(ask).await.expect("it is open");
            let len = used.read(&mut buffer).await.expect("it is open");
            assert!(buffer[..len].starts_with(b"HTTP/1.1 200"), "it was closed");
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let mut rest = [0; 16];
    let closing = tokio::time::timeout(Duration::from_secs(60), idle.read(&mut rest));
    let ((), closed) = tokio::join!(asking, closing);
    assert_eq!(closed.expect("it is closed").expect("not cut"), 0);
}

#[tokio::test]
async fn streams_that_are_never_read_end_with_their_connection() {
    let server = Server::start("", &HURRIED).await;
    let address = server.url("").trim_start_matches("http://").to_owned();
    let page = server.get("/watch/demo").await.text();
    let mut scripts = page.split('"').filter(|part| part.ends_with(".js"));
    let script = scripts
        .next_back()
        .expect("the page has a script")
        .to_owned();
    let stream = TcpStream::connect(&address).await.expect("a connection");
    // A window in which hardly anything fits, and nobody makes it larger.
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(16)
        .handshake::<_, Bytes>(stream)
        .await
        .expect("HTTP/2");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let mut answers = Vec::new();
    for _ in 0..20 {
        let request = Request::get(format!("http://{address}{script}"))
            .body(())
            .expect("a request");
        let (answer, _) = client.send_request(request, true).expect("a stream");
        let answer = answer.await.expect("the head of an answer");
        assert_eq!(answer.status(), 200);
        answers.push(answer);
    }
    until("the connection to end", Duration::from_secs(60), || {
        let ended = tasks.try_join_next().is_some();
        async move { ended.then_some(()) }
    })
    .await;
    assert_eq!(server.get("/livez").await.status, 200);
}
