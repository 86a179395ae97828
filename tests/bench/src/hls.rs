//! `hls`: serving a broadcast's segments, against nginx serving the same bytes from memory (tmpfs) to the same client on
//! the same core; and ten thousand players that wait for the next part.

use std::{fs, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Child,
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::{
    process::{self, Held},
    server::Server,
    table::{Distribution, Report},
};

const RUNG: &str = "720p60";
/// Connections that ask for one segment after the other.
const READERS: usize = 8;
const ROUND: Duration = Duration::from_secs(4);
const ROUNDS: usize = 3;
/// Segments that are asked for in turn.
const SEGMENTS: usize = 4;
/// Broadcasts that are begun.
const PUBLISHED: usize = 5;
const PUBLISH: &str = "-re -f lavfi -i testsrc2=size=640x360:rate=30 -re -f lavfi -i sine=sample_rate=48000 -c:v libx264 \
    -preset ultrafast -tune zerolatency -g 30 -keyint_min 30 -sc_threshold 0 -b:v 400k -pix_fmt yuv420p -c:a aac -f flv";
/// Players that wait.
const WAITING: usize = 10_000;
const WAVES: usize = 5;
/// One end of every connection, and what else is open; the server inherits it.
const FILES: usize = WAITING + 2_000;

pub(crate) async fn measure() -> anyhow::Result<Vec<Report>> {
    // Before this process keeps to one core, which its children would, too.
    let (playable, edge) = (first_playable().await?, live_edge().await?);
    let us = std::process::id().to_string();
    let files = format!("--nofile={FILES}:{FILES}");
    process::output(process::command("prlimit").args(["--pid", &us, &files])).await?;
    let connections = format!("http.connections_max={}", 2 * WAITING);
    let config = format!("[ladder]\nmax_quality = \"{RUNG}\"\n[hls]\nwindow = 64\n");
    let server = Server::start_with(&config, &["--demo", "--set", &connections]).await?;
    let path = format!("/hls/demo/{RUNG}");
    listed(&server, &path).await?;
    let reload = reload(&server, &path).await?;
    // What is asked for over and over is to stay: the newest, in a window that is longer than the rounds take together.
    let segments = listed(&server, &path).await?;
    let newest = &segments[segments.len() - SEGMENTS..];
    // The encoder rests: what is measured is serving.
    rest(&server, true).await?;
    let against = against_nginx(&server, &path, newest).await;
    rest(&server, false).await?;
    server.stop().await?;
    Ok(vec![against?, reload, playable, edge])
}

/// The names of the whole segments of a rendition, once there are a few.
async fn listed(server: &Server, path: &str) -> anyhow::Result<Vec<String>> {
    let end = Instant::now() + Duration::from_secs(60);
    loop {
        let list = get(server.address(), &format!("{path}/playlist.m3u8")).await;
        let names: Vec<String> = list
            .unwrap_or_default()
            .lines()
            .filter(|line| line.starts_with("segment_"))
            .map(str::to_owned)
            .collect();
        if names.len() >= SEGMENTS {
            return Ok(names);
        }
        ensure!(Instant::now() < end, "{path} has no {SEGMENTS} segments");
        sleep(Duration::from_millis(500)).await;
    }
}

/// From the start of FFmpeg, which publishes by RTMP, to the first part that a player has.
async fn first_playable() -> anyhow::Result<Report> {
    let server = Server::start_with("[ingest.rtmp]\nlisten = \"127.0.0.1:0\"\n", &[]).await?;
    let mut lasted = Vec::new();
    for round in 0..PUBLISHED {
        let name = format!("live{round}");
        let url = format!(
            "{}/live/{name}?token={}",
            server.ready("rtmp")?,
            server.token()
        );
        let began = Instant::now();
        let mut publisher = process::ffmpeg(&format!("{PUBLISH} {url}")).spawn()?;
        let end = began + Duration::from_secs(30);
        let path = format!("/hls/{name}");
        loop {
            if let Some(part) = first_part(server.address(), &path).await
                && fetch(server.address(), &part).await.is_ok()
            {
                break;
            }
            ensure!(Instant::now() < end, "{name}: nothing to play in 30 s");
            sleep(Duration::from_millis(20)).await;
        }
        lasted.push(began.elapsed().as_secs_f64());
        publisher.kill().await?;
    }
    server.stop().await?;
    let lasted = Distribution::new(lasted);
    let (middle, most) = (lasted.median(), lasted.quantile(1.0));
    Ok(Report {
        title: "From publishing to the first part that plays",
        notes: vec![format!(
            "FFmpeg's own start and its RTMP included; keyframes every second, passed through; {PUBLISHED} times"
        )],
        head: vec!["", "median s", "most s"],
        rows: vec![vec![
            "RTMP to HLS".to_owned(),
            format!("{middle:.2}"),
            format!("{most:.2}"),
        ]],
        figures: json!({ "first_playable": { "median_s": middle, "most_s": most } }),
    })
}

/// The path of a part that the first variant lists.
async fn first_part(address: &str, path: &str) -> Option<String> {
    let variants = get(address, &format!("{path}/playlist.m3u8")).await.ok()?;
    let variant = variants
        .lines()
        .find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let list = get(address, &format!("{path}/{variant}")).await.ok()?;
    let (_, part) = list.split_once("#EXT-X-PART:")?;
    let (_, uri) = part.lines().next()?.split_once("URI=\"")?;
    let (uri, _) = uri.split_once('"')?;
    let (folder, _) = variant.rsplit_once('/')?;
    Some(format!("{path}/{folder}/{uri}"))
}

/// How far hls.js, in a real browser, stays behind the pictures' own clock.
async fn live_edge() -> anyhow::Result<Report> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../browser/edge.js");
    let mut command = process::command("node");
    command.arg(script).env("LOCKGATE_BIN", process::server()?);
    let printed = process::output(&mut command).await?;
    let seen: serde_json::Value = serde_json::from_str(&printed)?;
    let figure = |key: &str| seen[key].as_f64().unwrap_or(f64::NAN);
    Ok(Report {
        title: "Live edge distance in hls.js",
        notes: vec![
            "low-latency mode, parts of 200 ms; against the time at which pictures were made"
                .to_owned(),
        ],
        head: vec!["", "median s", "most s"],
        rows: vec![vec![
            "behind live".to_owned(),
            format!("{:.2}", figure("median_s")),
            format!("{:.2}", figure("most_s")),
        ]],
        figures: json!({ "live_edge": seen }),
    })
}

