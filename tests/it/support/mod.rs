//! A running server, and what looks at it from outside.

mod check;
mod hls;
mod http;
mod sender;
mod server;
mod stun;

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

pub(crate) use check::{check_server, with};
pub(crate) use hls::{Playlist, variants};
pub(crate) use http::Lines;
pub(crate) use http::{Answer, Http};
pub(crate) use sender::{H264_AAC, Over, PICTURE, Sender, ffmpeg_5, ffmpeg_9};
pub(crate) use server::{Server, lockgate};
pub(crate) use stun::{Ice, IcePeer, candidates, check};

/// Asks again and again until there is an answer; panics with `what` when there is none in time.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {within:?} in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A file that `make fixtures` fetched.
pub(crate) fn fixture(name: &str) -> PathBuf {
    let folder = std::env::var_os("LOCKGATE_FIXTURES").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/fixtures"),
        PathBuf::from,
    );
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is missing; `make fixtures` fetches it",
        path.display()
    );
    path
}

/// Makes a short file with FFmpeg: `arguments` up to the output's name.
pub(crate) fn make_media(path: &std::path::Path, arguments: &str) {
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments.split_ascii_whitespace())
        .arg(path)
        .stdin(Stdio::null())
        .status()
        .expect("ffmpeg is installed by `make test`");
    assert!(status.success(), "ffmpeg {arguments} failed");
}

/// What ffprobe says of a URL or file, as JSON; panics if it warns of anything.
pub(crate) async fn probe(input: &str) -> serde_json::Value {
    let output = tokio::process::Command::new("ffprobe")
        .args([
            "-v",
            "warning",
            "-of",
            "json",
            "-show_streams",
            "-show_format",
        ])
        .args(["-count_frames", "-read_intervals", "%+4", input])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("ffprobe is installed by `make test`");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && warnings.is_empty(),
        "ffprobe of {input}: {warnings}"
    );
    serde_json::from_slice(&output.stdout).expect("ffprobe writes JSON")
}
