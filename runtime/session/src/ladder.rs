//! What is worth encoding: the question to the `ladder` policy, when a source is known and whenever the load changes.

use std::sync::Arc;

use lockgate_media::{BroadcastName, Rung, TrackId};
use lockgate_policy::{
    Batch, Kind, Tick, column, conformance,
    engine::{Cause, Mode},
};
use lockgate_ports::transcoder::{Plan, Planner, SourceInfo};

use crate::desk::{About, Desk, DeskError};

/// The operator's limits on the ladder.
#[derive(Debug, Clone)]
pub struct LadderConfig {
    /// The rungs to choose from.
    pub rungs: Vec<Rung>,
    /// The best rung allowed.
    pub max_quality: Option<String>,
    /// May a source be passed through?
    pub passthrough: bool,
    /// CPU seconds a second that encoding one broadcast may take.
    pub cpu_budget: f64,
    /// Are rungs shed while encoding cannot keep up?
    pub shed: bool,
}

/// How a ladder goes, as its policy is told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// CPU seconds a second that may be spent now; less than configured while the machine cannot give that.
    pub cpu_budget: f64,
    /// CPU seconds a second that encoding takes.
    pub cpu_used: Option<f64>,
    /// Media seconds encoded per second of real time.
    pub speed: Option<f64>,
    /// Viewers by WebRTC.
    pub viewers: Option<usize>,
    /// The rungs being encoded.
    pub active: Vec<TrackId>,
}

impl Load {
    /// Whether it is so much another that the policy is asked anew: other rungs are encoded, viewers came or left, or a
    /// quarter of the budget is spent more or less.
    pub(crate) fn differs(&self, other: &Self) -> bool {
        let spent = |load: &Self| load.cpu_used.unwrap_or(0.0);
        let viewers = |load: &Self| load.viewers.unwrap_or(0).checked_ilog2();
        self.active != other.active
            || viewers(self) != viewers(other)
            || (spent(self) - spent(other)).abs() > self.cpu_budget / 4.0
    }
}

/// What the `ladder` policy answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// What is encoded.
    pub plan: Plan,
    /// Why, in the policy's words.
    pub reason: String,
}

/// Asks the `ladder` policy about one broadcast.
#[derive(Clone)]
pub struct Planning {
    /// The operator's limits.
    pub ladder: LadderConfig,
    /// Segment length in s.
    pub gop_s: u32,
    /// Whether a rung is encoded only while it has readers.
    pub on_demand: bool,
    /// Where policies decide.
    pub desk: Desk,
    /// The broadcast.
    pub name: BroadcastName,
    /// Whether the source is a WebRTC peer.
    pub from_peer: bool,
}

impl Planning {
    /// Asked by the transcoder once it knows its source.
    pub(crate) fn planner(self) -> Planner {
        Arc::new(move |source: &SourceInfo| self.plan(source).plan)
    }

    /// The plan for a new source. Where the policy is late, the lowest rung is encoded.
    pub fn plan(&self, source: &SourceInfo) -> Planned {
        let none = || Planned {
            plan: Plan::default(),
            reason: "there are no pictures".to_owned(),
        };
        let Some(video) = &source.video else {
            return none();
        };
        let load = Load {
            cpu_budget: self.ladder.cpu_budget,
            ..Load::default()
        };
        let (batch, rungs) = self.question(source, &load);
        let decided = self.desk.decide_here(Kind::Ladder, batch, self.about());
        match decided {
            Ok(decided) => {
                let planned = self.answer(source, &rungs, &decided);
                tracing::info!(
                    broadcast = %self.name,
                    source = %format_args!("{} {}×{}", video.codec, video.width, video.height),
                    rungs = ?planned.plan.rungs.iter().map(|rung| rung.name.as_str()).collect::<Vec<_>>(),
                    passthrough = planned.plan.passthrough,
                    reason = %planned.reason,
                    "the ladder is planned"
                );
                planned
            }
            Err(error) => {
                tracing::warn!(broadcast = %self.name, %error, "the ladder policy gave no answer");
                Planned {
                    plan: never_nothing(Plan::default(), &rungs),
                    reason: error.to_string(),
                }
            }
        }
    }

    /// Asks again about a source that is being encoded.
    pub(crate) async fn ask_again(
        &self,
        source: &SourceInfo,
        load: &Load,
    ) -> Result<Planned, DeskError> {
        let (batch, rungs) = self.question(source, load);
        let decided = self
            .desk
            .decide(Kind::Ladder, batch, vec![0], self.about())
            .await?;
        Ok(self.answer(source, &rungs, &decided))
    }

    fn about(&self) -> About {
        About {
            stream: self.name.as_str().into(),
            rows: vec!["source".to_owned()],
        }
    }

    /// Whether the source's own coding may stand in for a rung. A peer's keyframes come when asked for, until it turns
    /// out that they do not. B-frames are passed to HLS only.
    fn is_passable(&self, source: &SourceInfo) -> bool {
        source.video.as_ref().is_some_and(|video| {
            let regular = match video.gop_max_s {
                Some(gop) => gop <= f64::from(self.gop_s) + 0.1,
                None => self.from_peer,
            };
            self.ladder.passthrough && video.codec == "h264" && regular
        })
    }

