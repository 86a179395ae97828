//! Opening a file or URL, and saying plainly why it cannot be opened.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use ffmpeg_next::{
    Dictionary, Error, Packet, Rational,
    codec::{Id, Parameters},
    format::{self, context},
    media,
};

use crate::{
    guard::reach,
    stream::Pipe,
    timeline::{Kind, Times},
};

/// Where a source is.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// A file or URL.
    Url(&'a str),
    /// A publisher's byte stream with FFmpeg's name of its container.
    Stream(&'a Pipe, &'a str),
}

impl Place<'_> {
    /// As people may see it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Url(url) => shown(url),
            Self::Stream(..) => "what the publisher sends".to_owned(),
        }
    }
}

/// An open source.
pub(crate) struct Opened {
    shown: String,
    input: context::Input,
    pub(crate) video: Option<Stream>,
    pub(crate) audio: Option<Stream>,
    deadline: Arc<Deadline>,
    broken_in_a_row: u32,
    /// Packets of other streams of the kind since one of the video or audio that is used.
    since_video: u32,
    since_audio: u32,
    /// It has no end that is known: what it sends is of now, and cannot be read again.
    pub(crate) is_live: bool,
}

/// What reading gives.
pub(crate) enum Read {
    /// A packet of a stream that is used.
    Packet(Kind, Times, Packet),
    /// A live source has become another one, as the text says.
    Changed(String),
    /// The end.
    End,
}

/// A stream that is used.
pub(crate) struct Stream {
    index: usize,
    time_base: Rational,
    codec: Id,
    pub(crate) parameters: Parameters,
    /// Frames a second as the container has it; numerator 0 if it does not.
    pub(crate) rate: Rational,
}

/// When FFmpeg is to give up what it is doing, in ms since `zero`.
struct Deadline {
    zero: Instant,
    at_ms: AtomicU64,
}

impl Deadline {
    fn set(&self, in_ms: u64) {
        let now = u64::try_from(self.zero.elapsed().as_millis()).unwrap_or(0);
        self.at_ms.store(now + in_ms, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.zero.elapsed().as_millis() > u128::from(self.at_ms.load(Ordering::Relaxed))
    }
}

/// Opens a source; the text of the error names it.
pub(crate) fn open(place: Place<'_>, protocols: &[String]) -> Result<Opened, String> {
    let fail = |why: &str| format!("cannot open {}: {why}", place.shown());
    let deadline = Arc::new(Deadline {
        zero: Instant::now(),
        at_ms: AtomicU64::new(0),
    });
    deadline.set(OPEN_MS);
    let at_callback = Arc::clone(&deadline);
    let is_over = move || at_callback.is_over();
    let mut options = Dictionary::new();
    let opened = match place {
        Place::Url(url) => {
            check(url, protocols).map_err(|why| fail(&why))?;
            // Nested protocols inherit the list: a playlist in a file cannot reach what the file could not.
            options.set(
                "protocol_whitelist",
                &reach::protocols_below(url, protocols),
            );
            options.set("rw_timeout", &(READ_MS * 1000).to_string());
            if matches!(scheme(url), Some("rtsp" | "rtsps")) {
                // Over UDP a firewall or a lost packet is a broken picture; cameras all speak TCP, too.
                options.set("rtsp_transport", "tcp");
                options.set("timeout", &(READ_MS * 1000).to_string());
            }
            format::input_with_interrupt_and_dictionary(url, is_over, options)
        }
        Place::Stream(pipe, container) => {
            // Nothing else is tried, and nothing is opened besides: what a publisher sends is only ever this.
            options.set("format_whitelist", container);
            options.set("protocol_whitelist", "none");
            // FLV is read from a keyframe on, with all that is needed before it; MPEG-TS from anywhere.
            let look_us = if container == "flv" {
                LOOK_US
            } else {
                LOOK_US * 5
            };
            options.set("analyzeduration", &look_us.to_string());
            context::StreamIo::from_read(pipe.reader()).and_then(|stream| {
                format::input_from_stream_with_interrupt(stream, None, Some(options), is_over)
            })
        }
    };
    let input = opened.map_err(|error| fail(&why(error)))?;
    let container = input.format().name().to_owned();
    if NOT_MEDIA.contains(&container.as_str()) {
        return Err(fail("it is text, not media"));
    }
    let stream = |kind| input.streams().best(kind).map(|stream| Stream::of(&stream));
    // A cover picture in a sound file is no video.
    let is_cover = |stream: &Stream| {
        input.stream(stream.index).is_some_and(|stream| {
            stream
                .disposition()
                .contains(format::stream::Disposition::ATTACHED_PIC)
        })
    };
    let video = stream(media::Type::Video).filter(|stream| !is_cover(stream));
    let audio = stream(media::Type::Audio);
    if video.is_none() && audio.is_none() {
        return Err(fail("it has neither video nor audio"));
    }
    let is_file = match place {
        Place::Url(url) => is_regular_file(url),
        Place::Stream(..) => false,
    };
    Ok(Opened {
        shown: place.shown(),
        is_live: !is_file && input.duration() <= 0,
        input,
        video,
        audio,
        deadline,
        broken_in_a_row: 0,
        since_video: 0,
        since_audio: 0,
    })
}

impl Opened {
    /// Where it is, as people may see it.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// FFmpeg's name of the container or protocol.
    pub(crate) fn container(&self) -> String {
        self.input.format().name().to_owned()
    }

