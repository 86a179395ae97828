//! What viewers saw, for a person and for a program.

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::Moment;
use crate::{
    crowd::Crowd,
    histogram::Spread,
    process::Usage,
    report::{Clients, Cost, Table, spread},
    tally::Viewers,
};

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How many there are, and how far they came.
    pub clients: Clients,
    /// How long was measured.
    pub seconds: f64,
    /// From the offer to the first whole keyframe, in ms; of those who have one.
    pub join_ms: Option<Spread>,
    /// From the offer to the keys, in ms.
    pub connect_ms: Option<Spread>,
    /// Packets of media in this time.
    pub packets: Packets,
    /// Interarrival jitter of video (RFC 3550 §6.4.1) over the viewers, in ms.
    pub video_jitter_ms: Option<Spread>,
    /// The same of audio.
    pub audio_jitter_ms: Option<Spread>,
    /// From our own publisher to the whole frame at a viewer, in ms, since the start; nothing where the server
    /// encodes anew or somebody else publishes.
    pub forward_delay_ms: Option<Spread>,
    /// All that came by SRTP, without IP and UDP.
    pub mbit_per_s: f64,
    /// The same in packets.
    pub packets_per_s: f64,
    /// Video frames of one viewer that has joined.
    pub frames_per_s: f64,
    /// What the load itself took.
    pub own: Cost,
    /// What the server's process took, where it is known: [`super::Config::server_pid`].
    pub server: Option<Cost>,
    /// SRTP profiles, and how many viewers have each.
    pub srtp: BTreeMap<&'static str, u64>,
    /// Why viewers are not there, and how many.
    pub failures: BTreeMap<String, u64>,
}

/// Packets of the media streams, retransmissions told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Packets {
    /// Came, each counted once.
    pub received: u64,
    /// Were not there in time: lost by the network before any repair.
    pub missing: u64,
    /// Of the missing, came after they were asked for.
    pub recovered: u64,
    /// Of the missing, never came.
    pub lost: u64,
    /// Came twice.
    pub duplicated: u64,
    /// Came out of order and in time.
    pub reordered: u64,
    /// Did not decrypt, of those that were.
    pub undecryptable: u64,
    /// Missing, of all that should have come, in percent.
    pub missing_pct: f64,
    /// Lost, of all that should have come, in percent.
    pub lost_pct: f64,
}

impl Packets {
    /// What was counted between two moments.
    pub(crate) fn between(was: &Viewers, is: &Viewers) -> Self {
        let counts = is.counts.since(&was.counts);
        let should = (counts.received + counts.lost).max(1) as f64;
        let percent = |part: u64| part as f64 / should * 100.0;
        Self {
            received: counts.received,
            missing: counts.missing,
            recovered: counts.recovered,
            lost: counts.lost,
            duplicated: counts.duplicated,
            reordered: counts.reordered,
            undecryptable: is.undecryptable - was.undecryptable,
            missing_pct: percent(counts.missing),
            lost_pct: percent(counts.lost),
        }
    }
}

impl Report {
    pub(super) fn new(
        crowd: &Crowd,
        server_before: Option<&Usage>,
        before: &Moment,
        after: Moment,
    ) -> Self {
        let (seconds, _) = after.own.since(&before.own);
        let spent = |(start, (then, now))| Cost::new(start, then, now, crowd.asked);
        let both = before.server.as_ref().zip(after.server.as_ref());
        let server = server_before.zip(both).map(spent);
        let (was, is) = (&before.tally.viewers, after.tally.viewers);
        let packets = Packets::between(was, &is);
        let mut failures = crowd.refused.clone();
        for (why, count) in after.tally.failures {
            *failures.entry(why).or_default() += count;
        }
        let (connected, joined) = (is.connect_ms.len(), is.join_ms.len());
        let rate = |now: u64, then: u64| (now - then) as f64 / seconds.max(0.001);
        let mut lists = [
            is.join_ms,
            is.connect_ms,
            is.video_jitter_ms,
            is.audio_jitter_ms,
        ];
        let [join_ms, connect_ms, video_jitter_ms, audio_jitter_ms] =
            lists.each_mut().map(|list| Spread::of(list));
        Self {
            clients: Clients {
                asked: crowd.asked,
                answered: crowd.sessions.len(),
                connected,
                joined,
                failed: failures.values().sum(),
            },
            seconds,
            join_ms,
            connect_ms,
            packets,
            video_jitter_ms,
            audio_jitter_ms,
            forward_delay_ms: after.tally.delay.spread_ms(),
            mbit_per_s: rate(is.bytes, was.bytes) * 8.0 / 1e6,
            packets_per_s: rate(is.packets, was.packets),
            frames_per_s: rate(is.frames, was.frames) / joined.max(1) as f64,
            own: Cost::new(&crowd.before, &before.own, &after.own, crowd.asked),
            server,
            srtp: is.profiles,
            failures,
        }
    }

    /// Whether everyone came in and saw a picture.
    pub fn is_fine(&self) -> bool {
        self.clients.joined == self.clients.asked && self.clients.failed == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Packets {
            received,
            missing,
            recovered,
            lost,
            missing_pct,
            lost_pct,
            ..
        } = self.packets;
        let mut table = Table::default();
        table.row("viewers", self.clients);
        table.row("measured", format_args!("{:.1} s", self.seconds));
        table.row("join time", spread(&self.join_ms));
        table.row("connect time", spread(&self.connect_ms));
        table.row("packets", format_args!("{received} received"));
        table.row(
            "loss",
            format_args!(
                "{missing_pct:.3} % before repair ({missing}), {lost_pct:.3} % after ({lost}; {recovered} recovered)"
            ),
        );
        table.row("jitter, video", spread(&self.video_jitter_ms));
        table.row("jitter, audio", spread(&self.audio_jitter_ms));
        table.row("forward delay", spread(&self.forward_delay_ms));
        table.row(
            "rate",
            format_args!(
                "{:.1} Mbit/s, {:.0} packets/s; {:.1} frames/s a viewer",
                self.mbit_per_s, self.packets_per_s, self.frames_per_s
            ),
        );
        table.row("own cost", self.own);
        if let Some(server) = &self.server {
            table.row("server's cost", server);
        }
        let profiles = self
            .srtp
            .iter()
            .map(|(name, count)| format!("{name} ({count})"));
        table.row("SRTP", profiles.collect::<Vec<_>>().join(", "));
        table.failures(&self.failures);
        write!(f, "{table}")
    }
}
