//! One policy in its place: its instance, its breaker, what it carries, and what it has cost.

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;
use serde_json::Value;

use super::said::{Authorized, Said};
use crate::{
    Answer, Artifact, Batch, Fault, Kind, Policy, Refusal, Services, Spent,
    auth::{Request, Verdict},
    breaker::Breaker,
    conformance,
    project::Projection,
};

/// What a policy has done since it was swapped in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Counters {
    /// Calls.
    pub calls: u64,
    /// Rows decided.
    pub decisions: u64,
    /// Rows that it did not answer, or whose answer made no sense.
    pub rows_refused: u64,
    /// The same by the word of their fault.
    pub refusals: HashMap<&'static str, u64>,
    /// Faults by word.
    pub faults: HashMap<&'static str, u64>,
    /// Steps used.
    pub steps: u64,
    /// Memory high-water mark in bytes.
    pub memory_bytes: u64,
    /// The last fault or refusal, in words.
    pub last_fault: Option<String>,
}

impl Counters {
    /// Adds what another stay has done.
    pub(super) fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.decisions += other.decisions;
        self.rows_refused += other.rows_refused;
        self.steps += other.steps;
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        for (word, count) in &other.faults {
            *self.faults.entry(word).or_default() += count;
        }
        for (word, count) in &other.refusals {
            *self.refusals.entry(word).or_default() += count;
        }
        self.last_fault.clone_from(&other.last_fault);
    }
}

pub(super) struct Seat {
    pub(super) artifact: Arc<dyn Artifact>,
    pub(super) config: Arc<Value>,
    pub(super) generation: u64,
    pub(super) since_ms: u64,
    pub(super) breaker: Breaker,
    pub(super) counters: Counters,
    /// Rows refused since the last good one.
    refused_in_a_row: usize,
    /// Its imports: shared by all its instances.
    pub(super) services: Services,
    projection: Projection,
    instance: Option<Box<dyn Policy>>,
    /// Instances for requests to come, never asked anything.
    ready: Vec<Box<dyn Policy>>,
    carried: HashMap<u64, Carried>,
    asked: Batch,
    answer: Answer,
    last: Spent,
}

#[derive(Clone)]
struct Carried {
    memo: Vec<f64>,
    seen_ms: u64,
}

impl Seat {
    pub(super) fn new(
        artifact: Arc<dyn Artifact>,
        config: Value,
        kind: Kind,
        generation: u64,
        since_ms: u64,
    ) -> Self {
        let projection = Projection::new(artifact.manifest(), kind);
        let services = Services::of(artifact.manifest());
        Self {
            artifact,
            config: Arc::new(config),
            services,
            generation,
            since_ms,
            breaker: Breaker::default(),
            counters: Counters::default(),
            refused_in_a_row: 0,
            projection,
            instance: None,
            ready: Vec::new(),
            carried: HashMap::new(),
            asked: conformance::empty(),
            answer: Answer::default(),
            last: Spent::default(),
        }
    }

    /// Keeps what another policy of the same name and major version keeps.
    pub(super) fn share_space(&mut self, with: &Self) {
        self.services = Services::sharing(self.artifact.manifest(), &with.services);
    }

    /// Whether another policy goes under the same name and major version.
    pub(super) fn is_of_one_line(&self, other: &Self) -> bool {
        let (own, other) = (self.artifact.manifest(), other.artifact.manifest());
        own.name == other.name && own.major() == other.major()
    }

    /// Takes over what another policy of the same name carries: a new version goes on where the old one is. The old one
    /// keeps its own, for when it is asked again.
    pub(super) fn inherit(&mut self, from: &Self) {
        let same = self.artifact.manifest().name == from.artifact.manifest().name;
        if same && self.projection.memo() == from.projection.memo() {
            self.carried.clone_from(&from.carried);
        }
    }

    /// Whether it may be asked now.
    pub(super) fn is_open_to(&mut self, now_ms: u64) -> bool {
        self.breaker.lets_through(now_ms)
    }

