//! The control step: a second's numbers in, a decision for each viewer out.

use std::{collections::HashMap, time::Duration};

use lockgate_broadcast::track::{Role, Track};
use lockgate_media::{TrackId, VideoCodec, stats::LinkStats};
use lockgate_policy::{Batch, Kind, Tick, column, conformance, slot::Decided};
use tokio::time::Instant;

use crate::{report::Said, viewer::Verdict};

/// What is known of the renditions of a broadcast from one step to the next.
#[derive(Debug, Default)]
pub struct Renditions {
    rates: HashMap<TrackId, Rate>,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    bytes: u64,
    at: Instant,
    kbps: f64,
}

/// A video track that viewers can be given.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendition {
    /// Its track.
    pub id: TrackId,
    /// Its codec.
    pub codec: VideoCodec,
    /// What it is to its broadcast.
    pub role: Role,
    /// Width in pixels; 0 while unknown.
    pub width: u32,
    /// Height in pixels; 0 while unknown.
    pub height: u32,
    /// Frames a second, where known.
    pub fps: Option<f64>,
    /// Declared bitrate in kbit/s.
    pub declared_kbps: Option<f64>,
    /// Measured bitrate in kbit/s, while it flows.
    pub measured_kbps: Option<f64>,
    /// The higher of declared and measured bitrate, in kbit/s.
    pub kbps: f64,
    /// Its pictures come in another order than they are shown in.
    pub reordered: bool,
}

impl Rendition {
    fn pixels(&self) -> u64 {
        u64::from(self.width) * u64::from(self.height)
    }
}

impl Renditions {
    /// The video tracks there are, with their bitrates measured since the last step.
    pub fn measure(&mut self, tracks: &[Track], now: Instant) -> Vec<Rendition> {
        self.rates
            .retain(|id, _| tracks.iter().any(|track| track.id() == id));
        let mut renditions = Vec::with_capacity(tracks.len());
        for track in tracks {
            let format = track.format();
            let Some(video) = format.video() else {
                continue;
            };
            let measured = self.rate(track, now);
            let declared = video.bitrate_bps.map(|bps| bps as f64 / 1000.0);
            renditions.push(Rendition {
                id: track.id().clone(),
                codec: video.codec,
                role: track.role(),
                width: video.width,
                height: video.height,
                fps: video.frame_rate.map(|rate| rate.fps()),
                declared_kbps: declared,
                measured_kbps: (measured > 0.0).then_some(measured),
                reordered: video.reordered,
                kbps: match declared {
                    Some(declared) => measured.max(declared),
                    None if measured > 0.0 => measured,
                    None => UNKNOWN_KBPS,
                },
            });
        }
        renditions
    }

    fn rate(&mut self, track: &Track, now: Instant) -> f64 {
        let bytes = track.counters().bytes;
        let rate = self.rates.entry(track.id().clone()).or_insert(Rate {
            bytes,
            at: now,
            kbps: 0.0,
        });
        let elapsed = now.saturating_duration_since(rate.at);
        if elapsed >= RATE_INTERVAL_MIN {
            let kbps =
                bytes.saturating_sub(rate.bytes) as f64 * 8.0 / 1000.0 / elapsed.as_secs_f64();
            // Half of the new value each second: a GOP's keyframe does not look like a change of rate.
            let smoothed = if rate.kbps > 0.0 {
                rate.kbps + 0.5 * (kbps - rate.kbps)
            } else {
                kbps
            };
            *rate = Rate {
                bytes,
                at: now,
                kbps: smoothed,
            };
        }
        rate.kbps
    }
}

/// What a viewer may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds<'a> {
    /// What it can decode.
    pub codecs: &'a [VideoCodec],
    /// Most it was granted, in kbit/s.
    pub cap_kbps: Option<u32>,
    /// Most lines that it has room for, in pixels.
    pub height_max: Option<u32>,
}

impl Bounds<'_> {
    /// The same with the height of what there is: viewers with room for the same are alike.
    pub(crate) fn fitted(self, renditions: &[Rendition]) -> Self {
        let height_max = self.height_max.map(|most| {
            let heights = || {
                renditions
                    .iter()
                    .map(|one| one.height)
                    .filter(|one| *one > 0)
            };
            let fits = heights().filter(|height| *height <= most).max();
            fits.or_else(|| heights().min()).unwrap_or(most)
        });
        Self { height_max, ..self }
    }
}

/// What a viewer can play and was granted: of what it can decode, and RTP can carry, all that fits its cap and its room,
/// and never less than the least. What HLS has of a peer is the peer's own, once more.
fn playable<'a>(renditions: &'a [Rendition], bounds: Bounds<'_>) -> Vec<&'a Rendition> {
    let is_peer = renditions.iter().any(|one| one.role == Role::Ingest);
    let mut playable: Vec<&Rendition> = renditions
        .iter()
        .filter(|rendition| bounds.codecs.contains(&rendition.codec) && !rendition.reordered)
        .filter(|rendition| !(is_peer && rendition.role == Role::Passthrough))
        .collect();
    if let Some(height_max) = bounds.height_max {
        let least = playable.iter().map(|one| one.height).min().unwrap_or(0);
        playable.retain(|one| one.height <= height_max.max(least));
    }
    if let Some(cap_kbps) = bounds.cap_kbps {
        let least = playable
            .iter()
            .map(|one| one.kbps)
            .fold(f64::INFINITY, f64::min);
        playable.retain(|one| one.kbps <= f64::from(cap_kbps).max(least));
    }
    playable
}

