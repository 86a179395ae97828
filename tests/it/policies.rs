//! Policies swapped while somebody watches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    task::JoinSet,
};

use crate::{
    refused::OFFER,
    support::{Playlist, Server, fixture, lockgate, until},
};

/// A script that always picks the same rung, and says so.
pub(crate) fn always(rung: u32, reason: &str) -> String {
    format!(
        "--!strict\nlocal policy = {{}}\nfunction policy.recommend(viewer, ladder, tick)\n\
         \tif #ladder == 0 then return nil, \"{reason}\" end\n\
         \treturn math.min({rung}, #ladder), \"{reason}\"\nend\nreturn policy\n"
    )
}

/// A server with the demo, a script that decides, and somebody who watches; and an administrator's token.
async fn watched(script: &str) -> (Server, String) {
    let config = "[policies]\nabr = \"abr.luau\"\n";
    let server = Server::start_with(config, &["--demo"], &[("abr.luau", script)]).await;
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    let watching = server.offer("/whep/demo", &offer).await;
    assert_eq!(watching.status, 201, "{}", watching.text());
    let token = server.mint("admin");
    (server, token)
}

/// What decides `abr`, as the API shows it.
async fn slot(server: &Server, token: &str) -> Value {
    let answer = server
        .send_as(token, Method::GET, "/api/policies", "")
        .await;
    assert!(answer.status.is_success(), "{}", answer.text());
    let slots = answer.json()["policies"].clone();
    let abr = slots
        .as_array()
        .into_iter()
        .flatten()
        .find(|slot| slot["kind"] == "abr")
        .cloned();
    abr.unwrap_or_else(|| panic!("no abr in {slots}"))
}

/// Waits until the newest logged decision has this reason.
async fn decided(server: &Server, token: &str, reason: &str) -> Value {
    until(reason, Duration::from_secs(10), || async {
        let log = server
            .send_as(token, Method::GET, "/api/policies/abr/decisions", "")
            .await
            .text();
        let newest: Value =
            serde_json::from_str(log.lines().last()?).expect("the log is JSON lines");
        (newest["reason"] == reason).then_some(newest)
    })
    .await
}

#[tokio::test]
async fn a_script_is_swapped_by_saving_it_and_a_broken_one_never_takes_effect() {
    let (server, token) = watched(&always(1, "first")).await;
    let first = decided(&server, &token, "first").await;
    assert_eq!(
        (&first["stream"], &first["level"], &first["output"]["rung"]),
        (&"demo".into(), &"active".into(), &0.0.into())
    );
    server.write("abr.luau", &always(2, "second"));
    let second = decided(&server, &token, "second").await;
    assert_ne!(first["digest"], second["digest"]);

    server.write(
        "abr.luau",
        "local policy = {}\nfunction policy.recommend(\nreturn policy\n",
    );
    until(
        "the refusal to be told",
        Duration::from_secs(10),
        || async {
            server
                .log()
                .lines()
                .any(|line| line.contains("refused") && line.contains("abr.luau:"))
                .then_some(())
        },
    )
    .await;
    server.write(
        "abr.luau",
        "local policy = {}\nfunction policy.recommend()\nwhile true do end\nend\nreturn policy\n",
    );
    until(
        "the endless one to be refused",
        Duration::from_secs(10),
        || async {
            server
                .log()
                .lines()
                .any(|line| line.contains("refused") && line.contains("steps"))
                .then_some(())
        },
    )
    .await;
    assert_eq!(
        slot(&server, &token).await["active"]["digest"],
        second["digest"]
    );
    // The one who watches never noticed.
    assert_eq!(server.stream("demo").await["viewers"], 1);
}

#[tokio::test]
async fn a_policy_comes_by_the_api_and_is_rolled_back() {
    let (server, token) = watched(&always(1, "first")).await;
    decided(&server, &token, "first").await;
    let path = "/api/policies/abr";
    server
        .send_as(&server.token, Method::PUT, path, always(2, "second"))
        .await
        .problem(403);
    let put = server
        .send_as(&token, Method::PUT, path, always(2, "second"))
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    decided(&server, &token, "second").await;
    let rolled = server
        .send_as(&token, Method::POST, "/api/policies/abr/rollback", "")
        .await;
    assert_eq!(rolled.status, 204, "{}", rolled.text());
    decided(&server, &token, "first").await;

    let shadow = server
        .send_as(
            &token,
            Method::PUT,
            "/api/policies/abr/shadow",
            always(3, "third"),
        )
        .await;
    assert_eq!(shadow.status, 204, "{}", shadow.text());
    until("the shadow to differ", Duration::from_secs(10), || async {
        slot(&server, &token).await["shadow_disagreements"]
            .as_u64()
            .filter(|count| *count > 0)
    })
    .await;
    assert_eq!(slot(&server, &token).await["active"]["generation"], 1);

    for (what, body) in [
        ("empty", ""),
        ("no table", "return 1"),
        ("another kind", "return { score = function() end }"),
    ] {
        let detail = server
            .send_as(&token, Method::PUT, path, body)
            .await
            .problem(422);
        assert!(!detail.is_empty(), "{what}");
    }
    server
        .send_as(&token, Method::PUT, "/api/policies/luck", "x")
        .await
        .problem(404);
}