    /// The question, and the rungs that its answer counts, lowest first.
    #[expect(clippy::cast_precision_loss, reason = "viewers are far fewer than 2⁵³")]
    fn question(&self, source: &SourceInfo, load: &Load) -> (Batch, Vec<Rung>) {
        let mut rungs = self.ladder.allowed();
        rungs.sort_by_key(|rung| (rung.kbps, rung.name.clone()));
        let number = |value: u32| Some(f64::from(value));
        let flag = |is: bool| Some(f64::from(u8::from(is)));
        let mut batch = conformance::empty();
        batch.tick = Tick {
            now_ms: self.desk.now_ms(),
            seed: rand::random(),
            mode: Mode::Webrtc,
            cause: Cause::Tick,
        };
        for rung in &rungs {
            column::append(
                &mut batch.rungs,
                column::RUNG,
                &[
                    ("need_kbps", number(rung.kbps)),
                    ("kbps", number(rung.kbps)),
                    ("width", number(rung.width)),
                    ("height", number(rung.height)),
                    ("fps", number(rung.fps)),
                    ("codec", Some(0.0)),
                    ("active", flag(load.active.contains(&rung.name))),
                ],
            );
            batch.rung_names.push(rung.name.as_str().into());
        }
        batch.rung_count = rungs.len();
        let video = source.video.as_ref();
        column::append(
            &mut batch.rows,
            column::SOURCE,
            &[
                ("width", video.and_then(|video| number(video.width))),
                ("height", video.and_then(|video| number(video.height))),
                (
                    "fps",
                    video.and_then(|video| video.frame_rate.map(|rate| rate.fps())),
                ),
                (
                    "kbps",
                    video.and_then(|video| video.bitrate_bps.map(|bps| bps as f64 / 1000.0)),
                ),
                ("passable", flag(self.is_passable(source))),
                ("cpu_budget", Some(load.cpu_budget)),
                ("cpu_used", load.cpu_used),
                ("viewers", load.viewers.map(|viewers| viewers as f64)),
                ("speed", load.speed),
            ],
        );
        batch.row_count = 1;
        (batch, rungs)
    }

    fn answer(
        &self,
        source: &SourceInfo,
        rungs: &[Rung],
        decided: &lockgate_policy::slot::Decided,
    ) -> Planned {
        let keep = decided
            .rows
            .get(column::width(column::PLAN)..)
            .unwrap_or_default();
        let kept = rungs.iter().zip(keep).filter(|(_, keep)| **keep == 1.0);
        let mut plan = Plan {
            // Best first, as encoders cascade.
            rungs: kept.rev().map(|(rung, _)| rung.clone()).collect(),
            passthrough: self.is_passable(source) && decided.rows.first() == Some(&1.0),
        };
        if let Some(video) = source
            .video
            .as_ref()
            .filter(|video| plan.passthrough && video.b_frames)
        {
            // What HLS is passed, viewers over WebRTC cannot be sent: they get a rung of that size in its place, which
            // costs nothing as long as there are none.
            let fits = |rung: &&Rung| !(rung.width > video.width && rung.height > video.height);
            if let Some(top) = rungs.iter().rev().find(fits).or(rungs.first())
                && !plan.rungs.iter().any(|rung| rung.name == top.name)
            {
                plan.rungs.insert(0, top.clone());
            }
        }
        let code = decided.rows.get(2).copied().unwrap_or(f64::NAN);
        Planned {
            plan: with_rtp(never_nothing(plan, rungs), source, rungs),
            reason: decided.artifact.manifest().reason(Kind::Ladder, code),
        }
    }
}

/// A policy that encodes nothing would leave HLS without anything: the lowest rung is always worth it.
fn never_nothing(plan: Plan, rungs: &[Rung]) -> Plan {
    if plan.rungs.is_empty() && !plan.passthrough {
        return Plan {
            rungs: rungs.iter().take(1).cloned().collect(),
            passthrough: false,
        };
    }
    plan
}

/// A source with B-frames that HLS is passed cannot be sent to viewers over WebRTC: they get a rung of that size in its
/// place, which costs nothing as long as there are none.
fn with_rtp(mut plan: Plan, source: &SourceInfo, rungs: &[Rung]) -> Plan {
    let Some(video) = source.video.as_ref().filter(|video| video.b_frames) else {
        return plan;
    };
    let fits = |rung: &&Rung| !rung.enlarges(video.width, video.height);
    let top = rungs.iter().rev().find(fits).or(rungs.first());
    if let Some(top) = top.filter(|_| plan.passthrough)
        && !plan.rungs.iter().any(|rung| rung.name == top.name)
    {
        plan.rungs.insert(0, top.clone());
    }
    plan
}

impl LadderConfig {
    /// The rungs up to the best one allowed.
    fn allowed(&self) -> Vec<Rung> {
        let best = self
            .max_quality
            .as_ref()
            .and_then(|max| self.rungs.iter().find(|rung| rung.name.as_str() == max));
        let pixels = |rung: &Rung| u64::from(rung.width) * u64::from(rung.height);
        let most = best.map_or((u64::MAX, u32::MAX), |best| (pixels(best), best.kbps));
        self.rungs
            .iter()
            .filter(|rung| (pixels(rung), rung.kbps) <= most)
            .cloned()
            .collect()
    }
}
