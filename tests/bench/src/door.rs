//! `door`: what being let in costs, and what others notice of those who abuse the port.

use std::{convert::Infallible, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, client::conn::http1::SendRequest, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    process,
    server::Server,
    table::{Distribution, Report, goal},
};

/// Connections that ask, each as fast as it is answered.
const ASKERS: usize = 4;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
/// Connections of an attack.
const HELD: usize = 500;
/// Streams that one connection of the flood begins and resets.
const STREAMS: usize = 10_000;
/// What a request verified may cost of an HLS segment, and what abuse of others' p99.
const SEGMENT_MOST: f64 = 1.05;
const P99_MOST: f64 = 2.0;

/// What is asked for, again and again.
#[derive(Clone)]
struct Ask {
    method: &'static str,
    address: String,
    path: String,
    token: Option<String>,
}

pub(crate) async fn measure() -> anyhow::Result<Report> {
    let film = process::bunny()?;
    let path = film.to_str().context("the path is text")?;
    let server = Server::start_with(
        &format!("[[ingest.source]]\nname = \"film\"\nurl = \"{path}\"\nloop = true\n"),
        &[],
    )
    .await?;
    let ours = server.address().to_owned();
    let bare = Bare::start().await?;
    let ask = |method, address: &str, path: &str, token: Option<&str>| Ask {
        method,
        address: address.to_owned(),
        path: path.to_owned(),
        token: token.map(str::to_owned),
    };
    let segment = segment(&server).await?;
    let token = server.token();
    let pairs = [
        (
            "verified API call, against a bare hyper handler",
            ask("GET", &bare.address, "/", None),
            ask("POST", &ours, "/api/streams/film/verify", Some(token)),
            None,
        ),
        (
            "HLS segment with a token, against without",
            ask("GET", &ours, &segment, None),
            ask("GET", &ours, &segment, Some(token)),
            Some(SEGMENT_MOST),
        ),
    ];
    let (mut rows, mut figures) = (Vec::new(), serde_json::Map::new());
    for (what, base, measured, most) in pairs {
        let (mut base_rates, mut rates) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            base_rates.push(rate(&base).await?.count() as f64 / ROUND.as_secs_f64());
            rates.push(rate(&measured).await?.count() as f64 / ROUND.as_secs_f64());
        }
        let (base_rate, rate) = (
            Distribution::new(base_rates).median(),
            Distribution::new(rates).median(),
        );
        let cost = base_rate / rate;
        rows.push(vec![
            what.to_owned(),
            format!("{base_rate:.0}/s"),
            format!("{rate:.0}/s"),
            format!("{cost:.2}×"),
            goal(cost, most),
        ]);
        figures.insert(
            what.to_owned(),
            json!({"base": base_rate, "measured": rate, "cost": cost}),
        );
    }
    let calm = ask("GET", &ours, "/livez", None);
    for attack in [Attack::Heads, Attack::Bodies, Attack::Resets] {
        let alone = rate(&calm).await?.quantile(0.99);
        let mut attackers = attack.begin(&ours, &segment).await?;
        let beside = rate(&calm).await?.quantile(0.99);
        attackers.shutdown().await;
        let times = beside / alone;
        rows.push(vec![
            format!("p99 beside {}", attack.name()),
            format!("{alone:.2} ms"),
            format!("{beside:.2} ms"),
            format!("{times:.2}×"),
            goal(times, Some(P99_MOST)),
        ]);
        figures.insert(
            attack.name().to_owned(),
            json!({"alone_ms": alone, "beside_ms": beside}),
        );
    }
    server.stop().await?;
    Ok(Report {
        title: "door: what being let in costs, and what abuse costs others",
        notes: vec![
            format!(
                "{ASKERS} connections ask in turn for {ROUND:?} each, medians of {ROUNDS} rounds; the load comes from the same machine"
            ),
            format!(
                "attacks: {HELD} half-sent heads or slow bodies, or 4 connections that begin and reset HTTP/2 streams without a pause, also again after they were cut"
            ),
        ],
        head: vec!["", "base", "measured", "ratio", "goal"],
        rows,
        figures: figures.into(),
    })
}

