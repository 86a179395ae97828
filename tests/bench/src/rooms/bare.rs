//! The bare loop of `fanout`: packets that are encrypted and sent on time, and nothing else.

use std::process::Stdio;

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    process::{Child, ChildStdout},
};

use crate::process;

/// How many packets of so many streams, each with sound, a CPU second of it sends.
pub(crate) async fn packets_per_cpu_s(kbps: u32, streams: usize) -> anyhow::Result<f64> {
    let mut sink = Running::start("1", &["sink"])?;
    let ports = sink.line().await?;
    let ports = ports
        .strip_prefix("PORTS ")
        .context("the sink says no ports")?;
    let (kbps, streams) = (kbps.to_string(), streams.to_string());
    let mut source = Running::start(
        "0",
        &[
            "bare",
            "--kbps",
            &kbps,
            "--profile",
            "gcm",
            "--clients",
            &streams,
            "--ports",
            ports,
        ],
    )?;
    let sent = source.line().await?;
    let mut words = sent.split_ascii_whitespace().skip(1);
    let packets: f64 = words
        .next()
        .context("the bare loop says nothing")?
        .parse()?;
    let cpu_s = process::cpu_s(source.child.id().context("the bare loop has ended")?)?;
    ensure!(cpu_s > 0.0 && packets > 0.0, "the bare loop did nothing");
    // It ends once it is told that what it used was read.
    let mut stdin = source.child.stdin.take().context("its input is piped")?;
    stdin.write_all(b"\n").await?;
    Ok(packets / cpu_s)
}

struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Running {
    fn start(core: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let mut command = process::command("taskset");
        let mut child = command
            .args(["-c", core])
            .arg(process::example("fanout")?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("the bare loop cannot be started")?;
        let lines = child.stdout.take().context("its output is piped")?;
        Ok(Self {
            child,
            lines: BufReader::new(lines),
        })
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        self.lines.read_line(&mut line).await?;
        Ok(line.trim().to_owned())
    }
}
