//! `lockgate check hls` against streams that are wrong. Between it and a real server stands one that changes one thing: a
//! tag, an answer, some bytes. Each such thing is found, and named by its rule.

use std::{
    collections::{BTreeSet, HashMap},
    convert::Infallible,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    hls_rules::demo,
    support::{Http, check_server as check, with},
};

/// What is changed on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// `_HLS_part` without `_HLS_msn` is taken for no directive.
    PartAlone,
    /// Directives are not looked at.
    NoBlocking,
    OldIsRefused,
    StallsAre500,
    EndedWithHint,
    PartsTooLong,
    HoldBack,
    UnknownPartIsAPlaylist,
    PartsGoAtOnce,
    NoReports,
    DeltaOfVersion6,
    PartsOtherwise,
    TargetDuration,
    NamesChange,
    ListedIsGone,
    OtherMap,
    NoMap,
    Bandwidth,
    Torn,
}

/// What is changed, the rule that it breaks, and the others that it cannot but break as well.
const WRONGS: [(Wrong, &str, &[&str]); 19] = [
    (Wrong::PartAlone, "L01", &[]),
    (Wrong::NoBlocking, "L02", &["L01"]),
    (Wrong::OldIsRefused, "L03", &[]),
    // What is too far ahead may be a number that it stalls at, too.
    (Wrong::StallsAre500, "L04", &["L01", "L02"]),
    (Wrong::EndedWithHint, "L05", &[]),
    (Wrong::PartsTooLong, "L06", &["L09"]),
    (Wrong::HoldBack, "L07", &[]),
    (Wrong::UnknownPartIsAPlaylist, "L08", &[]),
    (Wrong::PartsGoAtOnce, "L09", &[]),
    (Wrong::NoReports, "L10", &[]),
    (Wrong::DeltaOfVersion6, "L11", &[]),
    (Wrong::PartsOtherwise, "L12", &[]),
    (Wrong::TargetDuration, "H01", &["H05", "L07", "L11"]),
    (Wrong::NamesChange, "H02", &[]),
    (Wrong::ListedIsGone, "H03", &[]),
    (Wrong::OtherMap, "H04", &[]),
    (Wrong::NoMap, "H05", &[]),
    (Wrong::Bandwidth, "H06", &[]),
    (Wrong::Torn, "H07", &["L12"]),
];

/// A server in front of another.
struct Between {
    server: Http,
    wrong: Wrong,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    asked: u64,
    /// Parts that the newest playlist of a folder lists or hints at.
    listed: HashMap<String, String>,
}

impl Between {
    async fn answer(&self, path: &str) -> Response<Full<Bytes>> {
        use Wrong::*;
        let number = {
            let mut seen = self.seen.lock().expect("nobody panics");
            seen.asked += 1;
            seen.asked
        };
        let (place, query) = path.split_once('?').unwrap_or((path, ""));
        let (folder, file) = place.rsplit_once('/').expect("a path");
        let is_list = file == "playlist.m3u8" && place.matches('/').count() == 4;
        let plain = |status: u16, text: &str| {
            let built = Response::builder().status(status);
            built.body(Full::from(text.to_owned())).expect("a response")
        };
        let asks_old = query.split('&').any(|pair| pair == "_HLS_msn=0");
        let is_reload = query.contains("_HLS_msn=");
        let ask = match self.wrong {
            PartAlone if query == "_HLS_part=0" => place,
            NoBlocking if is_list && !query.contains("_HLS_skip") => place,
            EndedWithHint if is_list => place,
            OldIsRefused if asks_old => return plain(400, "gone"),
            StallsAre500 if is_reload && !asks_old && number.is_multiple_of(7) => {
                return plain(500, "it took too long");
            }
            UnknownPartIsAPlaylist if file.starts_with("no-such-part") => {
                return plain(200, "#EXTM3U\n");
            }
            PartsGoAtOnce if file.starts_with("part_") => {
                let seen = self.seen.lock().expect("nobody panics");
                let listed = seen.listed.get(folder).map(String::as_str);
                if listed.is_some_and(|text| !text.contains(&format!("\"{file}\""))) {
                    return plain(404, "gone");
                }
                path
            }
            ListedIsGone if file.starts_with("segment_") => return plain(404, "gone"),
            _ => path,
        };
        let answer = self.server.get(ask).await;
        let kind = answer.header(header::CONTENT_TYPE).to_owned();
        let mut body = answer.body.clone();
        if answer.status.is_success() && kind.ends_with("mpegurl") {
            let text = answer.text();
            if is_list {
                let mut seen = self.seen.lock().expect("nobody panics");
                seen.listed.insert(folder.to_owned(), text.clone());
            }
            body = self.changed(&text, number, query).into();
        } else if answer.status.is_success() {
            let is_part = file.starts_with("part_");
            match self.wrong {
                // Another last byte of a picture.
                PartsOtherwise if is_part => {
                    let mut bytes = body.to_vec();
                    if let Some(last) = bytes.last_mut() {
                        *last ^= 1;
                    }
                    body = bytes.into();
                }
                Torn if file.starts_with("segment_") => {
                    body = body.slice(..body.len().saturating_sub(9));
                }
                _ => {}
            }
        }
        Response::builder()
            .status(answer.status)
            .header(header::CONTENT_TYPE, kind)
            .body(Full::from(body))
            .expect("a response")
    }

