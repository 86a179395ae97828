//! `lockgate bench`: many light clients against a real server, what they report, and what they say when they cannot.

use std::{
    net::{IpAddr, SocketAddr},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use lockgate_load::{Clock, Error, Signal, Target, whep};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use crate::support::{Server, lockgate, until};

const DEMO: &str = "[ladder]\nmax_quality = \"360p30\"\n[auth]\nanonymous = []\n";

/// The exit code, the report, and what was said for a person.
async fn bench(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut command = tokio::process::Command::from(lockgate(folder.path()));
    let output = command
        .arg("bench")
        .args(arguments)
        .arg("--json")
        .kill_on_drop(true)
        .output()
        .await
        .expect("the binary runs");
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), report, said)
}

fn number(report: &Value, pointer: &str) -> f64 {
    let value = report.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no {pointer} in {report:#}"))
}

/// The fields of a report, nested ones by their path; what maps names to counts has no fields of its own.
fn fields(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(of) if !["/failures", "/srtp"].contains(&path) => {
            for (name, value) in of {
                fields(value, &format!("{path}/{name}"), found);
            }
        }
        _ => found.push(path.trim_start_matches('/').to_owned()),
    }
}

#[tokio::test]
async fn fifty_viewers_of_the_demo_join_and_what_they_saw_is_told() {
    let server = Server::start(DEMO, &["--demo"]).await;
    server.running_as("demo").await;
    let url = server.url("/whep/demo");
    let arguments = ["whep", &url, "--clients", "50", "--seconds", "3"];
    let token = ["--token", server.token.as_str()];
    let (code, report, said) = bench(&[&arguments[..], &token[..]].concat()).await;
    assert_eq!(code, Some(0), "{said} {report:#}");
    assert_eq!(report["clients"]["joined"], 50, "{report:#}");
    assert_eq!(report["failures"], serde_json::json!({}));
    assert!(number(&report, "/packets/received") > 1000.0, "{report:#}");
    // Nothing is between them but a loaded machine.
    assert!(number(&report, "/packets/lost_pct") < 5.0, "{report:#}");
    assert_eq!(number(&report, "/packets/undecryptable"), 0.0);
    let join_ms = ["p50", "p99", "max"].map(|one| number(&report, &format!("/join_ms/{one}")));
    assert!(join_ms[0] > 0.0 && join_ms.is_sorted(), "{join_ms:?}");
    assert_eq!(number(&report, "/join_ms/n"), 50.0);
    assert!(number(&report, "/frames_per_s") > 1.0, "{report:#}");
    assert_eq!(
        report["forward_delay_ms"],
        Value::Null,
        "nobody marks the demo"
    );

    let mut found = Vec::new();
    fields(&report, "", &mut found);
    let spread = |of: &str| ["max", "n", "p50", "p99"].map(|one| format!("{of}/{one}"));
    let mut wanted: Vec<String> = [
        "clients/answered clients/asked clients/connected clients/failed clients/joined failures forward_delay_ms",
        "frames_per_s mbit_per_s own/cores own/cpu_s own/rss_kb own/rss_kb_per_client packets/duplicated packets/lost",
        "packets/lost_pct packets/missing packets/missing_pct packets/received packets/recovered packets/reordered",
        "packets/undecryptable packets_per_s protocol seconds server srtp url",
    ]
    .join(" ")
    .split(' ')
    .map(str::to_owned)
    .collect();
    for of in [
        "audio_jitter_ms",
        "connect_ms",
        "join_ms",
        "video_jitter_ms",
    ] {
        wanted.extend(spread(of));
    }
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted, "programs read these names");

    // They said goodbye.
    until(
        "nobody to watch any more",
        Duration::from_secs(10),
        || async {
            let answer = server.call(hyper::Method::GET, "/api/streams/demo").await;
            (answer.json()["viewers"] == 0).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn publishers_are_watched_and_the_delay_is_measured_by_one_clock() {
    let server = Server::start(DEMO, &[]).await;
    let (whip, whep) = (server.url("/whip/load{n}"), server.url("/whep/load{n}"));
    let arguments = [
        "whip",
        &whip,
        "--watch",
        &whep,
        "--watchers",
        "2",
        "--clients",
        "2",
        "--seconds",
        "3",
        "--video-kbps",
        "600",
        "--token",
        &server.token,
    ];
    let (code, report, said) = bench(&arguments).await;
    assert_eq!(code, Some(0), "{said} {report:#}");
    assert_eq!(report["clients"]["connected"], 2, "{report:#}");
    assert_eq!(report["viewers"]["clients"]["joined"], 4, "{report:#}");
    assert!(number(&report, "/packets_sent") > 200.0, "{report:#}");
    assert!(
        number(&report, "/viewers/forward_delay_ms/n") > 10.0,
        "{report:#}"
    );
    assert!(number(&report, "/viewers/forward_delay_ms/p50") > 0.0);
    assert!(number(&report, "/rtt_ms/n") > 0.0, "{report:#}");
    // What they sent was real: nothing of it failed to decode.
    let log = server.log();
    let undecodable = log.lines().filter(|line| {
        line.contains("packets not decodable") && !line.contains(" 0 packets not decodable")
    });
    assert_eq!(undecodable.count(), 0, "{log}");
}

#[tokio::test]
async fn players_play_hls() {
    let server = Server::start(DEMO, &["--demo"]).await;
    server.running_as("demo").await;
    let url = server.url("/hls/demo/playlist.m3u8");
    let mut arguments = vec!["hls", &url, "--clients", "5", "--seconds", "4"];
    arguments.extend(["--token", &server.token]);
    // The first segment takes its time.
    until("a playlist", Duration::from_secs(30), || async {
        let answer = server
            .call(hyper::Method::GET, "/hls/demo/playlist.m3u8")
            .await;
        answer.status.is_success().then_some(())
    })
    .await;
    let (code, report, said) = bench(&arguments).await;
    assert_eq!(code, Some(0), "{said} {report:#}");
    assert_eq!(report["clients"]["joined"], 5, "{report:#}");
    assert_eq!(report["errors"], 0, "{report:#}");
    assert!(number(&report, "/requests_per_s") > 1.0, "{report:#}");
    assert!(number(&report, "/live_distance_s/p50") > 0.0, "{report:#}");
    assert!(
        number(&report, "/bandwidth_bps/p50") > 100_000.0,
        "{report:#}"
    );
}

#[tokio::test]
async fn a_load_that_is_interrupted_tells_what_there_is() {
    let server = Server::start(DEMO, &["--demo"]).await;
    server.running_as("demo").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let admin = server.mint("admin");
    let child = tokio::process::Command::from(lockgate(folder.path()))
        .args(["bench", "whep", &server.url("/whep/demo"), "--json"])
        .args([
            "--clients",
            "2",
            "--seconds",
            "1h",
            "--token",
            &server.token,
        ])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the binary runs");
    until("two viewers", Duration::from_secs(30), || async {
        let answer = server.send_as(&admin, hyper::Method::GET, "/api/streams/demo/sessions", "");
        let sessions = answer.await.json();
        let sessions = sessions["sessions"].as_array().cloned().unwrap_or_default();
        let sent = |one: &Value| one["link"]["packets_sent"].as_u64() > Some(0);
        (sessions.len() == 2 && sessions.iter().all(sent)).then_some(())
    })
    .await;
    let pid = child.id().expect("it runs").to_string();
    let sent = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status();
    assert!(sent.expect("kill runs").success());
    let output = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output());
    let output = output
        .await
        .expect("it ends")
        .expect("it can be waited for");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["clients"]["answered"], 2, "{report:#}");
    assert!(number(&report, "/seconds") < 100.0, "{report:#}");
}

