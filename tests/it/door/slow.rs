//! Those who hold connections without using them, and floods of requests that are given up.

use std::{
    collections::HashMap,
    process::Stdio,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::Request;
use tokio::{net::TcpStream, process::Command};

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

/// The path of the largest script that the watch page has loaded.
async fn largest_script(server: &Server) -> String {
    let mut texts = vec![server.get("/watch/demo").await.text()];
    let mut sizes = HashMap::new();
    while let Some(text) = texts.pop() {
        let quoted = text.split(['"', '\'', '`']);
        for name in quoted.filter(|part| part.ends_with(".js") && part.len() < 100) {
            let name = name.rsplit('/').next().unwrap_or_default();
            let path = format!("/assets/{name}");
            if !sizes.contains_key(&path) {
                let answer = server.get(&path).await;
                sizes.insert(path, answer.body.len());
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
            let asked = Instant::now();
            assert_eq!(server.get("/livez").await.status, 200);
            assert!(
                asked.elapsed() < Duration::from_secs(5),
                "{:?}",
                asked.elapsed()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let (heads, bodies, reads, ()) = tokio::join!(
        attack(&server, "/", &head),
        attack(&server, "/whip/x", &body),
        attack(&server, &big, &read),
        others,
    );
    for (what, ended) in [("head", heads), ("body", bodies), ("read", reads)] {
        assert!(
            ended.contains("No open connections left"),
            "{what}: {ended}"
        );
    }
}

#[tokio::test]
async fn a_flood_of_requests_that_are_given_up_is_cut() {
    let server = Server::start("", &[]).await;
    let address = server.url("").trim_start_matches("http://").to_owned();
    let stream = TcpStream::connect(&address).await.expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move { connection.await.err().map(|error| error.to_string()) });
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
    let ended = tasks
        .join_next()
        .await
        .expect("it ended")
        .expect("no panic");
    assert!(ended.is_some() || sent < 50_000, "{ended:?}");
    // Somebody else is served as ever, and so is who was cut, on a new connection.
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test]
async fn streams_that_are_never_read_end_with_their_connection() {
    let server = Server::start("", &HURRIED).await;
    let address = server.url("").trim_start_matches("http://").to_owned();
    let page = server.get("/watch/demo").await.text();
    let scripts = page.split('"').filter(|part| part.ends_with(".js"));
    let script = scripts.last().expect("the page has a script").to_owned();
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
