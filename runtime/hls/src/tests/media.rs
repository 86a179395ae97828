//! Real media: FFmpeg encodes, the packager packages, and FFmpeg has to read it back without a word.

use std::{fs, path::Path, process::Command};

use super::*;

/// What a test asks of the encoder.
struct Source<'a> {
    size: &'a str,
    fps: i64,
    /// Further options of libx264.
    x264: &'a [&'a str],
    b_frames: bool,
}

const SECONDS: i64 = 7;
const FRAME_AAC: usize = 1_024;

fn ffmpeg(dir: &Path, options: &[&str], out: &str) -> Bytes {
    let made = Command::new("ffmpeg")
        .args(["-v", "error", "-y"])
        .args(options)
        .arg(dir.join(out))
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    fs::read(dir.join(out)).unwrap().into()
}

fn encode_video(dir: &Path, source: &Source<'_>) -> Vec<Arc<AccessUnit>> {
    let picture = format!(
        "testsrc2=size={}:rate={}:duration={SECONDS}",
        source.size, source.fps
    );
    let gop = (2 * source.fps).to_string();
    let mut options = vec![
        "-f", "lavfi", "-i", &picture, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset",
        "veryfast",
    ];
    options.extend([
        "-g",
        &gop,
        "-keyint_min",
        &gop,
        "-sc_threshold",
        "0",
        "-threads",
        "1",
    ]);
    options.extend([
        "-bf",
        if source.b_frames { "2" } else { "0" },
        "-x264-params",
        "open-gop=0",
    ]);
    options.extend(source.x264);
    ffmpeg(dir, &options, "video.mp4");
    let boxed = dir.join("video.mp4");
    let filter = "h264_mp4toannexb,h264_metadata=aud=insert";
    let stream = ffmpeg(
        dir,
        &[
            "-i",
            boxed.to_str().unwrap(),
            "-c",
            "copy",
            "-bsf:v",
            filter,
            "-f",
            "h264",
        ],
        "video.h264",
    );
    let pictures = split_pictures(&stream);
    let order = shown_at(&boxed);
    assert_eq!(order.len(), pictures.len());
    let step = 90_000 / source.fps;
    let delay = if source.b_frames { 2 } else { 0 };
    (0..)
        .zip(pictures)
        .zip(order)
        .map(|((at, data), shown)| {
            let keyframe = lockgate_media::h264::is_idr(&data);
            Arc::new(AccessUnit::new(shown * step, keyframe, data).with_dts((at - delay) * step))
        })
        .collect()
}

/// Access units of a stream that has a delimiter in front of each.
fn split_pictures(stream: &Bytes) -> Vec<Bytes> {
    let mut pictures: Vec<Vec<&[u8]>> = Vec::new();
    for nal in lockgate_media::h264::nals(stream) {
        if lockgate_media::h264::nal_type(nal) == lockgate_media::h264::NAL_AUD {
            pictures.push(Vec::new());
        }
        pictures.last_mut().unwrap().push(nal);
    }
    pictures
        .into_iter()
        .map(lockgate_media::h264::annex_b)
        .collect()
}

/// In decoding order, the place of each picture in the order of presentation.
fn shown_at(boxed: &Path) -> Vec<i64> {
    let text = ffprobe(
        &[
            "-show_entries",
            "packet=pts",
            "-of",
            "csv=p=0",
            "-select_streams",
            "v",
        ],
        boxed,
    );
    let pts: Vec<i64> = text
        .lines()
        .map(|line| line.trim_matches(',').parse().unwrap())
        .collect();
    let mut sorted = pts.clone();
    sorted.sort_unstable();
    pts.iter()
        .map(|pts| i64::try_from(sorted.binary_search(pts).unwrap()).unwrap())
        .collect()
}

fn encode_audio(dir: &Path, rate: i64) -> (Format, Vec<Arc<AccessUnit>>) {
    let sine = format!("sine=frequency=440:sample_rate={rate}:duration={SECONDS}");
    let stream = ffmpeg(
        dir,
        &[
            "-f", "lavfi", "-i", &sine, "-ac", "2", "-c:a", "aac", "-f", "adts",
        ],
        "audio.aac",
    );
    let mut frames = Vec::new();
    let mut rest = &stream[..];
    while rest.len() > 7 {
        let len =
            usize::from(rest[3] & 3) << 11 | usize::from(rest[4]) << 3 | usize::from(rest[5]) >> 5;
        frames.push(stream.slice_ref(&rest[7..len]));
        rest = &rest[len..];
    }
    let units = (0..).zip(frames).map(|(at, data)| {
        let pts = lockgate_media::time::rescale(at * 1_024, u32::try_from(rate).unwrap(), 90_000);
        Arc::new(AccessUnit::new(pts, true, data))
    });
    // AAC-LC, stereo.
    let config = if rate == 44_100 {
        [0x12, 0x10]
    } else {
        [0x11, 0x90]
    };
    let format = Format::Audio(AudioFormat {
        codec: AudioCodec::Aac,
        sample_rate: u32::try_from(rate).unwrap(),
        channels: 2,
        bitrate_bps: None,
        config: Bytes::copy_from_slice(&config),
    });
    (format, units.collect())
}

