//! What sources do wrong. Each fault is made with FFmpeg, published over SRT or RTMP, and what comes out is played.

use std::{path::Path, time::Duration};

use m3u8_rs::MediaSegment;

use crate::{
    ingest::PORTS,
    support::{Over, Playlist, Sender, Server, ffmpeg_5, make_media, probe, until, variants},
};

/// A fault, and what must come of it.
struct Sin {
    name: &'static str,
    over: Over,
    /// FFmpeg's arguments that make the files `a` and, if there is one, `b`.
    files: [&'static str; 2],
    /// How they are sent: FFmpeg's arguments between the input and the output.
    send: &'static str,
    /// Discontinuities that there may be: no more than needed.
    breaks_max: usize,
    /// Segments that there may be nothing for: only where the source has to be opened anew.
    gaps_max: usize,
    video: bool,
    audio: bool,
}

const VIDEO: &str = "-f lavfi -i testsrc2=size=320x180:rate=25";
const TONE: &str = "-f lavfi -i sine=sample_rate=48000";
const X264: &str = "-c:v libx264 -preset ultrafast -b:v 200k -pix_fmt yuv420p -c:a aac";

const SINS: [Sin; 13] = [
    Sin {
        name: "b-frames",
        over: Over::Rtmp,
        files: ["-t 14 V T X -bf 3 -g 25", ""],
        send: "-c copy",
        breaks_max: 0,
        gaps_max: 0,
        video: true,
        audio: true,
    },
    Sin {
        name: "jump-on",
        over: Over::Srt,
        files: [
            "-t 6 V T X -g 25",
            "-t 8 V T X -g 25 -output_ts_offset 3000",
        ],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 0,
        video: true,
        audio: true,
    },
    Sin {
        name: "jump-back",
        over: Over::Srt,
        files: [
            "-t 6 V T X -g 25 -output_ts_offset 3000",
            "-t 8 V T X -g 25",
        ],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 0,
        video: true,
        audio: true,
    },
    // An encoder that is started anew with B-frames, of which it said nothing at first.
    Sin {
        name: "b-frames-later",
        over: Over::Srt,
        files: [
            "-t 6 V T X -g 25 -x264-params bframes=0",
            "-t 8 V T X -bf 3 -g 25 -output_ts_offset 6",
        ],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 0,
        video: true,
        audio: true,
    },
    // The 33 bits of MPEG-TS end 4 s into it.
    Sin {
        name: "wrap",
        over: Over::Srt,
        files: ["-t 14 V T X -g 25 -output_ts_offset 95439.7", ""],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 0,
        video: true,
        audio: true,
    },
    Sin {
        name: "hours",
        over: Over::Rtmp,
        files: ["-t 14 V T X -g 25", ""],
        send: "-c copy -output_ts_offset 36000",
        breaks_max: 0,
        gaps_max: 0,
        video: true,
        audio: true,
    },
    Sin {
        name: "size",
        over: Over::Srt,
        files: [
            "-t 6 V T X -g 25",
            "-t 8 -f lavfi -i testsrc2=size=640x360:rate=25 T X -g 25",
        ],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 0,
        video: true,
        audio: true,
    },
    Sin {
        name: "codec",
        over: Over::Srt,
        files: [
            "-t 6 V T X -g 25",
            "-t 9 V T -c:v mpeg2video -b:v 400k -g 12 -c:a aac",
        ],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 1,
        video: true,
        audio: true,
    },
    Sin {
        name: "late-audio",
        over: Over::Srt,
        files: ["-t 5 V X -g 25", "-t 10 V T X -g 25"],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 1,
        video: true,
        audio: true,
    },
    Sin {
        name: "no-audio",
        over: Over::Rtmp,
        files: ["-t 14 V X -g 25", ""],
        send: "-c copy",
        breaks_max: 0,
        gaps_max: 0,
        video: true,
        audio: false,
    },
    Sin {
        name: "no-video",
        over: Over::Rtmp,
        files: ["-t 14 T -c:a aac", ""],
        send: "-c copy",
        breaks_max: 0,
        gaps_max: 0,
        video: false,
        audio: true,
    },
    Sin {
        name: "vfr",
        over: Over::Rtmp,
        files: [
            "-t 14 V T X -g 50 -vf select='not(mod(n,7))+not(mod(n,5))' -vsync vfr",
            "",
        ],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 0,
        video: true,
        audio: true,
    },
    // One IDR picture at first, then open GOPs, whose first pictures refer to what was before.
    Sin {
        name: "open-gop",
        over: Over::Rtmp,
        files: ["-t 16 V T X -bf 2 -g 25 -x264-params open-gop=1", ""],
        send: "-c copy",
        breaks_max: 1,
        gaps_max: 0,
        video: true,
        audio: true,
    },
];

/// The arguments with their abbreviations written out.
fn full(arguments: &str) -> String {
    let words = arguments.split_ascii_whitespace().map(|word| match word {
        "V" => VIDEO,
        "T" => TONE,
        "X" => X264,
        other => other,
    });
    let (mut inputs, mut outputs, mut time) = (Vec::new(), Vec::new(), String::new());
    let mut words = words.peekable();
    while let Some(word) = words.next() {
        match word {
            VIDEO | TONE => inputs.push(word.to_owned()),
            "-t" => time = format!("-t {}", words.next().expect("a time")),
            "-f" => {
                let rest: Vec<&str> = words.by_ref().take(3).collect();
                inputs.push(format!("-f {}", rest.join(" ")));
            }
            other => outputs.push(other.to_owned()),
        }
    }
    format!("{} {time} {}", inputs.join(" "), outputs.join(" "))
}

/// Makes a sin's stream as one file of MPEG-TS: parts are put together as they are, with whatever that breaks.
fn make(folder: &Path, sin: &Sin) -> std::path::PathBuf {
    let whole = folder.join(format!("{}.ts", sin.name));
    let mut bytes = Vec::new();
    for (at, arguments) in sin
        .files
        .iter()
        .enumerate()
        .filter(|(_, text)| !text.is_empty())
    {
        let part = folder.join(format!("{}-{at}.ts", sin.name));
        make_media(&part, &format!("{} -muxdelay 0", full(arguments)));
        bytes.extend(std::fs::read(&part).expect("the part is there"));
    }
    std::fs::write(&whole, bytes).expect("the whole is written");
    whole
}

/// Sends a file in the time that it takes to play. MPEG-TS goes as bytes, so that nothing in between puts it right.
fn send(server: &Server, folder: &Path, sin: &Sin) -> Sender {
    let file = make(folder, sin);
    let output = sin.over.output(server, sin.name, &server.token);
    if sin.over == Over::Srt {
        return Sender::raw(&file, 14, output.last().expect("an address"));
    }
    let input = format!("-re -i {} {}", file.display(), sin.send);
    Sender::start(ffmpeg_5(), &input, &output)
}

/// Fetches playlists until there are enough segments, and holds everything about them to the rules.
async fn plays(server: &Server, folder: &Path, sin: &Sin) {
    let listed = variants(server, sin.name, 1).await;
    let variant = &listed[0];
    let rung = variant
        .uri
        .split('/')
        .next()
        .expect("a variant has a folder");
    let playlist = until(sin.name, Duration::from_secs(60), || async {
        let playlist = Playlist::fetch(server, sin.name, rung).await;
        (playlist
            .parsed
            .segments
            .iter()
            .map(|one| one.duration)
            .sum::<f32>()
            >= 8.0)
            .then_some(playlist)
    })
    .await;
    let text = &playlist.text;
    let breaks =
        |segments: &[MediaSegment]| segments.iter().filter(|one| one.discontinuity).count();
    assert!(
        breaks(&playlist.parsed.segments) <= sin.breaks_max,
        "{}: {text}",
        sin.name
    );
    let target = playlist.parsed.target_duration as f32;
    for segment in &playlist.parsed.segments {
        assert!(
            segment.duration.round() <= target && segment.duration > 0.0,
            "{}: {text}",
            sin.name
        );
    }
    // What came late is listed by now.
    let codecs = until("the codecs", Duration::from_secs(10), || async {
        let listed = variants(server, sin.name, 1).await;
        let codecs = listed[0].codecs.clone().unwrap_or_default();
        (codecs.contains("mp4a") == sin.audio).then_some(codecs)
    })
    .await;
    assert_eq!(codecs.contains("avc1"), sin.video, "{}: {codecs}", sin.name);
    assert_eq!(codecs.contains("mp4a"), sin.audio, "{}: {codecs}", sin.name);
    let times = decodes(server, folder, sin, rung, &playlist).await;
    assert!(
        times.windows(2).all(|pair| pair[0] < pair[1]),
        "{}: {times:?}",
        sin.name
    );
}

/// Fetches what a playlist lists and lets ffprobe decode each stretch without a break; the `tfdt` of each segment.
async fn decodes(
    server: &Server,
    folder: &Path,
    sin: &Sin,
    rung: &str,
    playlist: &Playlist,
) -> Vec<u64> {
    let get = async |uri: &str| {
        let answer = server.get(&format!("/hls/{}/{rung}/{uri}", sin.name)).await;
        assert!(
            answer.status.is_success(),
            "{}: {rung}/{uri}: {} in {}",
            sin.name,
            answer.status,
            playlist.text
        );
        answer.body
    };
    let (mut stretches, mut times, mut map) = (Vec::<Vec<u8>>::new(), Vec::new(), String::new());
    // Where a source had to be opened anew, what it sent until its next key frame is a gap, and says so.
    let gap = |segment: &&MediaSegment| segment.unknown_tags.iter().any(|tag| tag.tag == "X-GAP");
    let gaps = playlist.parsed.segments.iter().filter(gap).count();
    assert!(
        gaps <= sin.gaps_max,
        "{}: {gaps} gaps in {}",
        sin.name,
        playlist.text
    );
    for segment in &playlist.parsed.segments {
        if let Some(new) = &segment.map {
            map.clone_from(&new.uri);
        }
        if gap(&segment) {
            stretches.push(Vec::new());
            continue;
        }
        let body = get(&segment.uri).await;
        let at = body
            .windows(4)
            .position(|word| word == b"tfdt")
            .expect("a tfdt");
        // Version 1 has the time in eight bytes, version 0 in four.
        let time = &body[at + 8..at + if body[at + 4] == 1 { 16 } else { 12 }];
        times.push(
            time.iter()
                .fold(0, |time, byte| (time << 8) | u64::from(*byte)),
        );
        let fresh = stretches.last().is_none_or(Vec::is_empty);
        if fresh || segment.map.is_some() || segment.discontinuity {
            stretches.push(get(&map).await.to_vec());
        }
        stretches.last_mut().expect("there is one").extend(body);
    }
    stretches.retain(|bytes| !bytes.is_empty());
    for (at, bytes) in stretches.iter().enumerate() {
        let file = folder.join(format!("{}-stretch-{at}.mp4", sin.name));
        std::fs::write(&file, bytes).expect("it is written");
        let seen = probe(&file.display().to_string()).await;
        let kind = if sin.video { "video" } else { "audio" };
        assert_eq!(
            seen["streams"][0]["codec_type"], kind,
            "{}: {seen}",
            sin.name
        );
        let frames = seen["streams"][0]["nb_read_frames"].as_str();
        let frames: u32 = frames.and_then(|count| count.parse().ok()).unwrap_or(0);
        assert!(frames > 0, "{}: {seen}", sin.name);
    }
    times
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_source_does_it_plays() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // Packaged from the start, whenever a busy machine comes to look.
    let config = format!("[ladder]\non_demand = false\n{PORTS}");
    let server = Server::start(&config, &[]).await;
    // A few at a time: this is about what they do, not about how many a machine carries.
    for group in SINS.chunks(4) {
        let senders: Vec<Sender> = group
            .iter()
            .map(|sin| send(&server, folder.path(), sin))
            .collect();
        let all = group.iter().map(|sin| plays(&server, folder.path(), sin));
        futures_util::future::join_all(all).await;
        drop(senders);
    }
    let log = server.log();
    assert!(!log.contains("panicked"), "{log}");
}