/// nginx on a port of its own; it is killed when this is dropped.
struct Nginx {
    child: Child,
    address: String,
    folder: PathBuf,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Nginx {
    async fn start(files: &[(String, Vec<u8>)]) -> anyhow::Result<Self> {
        let folder =
            PathBuf::from("/dev/shm").join(format!("lockgate-bench-{}", std::process::id()));
        fs::create_dir_all(folder.join("www"))?;
        for (name, bytes) in files {
            fs::write(folder.join("www").join(name), bytes)?;
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")?
            .local_addr()?
            .port();
        let at = folder.display();
        let config = format!(
            "daemon off; worker_processes 1; pid {at}/pid; error_log {at}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{ access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000;\n\
             client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u;\n\
             scgi_temp_path {at}/s; open_file_cache max=100;\n\
             server {{ listen 127.0.0.1:{port}; root {at}/www; }} }}\n"
        );
        fs::write(folder.join("nginx.conf"), config)?;
        let mut child = process::command("nginx")
            .arg("-c")
            .arg(folder.join("nginx.conf"))
            .stderr(Stdio::null())
            .spawn()
            .context("nginx cannot be started; `make bench` installs it")?;
        let address = format!("127.0.0.1:{port}");
        while TcpStream::connect(&address).await.is_err() {
            ensure!(
                child.try_wait()?.is_none(),
                "nginx ended: see its configuration"
            );
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            child,
            address,
            folder,
        })
    }
}

async fn against_nginx(server: &Server, path: &str, segments: &[String]) -> anyhow::Result<Report> {
    let mut files = Vec::new();
    for name in segments {
        let bytes = fetch(server.address(), &format!("{path}/{name}")).await?;
        files.push((name.clone(), bytes));
    }
    let nginx = Nginx::start(&files).await?;
    let master = nginx.child.id().context("nginx has ended")?;
    let workers =
        process::output(process::command("pgrep").args(["-P", &master.to_string()])).await?;
    let last = std::thread::available_parallelism()?.get() - 1;
    // Servers on the first core, the client on the last; on one core they share it, alike.
    for pid in workers
        .split_whitespace()
        .chain([server.pid()?.to_string().as_str()])
    {
        pin(pid, 0).await?;
    }
    pin(&std::process::id().to_string(), last).await?;
    let of_segments = |base: &str| -> Arc<[String]> {
        segments
            .iter()
            .map(|name| format!("{base}/{name}"))
            .collect()
    };
    let (ours, theirs) = (of_segments(path), of_segments(""));
    let mut rows = Vec::new();
    let mut figures = serde_json::Map::new();
    for what in ["segments", "parts"] {
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let (ours, theirs) = if what == "segments" {
                (Arc::clone(&ours), Arc::clone(&theirs))
            } else {
                // Parts go soon: the newest, as it is now.
                let newest = newest_part(server, path).await?;
                let bytes = fetch(server.address(), &newest).await?;
                // nginx keeps what it knows of a file: another name for each.
                let name = format!("part{round}.m4s");
                fs::write(nginx.folder.join("www").join(&name), bytes)?;
                ([newest].into(), [format!("/{name}")].into())
            };
            own.push(load(server.address(), &ours).await?);
            other.push(load(&nginx.address, &theirs).await?);
        }
        let middle = |rounds: &[Load], of: fn(&Load) -> f64| {
            Distribution::new(rounds.iter().map(of).collect()).median()
        };
        let row = |who: &str, rounds: &[Load]| {
            vec![
                format!("{what}, {who}"),
                format!("{:.0}", middle(rounds, Load::per_second)),
                format!("{:.2}", middle(rounds, Load::gbit_per_second)),
            ]
        };
        let ratio = middle(&own, Load::gbit_per_second) / middle(&other, Load::gbit_per_second);
        let mut first = row("Lockgate", &own);
        first.push(format!("{ratio:.2}"));
        let mut second = row("nginx", &other);
        second.push(String::new());
        rows.extend([first, second]);
        figures.insert(
            what.to_owned(),
            json!({
                "per_second": middle(&own, Load::per_second),
                "gbit_per_second": middle(&own, Load::gbit_per_second),
                "nginx_per_second": middle(&other, Load::per_second),
                "nginx_gbit_per_second": middle(&other, Load::gbit_per_second),
                "ratio": ratio,
            }),
        );
    }
    let bytes = files.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() / files.len();
    Ok(Report {
        title: "HLS served, against nginx from tmpfs",
        notes: vec![
            format!("{READERS} connections kept alive, {bytes} bytes a segment; medians of {ROUNDS} rounds in turn"),
            "the server on one core, the client on another; nginx 1 worker, sendfile; goal: a ratio of 1.0 or more".to_owned(),
        ],
        head: vec!["", "per s", "Gbit/s", "ratio"],
        rows,
        figures: json!({ "against_nginx": figures }),
    })
}

