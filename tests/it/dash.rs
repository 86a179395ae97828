//! DASH over the segments of HLS: a manifest that costs no encoding, segments that come while they are filled.

use std::time::Duration;

use hyper::header;

use crate::support::{Answer, Playlist, Server, fixture, probe, until, variants};

const CONFIG: &str = "[ladder]\nmax_quality = \"360p30\"\n[hls]\nsegment_s = 1\n";

async fn manifest(server: &Server, name: &str) -> String {
    let path = format!("/dash/{name}/manifest.mpd");
    let answer = until("a manifest", Duration::from_secs(60), || async {
        let answer = server.get(&path).await;
        answer.status.is_success().then_some(answer)
    })
    .await;
    assert_eq!(answer.header(header::CONTENT_TYPE), "application/dash+xml");
    answer.text()
}

/// A Representation of the newest Period.
struct Representation<'a>(&'a str);

impl<'a> Representation<'a> {
    fn all(manifest: &'a str) -> Vec<Self> {
        let newest = manifest.rsplit("<Period ").next().expect("a period");
        newest.split("<Representation ").skip(1).map(Self).collect()
    }

    fn value(&self, name: &str) -> &'a str {
        let rest = self.0.split_once(&format!("{name}=\""));
        let value = rest.and_then(|(_, rest)| rest.split('"').next());
        value.unwrap_or_else(|| panic!("no {name}: {}", self.0))
    }

    fn id(&self) -> &'a str {
        self.value("id")
    }

    fn path(&self, name: &str) -> String {
        self.value(name).replace("../../", "/")
    }

    fn first(&self) -> u64 {
        self.value("startNumber").parse().expect("a number")
    }
}

#[tokio::test]
async fn a_manifest_and_the_playlists_name_the_same_segments() {
    let server = Server::start(CONFIG, &["--demo"]).await;
    let text = manifest(&server, "demo").await;
    for part in ["type=\"dynamic\"", "<UTCTiming", "<Latency target="] {
        assert!(text.contains(part), "{text}");
    }
    let all = Representation::all(&text);
    let ids: Vec<&str> = all.iter().map(Representation::id).collect();
    assert_eq!(ids, ["360p30", "aac"]);
    for one in all {
        let init = one.path("initialization");
        assert!(server.get(&init).await.status.is_success(), "{init}");
        let playlist = Playlist::with_segments(&server, "demo", one.id(), 2).await;
        // The number of a segment is that of the cell in which it starts.
        let timeline: i64 = one.value("duration").parse().expect("a duration");
        assert_eq!(timeline, 90_000);
        let (number, ..) = playlist.segments()[1];
        assert!(number > one.first() && number < one.first() + 600);
        let media = one.path("media").replace("$Number$", &number.to_string());
        let segment = server.get(&media).await;
        assert!(segment.status.is_success(), "{media}");
        let fragment = first_decode_90k(&segment, one.id());
        let offset: i64 = one.value("presentationTimeOffset").parse().expect("ticks");
        let nominal = i64::try_from(number - one.first()).expect("a few") * timeline;
        let off = fragment - offset - nominal;
        assert!((-3_000..3_000).contains(&off), "{media}: {off} of 90000");
    }
    let clock = server.get("/dash/time").await.text();
    assert!(clock.starts_with("20") && clock.ends_with('Z'), "{clock}");
    server.get("/dash/nobody/manifest.mpd").await.problem(404);
}

/// The decoding time of the first fragment, in 1/90000 s.
fn first_decode_90k(answer: &Answer, track: &str) -> i64 {
    let body = &answer.body;
    let at = body.windows(4).position(|four| four == b"tfdt");
    let content = &body[at.expect("a tfdt") + 4..];
    let time = match content[0] {
        1 => u64::from_be_bytes(content[4..12].try_into().expect("eight bytes")),
        _ => u32::from_be_bytes(content[4..8].try_into().expect("four bytes")).into(),
    };
    let time = i64::try_from(time).expect("a time");
    if track == "aac" {
        time * 90_000 / 48_000
    } else {
        time
    }
}

