//! Children on a core of their own, and what `/proc` says of them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use crate::Outcome;

/// A child; it ends when this is dropped.
pub(crate) struct Pinned {
    child: Child,
    says: BufReader<ChildStdout>,
    hears: ChildStdin,
}

impl Pinned {
    /// This program again, with these arguments, on a list of cores as `taskset` takes it.
    pub(crate) fn start(cores: &str, arguments: &[String]) -> Outcome<Self> {
        let mut child = Command::new("taskset")
            .args(["-c", cores])
            .arg(std::env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("taskset (util-linux) cannot be started: {error}"))?;
        let says = BufReader::new(child.stdout.take().ok_or("no output")?);
        let hears = child.stdin.take().ok_or("no input")?;
        Ok(Self { child, says, hears })
    }

    /// The words of its next line.
    pub(crate) fn line(&mut self) -> Outcome<Vec<String>> {
        let mut line = String::new();
        if self.says.read_line(&mut line)? == 0 {
            return Err("a child ended by itself".into());
        }
        Ok(line.split_whitespace().map(str::to_owned).collect())
    }

    pub(crate) fn tell(&mut self, line: &str) -> Outcome {
        writeln!(self.hears, "{line}")?;
        Ok(self.hears.flush()?)
    }

    /// CPU seconds of all its threads.
    pub(crate) fn cpu_s(&self) -> Outcome<f64> {
        let mut ns = 0.0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            let first = text.split_whitespace().next().unwrap_or("0");
            ns += first.parse::<f64>()?;
        }
        Ok(ns / 1e9)
    }

    pub(crate) fn rss_kb(&self) -> Outcome<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|rest| rest.split_whitespace().next());
        Ok(number.ok_or("/proc says no VmRSS")?.parse()?)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