/// Lets the encoder go on until there is another part, and rest again.
async fn newest_part(server: &Server, path: &str) -> anyhow::Result<String> {
    let last = async || {
        let list = get(server.address(), &format!("{path}/playlist.m3u8")).await?;
        let mut uris = list.lines().filter(|line| line.starts_with("#EXT-X-PART:"));
        let uri = uris.next_back().and_then(|line| line.split('"').nth(1));
        anyhow::Ok(uri.map(|uri| format!("{path}/{uri}")))
    };
    let (before, end) = (last().await?, Instant::now() + Duration::from_secs(20));
    rest(server, false).await?;
    let newest = loop {
        if let Some(newest) = last()
            .await?
            .filter(|newest| Some(newest) != before.as_ref())
        {
            break newest;
        }
        ensure!(Instant::now() < end, "{path}: no part came");
        sleep(Duration::from_millis(50)).await;
    };
    rest(server, true).await?;
    Ok(newest)
}

/// Stops the encoder, or lets it go on.
async fn rest(server: &Server, rests: bool) -> anyhow::Result<()> {
    let worker = server.worker("demo").await?.to_string();
    let signal = if rests { "-STOP" } else { "-CONT" };
    process::output(process::command("kill").args([signal, &worker])).await?;
    Ok(())
}

