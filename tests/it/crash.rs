//! The server killed at any moment, start-up included, while sessions come and go and records are taken in: what it
//! acknowledged is there after every start, and every start succeeds. `make crash` kills some hundred times.

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    refused::OFFER,
    support::{UNLIMITED, lockgate, until},
};

/// What the server said is on the disk.
#[derive(Debug, Clone)]
enum Acknowledged {
    /// This record was imported.
    Imported(Value),
    /// This session began.
    Began(String),
    /// This session ended with a goodbye.
    Left(String),
}

/// What all clients of all rounds know.
#[derive(Default)]
struct Known {
    acknowledged: Mutex<Vec<Acknowledged>>,
    count: AtomicU64,
    next: AtomicU64,
}

impl Known {
    fn add(&self, what: Acknowledged) {
        self.acknowledged.lock().expect("no panic").push(what);
        self.count.fetch_add(1, Ordering::SeqCst);
    }
}

fn start(folder: &Path) -> Child {
    drop(fs::remove_file(folder.join("ready.json")));
    let file = |name: &str| fs::File::create(folder.join(name)).expect("a file for the output");
    lockgate(folder)
        .args(["serve", "--config", "lockgate.toml"])
        .args(UNLIMITED.iter().flat_map(|key| ["--set", key]))
        .env("LOCKGATE_READY_FILE", folder.join("ready.json"))
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .stdin(Stdio::null())
        .spawn()
        .expect("the server starts")
}

/// Waits until it serves, and returns where.
async fn ready(child: &mut Child, folder: &Path, what: &str) -> String {
    until(what, Duration::from_secs(60), || {
        let ended = child.try_wait().expect("it can be waited for");
        let log = || fs::read_to_string(folder.join("stderr")).unwrap_or_default();
        assert!(ended.is_none(), "{what}: the start failed: {}", log());
        let ready = fs::read(folder.join("ready.json")).ok();
        let ready = ready.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
        async move { ready?["http"].as_str().map(str::to_owned) }
    })
    .await
}

/// A client of a server that may be gone at any moment.
#[derive(Clone)]
struct Api {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    token: String,
}

impl Api {
    /// Status, `Location` and body; `None` once the server is gone.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> Option<(StatusCode, String, Bytes)> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token))
            .header(header::CONTENT_TYPE, kind)
            .body(Full::from(body.into()))
            .expect("a request");
        let answer = self.client.request(request).await.ok()?;
        let (head, body) = answer.into_parts();
        let place = head.headers.get(header::LOCATION);
        let place = place.and_then(|place| place.to_str().ok()).unwrap_or("");
        let body = body.collect().await.ok()?.to_bytes();
        Some((head.status, place.to_owned(), body))
    }

    /// Imports one record after the other.
    async fn import(self, known: Arc<Known>) -> Option<()> {
        loop {
            let number = known.next.fetch_add(1, Ordering::SeqCst);
            let record = record(number);
            let path = "/api/sessions/import";
            let kind = "application/x-ndjson";
            let (status, _, body) = self
                .ask(Method::POST, path, kind, record.to_string())
                .await?;
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            known.add(Acknowledged::Imported(record));
        }
    }

    /// Publishes under one name after the other, and ends every second one.
    async fn publish(self, known: Arc<Known>) -> Option<()> {
        loop {
            let number = known.next.fetch_add(1, Ordering::SeqCst);
            let path = format!("/whip/cam-{number}");
            let (status, place, body) = self
                .ask(Method::POST, &path, "application/sdp", OFFER)
                .await?;
            assert_eq!(status, 201, "{}", String::from_utf8_lossy(&body));
            let id = place.rsplit('/').next().unwrap_or_default().to_owned();
            self.recorded(&id, "live").await?;
            known.add(Acknowledged::Began(id.clone()));
            if number.is_multiple_of(2) {
                let (status, ..) = self.ask(Method::DELETE, &place, "", "").await?;
                assert_eq!(status, 200);
                self.recorded(&id, "ended").await?;
                known.add(Acknowledged::Left(id));
            }
        }
    }

    /// Waits until the server says that a session's beginning or end is on the disk.
    async fn recorded(&self, id: &str, state: &str) -> Option<()> {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let path = format!("/api/sessions/{id}");
            let (status, _, body) = self.ask(Method::GET, &path, "", "").await?;
            assert_eq!(status, 200, "{id}: {}", String::from_utf8_lossy(&body));
            let session: Value = serde_json::from_slice(&body).ok()?;
            if session["state"] == state && session["recorded"] == true {
                return Some(());
            }
            assert!(Instant::now() < deadline, "{session} is not recorded");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Everything that was acknowledged is there.
    async fn check(&self, known: &Known, what: &str) {
        let export = self.ask(Method::GET, "/api/sessions/export", "", "").await;
        let (status, _, body) = export.expect("nobody kills it now");
        assert_eq!(status, 200, "{what}");
        let text = String::from_utf8(body.to_vec()).expect("lines of text");
        let records: HashMap<String, Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"))
            .map(|record| (record["id"].as_str().unwrap_or_default().to_owned(), record))
            .collect();
        for one in known.acknowledged.lock().expect("no panic").iter() {
            match one {
                Acknowledged::Imported(record) => {
                    let id = record["id"].as_str().unwrap_or_default();
                    assert_eq!(records.get(id), Some(record), "{what}");
                }
                Acknowledged::Began(id) => {
                    let record = records
                        .get(id)
                        .unwrap_or_else(|| panic!("{what}: {id} is lost"));
                    assert_eq!(record["state"], "ended", "{what}: {record}");
                    let reason = record["end_reason"].as_str().unwrap_or_default();
                    assert!(
                        ["server-crashed", "left", "never-connected"].contains(&reason),
                        "{what}: {record}"
                    );
                }
                Acknowledged::Left(id) => {
                    let record = records
                        .get(id)
                        .unwrap_or_else(|| panic!("{what}: {id} is lost"));
                    assert_eq!(record["end_reason"], "left", "{what}: {record}");
                }
            }
        }
    }
}

