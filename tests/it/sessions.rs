//! Who published and who watched, now and before.

use std::{cell::Cell, fs, io::Write as _, process::Stdio, time::Duration};

use hyper::Method;
use lockgate_tests_peer::Viewer;
use serde_json::{Value, json};

use crate::support::{Over, Playlist, Sender, Server, fixture, lockgate, until};

fn bunny() -> String {
    format!(
        "[[ingest.source]]\nname = \"bunny\"\nurl = \"{}\"\nloop = true\n",
        fixture("bigbuckbunny.mp4").display()
    )
}

/// Records of whatever age stay.
const OLD: &str = "[store]\nkeep_days = 0\n";
/// Not in a file of a disk that others do not see.
const SECRET: &str = "[auth]\nsecret = \"a secret for all who look at this disk\"\n";

struct Admin<'a> {
    server: &'a Server,
    token: String,
}

impl<'a> Admin<'a> {
    fn of(server: &'a Server) -> Self {
        let token = server.mint("admin");
        Self { server, token }
    }

    async fn ask(&self, method: Method, path: &str, body: &str) -> crate::support::Answer {
        self.server
            .send_as(&self.token, method, path, body.to_owned())
            .await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, "").await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    /// The sessions that a query finds.
    async fn find(&self, query: &str) -> Vec<Value> {
        let found = self.get(&format!("/api/sessions?{query}")).await;
        found["sessions"].as_array().expect("a list").clone()
    }

    /// Waits until a query finds one session, of which `is` holds.
    async fn one(&self, query: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(query, Duration::from_secs(40), || async {
            let found = self.find(query).await;
            assert!(found.len() <= 1, "{query}: {found:?}");
            found.into_iter().next().filter(|one| is(one))
        })
        .await
    }

    async fn import(&self, lines: &str) -> crate::support::Answer {
        self.ask(Method::POST, "/api/sessions/import", lines).await
    }
}

fn line(number: u64, stream: &str, reason: &str) -> String {
    let started = 1_700_000_000_000 + number * 1_000;
    json!({
        "id": format!("{number:032x}"), "role": "viewer", "protocol": "hls", "stream": stream,
        "title": stream, "state": "ended", "started_at_ms": started,
        "ended_at_ms": started + (number % 5) * 100, "updated_at_ms": started + 500, "end_reason": reason,
        "stats": { "data_used_bytes": number % 3, "sent_bytes": number % 3 },
    })
    .to_string()
}

