//! How HLS is served: from memory, to caches and slow readers; from the disk, to those who look back.

use std::{fs, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, header};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Answer, Playlist, Server, until, variants};

const CONFIG: &str = "[ladder]\nmax_quality = \"360p30\"\n[hls]\nsegment_s = 1\n";

async fn with(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = server.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server
        .send(request.body(Full::<Bytes>::default()).expect("a request"))
        .await
}

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Answer {
    with(server, Method::GET, path, headers).await
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut gunzip = std::process::Command::new("gzip")
        .arg("-dc")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("gzip is everywhere");
    let mut stdin = gunzip.stdin.take().expect("a pipe");
    std::io::Write::write_all(&mut stdin, bytes).expect("it reads");
    drop(stdin);
    gunzip.wait_with_output().expect("it ends").stdout
}

#[tokio::test]
async fn segments_and_playlists_are_made_for_caches() {
    let server = Server::start(CONFIG, &["--demo"]).await;
    variants(&server, "demo", 1).await;
    let list = Playlist::with_segments(&server, "demo", "360p30", 3).await;
    let newest = list.parsed.segments.last().expect("a segment").uri.clone();
    let path = format!("/hls/demo/360p30/{newest}");
    let whole = get(&server, &path, &[]).await;
    let tag = whole.header(header::ETAG).to_owned();
    assert!(
        tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2,
        "{tag}"
    );
    assert!(whole.header(header::CACHE_CONTROL).contains("immutable"));
    assert_eq!(whole.header(header::ACCEPT_RANGES), "bytes");
    assert_eq!(whole.header(header::ACCESS_CONTROL_ALLOW_ORIGIN), "*");
    let length = whole.body.len();

    let same = get(
        &server,
        &path,
        &[("if-none-match", &format!("\"x\", {tag}"))],
    )
    .await;
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    assert_eq!(same.header(header::ETAG), tag);
    let head = with(&server, Method::HEAD, &path, &[]).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header(header::CONTENT_LENGTH), length.to_string());

    let part = get(&server, &path, &[("range", "bytes=10-19")]).await;
    assert_eq!(part.status.as_u16(), 206);
    assert_eq!(part.body, whole.body.slice(10..20));
    assert_eq!(
        part.header(header::CONTENT_RANGE),
        format!("bytes 10-19/{length}")
    );
    let tail = get(&server, &path, &[("range", "bytes=-5"), ("if-range", &tag)]).await;
    assert_eq!(tail.body, whole.body.slice(length - 5..));
    let changed = get(
        &server,
        &path,
        &[("range", "bytes=-5"), ("if-range", "\"x\"")],
    )
    .await;
    assert_eq!((changed.status.as_u16(), changed.body.len()), (200, length));
    let beyond = get(&server, &path, &[("range", &format!("bytes={length}-"))]).await;
    beyond.problem(416);
    assert_eq!(
        beyond.header(header::CONTENT_RANGE),
        format!("bytes */{length}")
    );

    let path = "/hls/demo/playlist.m3u8";
    let plain = get(&server, path, &[]).await;
    assert_eq!(plain.header(header::CACHE_CONTROL), "no-cache");
    assert_eq!(plain.header(header::VARY), "accept-encoding");
    let packed = get(&server, path, &[("accept-encoding", "br, gzip")]).await;
    assert_eq!(packed.header(header::CONTENT_ENCODING), "gzip");
    assert_eq!(unpack(&packed.body), plain.body);
    let (one, other) = (plain.header(header::ETAG), packed.header(header::ETAG));
    assert_ne!(one, other, "two representations have two tags");
    let same = get(&server, path, &[("if-none-match", one)]).await;
    assert_eq!(same.status.as_u16(), 304);
    let refused = get(&server, path, &[("accept-encoding", "gzip;q=0")]).await;
    assert_eq!(refused.header(header::CONTENT_ENCODING), "");
}

fn rss_kb(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("VmRSS")
}

