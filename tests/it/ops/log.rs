//! The log: one structure, a filter that is changed while it runs, and no secret, wherever one was shown.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http_body_util::Full;
use hyper::{Method, header};
use serde_json::{Value, json};

use crate::{
    door::hash,
    ingest::PORTS,
    refused::OFFER,
    support::{H264_AAC, PICTURE, Sender, Server, ffmpeg_5, until},
};

/// Each line as it was written.
fn lines(server: &Server) -> Vec<Value> {
    let log = server.log();
    // The last one may be under way.
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

#[tokio::test]
async fn no_secret_is_in_the_log_wherever_it_was_shown() {
    let password = "correct-horse-battery";
    let passphrase = "staple-of-the-horse";
    let config = format!(
        "{PORTS}passphrase = \"{passphrase}\"\n[log]\nformat = \"json\"\nfilter = \"trace\"\n[auth]\nanonymous = []\n[[auth.users]]\nname = \"ann\"\npassword = \"{}\"\nscopes = [\"publish:*\", \"play:*\"]\n",
        hash(password)
    );
    // FFmpeg names its sources when it fails.
    let source = "[[ingest.source]]\nname = \"away\"\nurl = \"http://user:open-sesame@127.0.0.1:9/x.mp4?key=sesame-street\"\n";
    let server = Server::start(&format!("{config}{source}"), &[]).await;
    let (token, admin) = (server.token.clone(), server.mint("admin"));
    let broken = format!(
        "{}x{}",
        &token[..token.len() - 9],
        &token[token.len() - 8..]
    );

    // HTTP: in the header, in the query, as a password; good and bad.
    for token in [&token, &admin, &broken] {
        for path in [
            "/api/streams",
            "/api/nothing",
            "/hls/x/playlist.m3u8",
            "/metrics",
        ] {
            server.send_as(token, Method::GET, path, "").await;
            server.get(&format!("{path}?token={token}")).await;
        }
        server.get(&format!("/{token}/nothing?token={token}")).await;
        server.offer_as(token, "/whip/one", OFFER).await;
        server.offer_as(token, "/whip/two", "no offer").await;
        let body = json!({ "token": token }).to_string();
        server
            .send_as(&server.token, Method::POST, "/api/revocations", body)
            .await;
    }
    for password in [password, "wrong-horse-battery"] {
        let basic = STANDARD.encode(format!("ann:{password}"));
        let request = server
            .request(Method::GET, "/api/streams")
            .header(header::AUTHORIZATION, format!("Basic {basic}"));
        server
            .send(request.body(Full::default()).expect("a request"))
            .await;
    }
    // RTMP and SRT: in the key, in the stream id, as a password, in the application's name.
    let media = format!("{PICTURE} -t 1 {H264_AAC}");
    let rtmp = server.address("rtmp");
    let srt = format!("{}?passphrase={passphrase}", server.address("srt"));
    let refused = "wrong-horse-battery";
    let flv = |url: String| ["-f".to_owned(), "flv".to_owned(), url];
    let ts = |url: String| ["-f".to_owned(), "mpegts".to_owned(), url];
    let outputs = [
        flv(format!("{rtmp}/live/a?token={token}")),
        flv(format!("{rtmp}/live/b?token={broken}")),
        flv(format!("{rtmp}/live/c?user=ann&pass={password}")),
        flv(format!("{rtmp}/live/d?user=ann&pass={refused}")),
        flv(format!("{rtmp}/other?token={token}/e")),
        ts(format!("{srt}&streamid=publish:f?token={token}")),
        ts(format!("{srt}&streamid=publish:g?token={broken}")),
        ts(format!("{srt}&streamid=publish:h:ann:{password}")),
        ts(format!("{srt}&streamid=publish:i:ann:{refused}")),
        ts(format!("{srt}&streamid=#!::r=j,m=publish,token={token}")),
        ts(format!(
            "{srt}&streamid=#!::r=k,m=publish,u=ann,s={password}"
        )),
    ];
    let senders = outputs.map(|output| Sender::start(ffmpeg_5(), &media, &output));
    for sender in senders {
        sender.ended().await;
    }
    until(
        "the refusals in the log",
        Duration::from_secs(20),
        || async {
            let log = server.log();
            let said = [
                "an RTMP publisher was refused",
                "an SRT publisher was refused",
            ];
            said.iter().all(|words| log.contains(words)).then_some(())
        },
    )
    .await;
    until(
        "the source that is not there",
        Duration::from_secs(30),
        || async { server.log().contains("trying again").then_some(()) },
    )
    .await;

    let log = server.log();
    let debug = lines(&server)
        .iter()
        .filter(|line| line["level"] == "DEBUG")
        .count();
    assert!(debug > 10, "{log}");
    let basics = [password, refused].map(|password| STANDARD.encode(format!("ann:{password}")));
    let secrets = [&token, &admin, &broken].map(String::as_str);
    let signature = token.rsplit('.').next().expect("a signature");
    let words = [
        password,
        refused,
        passphrase,
        signature,
        "open-sesame",
        "sesame-street",
    ];
    for secret in secrets
        .into_iter()
        .chain(words)
        .chain(basics.iter().map(String::as_str))
    {
        let at = log.lines().find(|line| line.contains(secret));
        assert_eq!(at, None, "{secret} is in the log");
    }
    // And nothing of them is shown by the metrics.
    let metrics = server.send_as(&admin, Method::GET, "/metrics", "").await;
    assert!(!metrics.text().contains(signature));
}

#[tokio::test]
async fn lines_have_one_structure_and_the_filter_changes_while_it_runs() {
    let server = Server::start("[log]\nformat = \"json\"\n", &[]).await;
    let admin = server.mint("admin");
    let refused = || async {
        server
            .send_as("no.token.atall", Method::GET, "/api/revocations", "")
            .await
            .problem(401);
        let lines = lines(&server);
        lines
            .iter()
            .any(|line| line["message"] == "a token was refused")
    };
    assert!(!refused().await, "at debug");
    let shown = server.send_as(&admin, Method::GET, "/api/log", "").await;
    assert_eq!(shown.json(), json!({"filter": "info"}));
    let put = |filter: &str| {
        let body = json!({ "filter": filter }).to_string();
        server.send_as(&admin, Method::PUT, "/api/log", body)
    };
    assert_eq!(put("warn,lockgate_api=debug").await.status, 200);
    until("a line at debug", Duration::from_secs(20), || async {
        refused().await.then_some(())
    })
    .await;
    assert!(
        put("lockgate_api=loud")
            .await
            .problem(400)
            .contains("is no filter")
    );
    let shown = server.send_as(&admin, Method::GET, "/api/log", "").await;
    assert_eq!(shown.json(), json!({"filter": "warn,lockgate_api=debug"}));
    server.call(Method::GET, "/api/log").await.problem(403);
    server.get("/api/log").await.problem(401);
    // SIGHUP has the configuration's own again.
    server.write("lockgate.toml", "[log]\nfilter = \"error\"\n");
    server.signal("HUP");
    until(
        "the filter of the file",
        Duration::from_secs(20),
        || async {
            let shown = server.send_as(&admin, Method::GET, "/api/log", "").await;
            (shown.json() == json!({"filter": "error"})).then_some(())
        },
    )
    .await;
    for line in lines(&server) {
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key} in {line}");
        }
    }
}
