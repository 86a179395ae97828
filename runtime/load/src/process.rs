//! What a process takes, from `/proc`; nothing where there is none.

use std::{fs, time::Instant};

/// CPU and memory at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    at: Instant,
    /// User and system, all threads.
    cpu_s: Option<f64>,
    pub(crate) rss_kb: Option<u64>,
}

impl Usage {
    /// Of this process.
    pub(crate) fn now() -> Self {
        Self::of(None)
    }

    /// Of another process of this machine, or of this one.
    pub(crate) fn of(pid: Option<u32>) -> Self {
        let folder = pid.map_or_else(|| "/proc/self".to_owned(), |pid| format!("/proc/{pid}"));
        Self {
            at: Instant::now(),
            cpu_s: cpu_s(&folder),
            rss_kb: rss_kb(&folder),
        }
    }

    /// Since an earlier moment: seconds, CPU seconds.
    pub(crate) fn since(&self, before: &Self) -> (f64, Option<f64>) {
        let elapsed = self.at.saturating_duration_since(before.at).as_secs_f64();
        let cpu = self.cpu_s.zip(before.cpu_s);
        (elapsed, cpu.map(|(now, then)| now - then))
    }
}

/// Fields 14 and 15 of `/proc/PID/stat`, in hundredths of a second on every Linux.
fn cpu_s(folder: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("{folder}/stat")).ok()?;
    // The name in parentheses may hold blanks itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / 100.0)
}

fn rss_kb(folder: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("{folder}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// How many files one process may have open (`ulimit -n`).
pub(crate) fn files_max() -> Option<usize> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let mut lines = limits.lines();
    let line = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