#[tokio::test]
async fn slow_readers_cost_little_and_harm_nobody() {
    let server = Server::start(CONFIG, &["--demo"]).await;
    variants(&server, "demo", 1).await;
    let list = Playlist::with_segments(&server, "demo", "360p30", 3).await;
    let uri = list.parsed.segments.last().expect("a segment").uri.clone();
    let path = format!("/hls/demo/360p30/{uri}");
    let whole = server.get(&path).await.body;
    let before = rss_kb(&server);
    // A hundred that ask for hundreds of segments each, and read nothing: 4 GB if anything was copied.
    let address = server.url("").replace("http://", "");
    let ask = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").repeat(400);
    let mut slow = Vec::new();
    for _ in 0..100 {
        let mut connection = TcpStream::connect(&address).await.expect("it listens");
        connection
            .write_all(ask.as_bytes())
            .await
            .expect("it reads");
        slow.push(connection);
    }
    // Meanwhile others are served, and what is live goes on.
    let newer = until("newer segments", Duration::from_secs(20), || async {
        let now = Playlist::fetch(&server, "demo", "360p30").await;
        let newest = now.parsed.segments.last().expect("a segment").uri.clone();
        let position = now.parsed.media_sequence > list.parsed.media_sequence + 4;
        position.then_some(newest)
    })
    .await;
    let fresh = server.get(&format!("/hls/demo/360p30/{newer}")).await;
    assert!(fresh.status.is_success() && !fresh.body.is_empty());
    let grown = rss_kb(&server).saturating_sub(before);
    assert!(grown < 100_000, "{grown} kB for a hundred slow readers");
    // They get what they asked for when they do read, although it has left the playlist.
    let mut first = slow.pop().expect("a connection");
    let mut read = vec![0; whole.len() + 2_000];
    first.read_exact(&mut read).await.expect("bytes come");
    let from = read
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head")
        + 4;
    assert!(read[from..].starts_with(&whole));
}

#[tokio::test]
async fn the_long_window_is_on_the_disk_bounded_and_gone_with_its_broadcast() {
    let config = format!("{CONFIG}window = 3\ndvr_s = 15\n");
    let server = Server::start(&config, &["--demo"]).await;
    let files = || {
        let folder = server.folder().join("data/dvr");
        let folders = fs::read_dir(folder).into_iter().flatten().flatten();
        let files =
            folders.flat_map(|one| fs::read_dir(one.path()).into_iter().flatten().flatten());
        files.count()
    };
    let long = until("a long playlist", Duration::from_secs(60), || async {
        let answer = server.get("/hls/demo/360p30/playlist.m3u8?dvr=1").await;
        let (_, list) = m3u8_rs::parse_media_playlist(&answer.body).ok()?;
        (list.segments.len() >= 12).then_some(list)
    })
    .await;
    let short = Playlist::fetch(&server, "demo", "360p30").await;
    assert_eq!(short.parsed.segments.len(), 3, "{}", short.text);
    assert!(long.segments.len() <= 20);
    // What is only on the disk is served as what is in memory: with its tag and in ranges.
    let old = format!("/hls/demo/360p30/{}", long.segments[1].uri);
    let whole = server.get(&old).await;
    assert_eq!(whole.status.as_u16(), 200);
    assert_eq!(&whole.body[4..8], b"styp");
    let part = get(&server, &old, &[("range", "bytes=4-7")]).await;
    assert_eq!((part.status.as_u16(), &part.body[..]), (206, &b"styp"[..]));
    let multivariant = server.get("/hls/demo/playlist.m3u8?dvr=1").await.text();
    assert!(
        multivariant.contains("/playlist.m3u8?dvr=1\n"),
        "{multivariant}"
    );
    // It slides.
    until("the first to go", Duration::from_secs(40), || async {
        let gone = server.get(&old).await;
        (gone.status.as_u16() == 404).then_some(())
    })
    .await;
    let kept = files();
    assert!((20..=60).contains(&kept), "{kept} files of two renditions");
    // The disk goes away under it: live goes on, and what is missing is a gap.
    let folder = server.folder().join("data/dvr");
    fs::remove_dir_all(&folder).expect("it is ours");
    fs::write(&folder, "in the way").expect("it is ours");
    until("a gap", Duration::from_secs(30), || async {
        let answer = server.get("/hls/demo/360p30/playlist.m3u8?dvr=1").await;
        answer.text().contains("#EXT-X-GAP\n").then_some(())
    })
    .await;
    let after = Playlist::fetch(&server, "demo", "360p30").await;
    assert!(!after.text.contains("#EXT-X-GAP"), "{}", after.text);
    assert!(
        server.log().contains("the long window has gaps"),
        "{}",
        server.log()
    );
    fs::remove_file(&folder).expect("it is ours");
    let admin = server.mint("admin");
    let ended = server
        .send_as(&admin, Method::DELETE, "/api/streams/demo", "")
        .await;
    assert!(ended.status.is_success(), "{}", ended.text());
    until("an empty folder", Duration::from_secs(60), || async {
        (files() == 0).then_some(())
    })
    .await;
}