    /// How long it lasts in s, where it says.
    pub(crate) fn duration_s(&self) -> Option<f64> {
        let duration = self.input.duration();
        (duration > 0).then(|| duration as f64 / f64::from(ffmpeg_next::ffi::AV_TIME_BASE))
    }

    /// The bitrate of the whole source in bit/s, where it says.
    pub(crate) fn bitrate_bps(&self) -> Option<u64> {
        u64::try_from(self.input.bit_rate())
            .ok()
            .filter(|rate| *rate > 0)
    }

    /// The next packet of the streams used, with its times. `broken` is told of each broken one.
    pub(crate) fn read(&mut self, mut broken: impl FnMut()) -> Result<Read, String> {
        loop {
            self.deadline.set(READ_MS);
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => {}
                Err(Error::Eof) => return Ok(Read::End),
                Err(Error::InvalidData) if self.broken_in_a_row < BROKEN_MAX => {
                    self.broken_in_a_row += 1;
                    broken();
                    continue;
                }
                Err(Error::InvalidData) => return Ok(Read::End),
                Err(error) => return Err(format!("reading {}: {}", self.shown, why(error))),
            }
            self.broken_in_a_row = 0;
            let is = |stream: &Option<Stream>| {
                stream
                    .as_ref()
                    .filter(|stream| stream.index == packet.stream())
                    .map(|stream| stream.time_base)
            };
            let (kind, base) = match (is(&self.video), is(&self.audio)) {
                (Some(base), _) => (Kind::Video, base),
                (_, Some(base)) => (Kind::Audio, base),
                _ => match self.newcomer(&packet) {
                    Some(text) => return Ok(Read::Changed(text)),
                    None => continue,
                },
            };
            if let Some(text) = self.recoded(kind, &packet) {
                return Ok(Read::Changed(text));
            }
            let times = Times {
                pts_90k: packet.pts().map(|pts| to_90k(pts, base)),
                dts_90k: packet.dts().map(|dts| to_90k(dts, base)),
                duration_90k: to_90k(packet.duration(), base),
            };
            match kind {
                Kind::Video => self.since_video = 0,
                Kind::Audio => self.since_audio = 0,
            }
            return Ok(Read::Packet(kind, times, packet));
        }
    }

    /// A packet of a stream that was not there or not chosen at first. A live source that only now has sound or
    /// pictures, or has them in another stream, is to be looked at anew.
    fn newcomer(&mut self, packet: &Packet) -> Option<String> {
        if !self.is_live {
            return None;
        }
        let medium = self.input.stream(packet.stream())?.parameters().medium();
        let (used, since, what) = match medium {
            media::Type::Video => (self.video.is_some(), &mut self.since_video, "video"),
            media::Type::Audio => (self.audio.is_some(), &mut self.since_audio, "audio"),
            _ => return None,
        };
        *since += 1;
        if !used {
            return Some(format!("the source has {what} now"));
        }
        (*since > SILENT_MAX).then(|| format!("the source sends its {what} in another stream now"))
    }

    /// What a live source's stream is made of has changed since it was opened.
    fn recoded(&self, kind: Kind, packet: &Packet) -> Option<String> {
        if !self.is_live || !packet.is_key() {
            return None;
        }
        let stream = match kind {
            Kind::Video => self.video.as_ref()?,
            Kind::Audio => self.audio.as_ref()?,
        };
        let now = self.input.stream(stream.index)?.parameters().id();
        (now != stream.codec && now != Id::None).then(|| {
            format!(
                "the source is {} now, no longer {}",
                now.name(),
                stream.codec.name()
            )
        })
    }
}

impl Stream {
    fn of(stream: &ffmpeg_next::Stream<'_>) -> Self {
        let parameters = stream.parameters();
        Self {
            index: stream.index(),
            time_base: stream.time_base(),
            codec: parameters.id(),
            parameters,
            rate: Some(stream.avg_frame_rate())
                .filter(|rate| rate.numerator() > 0 && rate.denominator() > 0)
                .unwrap_or(stream.rate()),
        }
    }
}

fn to_90k(ticks: i64, base: Rational) -> i64 {
    let (num, den) = (
        i128::from(base.numerator()),
        i128::from(base.denominator().max(1)),
    );
    let product = i128::from(ticks) * num * 90_000;
    i64::try_from((product + den / 2).div_euclid(den)).unwrap_or(0)
}

