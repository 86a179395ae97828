//! The place of a kind: which policy decides, what happens when it fails, and how it is swapped.
//!
//! The chain is: active → the policy before it → built-in. A row that a policy refuses, or whose answer makes no sense, is
//! answered by the built-in alone; three refused in a row, with no good one between, are a fault like any other. A swap is
//! one assignment after every check, which [`admit`] makes wherever there is time for it; within its watch window a policy
//! that fails too often is rolled back by itself. A value: `now_ms` is an argument, and instances belong to whichever
//! thread owns the slot.

mod admission;
mod said;
mod seat;
mod totals;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Artifact, Batch, Builtin, Fault, Kind, Refusal,
    auth::Request,
    breaker::BreakerState,
    host::{Grants, HostInfo, Line},
};
use seat::Seat;
use totals::Totals;

pub use admission::{Admitted, SwapError, admit};
pub use said::{Authorized, Said};
pub use seat::Counters;
pub use totals::Total;

/// The policies of one kind.
pub struct Slot {
    kind: Kind,
    grants: Grants,
    builtin: Seat,
    /// Oldest first; the last one is active.
    seats: Vec<Seat>,
    shadow: Option<Seat>,
    disagreements: u64,
    /// Those of the shadows before this one.
    disagreements_before: u64,
    generation: u64,
    rollbacks: u64,
    gone: Totals,
    /// Who answered last.
    level: Level,
}

/// Which link of the chain answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The active policy.
    Active,
    /// The one before it.
    LastGood,
    /// The built-in.
    Builtin,
}

/// A decided batch.
#[derive(Debug, Clone)]
pub struct Decided {
    /// `output_width` numbers for each row.
    pub rows: Vec<f64>,
    /// Who answered.
    pub level: Level,
    /// Its generation.
    pub generation: u64,
    /// Its digest.
    pub digest: String,
    /// What its reasons mean.
    pub artifact: Arc<dyn Artifact>,
    /// What went wrong on the way down the chain.
    pub faults: Vec<Failed>,
    /// Rows that were refused and answered by the built-in instead, in their order.
    pub refused: Vec<Refusal>,
    /// A rollback happened, from this generation.
    pub rolled_back: Option<u64>,
    /// What the one that answered said, refused rows included.
    pub said: Said,
    /// What the built-in said where rows were refused.
    pub instead: Option<Said>,
}

/// A policy that failed before another answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// Its generation.
    pub generation: u64,
    /// Its digest.
    pub digest: String,
    /// How.
    pub fault: Fault,
}

/// A policy in the slot, as people see it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct SeatInfo {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// Its generation; the built-in has 0.
    pub generation: u64,
    /// Since when it is there, on the slot's clock in ms.
    pub since_ms: u64,
    /// What its breaker stands at.
    pub breaker: BreakerState,
    /// What it has done.
    pub counters: Counters,
    /// What its imports have come to; absent without any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<HostInfo>,
}

/// A slot as people see it.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct SlotInfo {
    /// Its kind.
    pub kind: Kind,
    /// Who decides.
    pub active: SeatInfo,
    /// Who decided before, newest first.
    pub before: Vec<SeatInfo>,
    /// Who decides beside it without effect.
    pub shadow: Option<SeatInfo>,
    /// Rows on which the shadow differed.
    pub shadow_disagreements: u64,
    /// Rollbacks that happened by themselves.
    pub rollbacks: u64,
}

impl Slot {
    /// A slot where the built-in decides, with its parameters.
    pub fn new(kind: Kind, builtin_config: Value) -> Self {
        let builtin = Seat::new(Arc::new(Builtin::default()), builtin_config, kind, 0, 0);
        Self {
            kind,
            grants: Grants::new(),
            builtin,
            seats: Vec::new(),
            shadow: None,
            disagreements: 0,
            disagreements_before: 0,
            generation: 0,
            rollbacks: 0,
            gone: Totals::default(),
            level: Level::Active,
        }
    }

    /// Grants imports to whatever policy comes from now on.
    pub fn grant(&mut self, grants: Grants) {
        self.grants = grants;
    }

    /// Gives the built-in other parameters; with `alone`, nothing else is in charge any more.
    pub fn settle(&mut self, builtin_config: Value, alone: bool) {
        let builtin = Seat::new(
            Arc::new(Builtin::default()),
            builtin_config,
            self.kind,
            0,
            0,
        );
        let gone = std::mem::replace(&mut self.builtin, builtin);
        self.gone.keep(&gone);
        if alone {
            for gone in self.seats.drain(..) {
                self.gone.keep(&gone);
            }
        }
    }

    /// Puts a policy in charge, after every check. Returns its generation.
    pub fn swap(
        &mut self,
        artifact: Arc<dyn Artifact>,
        config: Value,
        now_ms: u64,
    ) -> Result<u64, SwapError> {
        let admitted = admit(self.kind, &self.grants, artifact, config)?;
        Ok(self.put_in_charge(admitted, now_ms))
    }

