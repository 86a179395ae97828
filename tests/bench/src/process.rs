//! Running programs, and what `/proc` says of them.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, bail};
use tokio::process::Command;

/// The server that is measured.
pub(crate) fn server() -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("LOCKGATE_BIN")
        .context("LOCKGATE_BIN must name the release build of the server, as `make bench` does")?;
    existing(PathBuf::from(path))
}

/// An example program, which cargo builds beside the server.
pub(crate) fn example(name: &str) -> anyhow::Result<PathBuf> {
    existing(server()?.with_file_name("examples").join(name))
}

/// Real media: an H.264 and AAC file of 1280x720.
pub(crate) fn bunny() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("LOCKGATE_FIXTURES")
        .context("LOCKGATE_FIXTURES must name the folder that `make fixtures` fills")?;
    existing(PathBuf::from(folder).join("bigbuckbunny.mp4"))
}

fn existing(path: PathBuf) -> anyhow::Result<PathBuf> {
    if !path.is_file() {
        bail!("{} is missing", path.display());
    }
    Ok(path)
}

/// A program that dies with this one, without our environment's configuration of the server.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        let is_ours = name.to_string_lossy().starts_with("LOCKGATE_")
            || [
                "PORT",
                "DEFAULT_QUALITY",
                "MAX_QUALITY",
                "MAX_PARTICIPANTS",
                "STREAM_TIMEOUT",
            ]
            .iter()
            .any(|own| name == *own);
        if is_ours {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a program to its end and returns what it printed.
pub(crate) async fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .output()
        .await
        .with_context(|| format!("{:?} cannot be started", command.as_std().get_program()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{:?} failed: {text}{said}", command.as_std());
    }
    Ok(text)
}

/// The system's FFmpeg, quiet, with arguments that hold no blanks.
pub(crate) fn ffmpeg(arguments: &str) -> Command {
    let mut command = command("ffmpeg");
    command
        .args(["-v", "error", "-nostdin", "-y"])
        .args(arguments.split_ascii_whitespace());
    command
}

/// CPU seconds, user and system, of the children waited for so far.
pub(crate) fn children_cpu_s() -> anyhow::Result<f64> {
    stat_s("/proc/self/stat", 16)
}

/// CPU seconds, user and system, of a process.
pub(crate) fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    stat_s(format!("/proc/{pid}/stat"), 14)
}

/// Which thread of this process calls, for [`thread_cpu_s`].
pub(crate) fn this_thread() -> anyhow::Result<PathBuf> {
    Ok(Path::new("/proc").join(fs::read_link("/proc/thread-self")?))
}

/// CPU seconds, user and system, of a thread that is still there.
pub(crate) fn thread_cpu_s(thread: &Path) -> anyhow::Result<f64> {
    stat_s(thread.join("stat"), 14)
}

/// Two fields after one another of a `stat` file, added: hundredths of a second on every Linux.
fn stat_s(path: impl AsRef<Path>, first: usize) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(&path)?;
    // The name in parentheses, the second field, may hold blanks itself.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut fields = fields.split_ascii_whitespace().skip(first - 3);
    let mut next = || fields.next()?.parse::<f64>().ok();
    let sum = next().zip(next());
    let (user, system) = sum.with_context(|| format!("{} is short", path.as_ref().display()))?;
    Ok((user + system) / 100.0)
}

/// What a process holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    pub(crate) rss_kb: u64,
    pub(crate) fds: usize,
    pub(crate) threads: u64,
}

impl Held {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let process = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(process.join("status"))?;
        let number = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok())
                .with_context(|| format!("/proc says no {key}"))
        };
        Ok(Self {
            rss_kb: number("VmRSS:")?,
            fds: fs::read_dir(process.join("fd"))?.count(),
            threads: number("Threads:")?,
        })
    }
}