/// What can be said without FFmpeg, which says it worse.
fn check(url: &str, protocols: &[String]) -> Result<(), String> {
    if url.is_empty() || url.contains('\0') {
        return Err("it is no path and no URL".to_owned());
    }
    let scheme = scheme(url);
    let protocol = scheme.unwrap_or("file");
    if !protocols.iter().any(|allowed| allowed == protocol) {
        let allowed = protocols.join(", ");
        return Err(format!(
            "the protocol {protocol} is not among the allowed ones ({allowed})"
        ));
    }
    if protocol == "file" {
        let path = Path::new(url.strip_prefix("file:").unwrap_or(url));
        // `file://` leaves two slashes, which the file system takes as one.
        let about = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        })?;
        if about.is_dir() {
            return Err("it is a directory".to_owned());
        }
        if about.is_file() {
            std::fs::File::open(path).map_err(|error| error.to_string())?;
            if about.len() == 0 {
                return Err("it is empty".to_owned());
            }
        }
    }
    Ok(())
}

fn is_regular_file(url: &str) -> bool {
    scheme(url).is_none_or(|scheme| scheme == "file")
        && std::fs::metadata(url.strip_prefix("file:").unwrap_or(url))
            .is_ok_and(|about| about.is_file())
}

/// What FFmpeg takes as the protocol of a URL: the characters before the first colon or comma, if all are allowed.
fn scheme(url: &str) -> Option<&str> {
    let end = url.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')))?;
    let is_scheme = end > 0 && matches!(url.as_bytes().get(end), Some(b':' | b','));
    is_scheme.then(|| url.get(..end)).flatten()
}

fn why(error: Error) -> String {
    match error {
        Error::Exit => "it did not answer in time".to_owned(),
        Error::InvalidData => "it is not media that FFmpeg knows, or it is damaged".to_owned(),
        Error::ProtocolNotFound => "FFmpeg does not have this protocol".to_owned(),
        other => other.to_string(),
    }
}

/// How long opening may take, in ms.
const OPEN_MS: u64 = 15_000;
/// How long one read may take, in ms.
const READ_MS: u64 = 10_000;
/// How much of a publisher's stream FFmpeg may look at to find its streams, in µs of media.
const LOOK_US: u64 = 1_000_000;
/// So many packets of another stream without one of the stream that is used: that one is over.
const SILENT_MAX: u32 = 50;
/// Broken packets in a row after which the rest is given up.
const BROKEN_MAX: u32 = 100_000;
/// Demuxers that make pictures out of plain text.
const NOT_MEDIA: [&str; 4] = ["tty", "bin", "idf", "xbin"];

/// A path, or a URL as people may see it: without user name and password, and without its query, where keys and
/// passphrases stand.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => format!("…@{host}"),
        None => authority.to_owned(),
    };
    let (path, query) = match path.find(['?', '#']) {
        Some(at) => (&path[..at], "?…"),
        None => (path, ""),
    };
    format!("{scheme}://{host}{path}{query}")
}

/// A line of FFmpeg's as people may see it: it names URLs as it was given them.
pub(crate) fn shown_line(line: &str) -> String {
    let ends = |character: char| character.is_whitespace() || "'\"<>)],;".contains(character);
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let scheme = rest[..at]
            .rfind(|character: char| !character.is_ascii_alphanumeric() && character != '+')
            .map_or(0, |before| {
                before + rest[before..].chars().next().map_or(1, char::len_utf8)
            });
        let end = rest[at + 3..]
            .find(ends)
            .map_or(rest.len(), |length| at + 3 + length);
        out.push_str(&rest[..scheme]);
        out.push_str(&shown(&rest[scheme..end]));
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(shown("rtsp://user:pass@host/a@b"), "rtsp://…@host/a@b");
        assert_eq!(shown("http://host/x?y=a@b"), "http://host/x?…");
        assert_eq!(
            shown("srt://u:p@ss@host:9000?passphrase=x"),
            "srt://…@host:9000?…"
        );
        assert_eq!(shown("/srv/media/a@b.mp4"), "/srv/media/a@b.mp4");
        for (line, wanted) in [
            (
                "[hls] Error when loading first segment 'https://u:p@h/a.ts?key=1', then http://x/y?z",
                "[hls] Error when loading first segment 'https://…@h/a.ts?…', then http://x/y?…",
            ),
            ("ü→rtsp://u:p@h/x: 401", "ü→rtsp://…@h/x: 401"),
            ("nothing :// here?", "nothing :// here?"),
            ("", ""),
        ] {
            assert_eq!(shown_line(line), wanted);
        }
    }

    #[test]
    fn schemes_are_seen_as_ffmpeg_sees_them() {
        for (url, expected) in [
            ("/a/b.mp4", None),
            ("b.mp4", None),
            ("a/b:c.mp4", None),
            ("http://x/y", Some("http")),
            ("concat:a|b", Some("concat")),
            ("subfile,,start,1,,:/a", Some("subfile")),
            ("file:///a", Some("file")),
            ("", None),
        ] {
            assert_eq!(scheme(url), expected, "{url}");
        }
    }
}