    /// Asks it about every row. Good rows are carried on; those that were refused are returned, in their order.
    pub(super) fn ask(
        &mut self,
        kind: Kind,
        full: &Batch,
        keys: &[u64],
        now_ms: u64,
    ) -> Result<(&[f64], Vec<Refusal>), Fault> {
        let asked = self.try_ask(kind, full, keys);
        let spent = match asked {
            Ok(spent) => spent,
            Err(fault) => return Err(self.fail(fault, now_ms)),
        };
        self.spend(spent);
        let refused = self.refused(kind, full);
        self.carry(keys, &refused, now_ms);
        for Refusal { row, fault } in &refused {
            *self.counters.refusals.entry(fault.word()).or_default() += 1;
            // People count from 1.
            self.counters.last_fault = Some(format!("row {}: {fault}", row + 1));
        }
        self.counters.rows_refused += refused.len() as u64;
        if refused.len() < full.row_count || full.row_count == 0 {
            self.refused_in_a_row = 0;
            self.breaker.succeeded();
        } else {
            self.refused_in_a_row += refused.len();
            if self.refused_in_a_row >= REFUSED_IN_A_ROW_MAX {
                self.refused_in_a_row = 0;
                let first = refused.into_iter().next().map(|refusal| refusal.fault);
                let fault = first.unwrap_or_else(|| Fault::BadOutput("no row".to_owned()));
                return Err(self.note(fault, now_ms));
            }
        }
        self.counters.calls += 1;
        self.counters.decisions += (full.row_count - refused.len()) as u64;
        Ok((&self.answer.rows, refused))
    }

    /// The rows that cannot be acted on: those that the policy says, and those that make no sense.
    fn refused(&mut self, kind: Kind, full: &Batch) -> Vec<Refusal> {
        let width = kind.output_width(full.rung_count).max(1);
        let memo = self.projection.memo();
        let mut said = std::mem::take(&mut self.answer.refused)
            .into_iter()
            .peekable();
        let mut refused = Vec::new();
        for (row, numbers) in self.answer.rows.chunks_exact(width).enumerate() {
            if let Some(refusal) = said.next_if(|refusal| refusal.row == row) {
                refused.push(refusal);
                continue;
            }
            let carried = self.answer.memo.get(row * memo..(row + 1) * memo);
            let is_finite = |carried: &[f64]| carried.iter().all(|number| !number.is_infinite());
            let what = match conformance::sensible(kind, numbers, full.rung_count) {
                Ok(()) if carried.is_none_or(is_finite) => continue,
                Ok(()) => "a carried number is infinite".to_owned(),
                Err(what) => what,
            };
            let fault = Fault::BadOutput(what);
            refused.push(Refusal { row, fault });
        }
        refused
    }

    /// Keeps what good rows are to carry; a refused row keeps what it had.
    fn carry(&mut self, keys: &[u64], refused: &[Refusal], now_ms: u64) {
        let memo = self.projection.memo();
        if memo > 0 {
            let mut refused = refused.iter().map(|refusal| refusal.row).peekable();
            for (row, (key, memo)) in keys
                .iter()
                .zip(self.answer.memo.chunks_exact(memo))
                .enumerate()
            {
                if refused.next_if_eq(&row).is_some() {
                    continue;
                }
                let carried = Carried {
                    memo: memo.to_vec(),
                    seen_ms: now_ms,
                };
                self.carried.insert(*key, carried);
            }
        }
        if now_ms % FORGET_EVERY_MS < 1000 {
            self.carried
                .retain(|_, carried| now_ms.saturating_sub(carried.seen_ms) < FORGET_AFTER_MS);
        }
    }

    fn try_ask(&mut self, kind: Kind, full: &Batch, keys: &[u64]) -> Result<Spent, Fault> {
        self.projection.apply(full, &mut self.asked);
        let memo = self.projection.memo();
        self.asked.memo.clear();
        for at in 0..full.row_count {
            match keys.get(at).and_then(|key| self.carried.get(key)) {
                Some(carried) => self.asked.memo.extend_from_slice(&carried.memo),
                None => self.asked.memo.extend(std::iter::repeat_n(f64::NAN, memo)),
            }
        }
        let policy = instance(
            &mut self.instance,
            &*self.artifact,
            &self.config,
            &self.services,
        )?;
        let spent = policy.decide(kind, &self.asked, &mut self.answer)?;
        let (rows, carried) = (self.answer.rows.len(), self.answer.memo.len());
        let wanted = (
            kind.output_width(full.rung_count) * full.row_count,
            memo * full.row_count,
        );
        if (rows, carried) != wanted {
            let what = format!(
                "{rows} and {carried} numbers where {} and {} were due",
                wanted.0, wanted.1
            );
            return Err(Fault::BadOutput(what));
        }
        Ok(spent)
    }

