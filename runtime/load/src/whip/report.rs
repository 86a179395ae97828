//! What publishers sent and heard of it, for a person and for a program.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::{
    crowd::Crowd,
    histogram::Spread,
    process::Usage,
    report::{Clients, Cost, Table, spread},
    tally::Tally,
};

/// What was sent, and what the server said of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How many there are, and how far they came; connected is joined here.
    pub clients: Clients,
    /// How long was measured.
    pub seconds: f64,
    /// From the offer to the keys, in ms: from then on media flows.
    pub connect_ms: Option<Spread>,
    /// Sent in this time, retransmissions among them.
    pub packets_sent: u64,
    /// Of these, sent again because the server asked.
    pub packets_resent: u64,
    /// How often the server asked for keyframes.
    pub keyframes_asked: u64,
    /// Loss of video as the server's last reports tell it, in percent, over the publishers.
    pub loss_pct: Option<Spread>,
    /// Round trip by the server's reports, in ms.
    pub rtt_ms: Option<Spread>,
    /// RTP before encryption, without IP and UDP.
    pub mbit_per_s: f64,
    /// The same in packets.
    pub packets_per_s: f64,
    /// Pictures of one publisher.
    pub frames_per_s: f64,
    /// Datagrams that our own machine did not take.
    pub unsent: u64,
    /// What the load itself took.
    pub own: Cost,
    /// SRTP profiles, and how many publishers have each.
    pub srtp: BTreeMap<&'static str, u64>,
    /// Why publishers are not there, and how many.
    pub failures: BTreeMap<String, u64>,
}

impl Report {
    pub(super) fn new(
        crowd: &Crowd,
        before: &Tally,
        after: Tally,
        usage: &Usage,
        now: &Usage,
    ) -> Self {
        let (seconds, _) = now.since(usage);
        let (was, is) = (&before.publishers, after.publishers);
        let mut failures = crowd.refused.clone();
        for (why, count) in after.failures {
            *failures.entry(why).or_default() += count;
        }
        let connected = is.connect_ms.len();
        let rate = |now: u64, then: u64| (now - then) as f64 / seconds.max(0.001);
        let mut lists = [is.connect_ms, is.loss_pct, is.rtt_ms];
        let [connect_ms, loss_pct, rtt_ms] = lists.each_mut().map(|list| Spread::of(list));
        Self {
            clients: Clients {
                asked: crowd.asked,
                answered: crowd.sessions.len(),
                connected,
                joined: connected,
                failed: failures.values().sum(),
            },
            seconds,
            connect_ms,
            packets_sent: is.packets - was.packets,
            packets_resent: is.resent - was.resent,
            keyframes_asked: is.keyframes_asked - was.keyframes_asked,
            loss_pct,
            rtt_ms,
            mbit_per_s: rate(is.bytes, was.bytes) * 8.0 / 1e6,
            packets_per_s: rate(is.packets, was.packets),
            frames_per_s: rate(is.frames, was.frames) / connected.max(1) as f64,
            unsent: after.unsent - before.unsent,
            own: Cost::new(&crowd.before, usage, now, crowd.asked),
            srtp: is.profiles,
            failures,
        }
    }

    /// Whether everyone is connected.
    pub fn is_fine(&self) -> bool {
        self.clients.connected == self.clients.asked && self.clients.failed == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::default();
        table.row("publishers", self.clients);
        table.row("measured", format_args!("{:.1} s", self.seconds));
        table.row("connect time", spread(&self.connect_ms));
        table.row(
            "packets",
            format_args!(
                "{} sent, {} of them again; {} not taken by our own machine",
                self.packets_sent, self.packets_resent, self.unsent
            ),
        );
        let loss = self.loss_pct.map_or_else(
            || "-".to_owned(),
            |Spread { p50, p99, max, .. }| {
                format!("p50 {p50:.2} %, p99 {p99:.2} %, max {max:.2} %")
            },
        );
        table.row("loss reported", loss);
        table.row("round trip", spread(&self.rtt_ms));
        table.row(
            "rate",
            format_args!(
                "{:.1} Mbit/s, {:.0} packets/s; {:.1} frames/s a publisher; {} keyframes asked for",
                self.mbit_per_s, self.packets_per_s, self.frames_per_s, self.keyframes_asked
            ),
        );
        table.row("own cost", self.own);
        let profiles = self
            .srtp
            .iter()
            .map(|(name, count)| format!("{name} ({count})"));
        table.row("SRTP", profiles.collect::<Vec<_>>().join(", "));
        table.failures(&self.failures);
        write!(f, "{table}")
    }
}
