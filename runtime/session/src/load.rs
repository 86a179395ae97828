//! The ladder under load: while its worker cannot keep up, rungs are shed from the top, and come back when there is room.
//!
//! Live is never delayed: what an encoder is too slow for is left out, and that share is what is watched here. The
//! `ladder` policy is asked again with a smaller CPU budget until its answer sheds something; a policy that keeps
//! everything whatever the budget is overruled from the top. [`Governor`] decides when, and reads no clock. Between bad
//! times the policy is asked when the load changes, and may shed by itself.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lockgate_broadcast::Broadcast;
use lockgate_media::{Rung, TrackId};
use lockgate_ports::{
    Transcode,
    transcoder::{State, Status},
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{
    control::Rendition,
    ladder::{Load, Planning},
};

/// How a ladder bears its load.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LoadInfo {
    /// CPU seconds a second that encoding takes; `None` until it was measured.
    pub cpu_used: Option<f64>,
    /// CPU seconds a second that encoding may take.
    pub cpu_budget: f64,
    /// The rungs that are not encoded because of the load, best first.
    pub shed: Vec<TrackId>,
    /// Why, while any is shed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Watches one ladder.
pub(crate) struct Keeper {
    planning: Planning,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    governor: Governor,
    /// When CPU time was last looked at, and what it was, in s.
    cpu: Option<(Instant, f64)>,
    cpu_used: Option<f64>,
    /// What was shed at each level, the last one being in force.
    levels: Vec<Level>,
    /// What the policy sheds by itself, and why.
    wish: Option<(Vec<TrackId>, String)>,
    /// When and about which load it was asked last.
    asked: Option<(Instant, Load)>,
    /// Viewers are moving until then; what is shed is encoded so long.
    leaving: Option<Instant>,
}

#[derive(Clone)]
struct Level {
    shed: Vec<TrackId>,
    cpu_budget: f64,
    reason: String,
}

impl Keeper {
    pub(crate) fn new(planning: Planning) -> Self {
        Self {
            planning,
            inner: Mutex::default(),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves out what is shed: viewers move to the next rung while theirs is still encoded for a moment.
    pub(crate) fn offered(&self, mut renditions: Vec<Rendition>) -> Vec<Rendition> {
        let shed = self.inner().shed();
        renditions.retain(|rendition| !shed.contains(&rendition.id));
        renditions
    }

    pub(crate) fn info(&self) -> LoadInfo {
        let inner = self.inner();
        let level = inner.levels.last();
        LoadInfo {
            cpu_used: inner.cpu_used,
            cpu_budget: level.map_or(self.planning.ladder.cpu_budget, |level| level.cpu_budget),
            shed: inner.shed(),
            // What the policy says by itself is more than what it was brought to.
            reason: (inner.wish.as_ref().map(|(_, reason)| reason))
                .or(level.map(|level| &level.reason))
                .cloned(),
        }
    }

    /// Looks at how the ladder goes, about once a second. True if what is offered has changed.
    pub(crate) async fn tend(
        &self,
        status: &Status,
        broadcast: &Broadcast,
        viewers: usize,
        ladder: &dyn Transcode,
    ) -> bool {
        let now = Instant::now();
        let (Some(source), Some(plan)) = (&status.source, &status.plan) else {
            return false;
        };
        if !self.planning.ladder.shed {
            self.inner().measure(now, status.cpu_s);
            return false;
        }
        let readers = |rung: &Rung| {
            broadcast
                .track(&rung.name)
                .is_some_and(|it| it.readers() > 0)
        };
        let (action, load) = {
            let mut inner = self.inner();
            if inner.leaving.is_some_and(|until| now >= until) {
                inner.leaving = None;
                ladder.shed(inner.shed());
            }
            if status.state != State::Running {
                inner.cpu = None;
                return false;
            }
            inner.measure(now, status.cpu_s);
            let shed = inner.shed();
            let encoded = |rung: &&Rung| {
                !shed.contains(&rung.name) && (!self.planning.on_demand || readers(rung))
            };
            let active: Vec<TrackId> = plan
                .rungs
                .iter()
                .filter(encoded)
                .map(|rung| rung.name.clone())
                .collect();
            let budget = inner
                .levels
                .last()
                .map_or(self.planning.ladder.cpu_budget, |level| level.cpu_budget);
            let behind = is_behind(status, inner.cpu_used)
                || inner
                    .cpu_used
                    .is_some_and(|used| used > self.planning.ladder.cpu_budget * BUDGET_SLACK);
            // The last one is never shed: somebody would see nothing at all.
            let can_shed = active.len() > 1 || (active.len() == 1 && plan.passthrough);
            let level = inner.levels.len();
            let action = inner.governor.push(now, behind && can_shed, level);
            let load = Load {
                cpu_budget: budget,
                cpu_used: inner.cpu_used,
                speed: Some(status.speed),
                viewers: Some(viewers),
                active,
            };
            (action, load)
        };
        match action {
            Action::Hold => self.ask(source, &plan.rungs, plan.passthrough, load).await,
            Action::Shed => {
                let level = self.shed(source, &plan.rungs, load).await;
                tracing::warn!(
                    broadcast = %self.planning.name,
                    shed = ?level.shed.iter().map(TrackId::as_str).collect::<Vec<_>>(),
                    speed = status.speed,
                    kept = status.frames_kept,
                    reason = %level.reason,
                    "encoding cannot keep up: rungs are shed from the top"
                );
                let mut inner = self.inner();
                inner.levels.push(level);
                inner.leaving = Some(now + LEAVE_WITHIN);
                true
            }
            Action::Restore => {
                let mut inner = self.inner();
                inner.levels.pop();
                inner.leaving = None;
                let shed = inner.shed();
                tracing::info!(
                    broadcast = %self.planning.name,
                    shed = ?shed.iter().map(TrackId::as_str).collect::<Vec<_>>(),
                    "there is room again: a rung comes back"
                );
                ladder.shed(shed);
                true
            }
        }
    }

    /// Asks the policy where the load is another than it was asked about. True if what it sheds has changed.
    async fn ask(
        &self,
        source: &lockgate_ports::transcoder::SourceInfo,
        rungs: &[Rung],
        has_source: bool,
        load: Load,
    ) -> bool {
        let now = Instant::now();
        {
            let mut inner = self.inner();
            let is_new = match &inner.asked {
                None => load.cpu_used.is_some(),
                Some((at, about)) => {
                    now.saturating_duration_since(*at) >= ASK_EVERY && about.differs(&load)
                }
            };
            if !is_new {
                return false;
            }
            inner.asked = Some((now, load.clone()));
        }
        // What was told to it in bad times is another matter.
        let load = Load {
            cpu_budget: self.planning.ladder.cpu_budget,
            ..load
        };
        let Ok(planned) = self.planning.ask_again(source, &load).await else {
            return false;
        };
        let kept = |rung: &&Rung| planned.plan.rungs.iter().any(|keep| keep.name == rung.name);
        let shed: Vec<TrackId> = rungs
            .iter()
            .filter(|rung| !kept(rung))
            .map(|rung| rung.name.clone())
            .collect();
        if shed.len() == rungs.len() && !has_source {
            return false;
        }
        let mut inner = self.inner();
        let wish = (!shed.is_empty()).then_some((shed, planned.reason));
        let before = inner.wish.as_ref().map(|(shed, _)| shed);
        if before == wish.as_ref().map(|(shed, _)| shed) {
            return false;
        }
        tracing::info!(
            broadcast = %self.planning.name,
            shed = ?wish.as_ref().map(|(shed, _)| shed),
            reason = wish.as_ref().map(|(_, reason)| reason.as_str()),
            "the ladder policy sheds otherwise under this load"
        );
        inner.wish = wish;
        inner.leaving = Some(now + LEAVE_WITHIN);
        true
    }

    /// What to shed next: as the policy says with less and less to spend, and else the best that is being encoded with
    /// all above it.
    async fn shed(
        &self,
        source: &lockgate_ports::transcoder::SourceInfo,
        rungs: &[Rung],
        load: Load,
    ) -> Level {
        let before = self.inner().shed();
        let mut cpu_budget = load
            .cpu_used
            .unwrap_or(load.cpu_budget)
            .min(load.cpu_budget);
        for _ in 0..ASKS_MAX {
            cpu_budget *= STEP;
            let asked = Load {
                cpu_budget,
                ..load.clone()
            };
            let Ok(planned) = self.planning.ask_again(source, &asked).await else {
                break;
            };
            let kept = |rung: &&Rung| planned.plan.rungs.iter().any(|keep| keep.name == rung.name);
            let shed: Vec<TrackId> = rungs
                .iter()
                .filter(|rung| !kept(rung) || before.contains(&rung.name))
                .map(|rung| rung.name.clone())
                .collect();
            let leaves_one = load.active.iter().any(|active| !shed.contains(active));
            if load.active.iter().any(|active| shed.contains(active)) && leaves_one {
                return Level {
                    shed,
                    cpu_budget,
                    reason: planned.reason,
                };
            }
        }
        let top = load.active.first();
        let at = rungs.iter().position(|rung| Some(&rung.name) == top);
        let shed = rungs.iter().take(at.map_or(0, |at| at + 1));
        Level {
            shed: shed.map(|rung| rung.name.clone()).collect(),
            cpu_budget,
            reason: "the policy keeps all whatever there is to spend; the top goes".to_owned(),
        }
    }
}

/// A source that is late says how fast encoding goes; but a network makes it late, too, and then there is little to do.
fn is_behind(status: &Status, cpu_used: Option<f64>) -> bool {
    let is_busy = cpu_used.is_some_and(|used| used > BUSY_MIN);
    status.rungs_active > 0
        && (status.frames_kept < KEPT_MIN || (is_busy && status.speed < SPEED_MIN))
}

impl Inner {
    /// All that is shed, best first.
    fn shed(&self) -> Vec<TrackId> {
        let level = self.levels.last().map(|level| &level.shed);
        let wish = self.wish.as_ref().map(|(shed, _)| shed);
        let mut all: Vec<TrackId> = Vec::new();
        for id in level.into_iter().chain(wish).flatten() {
            if !all.contains(id) {
                all.push(id.clone());
            }
        }
        all
    }

    fn measure(&mut self, now: Instant, cpu_s: f64) {
        let Some((then, before_s)) = self.cpu else {
            self.cpu = Some((now, cpu_s));
            return;
        };
        let elapsed = now.saturating_duration_since(then);
        if elapsed >= MEASURE_OVER {
            self.cpu_used = Some(((cpu_s - before_s) / elapsed.as_secs_f64()).max(0.0));
            self.cpu = Some((now, cpu_s));
        }
    }
}

/// What to do about the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Hold,
    Shed,
    Restore,
}

/// Decides when to shed and when to bring back: patient with bad moments, and more patient after each return that went
/// wrong.
#[derive(Debug, Default)]
struct Governor {
    behind_since: Option<Instant>,
    calm_since: Option<Instant>,
    shed_at: Option<Instant>,
    restored_at: Option<Instant>,
    patience: Option<Duration>,
}

impl Governor {
    fn push(&mut self, now: Instant, is_behind: bool, level: usize) -> Action {
        let since = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        if is_behind {
            self.calm_since = None;
            let behind = *self.behind_since.get_or_insert(now);
            let settled = since(self.shed_at).is_none_or(|past| past >= SETTLE);
            if now.saturating_duration_since(behind) < BEHIND_FOR || !settled {
                return Action::Hold;
            }
            self.behind_since = None;
            self.shed_at = Some(now);
            let patience = self.patience.unwrap_or(PATIENCE_MIN);
            self.patience = Some(match since(self.restored_at.take()) {
                Some(past) if past < PROVEN => (patience * 2).min(PATIENCE_MAX),
                Some(_) => PATIENCE_MIN,
                None => patience,
            });
            return Action::Shed;
        }
        self.behind_since = None;
        let calm = *self.calm_since.get_or_insert(now);
        let patience = self.patience.unwrap_or(PATIENCE_MIN);
        if level == 0 || now.saturating_duration_since(calm) < patience {
            return Action::Hold;
        }
        self.calm_since = Some(now);
        self.restored_at = Some(now);
        Action::Restore
    }
}

/// Below this share of frames encoded, a viewer sees that they are missing.
const KEPT_MIN: f64 = 0.93;
/// Below this speed a source falls behind real time.
const SPEED_MIN: f64 = 0.93;
/// A worker that spends less, in CPU seconds a second, waits for its source.
const BUSY_MIN: f64 = 0.6;
/// What may be spent beyond the budget before it counts: a keyframe here and there.
const BUDGET_SLACK: f64 = 1.1;
/// For so long it has to be behind before anything is shed. The figures are means of four seconds already.
const BEHIND_FOR: Duration = Duration::from_secs(4);
/// So long what was shed last is given to help.
const SETTLE: Duration = Duration::from_secs(7);
/// How long it has to be calm before a rung comes back, at first and at most.
const PATIENCE_MIN: Duration = Duration::from_secs(15);
const PATIENCE_MAX: Duration = Duration::from_secs(600);
/// A return that went well for so long was right.
const PROVEN: Duration = Duration::from_secs(60);
/// How long viewers have to leave a rung that is shed: the next one starts with a keyframe at once.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// CPU time is measured over at least so long.
const MEASURE_OVER: Duration = Duration::from_secs(3);
/// The policy is asked about a changed load no more often than this.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// The budget told to the policy shrinks to this share of what it was, at most so often.
const STEP: f64 = 0.85;
const ASKS_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays seconds of load, each `!` behind and each `.` calm, and writes down what was done.
    fn play(governor: &mut Governor, at: &mut Instant, load: &str, mut level: usize) -> String {
        let step = |second: char| {
            *at += Duration::from_secs(1);
            match governor.push(*at, second == '!', level) {
                Action::Hold => '-',
                Action::Shed => {
                    level += 1;
                    'S'
                }
                Action::Restore => {
                    level -= 1;
                    'R'
                }
            }
        };
        load.chars().map(step).collect()
    }

    #[test]
    fn a_bad_moment_sheds_nothing_and_a_bad_while_one_level_after_the_other() {
        let (mut governor, mut at) = (Governor::default(), Instant::now());
        assert_eq!(
            play(&mut governor, &mut at, "..!!!!..!!!!..", 0),
            "--------------"
        );
        assert_eq!(
            play(&mut governor, &mut at, "!!!!!!!!!!!!!!", 0),
            "----S------S--"
        );
    }

    #[test]
    fn what_was_shed_comes_back_and_more_slowly_after_a_return_that_went_wrong() {
        let (mut governor, mut at) = (Governor::default(), Instant::now());
        assert_eq!(play(&mut governor, &mut at, "!!!!!", 0), "----S");
        let calm = ".".repeat(16);
        assert_eq!(
            play(&mut governor, &mut at, &calm, 1),
            format!("{}R", "-".repeat(15))
        );
        assert_eq!(play(&mut governor, &mut at, "!!!!!", 0), "----S");
        assert!(!play(&mut governor, &mut at, &".".repeat(30), 1).contains('R'));
        assert!(play(&mut governor, &mut at, "..", 1).contains('R'));
        assert!(!play(&mut governor, &mut at, &".".repeat(200), 0).contains('R'));
    }
}