/// Asks for a round; how long each answer took, in ms.
async fn rate(ask: &Ask) -> anyhow::Result<Distribution> {
    let mut askers = JoinSet::new();
    for _ in 0..ASKERS {
        let ask = ask.clone();
        askers.spawn(async move {
            let mut connection = connect(&ask.address).await?;
            let (mut took, began) = (Vec::new(), Instant::now());
            while began.elapsed() < ROUND {
                let asked = Instant::now();
                let mut request = Request::builder()
                    .method(ask.method)
                    .uri(&ask.path)
                    .header("host", &ask.address);
                if let Some(token) = &ask.token {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                connection.0.ready().await?;
                let answer = connection
                    .0
                    .send_request(request.body(Full::<Bytes>::default())?);
                let answer = answer.await?;
                ensure!(
                    answer.status().is_success(),
                    "{}: {}",
                    ask.path,
                    answer.status()
                );
                answer.into_body().collect().await?;
                took.push(asked.elapsed().as_secs_f64() * 1000.0);
            }
            Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(took) = askers.join_next().await {
        all.extend(took??);
    }
    Ok(Distribution::new(all))
}

async fn connect(address: &str) -> anyhow::Result<(SendRequest<Full<Bytes>>, JoinSet<()>)> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut task = JoinSet::new();
    // It ends with its sender.
    task.spawn(async move { drop(connection.await) });
    Ok((sender, task))
}

/// A segment of the film, and its path.
async fn segment(server: &Server) -> anyhow::Result<String> {
    let text = async |path: &str| {
        let mut connection = connect(server.address()).await?;
        let request = Request::get(path).header("host", server.address());
        let answer = connection
            .0
            .send_request(request.body(Full::default())?)
            .await?;
        let body = answer.into_body().collect().await?.to_bytes();
        anyhow::Ok(String::from_utf8_lossy(&body).into_owned())
    };
    let first = |text: &str| {
        text.lines()
            .find(|line| !line.starts_with('#'))
            .map(str::to_owned)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(variant) = first(&text("/hls/film/playlist.m3u8").await?)
            && let Some((rung, _)) = variant.split_once('/')
        {
            let playlist = text(&format!("/hls/film/{variant}")).await?;
            // An initialization section stays as long as the stream; segments go.
            let init = playlist.split('"').find(|part| part.starts_with("init_"));
            if let Some(init) = init {
                return Ok(format!("/hls/film/{rung}/{init}"));
            }
        }
        ensure!(Instant::now() < deadline, "there is no HLS");
        sleep(Duration::from_millis(200)).await;
    }
}

/// A hyper server that does nothing else than to answer.
struct Bare {
    address: String,
    _task: JoinSet<()>,
}

impl Bare {
    async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let answer = service_fn(async |_| {
                        let body =
                            Bytes::from_static(b"{\"authorized\":true,\"actions\":[\"publish\"]}");
                        Ok::<_, Infallible>(Response::new(Full::new(body)))
                    });
                    let serving = hyper::server::conn::http1::Builder::new()
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), answer);
                    drop(serving.await);
                });
            }
        });
        Ok(Self {
            address,
            _task: task,
        })
    }
}

/// What somebody does to the port.
#[derive(Clone, Copy)]
enum Attack {
    Heads,
    Bodies,
    Resets,
}

impl Attack {
    fn name(self) -> &'static str {
        match self {
            Self::Heads => "half-sent heads",
            Self::Bodies => "slow bodies",
            Self::Resets => "HTTP/2 resets",
        }
    }

    /// Begins, and is under way when this returns.
    async fn begin(self, address: &str, path: &str) -> anyhow::Result<JoinSet<()>> {
        let mut attackers = JoinSet::new();
        let flood: Arc<[u8]> = flood(address, path)?.into();
        let count = if matches!(self, Self::Resets) {
            4
        } else {
            HELD
        };
        for _ in 0..count {
            let (address, flood) = (address.to_owned(), Arc::clone(&flood));
            attackers.spawn(async move {
                loop {
                    // Cut, it comes again.
                    drop(match self {
                        Self::Heads => trickle(&address, b"GET / HTTP/1.1\r\nHost: x\r\n", b"X: y\r\n").await,
                        Self::Bodies => {
                            let head = b"POST /whip/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 100000\r\n\r\n";
                            trickle(&address, head, b"v").await
                        }
                        Self::Resets => reset(&address, &flood).await,
                    });
                }
            });
        }
        sleep(Duration::from_millis(500)).await;
        Ok(attackers)
    }
}

async fn trickle(address: &str, head: &[u8], more: &[u8]) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(head).await?;
    loop {
        sleep(Duration::from_secs(1)).await;
        stream.write_all(more).await?;
    }
}

/// Sends what a flood is made of as bytes: what the attacker's own HTTP/2 costs is not ours to measure. Over when it was cut.
async fn reset(address: &str, flood: &[u8]) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await?;
    let (mut reads, mut writes) = stream.into_split();
    // What comes back is read away, so that nothing stalls on it.
    let sink = async { tokio::io::copy(&mut reads, &mut tokio::io::sink()).await };
    let send = async {
        writes.write_all(PREFACE).await?;
        writes.write_all(flood).await
    };
    tokio::try_join!(send, sink)?;
    Ok(())
}

/// The beginning of a connection: the preface and empty SETTINGS (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// Streams that are begun and reset, one after the other (RFC 9113 §6.2 and §6.4).
fn flood(address: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    // GET and http stand in HPACK's static table; path and authority follow as literals (RFC 7541 §6.2.2, Appendix A).
    let mut fields = vec![0x82, 0x86];
    for (index, text) in [(4, path), (1, address)] {
        fields.extend([index, u8::try_from(text.len()).context("a short text")?]);
        fields.extend(text.bytes());
    }
    let length = u8::try_from(fields.len()).context("one length byte")?;
    let mut bytes = Vec::new();
    for stream in (1_u32..).step_by(2).take(STREAMS) {
        bytes.extend([0, 0, length, 0x01, 0x05]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(&fields);
        bytes.extend([0, 0, 4, 0x03, 0]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(u32::from(h2::Reason::CANCEL).to_be_bytes());
    }
    Ok(bytes)
}