    /// Puts a policy in charge that has passed every check. Returns its generation.
    pub fn put_in_charge(&mut self, admitted: Admitted, now_ms: u64) -> u64 {
        let mut seat = admitted.seat(now_ms);
        let line = self
            .seats
            .iter()
            .rev()
            .find(|other| other.is_of_one_line(&seat));
        if let Some(other) = line {
            seat.share_space(other);
        }
        if let Some(active) = self.seats.last_mut() {
            seat.inherit(active);
            active.drop_prepared();
        }
        self.generation += 1;
        seat.generation = self.generation;
        self.seats.push(seat);
        if self.seats.len() > GENERATIONS_KEPT {
            let gone = self.seats.remove(0);
            self.gone.keep(&gone);
        }
        self.generation
    }

    /// Goes back to the policy before the active one, or to the built-in. It goes on with what it carried itself: what the
    /// one that goes has written may be as bad as its answers.
    pub fn rollback(&mut self) -> Result<(), SwapError> {
        let gone = self.seats.pop().ok_or(SwapError::NothingBefore)?;
        self.gone.keep(&gone);
        Ok(())
    }

    /// Lets a candidate decide beside the active policy, without effect.
    pub fn set_shadow(
        &mut self,
        artifact: Arc<dyn Artifact>,
        config: Value,
        now_ms: u64,
    ) -> Result<(), SwapError> {
        let admitted = admit(self.kind, &self.grants, artifact, config)?;
        self.put_beside(admitted, now_ms);
        Ok(())
    }

    /// Lets a candidate that has passed every check decide beside the active policy, without effect.
    pub fn put_beside(&mut self, admitted: Admitted, now_ms: u64) {
        self.shadow = Some(admitted.seat(now_ms));
        self.disagreements_before += std::mem::take(&mut self.disagreements);
    }

    /// Ends the shadow.
    pub fn drop_shadow(&mut self) {
        self.shadow = None;
    }

    /// Decides a batch with whole-contract rows. `keys` name the rows from call to call. Never fails: at the end of
    /// the chain stands the built-in.
    pub fn decide(&mut self, full: &Batch, keys: &[u64], now_ms: u64) -> Decided {
        let kind = self.kind;
        let mut faults = Vec::new();
        let mut answered: Option<(Vec<f64>, Vec<Refusal>, usize)> = None;
        for at in (0..self.seats.len()).rev().take(2) {
            let seat = &mut self.seats[at];
            if !seat.is_open_to(now_ms) {
                continue;
            }
            match seat.ask(kind, full, keys, now_ms) {
                Ok((rows, refused)) => {
                    answered = Some((rows.to_vec(), refused, at));
                    break;
                }
                Err(fault) => faults.push(Failed {
                    generation: seat.generation,
                    digest: seat.artifact.digest().to_owned(),
                    fault,
                }),
            }
        }
        let rolled_back = self.roll_back_if_bad(now_ms);
        let (mut decided, at) = match answered {
            Some((rows, refused, at)) => {
                let level = if at + 1 >= self.seats.len() {
                    Level::Active
                } else {
                    Level::LastGood
                };
                let seat = &self.seats[at.min(self.seats.len().saturating_sub(1))];
                (
                    Decided::of(seat, rows, level, faults, refused, rolled_back),
                    Some(at),
                )
            }
            None => {
                let rows = self.builtin_rows(full, keys, now_ms);
                (
                    Decided::of(
                        &self.builtin,
                        rows,
                        Level::Builtin,
                        faults,
                        Vec::new(),
                        rolled_back,
                    ),
                    None,
                )
            }
        };
        if at.is_some() && !decided.refused.is_empty() {
            let instead = self.builtin_rows(full, keys, now_ms);
            decided.instead = Some(self.builtin.said());
            let width = kind.output_width(full.rung_count);
            for Refusal { row, .. } in &decided.refused {
                let range = row * width..(row + 1) * width;
                if let (Some(bad), Some(good)) =
                    (decided.rows.get_mut(range.clone()), instead.get(range))
                {
                    bad.copy_from_slice(good);
                }
            }
        }
        // Where no policy was put in charge, the built-in is the one in charge.
        self.level = if self.seats.is_empty() {
            Level::Active
        } else {
            decided.level
        };
        decided
    }

    /// Decides about a request. A policy that fails denies.
    pub fn authorize(&mut self, request: &Request, now_ms: u64) -> Authorized {
        match self.seats.last_mut() {
            Some(seat) => seat.authorize(request, now_ms),
            None => self.builtin.authorize(request, now_ms),
        }
    }

    /// Makes ready, while nobody waits, what the next request needs: an instance that no request has seen. One at a
    /// call; says whether there was something to make.
    pub fn prepare(&mut self) -> bool {
        self.kind == Kind::Auth && self.seats.last_mut().is_some_and(Seat::prepare)
    }

    fn builtin_rows(&mut self, full: &Batch, keys: &[u64], now_ms: u64) -> Vec<f64> {
        match self.builtin.ask(self.kind, full, keys, now_ms) {
            Ok((rows, _)) => rows.to_vec(),
            // Only a batch that is not of the contract; whoever made it gets "nothing to say" for each row.
            Err(_) => vec![f64::NAN; self.kind.output_width(full.rung_count) * full.row_count],
        }
    }