#[tokio::test]
async fn what_cannot_be_is_said_clearly() {
    let server = Server::start(DEMO, &[]).await;
    let whep = server.url("/whep/nobody");
    let docs = server.url("/nothing/here");
    let whip = server.url("/whip/one");
    let hls = server.url("/hls/nobody/playlist.m3u8");
    let token = server.token.as_str();
    let html = html_server().await;
    for (arguments, code, words) in [
        (
            vec!["whep", "http://127.0.0.1:1/whep/x"],
            1,
            "does not answer",
        ),
        (vec!["whep", &whep], 1, "give --token"),
        (
            vec!["whep", &whep, "--token", "wrong"],
            1,
            "give another --token",
        ),
        (
            vec!["whep", &whep, "--token", token],
            1,
            "nothing is live there",
        ),
        (
            vec!["whep", &docs, "--token", token],
            1,
            "nothing at this path",
        ),
        (vec!["whep", &html.1], 1, "it is not SDP"),
        (vec!["hls", &html.1], 1, "it is no playlist"),
        (vec!["hls", &hls, "--token", token], 1, "nobody"),
        (vec!["whip", &whip, "--clients", "2"], 2, "{n}"),
        (vec!["whep", "nothing"], 2, "is not a URL"),
        (vec!["whep", &whep, "--clients", "0"], 2, "--clients"),
        (vec!["whep", &whep, "--clients", "20001"], 2, "20000"),
        (vec!["whep", &whep, "--seconds", "0"], 2, "--seconds"),
    ] {
        let (found, _, said) = bench(&arguments).await;
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

/// A server that answers everything with a page, and its URL.
async fn html_server() -> (JoinSet<()>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/whep", listener.local_addr().expect("an address"));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 << 10];
            let page = "HTTP/1.1 201 Created\r\nLocation: /s\r\nConnection: close\r\nContent-Length: 6\r\n\r\n<html>";
            // Whoever hangs up has heard enough.
            drop(stream.read(&mut request).await);
            drop(stream.write_all(page.as_bytes()).await);
        }
    });
    (tasks, url)
}