#[tokio::test]
async fn a_policy_that_fails_while_serving_is_rolled_back_media_goes_on_and_a_restart_knows() {
    let (mut server, token) = watched(&always(1, "first")).await;
    decided(&server, &token, "first").await;
    // Good through every check, and then no more.
    let traitor = "local policy = {}\nlocal calls = 0\nfunction policy.recommend(viewer, ladder)\n\
                   \tcalls += 1\n\tif calls > 1 and #ladder == 3 and ladder[1].kbps == 600 then error(\"betrayed\") end\n\
                   \tif #ladder == 0 then return nil, \"well\" end\n\treturn 1, \"well\"\nend\nreturn policy\n";
    let before = Playlist::with_segments(&server, "demo", "360p30", 2).await;
    let put = server
        .send_as(&token, Method::PUT, "/api/policies/abr", traitor)
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    until("the rollback", Duration::from_secs(20), || async {
        (slot(&server, &token).await["rollbacks"] == 1).then_some(())
    })
    .await;
    let held = decided(&server, &token, "first").await;
    assert_eq!(held["level"], "active");
    let newest = before.segments().last().expect("a segment").0;
    until("segments to go on", Duration::from_secs(20), || async {
        let now = Playlist::fetch(&server, "demo", "360p30").await;
        (now.segments().last()?.0 > newest + 1 && !now.text.contains("DISCONTINUITY\n"))
            .then_some(())
    })
    .await;

    // What was rolled back is not what was last good: a start with a broken file goes by the one before it.
    until(
        "the rollback to be recorded",
        Duration::from_secs(5),
        || async {
            server
                .log()
                .contains("counts as last good again")
                .then_some(())
        },
    )
    .await;
    server.write("abr.luau", "this is no script");
    server.crash_and_start_again(&["--demo"]).await;
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    assert_eq!(server.offer("/whep/demo", &offer).await.status, 201);
    let token = server.mint("admin");
    decided(&server, &token, "first").await;
    assert!(server.log().contains("last good"), "{}", server.log());
}

#[tokio::test]
async fn a_component_comes_by_the_api_and_decides_like_the_builtin() {
    let (server, token) = watched(&always(1, "first")).await;
    decided(&server, &token, "first").await;
    let component = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../plugins/abr-reference/abr-reference.wasm"
    ))
    .expect("the component is in the repository");
    let put = server
        .send_as(&token, Method::PUT, "/api/policies/abr", component.clone())
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    let digest = put.json()["digest"].clone();
    until(
        "the component to decide",
        Duration::from_secs(10),
        || async {
            let active = slot(&server, &token).await["active"].clone();
            (active["digest"] == digest && active["counters"]["decisions"].as_u64() > Some(0))
                .then_some(())
        },
    )
    .await;
    // The rule's own words come out of the component's manifest.
    decided(&server, &token, "bandwidth not known yet").await;
    let active = slot(&server, &token).await["active"].clone();
    assert!(active["counters"]["steps"].as_u64() > Some(0), "{active}");
    assert_eq!(
        active["counters"]["faults"],
        serde_json::json!({}),
        "{active}"
    );
    for (what, bytes) in [
        ("cut short", component[..component.len() / 2].to_vec()),
        ("no module", b"\0asm".to_vec()),
    ] {
        let detail = server
            .send_as(&token, Method::PUT, "/api/policies/abr", bytes)
            .await
            .problem(422);
        assert!(!detail.is_empty(), "{what}");
    }
    assert_eq!(slot(&server, &token).await["active"]["digest"], digest);
}