async fn pin(pid: &str, core: usize) -> anyhow::Result<()> {
    let core = core.to_string();
    process::output(process::command("taskset").args(["-acp", &core, pid])).await?;
    Ok(())
}

struct Load {
    count: u64,
    bytes: u64,
    lasted: Duration,
}

impl Load {
    fn per_second(&self) -> f64 {
        self.count as f64 / self.lasted.as_secs_f64()
    }

    fn gbit_per_second(&self) -> f64 {
        self.bytes as f64 * 8.0 / 1e9 / self.lasted.as_secs_f64()
    }
}

/// Asks for these paths in turn over some connections for a round.
async fn load(address: &str, paths: &Arc<[String]>) -> anyhow::Result<Load> {
    let began = Instant::now();
    let mut readers = JoinSet::new();
    for reader in 0..READERS {
        let (address, paths) = (address.to_owned(), Arc::clone(paths));
        readers.spawn(async move {
            let mut connection = Connection::open(&address).await?;
            let (mut count, mut bytes) = (0, 0);
            for path in paths.iter().cycle().skip(reader) {
                if began.elapsed() > ROUND {
                    break;
                }
                bytes += connection.get(path, None).await?;
                count += 1;
            }
            anyhow::Ok((count, bytes))
        });
    }
    let mut load = Load {
        count: 0,
        bytes: 0,
        lasted: Duration::ZERO,
    };
    while let Some(done) = readers.join_next().await {
        let (count, bytes) = done??;
        load.count += count;
        load.bytes += bytes;
    }
    load.lasted = began.elapsed();
    Ok(load)
}

/// HTTP/1.1 by hand: the client must cost little.
struct Connection {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            host: address.to_owned(),
            buffer: vec![0; 256 << 10],
        })
    }

    /// Reads a response whole, and keeps its body if it is wanted. Returns the body's length.
    async fn get(&mut self, path: &str, keep: Option<&mut Vec<u8>>) -> anyhow::Result<u64> {
        self.ask(path).await?;
        self.answer(path, keep).await
    }

    async fn ask(&mut self, path: &str) -> anyhow::Result<()> {
        let ask = format!("GET {path} HTTP/1.1\r\nhost: {}\r\n\r\n", self.host);
        self.stream.write_all(ask.as_bytes()).await?;
        Ok(())
    }

    async fn answer(&mut self, path: &str, mut keep: Option<&mut Vec<u8>>) -> anyhow::Result<u64> {
        let mut filled = 0;
        let (head, length) = loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            ensure!(read > 0, "{path}: the connection ended");
            filled += read;
            let end = self.buffer[..filled]
                .windows(4)
                .position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head = std::str::from_utf8(&self.buffer[..end])?.to_ascii_lowercase();
                ensure!(head.starts_with("http/1.1 200"), "{path}: {head}");
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "));
                let length: u64 = length.context("no content-length")?.trim().parse()?;
                break (end + 4, length);
            }
            ensure!(filled < self.buffer.len(), "{path}: the head has no end");
        };
        if let Some(keep) = keep.as_deref_mut() {
            keep.extend_from_slice(&self.buffer[head..filled]);
        }
        let mut left = length - (filled - head) as u64;
        while left > 0 {
            let most = self.buffer.len().min(usize::try_from(left)?);
            let read = self.stream.read(&mut self.buffer[..most]).await?;
            ensure!(read > 0, "{path}: the connection ended");
            if let Some(keep) = keep.as_deref_mut() {
                keep.extend_from_slice(&self.buffer[..read]);
            }
            left -= read as u64;
        }
        Ok(length)
    }
}