/// What a viewer's policy can choose from. The best layer that a publisher sends stands in for itself as the source, and
/// rungs that are no smaller than a layer of their size are left out: they would cost an encoding and look no better.
pub fn choices<'a>(renditions: &'a [Rendition], bounds: Bounds<'_>) -> Vec<&'a Rendition> {
    let mut choices = playable(renditions, bounds);
    let published: Vec<(TrackId, u64)> = choices
        .iter()
        .filter(|one| one.role == Role::Ingest && one.pixels() > 0)
        .map(|one| (one.id.clone(), one.pixels()))
        .collect();
    // Where the source itself is too much, the best layer that is not stands for it.
    let source = published.iter().find(|(id, _)| *id == TrackId::source());
    let best = source.or_else(|| published.iter().max_by_key(|(_, pixels)| *pixels));
    let Some((best, most)) = best.cloned() else {
        return choices;
    };
    let is_sent = |pixels: u64| published.iter().any(|(_, layer)| *layer == pixels);
    choices.retain(|one| match one.role {
        Role::Rung => one.pixels() < most && !is_sent(one.pixels()),
        Role::Ingest => one.id == best || one.pixels() < most,
        Role::Passthrough => true,
    });
    choices
}

/// The viewers that choose from the same renditions, and the question about them.
pub(crate) struct Group {
    /// What they choose from, lowest bitrate first: a rung's number is its place here.
    pub(crate) rungs: Vec<TrackId>,
    /// The question.
    pub(crate) batch: Batch,
    /// Names the rows from call to call.
    pub(crate) keys: Vec<u64>,
    /// Places of the rows' viewers in the list they came from.
    pub(crate) viewers: Vec<usize>,
}

/// What is known of a viewer at a step.
pub(crate) struct Known<'a> {
    pub(crate) key: u64,
    pub(crate) bounds: Bounds<'a>,
    pub(crate) wanted: Option<TrackId>,
    pub(crate) data_saver: bool,
    pub(crate) link: LinkStats,
    pub(crate) said: Said,
}