    /// A playlist with its mistake.
    fn changed(&self, text: &str, number: u64, query: &str) -> String {
        use Wrong::*;
        let mut out = String::with_capacity(text.len() + 64);
        for line in text.lines() {
            let segment = line
                .strip_prefix("segment_")
                .and_then(|rest| rest.split('.').next());
            let line = match self.wrong {
                PartsTooLong => line.replace("DURATION=0.2", "DURATION=0.3"),
                HoldBack => line.replace("PART-HOLD-BACK=0.6", "PART-HOLD-BACK=0.2"),
                NoReports if line.starts_with("#EXT-X-RENDITION-REPORT") => continue,
                DeltaOfVersion6
                    if query.contains("_HLS_skip") && line.starts_with("#EXT-X-VERSION") =>
                {
                    "#EXT-X-VERSION:6".to_owned()
                }
                TargetDuration if line.starts_with("#EXT-X-TARGETDURATION") => {
                    format!("#EXT-X-TARGETDURATION:{}", 1 + number % 2)
                }
                NamesChange if segment.is_some() => format!("{line}?{number}"),
                // Of every other segment, without a break.
                OtherMap if line.contains("_0.m4s\"") && line.starts_with("#EXT-X-PART:") => {
                    let of = line
                        .split("part_")
                        .nth(1)
                        .and_then(|rest| rest.split('_').next());
                    let of: u64 = of.and_then(|of| of.parse().ok()).unwrap_or(0);
                    let map = text.lines().find(|line| line.starts_with("#EXT-X-MAP"));
                    let map = map.unwrap_or_default().trim_end_matches('"');
                    format!("{map}?{}\"\n{line}", of % 2)
                }
                NoMap if line.starts_with("#EXT-X-MAP") => continue,
                Bandwidth => line.replace(":BANDWIDTH=", ":BANDWIDTH=1000,X-REAL="),
                _ => line.to_owned(),
            };
            writeln!(out, "{line}").expect("a string takes everything");
        }
        if self.wrong == EndedWithHint && !text.contains("#EXT-X-STREAM-INF") {
            out.push_str("#EXT-X-ENDLIST\n");
        }
        out
    }
}

/// Serves it; ends with the set.
async fn serve(between: Between, tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let between = Arc::new(between);
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let between = Arc::clone(&between);
            connections.spawn(async move {
                let service = service_fn(move |request: Request<Incoming>| {
                    let between = Arc::clone(&between);
                    async move {
                        let path = request.uri().path_and_query();
                        let path = path.map_or("/", |path| path.as_str()).to_owned();
                        Ok::<_, Infallible>(between.answer(&path).await)
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                // The client hangs up when it is done.
                drop(connection.await);
            });
        }
    });
    address
}

/// What `lockgate check hls` finds broken, and its exit code.
async fn found(server: &Http, wrong: Wrong) -> (Option<i32>, BTreeSet<String>, serde_json::Value) {
    let mut tasks = JoinSet::new();
    let between = Between {
        server: server.anew(),
        wrong,
        seen: Mutex::default(),
    };
    let address = serve(between, &mut tasks).await;
    let url = format!("http://{address}/hls/demo/playlist.m3u8");
    let (code, report) = check(&["hls", &url, "--seconds", "5"]).await;
    (code, with(&report, "fail").into_iter().collect(), report)
}

/// These say that something comes in time, which it may not where many tests share a machine.
fn is_timed(rule: &str) -> bool {
    ["L08", "L09", "H03"].contains(&rule)
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_found_and_named() {
    let server = demo(9).await;
    let (_, broken, report) = found(&server, Wrong::Nothing).await;
    assert!(broken.iter().all(|rule| is_timed(rule)), "{report:#}");
    // A few at a time: each is a player that asks ten times a second.
    let mut looked = futures_util::stream::iter(WRONGS)
        .map(|(wrong, rule, also)| {
            let server = server.anew();
            async move { (wrong, rule, also, found(&server, wrong).await) }
        })
        .buffer_unordered(4);
    let mut missed = Vec::new();
    while let Some((wrong, rule, also, (code, broken, report))) = looked.next().await {
        let is_known =
            |found: &String| found == rule || also.contains(&found.as_str()) || is_timed(found);
        if code != Some(1) || !broken.contains(rule) || !broken.iter().all(is_known) {
            let seen = report["findings"].as_array().into_iter().flatten();
            let seen: Vec<_> = seen.filter(|one| one["outcome"] != "pass").collect();
            missed.push(format!("{wrong:?}, {rule}: {code:?} {broken:?} {seen:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
}
