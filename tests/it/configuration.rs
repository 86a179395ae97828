//! Configuration from outside: where values come from, what is wrong with them, and changes while sessions go on.

use std::{path::Path, process::Output, time::Duration};

use hyper::{Method, header};
use serde_json::Value;

use crate::{
    refused::OFFER,
    support::{Server, lockgate, until},
};

fn check_config(folder: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    lockgate(folder)
        .arg("check-config")
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .expect("the binary runs")
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).expect("a file is written");
    }
    folder
}

/// Secrets in all places that there are for them.
const SECRETS: &str = r#"
[telemetry]
endpoint = "http://user:hush-collector@127.0.0.1:9"
[auth]
chain = ["internal", "jwt"]
secret = "hush-own-secret-of-at-least-32-bytes"
jwks_url = "http://user:hush-jwks@127.0.0.1:9/keys?key=hush-query"
[[auth.keys]]
kid = "k"
algorithm = "HS256"
secret = "hush-key-secret-of-at-least-32-bytes!"
[[auth.users]]
name = "camera"
password = "$argon2id$v=19$m=8,t=1,p=1$aHVzaGh1c2g$aHVzaGh1c2hodXNoaHVzaA"
[auth.http]
url = "http://user:hush-hook@127.0.0.1:9/auth"
[ingest.srt]
passphrase = "hush-passphrase"
[[ingest.source]]
name = "cam"
url = "rtsp://user:hush-camera@127.0.0.1:9/live?key=hush-query"
"#;
const ICE: &str = r#"ice_servers = [
    { url = "turn:127.0.0.1", username = "u", credential = "hush-credential" },
    { url = "turn:127.0.0.1", secret = "hush-turn-secret" },
]
"#;

fn assert_hushed(what: &str, text: &str) {
    for secret in ["hush-", "aHVzaGh1c2g"] {
        if let Some(at) = text.find(secret) {
            let from = text.floor_char_boundary(at.saturating_sub(80));
            let to = text.floor_char_boundary((at + 80).min(text.len()));
            panic!("{what} tells a secret: {}", &text[from..to]);
        }
    }
}

#[test]
fn each_value_is_shown_with_its_origin_and_the_later_wins() {
    let file = "[hls]\nwindow = 4\npart_ms = 300\nsegment_s = 3\nkeep_alive_s = 31\n";
    let dotenv =
        "LOCKGATE__HLS__PART_MS=400\nLOCKGATE__HLS__SEGMENT_S=4\nLOCKGATE__HLS__KEEP_ALIVE_S=32\n";
    let folder = folder(&[("lockgate.toml", file), (".env", dotenv)]);
    let environment = [
        ("LOCKGATE__HLS__SEGMENT_S", "5"),
        ("LOCKGATE__HLS__KEEP_ALIVE_S", "33"),
        ("PORT", "4000"),
    ];
    let output = check_config(
        folder.path(),
        &["--set", "hls.keep_alive_s=34"],
        &environment,
    );
    assert!(output.status.success(), "{}", said(&output));
    let shown = said(&output);
    for line in [
        "window = 4  # lockgate.toml:2:1",
        "part_ms = 400  # .env: LOCKGATE__HLS__PART_MS",
        "segment_s = 5  # environment variable LOCKGATE__HLS__SEGMENT_S",
        "keep_alive_s = 34  # --set",
        "listen = \"0.0.0.0:4000\"  # environment variable PORT",
        "dvr_s = 0  # default",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is not in\n{shown}"
        );
    }
    let json = check_config(folder.path(), &["--json"], &[]);
    let json: Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!(json["origins"]["hls.window"], "lockgate.toml:2:1");
    assert_eq!(json["config"]["hls"]["part_ms"], 400);
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_a_suggestion() {
    for (file, wanted) in [
        (
            "[http]\nlissten = \"x\"\n",
            &["lockgate.toml:2:1: ", "did you mean `listen`?"][..],
        ),
        (
            "\n[htp]\n",
            &["lockgate.toml:2:2: ", "did you mean `http`?"],
        ),
        (
            "[hls]\n  container = \"fmp\"\n",
            &["lockgate.toml:2:15: ", "did you mean `fmp4`?"],
        ),
        (
            "[hls]\nwindow = \"four\"\n",
            &["lockgate.toml:2:10: ", "string"],
        ),
        (
            "[hls]\nwindow = 2\n",
            &["lockgate.toml:2:1: ", "hls.window: 2 is not within 3 to 64"],
        ),
        ("[hls]\nwindow = = 2\n", &["lockgate.toml:2:"]),
        (
            "[[auth.keys]]\nalgorithm = \"ES256\"\nfile = \"gone.pem\"\n",
            &["lockgate.toml:1:", "auth.keys", "gone.pem"],
        ),
        (
            "[[auth.users]]\nname = \"a\"\npassword = \"plain\"\n",
            &["lockgate.toml:1:", "auth.users"],
        ),
        (
            "[auth.http]\nurl = \"ftp://x/\"\n",
            &["lockgate.toml:2:1: ", "auth.http.url"],
        ),
    ] {
        let folder = folder(&[("lockgate.toml", file)]);
        let output = check_config(folder.path(), &[], &[]);
        assert_eq!(output.status.code(), Some(1), "{file}: {}", said(&output));
        for word in wanted {
            assert!(
                said(&output).contains(word),
                "{file}: {word} is not in {}",
                said(&output)
            );
        }
        assert!(
            !folder.path().join("data").exists(),
            "a check makes nothing"
        );
    }
    let empty = folder(&[]);
    let output = check_config(empty.path(), &[], &[("LOCKGATE__HLS__WINDOWS", "5")]);
    let text = said(&output);
    assert!(
        text.contains("environment variable LOCKGATE__HLS__WINDOWS: ")
            && text.contains("`window`?"),
        "{text}"
    );
    let output = check_config(empty.path(), &["--set", "hls.windw=5"], &[]);
    assert!(
        said(&output).contains("--set hls.windw: "),
        "{}",
        said(&output)
    );
}