#[tokio::test]
async fn publishers_and_viewers_are_written_down_with_what_they_came_to() {
    let mut server = Server::start(&(crate::ingest::PORTS.to_owned() + &bunny()), &[]).await;
    for path in ["/api/sessions", "/api/sessions/export", "/api/sessions/0"] {
        server.get(path).await.problem(401);
        server.call(Method::GET, path).await.problem(403);
    }
    server
        .call(Method::POST, "/api/sessions/import")
        .await
        .problem(403);
    let admin = Admin::of(&server);
    server.running("bunny").await;
    let source = admin.one("stream=bunny&role=publisher", |_| true).await;
    assert_eq!(source["protocol"], "url", "{source}");

    // Over WebRTC: what was sent, in which quality, over which network; ended by a goodbye.
    let mut viewer = Viewer::join(&server, "bunny")
        .await
        .expect("a viewer joins");
    viewer.read().await.expect("it is sent video");
    let live = admin
        .one("protocol=whep", |one| {
            one["stats"]["sent_bytes"].as_u64() > Some(0)
                && one["stats"]["average_quality"].is_number()
                && one["quality"].is_string()
                && one["recorded"] == true
        })
        .await;
    let id = live["id"].as_str().expect("an id").to_owned();
    assert!(viewer.session().ends_with(&id), "{live}");
    assert_eq!(
        (&live["state"], &live["ended_at_ms"]),
        (&json!("live"), &Value::Null)
    );
    assert_eq!(live["address"], "127.0.0.1", "{live}");
    let own = admin.get(&format!("/api/sessions/{id}")).await;
    assert_eq!((&own["id"], &own["role"]), (&live["id"], &json!("viewer")));
    viewer.leave(&server).await.expect("it may leave");
    let over = admin
        .one("protocol=whep&state=ended", |one| one["recorded"] == true)
        .await;
    assert_eq!(over["end_reason"], "left", "{over}");
    assert!(over["ended_at_ms"].as_u64() >= over["started_at_ms"].as_u64());
    assert!(over["duration_s"].as_f64() > Some(0.0));

    // HLS: many requests are one session, which an administrator ends.
    let playlist = Playlist::with_segments(&server, "bunny", "720p60", 1).await;
    let hls = admin
        .one("protocol=hls", |one| {
            one["stats"]["sent_bytes"].as_u64() > Some(100)
        })
        .await;
    assert!(!playlist.segments().is_empty());
    let path = format!("/api/sessions/{}", hls["id"].as_str().expect("an id"));
    assert_eq!(admin.ask(Method::DELETE, &path, "").await.status, 204);
    let kicked = admin
        .one("protocol=hls", |one| one["state"] == "ended")
        .await;
    assert_eq!(kicked["end_reason"], "kicked", "{kicked}");

    // A publisher over RTMP, and what its broadcast came to.
    let publisher = Sender::publish(&server, Over::Rtmp, "cam", &server.token);
    server.running("cam").await;
    let mut viewer = Viewer::join(&server, "cam").await.expect("a viewer joins");
    viewer.read().await.expect("it is sent video");
    publisher.stop().await;
    let cam = admin
        .one("stream=cam&role=publisher", |one| {
            one["state"] == "ended" && one["recorded"] == true
        })
        .await;
    assert_eq!(
        (&cam["protocol"], &cam["end_reason"]),
        (&json!("rtmp"), &json!("left"))
    );
    assert_eq!(cam["quality"], "180p25", "{cam}");
    let stats = &cam["stats"];
    assert_eq!(stats["total_viewers"], 1, "{cam}");
    let (received, sent) = (
        stats["received_bytes"].as_u64(),
        stats["sent_bytes"].as_u64(),
    );
    assert!(received > Some(10_000) && sent > Some(0), "{cam}");
    assert_eq!(
        stats["data_used_bytes"].as_u64(),
        Some(received.unwrap_or(0) + sent.unwrap_or(0))
    );
    let watched = admin
        .one("stream=cam&role=viewer", |one| one["state"] == "ended")
        .await;
    assert_eq!(watched["end_reason"], "broadcast-ended", "{watched}");
    assert_eq!(cam["participants"], json!([watched["id"]]), "{cam}");

    // Going down, it says so of whoever is there.
    let source_id = source["id"].clone();
    assert_eq!(server.terminate().await, Some(0));
    let output = lockgate(server.folder())
        .args(["sessions", "export", "--config", "lockgate.toml"])
        .output()
        .expect("the binary runs");
    let text = String::from_utf8(output.stdout).expect("lines of text");
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    assert_eq!(records.len(), 5, "{text}");
    let source = records.iter().find(|record| record["id"] == source_id);
    assert_eq!(source.expect("it is there")["end_reason"], "server-stopped");
}