/// What ffprobe prints on its output; nothing may be on its error stream.
fn ffprobe(options: &[&str], input: &Path) -> String {
    let read = Command::new("ffprobe")
        .args(
            ["-v", "warning", "-allowed_extensions", "ALL"]
                .iter()
                .filter(|_| is_playlist(input)),
        )
        .args(["-v", "warning"].iter().filter(|_| !is_playlist(input)))
        .args(options)
        .arg(input)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(
        read.status.success() && said.is_empty(),
        "{}: {said}",
        input.display()
    );
    String::from_utf8(read.stdout).unwrap()
}

fn is_playlist(input: &Path) -> bool {
    input
        .extension()
        .is_some_and(|extension| extension == "m3u8")
}

/// Decodes everything; nothing may be said.
fn decode(input: &Path) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "warning"]);
    if is_playlist(input) {
        command.args(["-allowed_extensions", "ALL"]);
    }
    let read = command
        .arg("-i")
        .arg(input)
        .args(["-map", "0", "-f", "null", "-"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&read.stderr);
    assert!(
        read.status.success() && said.is_empty(),
        "{}: {said}",
        input.display()
    );
}

/// Lays a broadcast out as a server would, and each rendition in one file beside it.
fn write(packager: &Packager, dir: &Path, tracks: &[&str]) {
    fs::write(
        dir.join("playlist.m3u8"),
        packager.multivariant().playlist(None),
    )
    .unwrap();
    for view in tracks
        .iter()
        .filter_map(|track| packager.snapshot(&id(track)))
    {
        parse::check_playlist(&view);
        let own = dir.join(view.track.as_str());
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("playlist.m3u8"), view.playlist(None)).unwrap();
        let mut whole = Vec::new();
        for init in &view.inits {
            fs::write(own.join(format!("init_{}.mp4", init.version)), &init.bytes).unwrap();
            whole.extend_from_slice(&init.bytes);
        }
        let extension = view.container.extension();
        for segment in &view.segments {
            fs::write(
                own.join(format!("segment_{}.{extension}", segment.number)),
                &segment.bytes,
            )
            .unwrap();
            whole.extend_from_slice(&segment.bytes);
        }
        fs::write(own.join(format!("whole.{extension}")), whole).unwrap();
    }
}

/// Values of one stream of a file, by name.
fn stream(input: &Path, kind: &str) -> std::collections::HashMap<String, String> {
    let entries = "stream=codec_name,profile,width,height,nb_read_frames,has_b_frames,sample_rate,channels,r_frame_rate";
    let text = ffprobe(
        &[
            "-count_frames",
            "-show_entries",
            entries,
            "-of",
            "default=nw=1",
            "-select_streams",
            kind,
        ],
        input,
    );
    text.lines()
        .filter_map(|line| line.split_once('='))
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .collect()
}

/// How long a stream's packets last together, in s, and whether decoding times rise by exactly those durations.
fn packets(input: &Path, kind: &str) -> (f64, bool) {
    let show = |entries| {
        ffprobe(
            &[
                "-show_entries",
                entries,
                "-of",
                "csv=p=0",
                "-select_streams",
                kind,
            ],
            input,
        )
    };
    let base = show("stream=time_base");
    let (num, den) = base.trim().split_once('/').unwrap();
    let base = num.parse::<f64>().unwrap() / den.parse::<f64>().unwrap();
    let packets = show("packet=dts,duration");
    // FFmpeg does not say how long the first AAC packet is, whoever wrote the file.
    let times: Vec<(i64, Option<i64>)> = packets
        .lines()
        .map(|line| line.split_once(',').unwrap())
        .map(|(dts, duration)| {
            (
                dts.parse().unwrap(),
                duration.trim_matches(',').parse().ok(),
            )
        })
        .collect();
    assert!(times.iter().skip(1).all(|(_, duration)| duration.is_some()));
    let exact = times.windows(2).all(|pair| {
        pair[0]
            .1
            .is_none_or(|duration| pair[0].0 + duration == pair[1].0)
    });
    let (first, last) = (times[0], times[times.len() - 1]);
    ((last.0 + last.1.unwrap() - first.0) as f64 * base, exact)
}

