//! What the system says of our process, under the names that all exporters of Prometheus have for it.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};

/// Read from `/proc`.
#[derive(Debug)]
pub(crate) struct Process {
    cpu_s: f64,
    resident_bytes: u64,
    open_fds: u64,
    start_s: f64,
}

impl Process {
    /// How it is now; `None` where there is no `/proc`.
    pub(crate) fn look() -> Option<Self> {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name stands in parentheses and may be anything; the fields after it are numbered from 3 (proc(5)).
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let number = |field: usize| -> Option<u64> { fields.get(field - 3)?.parse().ok() };
        let seconds = |ticks: u64| ticks as f64 / TICKS_A_SECOND;
        let boot = std::fs::read_to_string("/proc/stat").ok()?;
        let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?;
        let boot: f64 = boot.trim().parse().ok()?;
        let resident = std::fs::read_to_string("/proc/self/status").ok()?;
        let resident = resident
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kb: u64 = resident.trim().trim_end_matches(" kB").parse().ok()?;
        Some(Self {
            cpu_s: seconds(number(14)? + number(15)?),
            resident_bytes: resident_kb * 1024,
            open_fds: std::fs::read_dir("/proc/self/fd").ok()?.count() as u64,
            start_s: boot + seconds(number(22)?),
        })
    }

    /// User and system time so far, in s.
    pub(crate) fn cpu_s(&self) -> f64 {
        self.cpu_s
    }

    /// Resident memory in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident_bytes
    }

    /// Open file descriptors.
    pub(crate) fn open_fds(&self) -> u64 {
        self.open_fds
    }

    /// When it was started, in s since 1970-01-01 UTC.
    pub(crate) fn start_s(&self) -> f64 {
        self.start_s
    }

    pub(crate) fn encode(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let seconds = Some(&Unit::Seconds);
        let help = "User and system CPU time of the server, its workers apart";
        out.encode_descriptor("process_cpu", help, seconds, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, f64>(&self.cpu_s, None)?;
        let help = "When the process was started, since 1970-01-01 UTC";
        out.encode_descriptor("process_start_time", help, seconds, MetricType::Gauge)?
            .encode_gauge(&self.start_s)?;
        let help = "Resident memory";
        let bytes = Some(&Unit::Bytes);
        out.encode_descriptor("process_resident_memory", help, bytes, MetricType::Gauge)?
            .encode_gauge(&self.resident_bytes)?;
        let help = "Open file descriptors";
        out.encode_descriptor("process_open_fds", help, None, MetricType::Gauge)?
            .encode_gauge(&self.open_fds)
    }
}

/// `USER_HZ`, which Linux shows to programs whatever the kernel counts in.
const TICKS_A_SECOND: f64 = 100.0;