#[tokio::test]
async fn sessions_are_filtered_sorted_and_paged() {
    let server = Server::start(OLD, &[]).await;
    let admin = Admin::of(&server);
    let lines: Vec<String> = (1..=120)
        .map(|n| {
            line(
                n,
                if n % 2 == 0 { "even" } else { "odd" },
                if n % 10 == 0 { "idle" } else { "left" },
            )
        })
        .collect();
    let imported = admin.import(&lines.join("\n")).await;
    assert_eq!(
        imported.json(),
        json!({ "added": 120, "replaced": 0, "unchanged": 0, "too_old": 0 })
    );
    let again = admin.import(&lines.join("\n")).await;
    assert_eq!(
        again.json(),
        json!({ "added": 0, "replaced": 0, "unchanged": 120, "too_old": 0 })
    );
    for (query, count) in [
        ("stream=even&limit=1000", 60),
        ("reason=idle", 12),
        ("stream=odd&reason=idle", 0),
        ("limit=7", 7),
        ("", 50),
        ("started_after_ms=1700000100000&limit=1000", 21),
        ("started_before_ms=1700000100000&limit=1000", 99),
        (
            "started_after_ms=1700000010000&started_before_ms=1700000020000&sort=started_at",
            10,
        ),
        ("role=publisher", 0),
        ("state=live", 0),
    ] {
        assert_eq!(admin.find(query).await.len(), count, "{query}");
    }
    let newest = admin.find("limit=1").await;
    assert_eq!(newest[0]["id"], format!("{:032x}", 120));
    // Pages end to end are all there is, once, also while more comes.
    for sort in [
        "started_at",
        "-started_at",
        "ended_at",
        "-duration",
        "data_used",
    ] {
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/sessions?stream=even&sort={sort}&limit=11{cursor}");
            let page = admin.get(&path).await;
            let sessions = page["sessions"].as_array().expect("a list");
            seen.extend(sessions.iter().map(|one| one["id"].clone()));
            let more = line(1_000 + seen.len() as u64, "other", "left");
            assert_eq!(admin.import(&more).await.status, 200);
            let Some(next) = page["next"].as_str() else {
                break;
            };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(seen.len(), 60, "{sort}");
        seen.sort_by_key(ToString::to_string);
        seen.dedup();
        assert_eq!(seen.len(), 60, "{sort}");
    }
    for (query, word) in [
        ("limit=0", "1 to 1000"),
        ("sort=size", "data_used"),
        ("page=2", "cursor"),
        ("cursor=7", "next"),
        ("protocol=ftp", "whip"),
    ] {
        let answer = admin
            .ask(Method::GET, &format!("/api/sessions?{query}"), "")
            .await;
        let told = answer.problem(400);
        assert!(told.contains(word), "{query}: {told}");
    }
    for id in ["0", "00000000000000000000000000000fff"] {
        let answer = admin
            .ask(Method::GET, &format!("/api/sessions/{id}"), "")
            .await;
        answer.problem(404);
    }
    // A bad line is named, and nothing of the others is taken.
    let bad = format!("{}\n\nnonsense\n{}\n", line(5_000, "new", "left"), "{}");
    let refused = admin.import(&bad).await;
    let told = refused.problem(400);
    assert!(told.contains("line 3"), "{told}");
    let numbers = refused.json()["lines"].clone();
    assert_eq!(
        (&numbers[0]["line"], &numbers[1]["line"]),
        (&json!(3), &json!(4))
    );
    assert!(admin.find("stream=new").await.is_empty());
    admin
        .ask(Method::GET, "/api/sessions/import", "")
        .await
        .problem(405);
}