#[tokio::test]
async fn a_policy_in_javascript_decides_where_the_operator_allows_large_ones() {
    let config = "[policies]\nabr = \"abr.luau\"\n[policies.limits.abr]\nlarge = true\n";
    let script = always(1, "first");
    let files = [("abr.luau", script.as_str())];
    let server = Server::start_with(config, &["--demo"], &files).await;
    server.running("demo").await;
    let token = server.mint("admin");
    let component = std::fs::read(fixture("js-buffer.wasm")).expect("the component is built");
    let put = server
        .send_as(&token, Method::PUT, "/api/policies/abr", component.clone())
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    // Compiling takes a while; a viewer whose packets never come would have been given up by then.
    let offer = OFFER.replace("sendonly", "recvonly");
    let watching = server.offer("/whep/demo", &offer).await;
    assert_eq!(watching.status, 201, "{}", watching.text());
    decided(&server, &token, "nothing is known yet, the lowest").await;
    let active = slot(&server, &token).await["active"].clone();
    assert_eq!(
        active["counters"]["faults"],
        serde_json::json!({}),
        "{active}"
    );

    // Nothing is said of `score`, so that it stays small, and the answer says what to set.
    let detail = server
        .send_as(&token, Method::PUT, "/api/policies/score", component)
        .await
        .problem(422);
    assert!(detail.contains("[policies.limits."), "{detail}");
}

#[tokio::test]
async fn an_auth_policy_decides_who_enters_and_fails_closed() {
    let script = "local policy = {}\nfunction policy.authorize(request)\n\
                  \tif request.action == \"admin\" or request.stream == \"open\" then return { allow = true, ttl_s = 60 } end\n\
                  \tif request.stream == \"broken\" then error(\"broken\") end\n\
                  \treturn { deny = true, status = 403, reason = \"closed\" }\nend\nreturn policy\n";
    let config = "[policies]\nauth = \"auth.luau\"\n";
    let server = Server::start_with(config, &[], &[("auth.luau", script)]).await;
    assert_eq!(server.offer("/whip/open", OFFER).await.status, 201);
    // The token has every publish scope, but the policy says no; and what fails means no.
    server.offer("/whip/closed", OFFER).await.problem(403);
    server.offer("/whip/broken", OFFER).await.problem(403);
    let swapped = script.replace("\"open\"", "\"closed\"");
    let put = server
        .send_as(&server.token, Method::PUT, "/api/policies/auth", swapped)
        .await;
    assert_eq!(put.status, 200, "{}", put.text());
    assert_eq!(server.offer("/whip/closed", OFFER).await.status, 201);
}

/// A service that answers each request with the path it was asked for, and how often that was.
async fn service() -> (String, Arc<AtomicUsize>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let origin = format!("http://{}", listener.local_addr().expect("an address"));
    let (asked, mut tasks) = (Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let count = Arc::clone(&asked);
    tasks.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.expect("a request");
            count.fetch_add(1, Ordering::SeqCst);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            let path = head.split(' ').nth(1).expect("a path").to_owned();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{path}",
                path.len()
            );
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("an answer");
        }
    });
    (origin, asked, tasks)
}