#[tokio::test]
async fn a_segment_comes_while_it_is_filled_and_is_what_it_becomes() {
    let server = Server::start(CONFIG, &["--demo"]).await;
    server.running("demo").await;
    let folder = "/hls/demo/360p30";
    let mut next = {
        let playlist = Playlist::with_segments(&server, "demo", "360p30", 2).await;
        playlist.segments().last().expect("a segment").0 + 1
    };
    for ahead in [0, 1, 0] {
        // The one that is being filled, and the one after it, which has not begun.
        next += ahead;
        let path = format!("{folder}/segment_{next}.m4s");
        let growing = server.get(&path).await;
        assert_eq!(growing.status.as_u16(), 200, "{path}");
        let whole = server.get(&path).await;
        assert_eq!(growing.body, whole.body, "{path}");
        assert_eq!(
            whole.header(header::CONTENT_LENGTH),
            whole.body.len().to_string()
        );
        assert!(whole.header(header::ETAG).starts_with('"'));
        // Nobody knows how long it becomes; a cache that it does not reach whole sees that.
        assert_eq!(growing.header(header::CONTENT_LENGTH), "");
        assert_eq!(growing.header(header::ETAG), "");
        next += 1;
    }
    let far = format!("{folder}/segment_{}.m4s", next + 20);
    server.get(&far).await.problem(404);
    // Its end comes before it: the body is not a whole one.
    let path = format!("{folder}/segment_{}.m4s", next + 1);
    let (_, ended) = tokio::join!(server.get(&path), async {
        let admin = server.mint("admin");
        server
            .send_as(&admin, hyper::Method::DELETE, "/api/streams/demo", "")
            .await
    });
    assert!(ended.status.is_success(), "{}", ended.text());
}

#[tokio::test]
async fn who_reads_a_manifest_starts_only_the_rungs_whose_segments_it_fetches() {
    let source = format!(
        "[[ingest.source]]\nname = \"bunny\"\nurl = \"{}\"\nloop = true\n[hls]\nkeep_alive_s = 5\n",
        fixture("bigbuckbunny.mp4").display()
    );
    let server = Server::start(&source, &[]).await;
    server.running("bunny").await;
    variants(&server, "bunny", 3).await;
    let read = || async {
        let stream = server.stream("bunny").await;
        let tracks = stream["tracks"].as_array().cloned().unwrap_or_default();
        let read = tracks.iter().filter(|track| {
            track["kind"] == "video" && track["readers"].as_u64().is_some_and(|count| count > 0)
        });
        read.filter_map(|track| Some(track["id"].as_str()?.to_owned()))
            .collect::<Vec<_>>()
    };
    until("all to rest", Duration::from_secs(60), || async {
        read().await.is_empty().then_some(())
    })
    .await;
    // Whoever reads the manifest alone has one rendition packaged, whatever the number of times.
    let mut seen = String::new();
    for _ in 0..12 {
        seen = manifest(&server, "bunny").await;
        assert!(read().await.len() <= 1, "{:?}", read().await);
    }
    let clock = read().await;
    let all = Representation::all(&seen);
    let videos: Vec<_> = all.iter().filter(|one| one.id() != "aac").collect();
    assert!(videos.len() >= 3, "{seen}");
    let cold = videos
        .iter()
        .find(|one| one.id() != "source" && !clock.contains(&one.id().to_owned()))
        .expect("a rung that rests");
    assert!(!read().await.contains(&cold.id().to_owned()));
    // What it starts with is there before it does; whoever fetches that begins it.
    let init = server.get(&cold.path("initialization")).await;
    assert!(init.status.is_success(), "{}", init.text());
    let number = until("the rung to begin", Duration::from_secs(60), || async {
        let now = manifest(&server, "bunny").await;
        let all = Representation::all(&now);
        let one = all.iter().find(|one| one.id() == cold.id())?;
        let entries = now.matches("<S ").count();
        let number = match entries {
            0 => {
                let newest = &clock[0];
                let playlist = Playlist::with_segments(&server, "bunny", newest, 1).await;
                playlist.segments().last()?.0 + 1
            }
            _ => one.first(),
        };
        let path = cold.path("media").replace("$Number$", &number.to_string());
        // It may have begun in the segment after.
        let segment = server.get(&path).await;
        segment.status.is_success().then_some((number, segment))
    })
    .await;
    let (number, segment) = number;
    assert!(read().await.contains(&cold.id().to_owned()));
    let after = cold
        .path("media")
        .replace("$Number$", &(number + 1).to_string());
    let after = server.get(&after).await;
    assert!(after.status.is_success(), "{}", after.text());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("begun.mp4");
    std::fs::write(&file, [init.body, segment.body, after.body].concat()).expect("a file");
    let seen = probe(file.to_str().expect("the path is text")).await;
    let height = seen["streams"][0]["height"].as_u64();
    assert_eq!(
        height.map(|height| height.to_string()).as_deref(),
        Some(cold.value("height")),
        "{seen}"
    );
}