#[tokio::test]
async fn a_crash_closes_what_was_live_and_records_move_to_another_server() {
    let mut server = Server::start(&bunny(), &[]).await;
    let admin = Admin::of(&server);
    let before = admin
        .one("stream=bunny", |one| one["recorded"] == true)
        .await;
    server.crash_and_start_again(&[]).await;
    let admin = Admin::of(&server);
    let closed = admin
        .get(&format!(
            "/api/sessions/{}",
            before["id"].as_str().expect("an id")
        ))
        .await;
    assert_eq!(
        (&closed["state"], &closed["end_reason"]),
        (&json!("ended"), &json!("server-crashed"))
    );
    assert_eq!(closed["ended_at_ms"], closed["updated_at_ms"]);
    admin
        .one("stream=bunny&state=live", |one| one["id"] != before["id"])
        .await;

    // Into a store of another server, which does not run.
    let export = admin
        .ask(Method::GET, "/api/sessions/export?state=ended", "")
        .await;
    assert_eq!(export.header("content-type"), "application/x-ndjson");
    let other = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(other.path().join("data")).expect("a folder is made");
    let import = |text: String| {
        let mut child = lockgate(other.path())
            .args(["sessions", "import", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let mut stdin = child.stdin.take().expect("its input");
        stdin.write_all(text.as_bytes()).expect("it reads");
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.success(), said.into_owned())
    };
    let (went_well, said) = import(export.text());
    assert!(went_well && said.starts_with("1 added"), "{said}");
    let (went_well, said) = import(export.text());
    assert!(went_well && said.contains("1 unchanged"), "{said}");
    let (went_well, said) = import(export.text() + "nonsense\n");
    assert!(!went_well && said.contains("-:2: "), "{said}");
    // A store that a server has is left alone.
    let output = lockgate(server.folder())
        .args(["sessions", "export", "--config", "lockgate.toml"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("/api/sessions/export"),
        "{said}"
    );
}

/// Writes until nothing more fits.
fn fill(path: &std::path::Path) {
    let mut file = fs::File::create(path).expect("a file is made");
    let mut size = 1 << 20;
    while size > 0 {
        if file.write_all(&vec![1; size]).is_err() {
            size /= 2;
        }
    }
}

#[tokio::test]
async fn a_full_disk_costs_nothing_that_is_live_and_nothing_that_was_acknowledged() {
    let server = Server::start_on_small_disk(16, &format!("{OLD}{SECRET}{}", bunny())).await;
    let admin = Admin::of(&server);
    let mut acknowledged: Vec<u64> = Vec::new();
    for number in 1..=5 {
        assert_eq!(admin.import(&line(number, "old", "left")).await.status, 200);
        acknowledged.push(number);
    }
    server.running("bunny").await;
    let before = Playlist::with_segments(&server, "bunny", "720p60", 1).await;
    let filler = server.data().join("filler");
    fill(&filler);
    // What still fits into what the store has is acknowledged, and counts.
    let more = Cell::new(0);
    let told = until("the disk to be full", Duration::from_secs(40), || async {
        let answer = admin.import(&line(6 + more.get(), "old", "left")).await;
        if answer.status == 200 {
            more.set(more.get() + 1);
            return None;
        }
        Some(answer.problem(507))
    })
    .await;
    acknowledged.extend(6..6 + more.get());
    assert!(told.contains("disk is full"), "{told}");
    let revoked = admin
        .ask(Method::POST, "/api/revocations", "{\"jti\":\"x\"}")
        .await;
    revoked.problem(507);
    // What was is not to be had, what is, is.
    admin
        .ask(Method::GET, "/api/sessions", "")
        .await
        .problem(503);
    // Live goes on, and takes others in.
    let newest = before.segments().last().expect("a segment").0;
    until("more segments", Duration::from_secs(40), || async {
        let playlist = Playlist::fetch(&server, "bunny", "720p60").await;
        let last = playlist.segments().last()?.0;
        (last > newest + 1).then_some(())
    })
    .await;
    let mut viewer = Viewer::join(&server, "bunny")
        .await
        .expect("a viewer joins");
    viewer.read().await.expect("it is sent video");
    let live = admin.one("state=live&protocol=whep", |_| true).await;
    assert_eq!(live["recorded"], false, "{live}");

    fs::remove_file(&filler).expect("it was there");
    let last = acknowledged.len() as u64 + 1;
    until(
        "records to be taken again",
        Duration::from_secs(40),
        || async {
            let answer = admin.import(&line(last, "old", "left")).await;
            (answer.status == 200).then_some(())
        },
    )
    .await;
    acknowledged.push(last);
    admin
        .one("state=live&protocol=whep", |one| one["recorded"] == true)
        .await;
    let found = admin.find("stream=old&limit=1000&sort=started_at").await;
    let ids: Vec<&str> = found.iter().filter_map(|one| one["id"].as_str()).collect();
    let wanted: Vec<String> = acknowledged.iter().map(|n| format!("{n:032x}")).collect();
    assert_eq!(ids, wanted);
}

#[tokio::test]
async fn what_cannot_be_read_is_put_aside_and_said() {
    let mut server = Server::start(OLD, &[]).await;
    let import = |server: &Server, number: u64| {
        let token = server.mint("admin");
        let (path, body) = ("/api/sessions/import", line(number, "old", "left"));
        let http = server.anew();
        async move {
            let answer = http.send_as(&token, Method::POST, path, body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    };
    import(&server, 1).await;
    let records = server.folder().join("data/records");
    // What a crash within a start leaves: nothing is lost.
    let torn = records.join("snap.00000000000FFFFF.generating");
    fs::write(torn, "torn").expect("a file is written");
    server.crash_and_start_again(&[]).await;
    assert!(server.log().contains("half-written"), "{}", server.log());
    let admin = Admin::of(&server);
    assert_eq!(admin.find("stream=old").await.len(), 1);
    // Somebody else's file in the place of the database, then in that of its folder.
    fs::write(records.join("db"), "no database").expect("a file is written");
    server.crash_and_start_again(&[]).await;
    import(&server, 2).await;
    fs::rename(&records, server.folder().join("elsewhere")).expect("it is moved");
    fs::write(&records, "no folder").expect("a file is written");
    server.crash_and_start_again(&[]).await;
    assert!(server.log().contains("put aside"), "{}", server.log());
    import(&server, 3).await;
    let admin = Admin::of(&server);
    let found = admin.find("stream=old").await;
    assert_eq!(found.len(), 1, "{found:?}");
    let aside = fs::read_dir(server.folder().join("data")).expect("the store is there");
    let aside = aside.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    assert_eq!(
        aside.filter(|name| name.starts_with("quarantine")).count(),
        2
    );
}