    fn roll_back_if_bad(&mut self, now_ms: u64) -> Option<u64> {
        let active = self.seats.last()?;
        let is_watched = now_ms.saturating_sub(active.since_ms) < WATCH_MS;
        if !is_watched
            || active.breaker.state(now_ms) == BreakerState::Closed
            || self.seats.len() < 2
        {
            return None;
        }
        let generation = active.generation;
        self.rollback().ok()?;
        self.rollbacks += 1;
        Some(generation)
    }

    /// Asks the shadow about the same batch, once what was decided has gone out: nobody waits for it.
    pub fn decide_beside(
        &mut self,
        full: &Batch,
        keys: &[u64],
        now_ms: u64,
        decided: &[f64],
    ) -> Option<Said> {
        let width = self.kind.output_width(full.rung_count).max(1);
        let shadow = self.shadow.as_mut()?;
        if !shadow.is_open_to(now_ms) {
            return None;
        }
        if let Ok((_, refused)) = shadow.ask(self.kind, full, keys, now_ms) {
            let mut said = shadow.said();
            // What a refused row says means nothing; what took effect stands there, which is no disagreement.
            for Refusal { row, .. } in refused {
                let range = row * width..(row + 1) * width;
                if let (Some(bad), Some(good)) =
                    (said.rows.get_mut(range.clone()), decided.get(range))
                {
                    bad.copy_from_slice(good);
                }
            }
            let differs = |(a, b): &(&[f64], &[f64])| {
                a.first().map(|n| n.to_bits()) != b.first().map(|n| n.to_bits())
            };
            let rows = said
                .rows
                .chunks_exact(width)
                .zip(decided.chunks_exact(width));
            self.disagreements += rows.filter(differs).count() as u64;
            return Some(said);
        }
        None
    }

    /// The slot as people see it.
    pub fn info(&self, now_ms: u64) -> SlotInfo {
        let info = |seat: &Seat| seat_info(seat, now_ms);
        let active = self.seats.last().unwrap_or(&self.builtin);
        SlotInfo {
            kind: self.kind,
            active: info(active),
            before: self.seats.iter().rev().skip(1).map(info).collect(),
            shadow: self.shadow.as_ref().map(info),
            shadow_disagreements: self.disagreements,
            rollbacks: self.rollbacks,
        }
    }

    /// What each policy has done since the slot was made, those that are gone included. Never goes back.
    pub fn totals(&self) -> Vec<Total> {
        self.gone
            .with(std::iter::once(&self.builtin).chain(&self.seats))
    }

    /// Rows on which shadows have differed since the slot was made.
    pub fn disagreements(&self) -> u64 {
        self.disagreements_before + self.disagreements
    }

    /// Which link of the chain answered last; the built-in counts as active while no policy was put in charge.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Lines that policies have logged and this has not returned before, each with its policy's name and digest.
    pub fn take_lines(&self) -> Vec<(Arc<dyn Artifact>, Line)> {
        let seats = self.seats.iter().chain(&self.shadow);
        seats
            .flat_map(|seat| {
                let lines = seat.services.take_lines().into_iter();
                lines.map(|line| (Arc::clone(&seat.artifact), line))
            })
            .collect()
    }
}

impl Decided {
    /// Why a row was refused; `None` if it was not.
    pub fn refusal(&self, row: usize) -> Option<&Fault> {
        let at = self
            .refused
            .binary_search_by_key(&row, |refusal| refusal.row)
            .ok()?;
        self.refused.get(at).map(|refusal| &refusal.fault)
    }

    fn of(
        seat: &Seat,
        rows: Vec<f64>,
        level: Level,
        faults: Vec<Failed>,
        refused: Vec<Refusal>,
        rolled_back: Option<u64>,
    ) -> Self {
        Self {
            rows,
            level,
            generation: seat.generation,
            digest: seat.artifact.digest().to_owned(),
            artifact: Arc::clone(&seat.artifact),
            faults,
            refused,
            rolled_back,
            said: seat.said(),
            instead: None,
        }
    }
}

impl std::fmt::Debug for dyn Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} {} ({})",
            self.manifest().name,
            self.manifest().version,
            self.digest()
        )
    }
}

fn seat_info(seat: &Seat, now_ms: u64) -> SeatInfo {
    let manifest = seat.artifact.manifest();
    SeatInfo {
        name: manifest.name.clone(),
        version: manifest.version.clone(),
        digest: seat.artifact.digest().to_owned(),
        generation: seat.generation,
        since_ms: seat.since_ms,
        breaker: seat.breaker.state(now_ms),
        counters: seat.counters.clone(),
        host: seat.services.info(),
    }
}

/// How long after a swap a policy that fails too often is rolled back.
const WATCH_MS: u64 = 30_000;
/// Policies kept to go back to, the active one included.
const GENERATIONS_KEPT: usize = 4;

#[cfg(test)]
mod tests;