/// A server behind lines that lose packets of media, one for each viewer.
struct Lossy {
    target: Target,
    lines: Mutex<JoinSet<()>>,
}

#[async_trait::async_trait]
impl Signal for Lossy {
    async fn offer(&self, number: usize, sdp: String) -> Result<(String, String), Error> {
        let (answer, session) = self.target.offer(number, sdp).await?;
        let candidate = answer.lines().find(|line| line.starts_with("a=candidate:"));
        let fields: Vec<&str> = candidate.expect("a candidate").split(' ').collect();
        let server: SocketAddr = format!("{}:{}", fields[4], fields[5])
            .parse()
            .expect("an address");
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        let mut lines = self.lines.lock().expect("nobody panics with it");
        lines.spawn(line(socket, server, 20));
        let ours = format!("127.0.0.1 {port}");
        let theirs = format!("{} {}", fields[4], fields[5]);
        Ok((answer.replace(&theirs, &ours), session))
    }

    async fn end(&self, session: &str) -> Result<(), Error> {
        self.target.end(session).await
    }

    fn local(&self) -> Option<IpAddr> {
        self.target.local()
    }
}

/// Carries datagrams between one viewer and the server, and drops one packet of media in `one_in` on the way down.
async fn line(socket: UdpSocket, server: SocketAddr, one_in: usize) {
    let up = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    up.connect(server).await.expect("UDP connects at once");
    let (mut viewer, mut seen) = (None, 0);
    let (mut from_viewer, mut from_server) = (vec![0; 2048], vec![0; 2048]);
    loop {
        tokio::select! {
            Ok((len, from)) = socket.recv_from(&mut from_viewer) => {
                viewer = Some(from);
                drop(up.send(&from_viewer[..len]).await);
            }
            Ok(len) = up.recv(&mut from_server) => {
                let is_media = matches!(from_server[..2], [128..=191, second] if !(192..=223).contains(&second));
                seen += usize::from(is_media);
                if is_media && seen % one_in == 0 {
                    continue;
                }
                if let Some(viewer) = viewer {
                    drop(socket.send_to(&from_server[..len], viewer).await);
                }
            }
        }
    }
}

#[tokio::test]
async fn what_is_lost_on_the_way_is_asked_for_and_counted() {
    let server = Server::start("[ladder]\nmax_quality = \"360p30\"\n", &["--demo"]).await;
    server.running("demo").await;
    let signal = Lossy {
        target: Target::new(&server.url("/whep/demo"), None, false).expect("a URL"),
        lines: Mutex::default(),
    };
    let config = whep::Config {
        audio: false, // nobody asks for a lost packet of sound again
        ..whep::Config::default()
    };
    let never = std::future::pending;
    let signal = Arc::new(signal);
    let mut viewers = whep::Viewers::new(&config, signal, Clock::default()).expect("threads");
    viewers.join(1, never()).await.expect("it is let in");
    viewers.settle(Duration::from_secs(20), never()).await;
    let report = viewers.measure(Duration::from_secs(5), never()).await;
    viewers.leave().await;
    let packets = report.packets;
    assert_eq!(report.clients.joined, 1, "{report}");
    assert!((2.0..10.0).contains(&packets.missing_pct), "{report}");
    assert!(packets.recovered * 10 >= packets.missing * 8, "{report}");
    assert!(packets.lost_pct < 1.0, "{report}");
}