#[tokio::test]
async fn an_auth_policy_has_a_listed_url_asked_sees_who_calls_and_caps_a_viewer() {
    let (origin, asked, _service) = service().await;
    let script = format!(
        "local policy = {{}}\nfunction policy.authorize(request)\n\
         \tif request.action == \"admin\" then return {{ allow = true, ttl_s = 60 }} end\n\
         \tif request.stream == \"elsewhere\" then return {{ ask = \"http://127.0.0.1:1/\" }} end\n\
         \tif not request.answered then return {{ ask = \"{origin}/\" .. request.stream .. \"/\" .. request.peer }} end\n\
         \tif request.answered.body == \"/demo/127.0.0.1\" then return {{ allow = true, ttl_s = 60, cap_kbps = 1200 }} end\n\
         \tif request.stream == \"again\" then return {{ ask = \"{origin}/\" }} end\n\
         \treturn {{ deny = true, status = 401, reason = request.answered.body }}\nend\nreturn policy\n"
    );
    let config =
        format!("[policies]\nauth = \"auth.luau\"\n[auth]\nanonymous = []\nask = [\"{origin}\"]\n");
    let server = Server::start_with(&config, &["--demo"], &[("auth.luau", &script)]).await;
    server.running("demo").await;
    let offer = OFFER.replace("sendonly", "recvonly");
    let watching = server.offer("/whep/demo", &offer).await;
    assert_eq!(watching.status, 201, "{}", watching.text());
    // What was said is remembered: nobody is asked again for the same.
    let before = asked.load(Ordering::SeqCst);
    assert!(before > 0);
    assert_eq!(server.offer("/whep/demo", &offer).await.status, 201);
    assert_eq!(asked.load(Ordering::SeqCst), before);
    let offers = ["/whip/other", "/whip/again", "/whip/elsewhere"];
    for (path, status) in offers.into_iter().zip([401, 403, 403]) {
        server.offer(path, OFFER).await.problem(status);
    }
    let (now, listed) = (asked.load(Ordering::SeqCst), before + 2);
    assert_eq!(now, listed, "elsewhere is not listed");

    // The demo has rungs of 2500, 1000 and 600 kbit/s: 1200 were granted.
    let admin = server.mint("admin");
    let decided = until("a decision", Duration::from_secs(10), || async {
        let log = server
            .send_as(&admin, Method::GET, "/api/policies/abr/decisions", "")
            .await
            .text();
        serde_json::from_str::<Value>(log.lines().last()?).ok()
    })
    .await;
    assert_eq!(decided["input"]["cap_kbps"], 1200.0, "{decided}");
    let session = watching.header("location");
    let chosen = server
        .send_as(
            &server.token,
            Method::POST,
            &format!("{session}/layer"),
            r#"{"encodingId": "720p60"}"#,
        )
        .await;
    assert_eq!(chosen.status, 200, "{}", chosen.text());
    let sessions = server
        .send_as(&admin, Method::GET, "/api/streams/demo/sessions", "")
        .await
        .json();
    let listed = sessions["sessions"].as_array().into_iter().flatten();
    let one = listed.filter(|one| one["id"].as_str().is_some_and(|id| session.ends_with(id)));
    let rungs: Vec<&Value> = one.map(|one| &one["decision"]["rung"]).collect();
    assert!(
        matches!(rungs[..], [rung] if rung.is_string() && rung != "720p60"),
        "{sessions}"
    );
}

#[test]
fn a_server_does_not_start_without_the_auth_policy_it_was_told_to_ask() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("auth.luau"), "this is no script")
        .expect("a file is written");
    let arguments = [
        "serve",
        "--set",
        "policies.auth=auth.luau",
        "--set",
        "http.listen=127.0.0.1:0",
    ];
    let output = lockgate(folder.path())
        .args(arguments)
        .args(["--set", "webrtc.udp_listen=127.0.0.1:0"])
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("auth.luau"),
        "{said}"
    );
}

#[test]
fn the_command_line_checks_and_plays_policies() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = |arguments: &[&str]| {
        let output = lockgate(folder.path())
            .args(arguments)
            .output()
            .expect("the binary runs");
        let told = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), told.concat())
    };
    let (code, told) = run(&["policy", "new", "mine"]);
    assert_eq!(code, Some(0), "{told}");
    let (code, told) = run(&["policy", "check", "mine.luau"]);
    assert!(
        code == Some(0) && told.contains("keeps every rule"),
        "{told}"
    );
    std::fs::write(
        folder.path().join("loop.luau"),
        "return { recommend = function() while true do end end }",
    )
    .expect("a file is written");
    let (code, told) = run(&["policy", "check", "loop.luau"]);
    assert!(code == Some(1) && told.contains("steps"), "{told}");
    assert_eq!(run(&["policy", "check", "none.luau"]).0, Some(1));

    // The script that `new` writes is the reference: traces play alike through it and the built-in.
    let traces = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../tests/vectors/traces/norway3g"
    );
    let delivery = [
        "--delivery",
        "live-hd-lin,webrtc",
        "--max",
        "1",
        "--json",
        "--plot",
        "one.svg",
    ];
    let (code, told) = run(&[
        &["policy", "simulate", "mine.luau", "--traces", traces][..],
        &delivery,
    ]
    .concat());
    assert_eq!(code, Some(0), "{told}");
    let results: Value = serde_json::from_str(&told).expect("the results are JSON");
    for delivery in ["live-hd-lin", "webrtc"] {
        let of = |policy: &str| {
            let mut all = results.as_array().into_iter().flatten();
            let one = all.find(|one| one["delivery"] == delivery && one["policy"] == policy);
            one.map(|one| (one["qoe"].clone(), one["switches"].clone()))
        };
        assert!(
            of("mine").is_some() && of("mine") == of("builtin"),
            "{results}"
        );
        assert_ne!(of("mine"), of("lowest"), "{results}");
    }
    let picture =
        std::fs::read_to_string(folder.path().join("one.svg")).expect("the picture is there");
    assert!(picture.starts_with("<svg"));
}