/// A record as the server itself writes it.
fn record(number: u64) -> Value {
    let started = 1_700_000_000_000 + number * 1_000;
    json!({
        "id": format!("{number:032x}"), "role": "viewer", "protocol": "whep",
        "stream": format!("cam-{}", number % 7), "title": "a load of records", "host": "ann",
        "subject": format!("viewer {number}"), "address": "192.0.2.7", "agent": "a test",
        "quality": "720p30", "state": "ended", "started_at_ms": started, "ended_at_ms": started + 900,
        "updated_at_ms": started + 900, "end_reason": "left", "participants": [],
        "stats": {
            "total_viewers": 0, "average_quality": 71.5, "quality_samples": 900,
            "data_used_bytes": number, "received_bytes": 0, "sent_bytes": number,
        },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_to_kills_of_the_server() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let (kills, seed) = (number("LOCKGATE_KILLS", 30), number("LOCKGATE_SEED", 7));
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    let config = "[http]\nlisten = \"127.0.0.1:0\"\n[webrtc]\nudp_listen = \"127.0.0.1:0\"\n\
                  [store]\nkeep_days = 0\nkeep_sessions = 0\n";
    fs::write(folder.join("lockgate.toml"), config).expect("a file is written");
    let known = Arc::new(Known::default());
    let mut token = None;
    // How long a start takes here, so that kills fall into it.
    let mut start_takes = Duration::from_millis(300);
    for kill in 0..=kills {
        let what = format!("seed {seed}, kill {kill}");
        let begun = Instant::now();
        let mut child = start(folder);
        let is_last = kill == kills;
        if kill > 0 && !is_last && random.random() {
            let micros = u64::try_from(start_takes.as_micros()).expect("it is short");
            tokio::time::sleep(Duration::from_micros(random.random_range(0..=micros))).await;
            child.kill().expect("it runs until it is killed");
            child.wait().expect("it is over");
            continue;
        }
        let base = ready(&mut child, folder, &what).await;
        start_takes = begun.elapsed();
        let token = token.get_or_insert_with(|| mint(folder)).clone();
        let api = Api {
            client: Client::builder(TokioExecutor::new()).build_http(),
            base,
            token,
        };
        api.check(&known, &what).await;
        let (status, _, live) = api
            .ask(Method::GET, "/api/sessions?state=live", "", "")
            .await
            .expect("nobody kills it now");
        let live: Value = serde_json::from_slice(&live).expect("it is JSON");
        assert_eq!(
            (status.as_u16(), &live["sessions"]),
            (200, &json!([])),
            "{what}"
        );
        if is_last {
            child.kill().expect("it runs");
            child.wait().expect("it is over");
            break;
        }
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..3 {
            clients.spawn(api.clone().import(Arc::clone(&known)));
        }
        clients.spawn(api.clone().publish(Arc::clone(&known)));
        let wanted = known.count.load(Ordering::SeqCst) + random.random_range(1..60);
        until(&what, Duration::from_secs(60), || async {
            (known.count.load(Ordering::SeqCst) >= wanted).then_some(())
        })
        .await;
        child.kill().expect("it runs until it is killed");
        child.wait().expect("it is over");
        // What was acknowledged before the kill and read after it counts as well.
        while let Some(client) = clients.join_next().await {
            client.expect("no answer was wrong");
        }
        let log = fs::read_to_string(folder.join("stderr")).expect("the log is there");
        assert!(!log.contains("panicked"), "{what}: {log}");
    }
    let acknowledged = known.acknowledged.lock().expect("no panic");
    let of = |kind: fn(&Acknowledged) -> bool| acknowledged.iter().filter(|one| kind(one)).count();
    assert!(of(|one| matches!(one, Acknowledged::Imported(_))) > 0);
    assert!(of(|one| matches!(one, Acknowledged::Began(_))) > 0);
    assert!(of(|one| matches!(one, Acknowledged::Left(_))) > 0);
    let aside = fs::read_dir(folder.join("data")).expect("the store is there");
    let aside: Vec<String> = aside
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("quarantine") || name.starts_with("damaged"))
        .collect();
    assert!(aside.is_empty(), "{aside:?} were put aside");
    std::io::Write::write_all(
        &mut std::io::stderr(),
        format!(
            "{kills} kills, seed {seed}: {} imports, {} beginnings and {} ends acknowledged, none lost\n",
            of(|one| matches!(one, Acknowledged::Imported(_))),
            of(|one| matches!(one, Acknowledged::Began(_))),
            of(|one| matches!(one, Acknowledged::Left(_))),
        )
        .as_bytes(),
    )
    .expect("it can be said");
}

fn mint(folder: &Path) -> String {
    let output = lockgate(folder)
        .args(["token", "mint", "--config", "lockgate.toml", "--ttl", "1d"])
        .args(["--scope", "admin", "--scope", "publish:*"])
        .output()
        .expect("the binary runs");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}
