//! FFmpeg as a publisher.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::{Server, fixture, until};

/// A running FFmpeg; dropping it kills it.
pub(crate) struct Sender(Child);

/// How something is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Whip,
    Rtmp,
    Srt,
}

/// Debian's FFmpeg 5.1.
pub(crate) fn ffmpeg_5() -> PathBuf {
    PathBuf::from("ffmpeg")
}

/// The newest FFmpeg, from the fixtures.
pub(crate) fn ffmpeg_9() -> PathBuf {
    fixture("ffmpeg-whip")
}

/// A small moving picture with a tone, in real time.
pub(crate) const PICTURE: &str =
    "-re -f lavfi -i testsrc2=size=320x180:rate=25 -re -f lavfi -i sine=sample_rate=48000";

/// H.264 that may be passed through, with AAC.
pub(crate) const H264_AAC: &str = "-c:v libx264 -preset ultrafast -tune zerolatency -g 25 -keyint_min 25 -sc_threshold 0 -b:v 200k -maxrate 250k -bufsize 200k -pix_fmt yuv420p -c:a aac -b:a 64k";

impl Over {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Whip => "whip",
            Self::Rtmp => "rtmp",
            Self::Srt => "srt",
        }
    }

    /// Output options and address for FFmpeg 9.
    pub(crate) fn output(self, server: &Server, name: &str, token: &str) -> Vec<String> {
        let text = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect();
        match self {
            Self::Whip => text(&[
                "-f",
                "whip",
                "-authorization",
                token,
                &server.url(&format!("/whip/{name}")),
            ]),
            Self::Rtmp => {
                let url = format!("{}/live/{name}?token={token}", server.address("rtmp"));
                text(&["-f", "flv", &url])
            }
            Self::Srt => {
                let address = server.address("srt");
                let url = format!("{address}?streamid=publish:{name}?token={token}");
                text(&["-f", "mpegts", &url])
            }
        }
    }
}

impl Sender {
    /// FFmpeg with arguments separated by spaces, and further ones as they are.
    pub(crate) fn start(program: PathBuf, arguments: &str, more: &[String]) -> Self {
        let child = Command::new(program)
            .args(["-v", "error", "-nostdin"])
            .args(arguments.split_ascii_whitespace())
            .args(more)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("FFmpeg starts");
        Self(child)
    }

    /// Any other program that sends something.
    pub(crate) fn program(program: &str, arguments: &[String]) -> Self {
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program is installed by `make test`");
        Self(child)
    }

    /// Sends a file's bytes as they are in so many seconds: FFmpeg only carries them.
    pub(crate) fn raw(file: &std::path::Path, seconds: u32, address: &str) -> Self {
        let mut child = Command::new(ffmpeg_5())
            .args([
                "-v", "error", "-fflags", "nobuffer", "-f", "data", "-i", "pipe:0",
            ])
            .args([
                "-map",
                "0",
                "-c",
                "copy",
                "-flush_packets",
                "1",
                "-f",
                "data",
                address,
            ])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("FFmpeg starts");
        let bytes = std::fs::read(file).expect("the file is there");
        let mut into = child.stdin.take().expect("its input");
        std::thread::spawn(move || {
            // Twenty pieces a second; the end of FFmpeg ends it.
            let piece = (bytes.len() / (seconds as usize * 20)).max(1);
            let begin = std::time::Instant::now();
            for (at, piece) in (0u32..).zip(bytes.chunks(piece)) {
                let due = begin + Duration::from_millis(50) * at;
                std::thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
                if std::io::Write::write_all(&mut into, piece).is_err() {
                    return;
                }
            }
        });
        Self(child)
    }

    /// Publishes a small moving picture with FFmpeg 9.
    pub(crate) fn publish(server: &Server, over: Over, name: &str, token: &str) -> Self {
        let codecs = match over {
            Over::Whip => {
                "-c:v libx264 -preset ultrafast -profile:v baseline -bf 0 -g 25 -b:v 200k -pix_fmt yuv420p -c:a libopus -ar 48000 -ac 2"
            }
            Over::Rtmp | Over::Srt => H264_AAC,
        };
        let output = over.output(server, name, token);
        Self::start(ffmpeg_9(), &format!("{PICTURE} {codecs}"), &output)
    }

    /// Ends it without a goodbye.
    pub(crate) fn cut(mut self) {
        self.0.kill().expect("FFmpeg runs");
        self.0.wait().expect("FFmpeg ends");
    }

    /// Lets it end as when its user stops it.
    pub(crate) async fn stop(mut self) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill").args(["-INT", &pid]).status();
        assert!(status.expect("kill runs").success());
        until("FFmpeg to end", Duration::from_secs(10), || {
            let ended = self.0.try_wait().expect("FFmpeg can be waited for");
            async move { ended }
        })
        .await;
    }

    /// Waits until it ends by itself; whether it went well, and what it said.
    pub(crate) async fn ended(mut self) -> (bool, String) {
        let status = until("FFmpeg to end", Duration::from_secs(40), || {
            let ended = self.0.try_wait().expect("FFmpeg can be waited for");
            async move { ended }
        })
        .await;
        let mut said = String::new();
        if let Some(stderr) = &mut self.0.stderr {
            std::io::Read::read_to_string(stderr, &mut said).expect("what it said can be read");
        }
        (status.success(), said)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