fn check(source: &Source<'_>, rate: i64, container: Container) {
    let dir = tempfile::tempdir().unwrap();
    let pictures = encode_video(dir.path(), source);
    let (format, frames) = encode_audio(dir.path(), rate);
    assert_eq!(
        pictures.len(),
        usize::try_from(SECONDS * source.fps).unwrap()
    );
    let Format::Video(video_format) = video(None) else {
        unreachable!()
    };
    let video_format = VideoFormat {
        parameter_sets: None,
        reordered: false,
        frame_rate: None,
        ..video_format
    };
    let mut packager = packager(
        container,
        &[("source", Format::Video(video_format)), ("aac", format)],
    );
    let (count, sounds) = (pictures.len(), frames.len());
    push_all(&mut packager, &[("source", pictures), ("aac", frames)]);
    packager.finish();
    write(&packager, dir.path(), &["source", "aac"]);

    let variant = &packager.multivariant().variants[0];
    let [width, height] = [0, 1].map(|at| {
        source
            .size
            .split('x')
            .nth(at)
            .unwrap()
            .parse::<u32>()
            .unwrap()
    });
    assert_eq!(variant.resolution, Some((width, height)));
    assert_eq!(variant.frame_rate, Some(source.fps as f64));

    let whole = dir
        .path()
        .join(format!("source/whole.{}", container.extension()));
    let own_playlist = dir.path().join("source/playlist.m3u8");
    let multivariant = dir.path().join("playlist.m3u8");
    for input in [&whole, &own_playlist, &multivariant] {
        decode(input);
        let stream = stream(input, "v:0");
        assert_eq!(stream["codec_name"], "h264");
        assert_eq!(stream["width"], width.to_string());
        assert_eq!(stream["height"], height.to_string());
        assert_eq!(
            stream["nb_read_frames"],
            count.to_string(),
            "{}",
            input.display()
        );
        assert_eq!(stream["has_b_frames"] != "0", source.b_frames);
    }
    let sound = match container {
        Container::Fmp4 => dir.path().join("aac/whole.m4s"),
        Container::Ts => whole.clone(),
    };
    decode(&sound);
    for input in [&sound, &multivariant] {
        let stream = stream(input, "a:0");
        assert_eq!(stream["codec_name"], "aac");
        assert_eq!(stream["profile"], "LC");
        assert_eq!(stream["sample_rate"], rate.to_string());
        assert_eq!(stream["channels"], "2");
        assert_eq!(
            stream["nb_read_frames"],
            sounds.to_string(),
            "{}",
            input.display()
        );
    }
    if container == Container::Fmp4 {
        let (seconds, exact) = packets(&whole, "v:0");
        assert!(
            exact && (seconds - SECONDS as f64).abs() < 1e-3,
            "{seconds} s of video"
        );
        let (seconds, exact) = packets(&sound, "a:0");
        let length = (sounds * FRAME_AAC) as f64 / rate as f64;
        assert!(
            exact && (seconds - length).abs() < 1e-3,
            "{seconds} s of audio"
        );
    }
}

#[test]
fn fmp4_without_b_frames() {
    let source = Source {
        size: "640x360",
        fps: 30,
        x264: &["-profile:v", "baseline"],
        b_frames: false,
    };
    check(&source, 48_000, Container::Fmp4);
}

#[test]
fn fmp4_with_b_frames_and_cropping() {
    let source = Source {
        size: "426x240",
        fps: 60,
        x264: &["-profile:v", "high"],
        b_frames: true,
    };
    check(&source, 44_100, Container::Fmp4);
}

#[test]
fn ts_without_b_frames() {
    let source = Source {
        size: "640x360",
        fps: 30,
        x264: &["-profile:v", "main"],
        b_frames: false,
    };
    check(&source, 44_100, Container::Ts);
}

#[test]
fn ts_with_b_frames() {
    let source = Source {
        size: "426x240",
        fps: 60,
        x264: &["-profile:v", "high"],
        b_frames: true,
    };
    check(&source, 48_000, Container::Ts);
}

#[test]
fn ts_of_audio_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (format, frames) = encode_audio(dir.path(), 48_000);
    let count = frames.len();
    let mut packager = packager(Container::Ts, &[("aac", format)]);
    push_all(&mut packager, &[("aac", frames)]);
    packager.finish();
    write(&packager, dir.path(), &["aac"]);
    for input in
        ["aac/whole.ts", "aac/playlist.m3u8", "playlist.m3u8"].map(|name| dir.path().join(name))
    {
        decode(&input);
        assert_eq!(stream(&input, "a:0")["nb_read_frames"], count.to_string());
    }
}
