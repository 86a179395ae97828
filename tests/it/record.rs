//! Recordings.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use hyper::Method;

use crate::support::{Server, fixture, probe, until};

fn config(folder: &Path, more: &str) -> String {
    let bunny = fixture("bigbuckbunny.mp4");
    format!(
        "[record]\npath = \"{}\"\nstreams = [\"bun*\"]\n{more}\n\
         [[ingest.source]]\nname = \"bunny\"\nurl = \"{}\"\nloop = true\n\
         [[ingest.source]]\nname = \"other\"\nurl = \"{}\"\nloop = true\n",
        folder.display(),
        bunny.display(),
        bunny.display()
    )
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("bunny")).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.sort();
    files
}

/// Waits until a file has at least so many bytes.
async fn grown(folder: &Path, bytes: u64) -> PathBuf {
    until("a recording", Duration::from_secs(40), || async {
        let file = files(folder).pop()?;
        (fs::metadata(&file).ok()?.len() >= bytes).then_some(file)
    })
    .await
}

/// Seconds of each stream of a file that FFmpeg decodes without a word.
async fn decoded(file: &Path) -> f64 {
    let output = tokio::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-f", "null", "-"])
        .output()
        .await
        .expect("ffmpeg is installed by `make test`");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    let seen = probe(file.to_str().expect("the path is text")).await;
    let streams = seen["streams"].as_array().expect("streams");
    let kinds: Vec<&str> = streams
        .iter()
        .filter_map(|one| one["codec_type"].as_str())
        .collect();
    assert_eq!(kinds, ["video", "audio"], "{seen}");
    let start = |at: usize| -> f64 {
        streams[at]["start_time"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or(99.0)
    };
    // Sound that rested comes a moment after the cached keyframe.
    assert!(start(0) < 0.1 && start(1) < 2.0, "{seen}");
    seen["format"]["duration"]
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0.0)
}

#[tokio::test]
async fn a_recording_plays_after_a_crash_and_another_begins() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut server = Server::start(&config(folder.path(), ""), &[]).await;
    let first = grown(folder.path(), 300_000).await;
    let info = server.stream("bunny").await["recording"].clone();
    assert_eq!(info["state"], "recording", "{info}");
    assert!(server.stream("other").await["recording"].is_null());
    server.crash_and_start_again(&[]).await;
    // Whole fragments only: the kill may have come within one, which costs that one.
    assert!(decoded_up_to_a_tear(&first).await > 1.0);
    let second = until("another file", Duration::from_secs(40), || async {
        files(folder.path()).pop().filter(|file| *file != first)
    })
    .await;
    let second = {
        until("it to grow", Duration::from_secs(40), || async {
            (fs::metadata(&second).ok()?.len() > 300_000).then_some(())
        })
        .await;
        second
    };
    // Listed for an administrator, and given, also in part.
    let admin = server.mint("admin");
    let denied = server.call(Method::GET, "/api/recordings").await;
    denied.problem(403);
    let list = server
        .send_as(&admin, Method::GET, "/api/recordings", "")
        .await
        .json();
    let name = second
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name");
    assert_eq!(
        list["recordings"].as_array().map(Vec::len),
        Some(2),
        "{list}"
    );
    assert_eq!(list["recordings"][1]["file"], name, "{list}");
    let path = format!("/api/recordings/bunny/{name}");
    let given = server.send_as(&admin, Method::GET, &path, "").await;
    assert_eq!(given.status, 200);
    assert_eq!(&given.body[4..8], b"ftyp");
    for missing in [
        "/api/recordings/bunny/x.mp4",
        "/api/recordings/bunny/..%2f..%2flockgate.toml",
    ] {
        server
            .send_as(&admin, Method::GET, missing, "")
            .await
            .problem(404);
    }
    // Going down in order, the last fragment is in the file.
    assert_eq!(server.terminate().await, Some(0));
    assert!(decoded(&second).await > 1.0);
}

/// A file whose last fragment may be torn: what is before it plays.
async fn decoded_up_to_a_tear(file: &Path) -> f64 {
    let bytes = fs::read(file).expect("the file is there");
    let mut whole = 0;
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 8) {
        let len = u32::from_be_bytes(head[..4].try_into().expect("four bytes")) as usize;
        if len < 8 || at + len > bytes.len() {
            break;
        }
        at += len;
        if &head[4..] == b"mdat" {
            whole = at;
        }
    }
    let copy = file.with_extension("whole.mp4");
    fs::write(&copy, &bytes[..whole]).expect("a file is written");
    let lasts = decoded(&copy).await;
    fs::remove_file(&copy).expect("it was there");
    lasts
}

#[tokio::test]
async fn a_full_disk_pauses_the_recording_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).expect("a folder is made");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(&disk)
        .status()
        .expect("mount runs");
    assert!(
        mounted.success(),
        "the tests run as root, as `make test` installs packages"
    );
    let unmount = Unmount(disk.clone());
    let ballast = disk.join("ballast");
    let server = Server::start(&config(&disk, ""), &[]).await;
    grown(&disk, 50_000).await;
    let free = 2 * 1024 * 1024 - 200_000;
    fs::write(&ballast, vec![0; free]).ok();
    let paused = until(
        "the recording to pause",
        Duration::from_secs(40),
        || async {
            let recording = server.stream("bunny").await["recording"].clone();
            (recording["state"] == "paused").then_some(recording)
        },
    )
    .await;
    let error = paused["error"].as_str().unwrap_or_default();
    assert!(error.contains("free space"), "{paused}");
    assert!(server.log().contains("recording pauses"));
    // Live goes on.
    crate::support::Playlist::with_segments(&server, "other", "aac", 2).await;
    fs::remove_file(&ballast).expect("it was there");
    for file in files(&disk) {
        fs::remove_file(file).expect("it was there");
    }
    let file = grown(&disk, 50_000).await;
    until("it to go on", Duration::from_secs(20), || async {
        (server.stream("bunny").await["recording"]["state"] == "recording").then_some(())
    })
    .await;
    assert!(decoded_up_to_a_tear(&file).await > 0.5);
    drop(server);
    drop(unmount);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: a server that is being killed may still have a file open.
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}