    /// Asks it about a request.
    pub(super) fn authorize(&mut self, request: &Request, now_ms: u64) -> Authorized {
        self.last = Spent::default();
        let verdict = self.try_authorize(request, now_ms);
        Authorized {
            artifact: Arc::clone(&self.artifact),
            config: Arc::clone(&self.config),
            generation: self.generation,
            verdict,
            reads: self.services.reads(),
            steps: self.last.steps,
        }
    }

    /// Makes an instance for a request to come, as long as there are few. Says whether it did.
    pub(super) fn prepare(&mut self) -> bool {
        if self.ready.len() >= self.artifact.spares().min(READY_MAX) {
            return false;
        }
        // What is wrong with it, the next request will say.
        let made = self.artifact.instantiate_with(&self.config, &self.services);
        made.map(|policy| self.ready.push(policy)).is_ok()
    }

    /// Lets go of what was made for requests to come.
    pub(super) fn drop_prepared(&mut self) {
        self.ready.clear();
    }

    fn try_authorize(&mut self, request: &Request, now_ms: u64) -> Result<Verdict, Fault> {
        // Whatever its breaker says: else a caller who makes it fail would shut the door for everybody.
        // A fresh instance for each request: nothing leaks from one caller to the next.
        let fresh = match self.ready.pop() {
            Some(policy) => Ok(policy),
            None => self.artifact.instantiate_with(&self.config, &self.services),
        };
        let asked = fresh.and_then(|mut policy| policy.authorize(request));
        match asked {
            Ok((verdict, spent)) => {
                self.spend(spent);
                self.counters.calls += 1;
                self.counters.decisions += 1;
                self.breaker.succeeded();
                Ok(verdict)
            }
            Err(fault) => Err(self.fail(fault, now_ms)),
        }
    }

    /// What it said to the last batch, for the decision log.
    pub(super) fn said(&self) -> Said {
        Said {
            artifact: Arc::clone(&self.artifact),
            config: Arc::clone(&self.config),
            generation: self.generation,
            rows: self.answer.rows.clone(),
            memo_asked: self.asked.memo.clone(),
            memo: self.answer.memo.clone(),
            reads: self.services.reads(),
            steps: self.last.steps,
        }
    }

    fn fail(&mut self, fault: Fault, now_ms: u64) -> Fault {
        // What has trapped may be in any state.
        self.instance = None;
        self.counters.last_fault = Some(fault.to_string());
        self.note(fault, now_ms)
    }

    fn note(&mut self, fault: Fault, now_ms: u64) -> Fault {
        self.counters.calls += 1;
        *self.counters.faults.entry(fault.word()).or_default() += 1;
        // What the host could not do is not held against the policy.
        if !matches!(fault, Fault::Host(_)) {
            self.breaker.failed(now_ms);
        }
        fault
    }

    fn spend(&mut self, spent: Spent) {
        self.last = spent;
        self.counters.steps += spent.steps;
        self.counters.memory_bytes = self.counters.memory_bytes.max(spent.memory_bytes);
    }
}

fn instance<'a>(
    slot: &'a mut Option<Box<dyn Policy>>,
    artifact: &dyn Artifact,
    config: &Value,
    services: &Services,
) -> Result<&'a mut Box<dyn Policy>, Fault> {
    if slot.is_none() {
        *slot = Some(artifact.instantiate_with(config, services)?);
    }
    slot.as_mut()
        .ok_or_else(|| Fault::Host("there is no instance".to_owned()))
}

/// Instances made before they are needed: what a burst of viewers who all come at once takes.
const READY_MAX: usize = 16;
/// So many rows refused one after another, with no good one between, count as a fault of the whole policy: what fails for
/// everybody must not be asked for ever, and what fails for one must not hurt the others.
const REFUSED_IN_A_ROW_MAX: usize = 3;
/// A viewer not seen for so long is gone.
const FORGET_AFTER_MS: u64 = 60_000;
/// How often that is looked at.
const FORGET_EVERY_MS: u64 = 30_000;