/// Gathers plain numbers: one batch for all viewers that can decode the same.
#[expect(
    clippy::cast_precision_loss,
    reason = "pixels and counts are far below 2⁵³"
)]
pub(crate) fn questions(renditions: &[Rendition], viewers: &[Known<'_>], tick: Tick) -> Vec<Group> {
    let mut groups: Vec<(Bounds<'_>, Group)> = Vec::new();
    for (at, viewer) in viewers.iter().enumerate() {
        let known = groups
            .iter()
            .position(|(bounds, _)| *bounds == viewer.bounds);
        let place = known.unwrap_or_else(|| {
            groups.push((viewer.bounds, group(renditions, viewer.bounds, tick)));
            groups.len() - 1
        });
        let Some((_, group)) = groups.get_mut(place) else {
            continue;
        };
        let current = viewer
            .wanted
            .as_ref()
            .and_then(|id| group.rungs.iter().position(|rung| rung == id));
        let (link, said) = (&viewer.link, &viewer.said);
        let dropped = said.dropped_frames.unwrap_or(link.units_skipped as f64);
        column::append(
            &mut group.batch.rows,
            column::VIEWER,
            &[
                ("bandwidth_kbps", link.bandwidth_kbps),
                ("goodput_kbps", link.sent_kbps),
                ("loss_pct", link.loss_pct),
                ("jitter_ms", link.jitter_ms),
                ("rtt_ms", link.rtt_ms),
                ("buffer_s", link.buffer_s),
                ("current", current.map(|current| current as f64)),
                ("stalls", said.stalls),
                ("stall_s", said.stall_s),
                ("in_stall", said.in_stall),
                ("dropped_frames", Some(dropped)),
                ("screen_width", said.screen_width),
                ("screen_height", said.screen_height),
                ("data_saver", Some(f64::from(u8::from(viewer.data_saver)))),
                ("cap_kbps", viewer.bounds.cap_kbps.map(f64::from)),
            ],
        );
        group.batch.row_count += 1;
        group.keys.push(viewer.key);
        group.viewers.push(at);
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

fn group(renditions: &[Rendition], bounds: Bounds<'_>, tick: Tick) -> Group {
    let mut rungs = choices(renditions, bounds);
    rungs.sort_by(|a, b| a.kbps.total_cmp(&b.kbps).then_with(|| a.id.cmp(&b.id)));
    let mut batch = Batch {
        tick,
        rung_count: rungs.len(),
        ..conformance::empty()
    };
    for rung in &rungs {
        batch.rung_names.push(rung.id.as_str().into());
        column::append(
            &mut batch.rungs,
            column::RUNG,
            &[
                ("need_kbps", Some(rung.kbps)),
                ("kbps", rung.declared_kbps),
                ("measured_kbps", rung.measured_kbps),
                ("width", Some(f64::from(rung.width))),
                ("height", Some(f64::from(rung.height))),
                ("fps", rung.fps),
                ("codec", Some(f64::from(rung.codec.number()))),
                (
                    "active",
                    Some(if rung.measured_kbps.is_some() {
                        1.0
                    } else {
                        0.0
                    }),
                ),
            ],
        );
    }
    let rungs = rungs.into_iter().map(|rung| rung.id.clone()).collect();
    Group {
        rungs,
        batch,
        keys: Vec::new(),
        viewers: Vec::new(),
    }
}

/// The verdict in a row of the answer to `abr`; `None` pauses video. A rung that does not exist was refused before.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a rung's number"
)]
pub(crate) fn verdict(group: &Group, decided: &Decided, row: &[f64]) -> Option<Verdict> {
    let at = row.first().copied().filter(|rung| *rung >= 0.0)? as usize;
    let code = row.get(1).copied().unwrap_or(f64::NAN);
    Some(Verdict {
        rung: group.rungs.get(at)?.clone(),
        automatic: true,
        reason: decided.artifact.manifest().reason(Kind::Abr, code),
    })
}

/// The bandwidth that would be of use to a viewer in kbit/s: what the policy asks to probe for, or else what the
/// highest rung takes with some room. In steps of a quarter, so that it does not change with every measurement.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped, and a number of steps"
)]
pub(crate) fn useful_kbps(group: &Group, row: &[f64]) -> Option<u32> {
    let asked = column::place(column::PICK, "probe_kbps")
        .and_then(|at| row.get(at).copied())
        .filter(|kbps| *kbps > 0.0);
    let highest = || {
        let place = column::place(column::RUNG, "need_kbps")?;
        let rungs = group.batch.rungs.chunks_exact(column::width(column::RUNG));
        Some(
            rungs
                .filter_map(|rung| rung.get(place))
                .fold(0.0, |most: f64, need| most.max(*need))
                * ROOM,
        )
    };
    let kbps = asked.or_else(highest)?.clamp(100.0, 1e6);
    let steps = (kbps / 100.0).log(1.25).ceil();
    Some((100.0 * 1.25f64.powi(steps as i32)) as u32)
}

/// What the viewer chose itself, as long as it exists, can be decoded and was granted.
pub(crate) fn chosen(
    renditions: &[Rendition],
    bounds: Bounds<'_>,
    chosen: Option<&TrackId>,
) -> Option<Verdict> {
    let chosen = chosen?;
    let is_there = playable(renditions, bounds)
        .iter()
        .any(|rendition| rendition.id == *chosen);
    is_there.then(|| Verdict {
        rung: chosen.clone(),
        automatic: false,
        reason: "chosen by the viewer".to_owned(),
    })
}

/// The rendition of the same picture with no more than `fps` frames a second, where there is one and what was decided
/// on has more. It has to need less, or nothing is saved.
pub(crate) fn thinned(
    renditions: &[Rendition],
    bounds: Bounds<'_>,
    verdict: Verdict,
    fps: Option<u32>,
) -> Verdict {
    let Some(fps) = fps.map(f64::from) else {
        return verdict;
    };
    let playable = playable(renditions, bounds);
    let Some(decided) = playable.iter().find(|one| one.id == verdict.rung) else {
        return verdict;
    };
    if decided.fps.is_none_or(|has| has <= fps + FPS_SLACK) {
        return verdict;
    }
    let slower = playable
        .iter()
        .filter(|one| one.pixels() == decided.pixels() && one.kbps < decided.kbps)
        .filter_map(|one| Some((one, one.fps.filter(|has| *has <= fps + FPS_SLACK)?)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    match slower {
        Some((slower, _)) => Verdict {
            rung: slower.id.clone(),
            reason: format!("{}; {fps} frames a second are enough", verdict.reason),
            ..verdict
        },
        None => verdict,
    }
}

/// How often the control step runs.
pub const TICK: Duration = Duration::from_secs(1);

/// Steps out of turn are no closer than this.
pub(crate) const STEP_INTERVAL_MIN: Duration = Duration::from_millis(200);

/// 29.97 frames a second are 30.
const FPS_SLACK: f64 = 0.1;

/// A rung is only chosen when the link carries this many times what it takes.
const ROOM: f64 = 1.4;

/// Below this the counted bytes say more about the scheduler than about the rate.
const RATE_INTERVAL_MIN: Duration = Duration::from_millis(500);

/// What a rendition is taken to need until it was measured, in kbit/s.
const UNKNOWN_KBPS: f64 = 1500.0;

#[cfg(test)]
mod tests;