async fn fetch(address: &str, path: &str) -> anyhow::Result<Vec<u8>> {
    let mut body = Vec::new();
    let mut connection = Connection::open(address).await?;
    connection.get(path, Some(&mut body)).await?;
    Ok(body)
}

async fn get(address: &str, path: &str) -> anyhow::Result<String> {
    Ok(String::from_utf8(fetch(address, path).await?)?)
}

/// Ten thousand that wait for the same part, some parts ahead; how long after the first the others have it.
async fn reload(server: &Server, path: &str) -> anyhow::Result<Report> {
    let before = Held::of(server.pid()?)?;
    let mut players = Vec::with_capacity(WAITING);
    for _ in 0..WAITING {
        let mut player = Connection::open(server.address()).await?;
        // A playlist is small, and so are ten thousand of them.
        player.buffer = vec![0; 8 << 10];
        players.push(player);
    }
    sleep(Duration::from_secs(2)).await;
    let open = Held::of(server.pid()?)?;
    let (mut after_first_ms, mut waiting_kb) = (Vec::new(), 0);
    for _ in 0..WAVES {
        let list = get(server.address(), &format!("{path}/playlist.m3u8")).await?;
        let last = list
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("segment_"));
        let last: u64 = last
            .context("a segment")?
            .trim_end_matches(".m4s")
            .parse()?;
        // The segment after the next, so that all have asked before it comes.
        let ask = format!("{path}/playlist.m3u8?_HLS_msn={}&_HLS_part=0", last + 2);
        let mut waiting = JoinSet::new();
        for mut player in players.drain(..) {
            player.ask(&ask).await?;
            let ask = ask.clone();
            waiting.spawn(async move {
                player.answer(&ask, None).await?;
                anyhow::Ok((player, Instant::now()))
            });
        }
        waiting_kb = waiting_kb.max(Held::of(server.pid()?)?.rss_kb);
        let mut woken = Vec::with_capacity(WAITING);
        while let Some(done) = waiting.join_next().await {
            let (player, at) = done??;
            players.push(player);
            woken.push(at);
        }
        let first = woken.iter().min().copied().context("somebody waited")?;
        after_first_ms.extend(woken.iter().map(|at| (*at - first).as_secs_f64() * 1_000.0));
    }
    drop(players);
    let spread = Distribution::new(after_first_ms);
    let each = |kb: u64| kb.saturating_sub(before.rss_kb) as f64 / WAITING as f64;
    let (p50, p99, most) = (spread.median(), spread.quantile(0.99), spread.quantile(1.0));
    Ok(Report {
        title: "Blocked playlist reloads",
        notes: vec![
            format!(
                "{WAITING} connections wait for the same part, {WAVES} times; ms after the first of them has its playlist"
            ),
            "the client, on the same machine, takes its share of the time".to_owned(),
        ],
        head: vec![
            "",
            "p50 ms",
            "p99 ms",
            "most ms",
            "kB each, open",
            "kB each, waiting",
        ],
        rows: vec![vec![
            "woken".to_owned(),
            format!("{p50:.1}"),
            format!("{p99:.1}"),
            format!("{most:.1}"),
            format!("{:.1}", each(open.rss_kb)),
            format!("{:.1}", each(waiting_kb)),
        ]],
        figures: json!({ "reload": {
            "waiting": WAITING, "p50_ms": p50, "p99_ms": p99, "most_ms": most,
            "open_kb_each": each(open.rss_kb), "waiting_kb_each": each(waiting_kb),
        } }),
    })
}
