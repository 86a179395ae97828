//! A worker process as the parent holds it.

use std::{io, os::fd::OwnedFd, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::UnixStream,
    process::{Child, ChildStderr, Command},
    time::timeout,
};

use crate::ladders::Config;

/// A started worker. Dropping it kills the process, which is then reaped.
pub(crate) struct Worker {
    pub(crate) socket: UnixStream,
    pub(crate) stderr: Option<ChildStderr>,
    /// Where it hands over its connections.
    pub(crate) gate: Option<std::os::unix::net::UnixStream>,
    child: Child,
}

impl Worker {
    /// Starts a process with one end of a new socket pair as its standard input, and of another, for its connections, as
    /// its standard output.
    pub(crate) fn spawn(config: &Config) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (gate, its_gate) = std::os::unix::net::UnixStream::pair()?;
        let mut child = Command::new(&config.worker)
            .args(&config.args)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::from(OwnedFd::from(its_gate)))
            .stderr(Stdio::piped())
            // A Ctrl-C at the terminal is for the parent, which then closes the socket.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("{}: {error}", config.worker.display()),
                )
            })?;
        Ok(Self {
            socket: UnixStream::from_std(ours)?,
            stderr: child.stderr.take(),
            gate: Some(gate),
            child,
        })
    }

    /// Its process id while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Waits for the process to end, kills it if it does not, and says how it ended.
    pub(crate) async fn reap(mut self) -> String {
        drop(self.socket);
        if let Ok(Ok(status)) = timeout(GRACE, self.child.wait()).await {
            return status.to_string();
        }
        match self.child.kill().await {
            Ok(()) => "killed because it did not end".to_owned(),
            Err(error) => error.to_string(),
        }
    }
}

/// Gives the worker's lines to the log, at most so many in a burst; the rest is counted.
pub(crate) async fn log(stderr: Option<ChildStderr>, broadcast: &str) {
    let Some(stderr) = stderr else { return };
    let mut lines = BufReader::new(stderr).split(b'\n');
    let (mut in_burst, mut left_out) = (0u32, 0u64);
    loop {
        let line = match timeout(BURST, lines.next_segment()).await {
            Ok(Ok(Some(line))) => line,
            Ok(_) => return,
            Err(_) => {
                if left_out > 0 {
                    tracing::warn!(broadcast, "transcode worker: {left_out} more lines");
                }
                (in_burst, left_out) = (0, 0);
                continue;
            }
        };
        if in_burst < BURST_LINES {
            in_burst += 1;
            let text = String::from_utf8_lossy(line.get(..LINE_MAX).unwrap_or(&line));
            let text = crate::open::shown_line(text.trim_end());
            tracing::warn!(broadcast, "transcode worker: {text}");
        } else {
            left_out += 1;
        }
    }
}

/// How long a worker whose socket is closed may take to end.
const GRACE: Duration = Duration::from_secs(2);
/// A pause of this long ends a burst of lines.
const BURST: Duration = Duration::from_secs(1);
const BURST_LINES: u32 = 20;
const LINE_MAX: usize = 400;
