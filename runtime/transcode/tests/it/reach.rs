//! Sources on the network: what they lead to is opened only where the operator allows it.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use lockgate_ports::transcoder::{Input, Plan};

use crate::support::*;

/// A web server: each path with its answer, and how often anything was asked.
struct Web {
    at: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Web {
    fn start(answers: impl Fn(&str, SocketAddr) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                count.fetch_add(1, Ordering::SeqCst);
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head);
                let path = head.split(' ').nth(1).unwrap_or_default();
                let answer = answers(path, at).unwrap_or_else(|| {
                    b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                        .to_vec()
                });
                stream.write_all(&answer).ok();
            }
        });
        Self { at, asked }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at)
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn body(kind: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        bytes.len()
    );
    [head.as_bytes(), bytes].concat()
}

fn moved(to: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

fn playlist(uri: &str) -> Vec<u8> {
    let text = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:2,\n{uri}\n#EXT-X-ENDLIST\n"
    );
    body("application/vnd.apple.mpegurl", text.as_bytes())
}

fn film() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let picture = "testsrc2=size=320x180:rate=25:duration=2";
    let args = [
        "-f",
        "lavfi",
        "-i",
        picture,
        "-c:v",
        "libx264",
        "-preset",
        "ultrafast",
        "-g",
        "25",
        "-pix_fmt",
        "yuv420p",
    ];
    std::fs::read(ffmpeg(folder.path(), "film.ts", &args)).unwrap()
}

fn pull(
    url: &str,
    hosts: &[&str],
) -> (
    lockgate_broadcast::Broadcast,
    Arc<dyn lockgate_ports::Transcode>,
) {
    let input = Input::Url {
        url: url.to_owned(),
        looped: true,
    };
    let plan = Plan {
        rungs: vec![rung("144p30", 256, 144, 30, 150)],
        passthrough: false,
    };
    let mut job = job(input, plan);
    let protocols = ["file", "http", "https", "tcp", "tls", "crypto"];
    job.settings.protocols = protocols.map(str::to_owned).to_vec();
    job.settings.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    start(job)
}

#[tokio::test]
async fn a_redirect_or_a_playlist_leads_only_where_the_operator_allows() {
    let film = Arc::new(film());
    let served = Arc::clone(&film);
    let inner =
        Web::start(move |path, _| (path == "/film.ts").then(|| body("video/mp2t", &served)));
    let inner_at = inner.at;
    let outer = Web::start(move |path, at| match path {
        "/film.ts" => Some(body("video/mp2t", &film)),
        "/moved" => Some(moved(&format!("http://{inner_at}/film.ts"))),
        "/named" => Some(moved(&format!(
            "http://localhost:{}/film.ts",
            inner_at.port()
        ))),
        "/twice" => Some(moved(&format!("http://{at}/moved"))),
        "/list.m3u8" => Some(playlist(&format!("http://{inner_at}/film.ts"))),
        "/file.m3u8" => Some(playlist("file:///etc/passwd")),
        "/own.m3u8" => Some(playlist("film.ts")),
        _ => None,
    });
    for path in ["/moved", "/named", "/twice", "/list.m3u8"] {
        let (broadcast, transcode) = pull(&outer.url(path), &["public"]);
        let status = status(&transcode, path, |status| status.error.is_some()).await;
        let error = status.error.unwrap();
        let refused = format!("refused to connect to 127.0.0.1:{}", inner_at.port());
        // A name may be tried at its other address last.
        let by_name = format!("refused to connect to [::1]:{}", inner_at.port());
        assert!(
            error.contains(&refused) || error.contains(&by_name),
            "{path}: {error}"
        );
        assert!(broadcast.tracks().is_empty());
    }
    let (_, transcode) = pull(&outer.url("/file.m3u8"), &["public", "private"]);
    status(&transcode, "a file to be refused", |status| {
        status.error.is_some()
    })
    .await;
    assert_eq!(inner.asked(), 0, "somebody was reached");
    // The host that the operator wrote is allowed, and so is all that stands in ingest.hosts.
    for (path, hosts) in [
        ("/film.ts", &["public"][..]),
        ("/own.m3u8", &["public"][..]),
        ("/moved", &["127.0.0.0/8"][..]),
        ("/list.m3u8", &["localhost"][..]),
        ("/named", &["public", "private"][..]),
    ] {
        let (broadcast, transcode) = pull(&outer.url(path), hosts);
        let mut video = reader(&broadcast, "144p30").await;
        let units = read_for(&mut video, 45_000).await;
        assert_rising(&units);
        assert_eq!(transcode.status().borrow().error, None, "{path}");
    }
}