#[tokio::test]
async fn a_change_takes_effect_while_sessions_go_on_and_a_bad_one_does_not() {
    let server = Server::start("[rate_limit]\nreports = 50\n", &[]).await;
    let admin = server.mint("admin");
    let base =
        std::fs::read_to_string(server.folder().join("lockgate.toml")).expect("it was written");
    let published = server.offer("/whip/live", OFFER).await;
    assert_eq!(published.status, 201, "{}", published.text());
    assert_eq!(server.get("/api/streams/live").await.status, 200);
    let shown = || async {
        let answer = server.send_as(&admin, Method::GET, "/api/config", "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let policy = || async {
        let answer = server
            .send_as(&server.token, Method::POST, "/api/streams/live/stats", "{}")
            .await;
        answer.header("ratelimit-policy").to_owned()
    };
    assert!(policy().await.contains("q=50"), "{}", policy().await);

    // Who may do what, limits, origins of pages, what new broadcasts are made by: at once. The port: not.
    let changed = base
        .replace(
            "listen = \"127.0.0.1:0\"\n[webrtc]",
            "listen = \"127.0.0.1:1\"\ncors = [\"https://a.example\"]\n[webrtc]",
        )
        .replace("reports = 50", "reports = 60")
        + "[auth]\nanonymous = []\n[hls]\nwindow = 5\n[policies.parameters.abr]\nup_after_s = 3.0\n";
    server.write("lockgate.toml", &changed);
    until("the change", Duration::from_secs(30), || async {
        (server.get("/api/streams/live").await.status == 401).then_some(())
    })
    .await;
    let now = shown().await;
    assert_eq!(now["config"]["hls"]["window"], 5, "{now}");
    assert_eq!(now["waiting"], serde_json::json!(["http.listen"]), "{now}");
    assert_eq!(now["refused"], Value::Null);
    assert!(policy().await.contains("q=60"), "{}", policy().await);
    let request = server
        .request(Method::GET, "/livez")
        .header(header::ORIGIN, "https://b.example");
    let foreign = server
        .send(request.body(Default::default()).expect("a request"))
        .await;
    assert_eq!(foreign.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "");
    // The session went on.
    let session = published.header(header::LOCATION).to_owned();
    let answer = server.call(Method::GET, "/api/streams/live").await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    // A bad change is refused in the words of `check-config`, and everything stays.
    server.write(
        "lockgate.toml",
        &changed.replace("window = 5", "windoww = 9"),
    );
    let refused = until("the refusal", Duration::from_secs(30), || async {
        shown().await["refused"].as_str().map(str::to_owned)
    })
    .await;
    let check = check_config(server.folder(), &[], &[]);
    assert_eq!(said(&check).trim(), format!("lockgate: {refused}"));
    assert!(refused.contains("did you mean `window`?"), "{refused}");
    assert_eq!(shown().await["config"]["hls"]["window"], 5);
    let asked = server
        .send_as(&admin, Method::POST, "/api/config/reload", "")
        .await;
    assert_eq!(asked.problem(422), refused);
    assert!(
        server.log().contains("the old one stays"),
        "{}",
        server.log()
    );

    // A policy file that cannot be used is a bad change, too.
    let missing = changed.clone() + "[policies]\nabr = \"gone.luau\"\n";
    let missing = missing.replace("[policies.parameters.abr]\nup_after_s = 3.0\n", "");
    server.write("lockgate.toml", &missing);
    let asked = server
        .send_as(&admin, Method::POST, "/api/config/reload", "")
        .await;
    let detail = asked.problem(422);
    assert!(detail.contains("policies.abr: gone.luau"), "{detail}");

    // SIGHUP reads it again.
    server.write(
        "lockgate.toml",
        &changed.replace("window = 5", "window = 7"),
    );
    let sent = std::process::Command::new("kill")
        .args(["-HUP", &server.pid().to_string()])
        .status()
        .expect("kill runs");
    assert!(sent.success());
    until("the change by SIGHUP", Duration::from_secs(30), || async {
        (shown().await["config"]["hls"]["window"] == 7).then_some(())
    })
    .await;
    assert_eq!(shown().await["refused"], Value::Null);
    assert_eq!(server.call(Method::DELETE, &session).await.status, 200);
}

#[tokio::test]
async fn sources_and_policies_come_and_go_with_the_file() {
    let server = Server::start("", &[]).await;
    let admin = server.mint("admin");
    let base =
        std::fs::read_to_string(server.folder().join("lockgate.toml")).expect("it was written");
    let media = crate::support::fixture("bigbuckbunny.mp4");
    let source = format!(
        "[[ingest.source]]\nname = \"bunny\"\nurl = \"file://{}\"\nloop = true\n",
        media.display()
    );
    server.write("lockgate.toml", &format!("{base}{source}"));
    until("the new source", Duration::from_secs(30), || async {
        (server.get("/api/streams/bunny").await.status == 200).then_some(())
    })
    .await;
    let active = || async {
        let answer = server
            .send_as(&admin, Method::GET, "/api/policies", "")
            .await
            .json();
        let slots = answer["policies"].as_array().expect("slots").clone();
        let slot = slots.into_iter().find(|slot| slot["kind"] == "score");
        slot.expect("score")["active"]["generation"]
            .as_u64()
            .expect("a number")
    };
    assert_eq!(active().await, 0);
    let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/score/reference.luau");
    let policies = format!("[policies]\nscore = \"{}\"\n", policy.display());
    server.write("lockgate.toml", &format!("{base}{policies}"));
    until(
        "the policy, and the source to go",
        Duration::from_secs(30),
        || async {
            let gone = server.get("/api/streams/bunny").await.status == 404;
            (gone && active().await > 0).then_some(())
        },
    )
    .await;
    server.write("lockgate.toml", &base);
    until("the built-in", Duration::from_secs(30), || async {
        (active().await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn no_secret_is_told_anywhere() {
    let config = format!("{ICE}{SECRETS}");
    // `ice_servers` goes on from [webrtc].
    let server = Server::start(&config, &[]).await;
    let admin = server.mint("admin");
    for path in [
        "/api/config",
        "/api/streams",
        "/api/streams/cam",
        "/api/policies",
        "/metrics",
        "/api/streams/cam/sessions",
    ] {
        let answer = server.send_as(&admin, Method::GET, path, "").await;
        assert_hushed(path, &answer.text());
    }
    let shown = server
        .send_as(&admin, Method::GET, "/api/config", "")
        .await
        .json();
    assert_eq!(shown["config"]["auth"]["secret"], "(kept secret)");
    assert_eq!(
        shown["config"]["ingest"]["source"][0]["url"],
        "rtsp://…@127.0.0.1:9/live?…"
    );
    let check = check_config(server.folder(), &[], &[]);
    assert!(check.status.success(), "{}", said(&check));
    assert_hushed("check-config", &said(&check));
    let check = check_config(server.folder(), &["--json"], &[]);
    assert_hushed("check-config --json", &said(&check));
    // Mistakes around secrets.
    let text =
        std::fs::read_to_string(server.folder().join("lockgate.toml")).expect("it was written");
    for (what, from, to) in [
        (
            "a secret that is too short",
            "hush-own-secret-of-at-least-32-bytes",
            "hush-own",
        ),
        (
            "a secret without quotes",
            "\"hush-passphrase\"",
            "hush-passphrase",
        ),
        (
            "a secret under a wrong name",
            "passphrase = ",
            "passphrases = ",
        ),
        (
            "a camera without a name",
            "name = \"cam\"",
            "nome = \"cam\"",
        ),
    ] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text, "{what}");
        server.write("lockgate.toml", &bad);
        let answer = server
            .send_as(&admin, Method::POST, "/api/config/reload", "")
            .await;
        assert_hushed(what, &answer.problem(422));
        assert_hushed(what, &said(&check_config(server.folder(), &[], &[])));
    }
    let set = check_config(server.folder(), &["--set", "auth.secret=hush-short"], &[]);
    assert_hushed("--set", &said(&set));
    // The camera is not there: by then the worker has said so, and the log has it.
    until(
        "the camera to be missed",
        Duration::from_secs(60),
        || async {
            let stream = server
                .send_as(&admin, Method::GET, "/api/streams/cam", "")
                .await;
            assert_hushed("the stream", &stream.text());
            (stream.status != 200 || stream.json()["ladder"]["error"].is_string()).then_some(())
        },
    )
    .await;
    assert_hushed("the log", &server.log());
    assert_hushed("standard output", &server.stdout());
}
