//! What a publisher sends: H.264 at 720p30 without B-frames, in access units.

use std::{ffi::OsStr, path::Path, process::Stdio};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use lockgate_media::h264::{NAL_AUD, nal_type, nals};
use tokio::process::Command;

/// Makes ten seconds out of the pictures of a file, to be sent again and again: about 1.4 Mbit/s, a keyframe every two
/// seconds. Needs the system's FFmpeg.
pub async fn make(pictures: &Path) -> anyhow::Result<Vec<Bytes>> {
    let source = [
        OsStr::new("-stream_loop"),
        OsStr::new("-1"),
        OsStr::new("-i"),
        pictures.as_os_str(),
    ];
    encode(
        &source,
        "-t 10 -vf scale=1280:720,fps=30,format=yuv420p -b:v 1400k -maxrate 1400k -bufsize 700k",
    )
    .await
}

/// The same of two seconds in small, about 300 kbit/s, in a moment.
pub async fn small() -> anyhow::Result<Vec<Bytes>> {
    encode(
        &["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30"].map(OsStr::new),
        "-t 2 -pix_fmt yuv420p -b:v 300k -maxrate 300k -bufsize 150k",
    )
    .await
}

async fn encode(source: &[&OsStr], how: &str) -> anyhow::Result<Vec<Bytes>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("clip.h264");
    let mut making = Command::new("ffmpeg");
    making
        .args(["-v", "error", "-nostdin", "-y"])
        .args(source)
        .args(how.split_ascii_whitespace())
        .args(
            "-an -c:v libx264 -preset superfast -tune zerolatency -profile:v baseline -bf 0 -g 60 -threads 1 \
             -x264-params aud=1:scenecut=0:repeat-headers=1 -f h264"
                .split_ascii_whitespace(),
        );
    making.arg(&file).stdin(Stdio::null()).kill_on_drop(true);
    let made = making.output().await.context("ffmpeg cannot be started")?;
    let said = String::from_utf8_lossy(&made.stderr);
    ensure!(made.status.success(), "ffmpeg made no clip: {said}");
    Ok(units(&std::fs::read(file)?))
}

/// Splits Annex B at its access unit delimiters, which are left out.
fn units(stream: &[u8]) -> Vec<Bytes> {
    let mut units: Vec<Vec<u8>> = Vec::new();
    for nal in nals(stream) {
        if nal_type(nal) == NAL_AUD {
            units.push(Vec::new());
        } else if let Some(unit) = units.last_mut() {
            unit.extend_from_slice(&START_CODE);
            unit.extend_from_slice(nal);
        }
    }
    units.into_iter().map(Bytes::from).collect()
}

/// Between NAL units (H.264 annex B).
pub(crate) const START_CODE: [u8; 4] = [0, 0, 0, 1];
