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
    codec::Parameters,
    format::{self, context},
    media,
};

use crate::{
    guard::reach,
    timeline::{Kind, Times},
};

/// An open source.
pub(crate) struct Opened {
    url: String,
    input: context::Input,
    pub(crate) video: Option<Stream>,
    pub(crate) audio: Option<Stream>,
    deadline: Arc<Deadline>,
    broken_in_a_row: u32,
}

/// A stream that is used.
pub(crate) struct Stream {
    index: usize,
    time_base: Rational,
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
pub(crate) fn open(url: &str, protocols: &[String]) -> Result<Opened, String> {
    let fail = |why: &str| format!("cannot open {}: {why}", shown(url));
    check(url, protocols).map_err(|why| fail(&why))?;
    let deadline = Arc::new(Deadline {
        zero: Instant::now(),
        at_ms: AtomicU64::new(0),
    });
    deadline.set(OPEN_MS);
    let mut options = Dictionary::new();
    // Nested protocols inherit the list: a playlist in a file cannot reach what the file could not.
    options.set(
        "protocol_whitelist",
        &reach::protocols_below(url, protocols),
    );
    options.set("rw_timeout", &(READ_MS * 1000).to_string());
    let at_callback = Arc::clone(&deadline);
    let input =
        format::input_with_interrupt_and_dictionary(url, move || at_callback.is_over(), options)
            .map_err(|error| fail(&why(error)))?;
    let container = input.format().name().to_owned();
    if NOT_MEDIA.contains(&container.as_str()) {
        return Err(fail("it is text, not media"));
    }
    let stream = |kind| {
        input
            .streams()
            .best(kind)
            .map(|stream: ffmpeg_next::Stream<'_>| Stream {
                index: stream.index(),
                time_base: stream.time_base(),
                parameters: stream.parameters(),
                rate: Some(stream.avg_frame_rate())
                    .filter(|rate| rate.numerator() > 0 && rate.denominator() > 0)
                    .unwrap_or(stream.rate()),
            })
    };
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
    Ok(Opened {
        url: url.to_owned(),
        input,
        video,
        audio,
        deadline,
        broken_in_a_row: 0,
    })
}

impl Opened {
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

    /// The next packet of the streams used, with its times; `None` at the end. `broken` is told of each broken one.
    pub(crate) fn read(
        &mut self,
        mut broken: impl FnMut(),
    ) -> Result<Option<(Kind, Times, Packet)>, String> {
        loop {
            self.deadline.set(READ_MS);
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) => {}
                Err(Error::Eof) => return Ok(None),
                Err(Error::InvalidData) if self.broken_in_a_row < BROKEN_MAX => {
                    self.broken_in_a_row += 1;
                    broken();
                    continue;
                }
                Err(Error::InvalidData) => return Ok(None),
                Err(error) => return Err(format!("reading {}: {}", shown(&self.url), why(error))),
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
                _ => continue,
            };
            let times = Times {
                pts_90k: packet.pts().map(|pts| to_90k(pts, base)),
                dts_90k: packet.dts().map(|dts| to_90k(dts, base)),
                duration_90k: to_90k(packet.duration(), base),
            };
            return Ok(Some((kind, times, packet)));
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
/// Broken packets in a row after which the rest is given up.
const BROKEN_MAX: u32 = 100_000;
/// Demuxers that make pictures out of plain text.
const NOT_MEDIA: [&str; 4] = ["tty", "bin", "idf", "xbin"];

/// A URL as people may see it: without its user name and password.
pub(crate) fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://…@{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(shown("rtsp://user:pass@host/a@b"), "rtsp://…@host/a@b");
        assert_eq!(shown("http://host/x?y=a@b"), "http://host/x?y=a@b");
        assert_eq!(shown("/srv/media/a@b.mp4"), "/srv/media/a@b.mp4");
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
