//! The desk's thread: it owns the slots and answers one ask after the other.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        mpsc::{self, TryRecvError},
    },
    time::Instant,
};

use lockgate_policy::{
    Batch, Fault, Kind,
    auth::{Request, Verdict},
    decision::Entry,
    host::Level,
    slot::{Admitted, Decided, Failed, Slot, SlotInfo, SwapError},
};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    About, Durations, Measures,
    files::Writer,
    log::{Follow, Log, LogConfig, Told},
};

/// What can be asked of the desk.
pub(super) enum Ask {
    Decide {
        kind: Kind,
        batch: Batch,
        keys: Vec<u64>,
        about: About,
        reply: oneshot::Sender<Arc<Decided>>,
    },
    DecideHere {
        kind: Kind,
        batch: Batch,
        about: About,
        reply: mpsc::SyncSender<Arc<Decided>>,
    },
    Authorize {
        request: Request,
        reply: oneshot::Sender<Result<Verdict, Fault>>,
    },
    Swap {
        admitted: Admitted,
        reply: oneshot::Sender<u64>,
    },
    Rollback {
        kind: Kind,
        reply: oneshot::Sender<Result<u64, SwapError>>,
    },
    Settle {
        kind: Kind,
        builtin: Value,
        alone: bool,
        reply: oneshot::Sender<u64>,
    },
    Shadow {
        kind: Kind,
        candidate: Option<Admitted>,
        reply: oneshot::Sender<()>,
    },
    Alive {
        reply: oneshot::Sender<()>,
    },
    Measures {
        reply: oneshot::Sender<Vec<Measures>>,
    },
    Info {
        reply: oneshot::Sender<Vec<SlotInfo>>,
    },
    Decisions {
        kind: Kind,
        reply: oneshot::Sender<Vec<Arc<Entry>>>,
    },
    Follow {
        kind: Kind,
        reply: oneshot::Sender<Option<Follow>>,
    },
    EndFollows,
}

struct Place {
    slot: Slot,
    log: Log,
    took: Durations,
    /// When refused rows were last written to the server's log.
    refused_ms: Option<u64>,
}

/// How often refused rows are written to the server's log: one viewer may be refused at every tick.
const REFUSED_EVERY_MS: u64 = 10_000;

/// Answers until the last handle is gone.
pub(super) fn run(
    inbox: &mpsc::Receiver<Ask>,
    slots: [(Kind, Value); 5],
    log: &Arc<LogConfig>,
    writer: Option<&Arc<Writer>>,
) {
    let started = Instant::now();
    let mut places: HashMap<Kind, Place> = slots
        .into_iter()
        .map(|(kind, config)| {
            let place = Place {
                slot: Slot::new(kind, config),
                log: Log::new(kind, Arc::clone(log), writer.cloned()),
                took: Durations::default(),
                refused_ms: None,
            };
            (kind, place)
        })
        .collect();
    while let Some(ask) = next(inbox, &mut places) {
        let now_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        answer(&mut places, ask, now_ms);
    }
}

/// Waits for what is asked next; `None` once nobody can ask any more. A time in which nobody asks is used.
fn next(inbox: &mpsc::Receiver<Ask>, places: &mut HashMap<Kind, Place>) -> Option<Ask> {
    loop {
        match inbox.try_recv() {
            Ok(ask) => return Some(ask),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) => (),
        }
        let auth = places.get_mut(&Kind::Auth);
        if !auth.is_some_and(|place| place.slot.prepare()) {
            return inbox.recv().ok();
        }
    }
}

// A reply that nobody waits for any more is no error: it came late, and the asker has gone on.
fn answer(places: &mut HashMap<Kind, Place>, ask: Ask, now_ms: u64) {
    match ask {
        Ask::Decide {
            kind,
            batch,
            keys,
            about,
            reply,
        } => {
            if let Some(place) = places.get_mut(&kind) {
                place.decide(kind, &batch, &keys, &about, now_ms, |decided| {
                    reply.send(decided).is_ok()
                });
            }
        }
        Ask::DecideHere {
            kind,
            batch,
            about,
            reply,
        } => {
            if let Some(place) = places.get_mut(&kind) {
                place.decide(kind, &batch, &[], &about, now_ms, |decided| {
                    reply.try_send(decided).is_ok()
                });
            }
        }
        Ask::Authorize { request, reply } => {
            if let Some(place) = places.get_mut(&Kind::Auth) {
                let began = Instant::now();
                let authorized = place.slot.authorize(&request, now_ms);
                place.took.note(began.elapsed());
                let took_us = micros(began);
                let late = reply.send(authorized.verdict.clone()).is_err();
                tell(Kind::Auth, &place.slot);
                place
                    .log
                    .append_request(request, &authorized, took_us, late, now_ms);
            }
        }
        Ask::Swap { admitted, reply } => {
            if let Some(place) = places.get_mut(&admitted.kind()) {
                // Whoever does not wait any more has its swap all the same.
                let _unheard = reply.send(place.slot.put_in_charge(admitted, now_ms));
            }
        }
        Ask::Rollback { kind, reply } => {
            if let Some(place) = places.get_mut(&kind) {
                let done = place.slot.rollback();
                drop(reply.send(done.map(|()| place.slot.info(now_ms).active.generation)));
            }
        }
        Ask::Settle {
            kind,
            builtin,
            alone,
            reply,
        } => {
            if let Some(place) = places.get_mut(&kind) {
                place.slot.settle(builtin, alone);
                let _unheard = reply.send(place.slot.info(now_ms).active.generation);
            }
        }
        Ask::Shadow {
            kind,
            candidate,
            reply,
        } => {
            if let Some(place) = places.get_mut(&kind) {
                match candidate {
                    Some(admitted) => place.slot.put_beside(admitted, now_ms),
                    None => place.slot.drop_shadow(),
                }
                let _unheard = reply.send(());
            }
        }
        Ask::Alive { reply } => drop(reply.send(())),
        Ask::Measures { reply } => {
            let places = Kind::ALL.iter().filter_map(|kind| places.get(kind));
            drop(reply.send(places.map(|place| place.measures(now_ms)).collect()));
        }
        Ask::Info { reply } => {
            let infos = Kind::ALL.iter().filter_map(|kind| places.get(kind));
            drop(reply.send(infos.map(|place| place.slot.info(now_ms)).collect()));
        }
        Ask::Decisions { kind, reply } => {
            if let Some(place) = places.get(&kind) {
                drop(reply.send(place.log.entries()));
            }
        }
        Ask::Follow { kind, reply } => {
            if let Some(place) = places.get(&kind) {
                drop(reply.send(place.log.follow()));
            }
        }
        Ask::EndFollows => {
            for place in places.values_mut() {
                place.log.end_follows();
            }
        }
    }
}

impl Place {
    fn measures(&self, now_ms: u64) -> Measures {
        Measures {
            info: self.slot.info(now_ms),
            totals: self.slot.totals(),
            level: self.slot.level(),
            disagreements: self.slot.disagreements(),
            took: self.took.clone(),
        }
    }

    /// Decides, answers, and then logs: nobody waits for the log. `answer` says whether somebody still waited.
    fn decide(
        &mut self,
        kind: Kind,
        batch: &Batch,
        keys: &[u64],
        about: &About,
        now_ms: u64,
        answer: impl FnOnce(Arc<Decided>) -> bool,
    ) {
        let began = Instant::now();
        let decided = Arc::new(self.slot.decide(batch, keys, now_ms));
        self.took.note(began.elapsed());
        let took_us = micros(began);
        let late = !answer(Arc::clone(&decided));
        tell(kind, &self.slot);
        for Failed {
            generation, fault, ..
        } in &decided.faults
        {
            tracing::warn!(%kind, generation, %fault, "a policy failed; the next in the chain decides");
        }
        if let Some(generation) = decided.rolled_back {
            tracing::warn!(%kind, generation, "a new policy failed too often and was rolled back");
        }
        if let Some(refusal) = decided.refused.first()
            && self
                .refused_ms
                .is_none_or(|last| now_ms.saturating_sub(last) > REFUSED_EVERY_MS)
        {
            self.refused_ms = Some(now_ms);
            let rows = decided.refused.len();
            let (row, fault, generation) = (refusal.row + 1, &refusal.fault, decided.generation);
            tracing::warn!(%kind, generation, rows, row, %fault, "a policy refused rows; the built-in answers them");
        }
        let shadow = self.slot.decide_beside(batch, keys, now_ms, &decided.rows);
        let told = Told {
            decided: &decided,
            shadow: shadow.as_ref(),
            took_us,
            late,
        };
        self.log.append(batch, keys, about, &told);
    }
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// Puts into the server's log what policies have logged: few lines, their rate is held down before.
fn tell(kind: Kind, slot: &Slot) {
    for (artifact, line) in slot.take_lines() {
        let (name, digest, text) = (&artifact.manifest().name, artifact.digest(), &line.text);
        match line.level {
            Level::Debug => tracing::debug!(target: "policy", %kind, %name, %digest, "{text}"),
            Level::Info => tracing::info!(target: "policy", %kind, %name, %digest, "{text}"),
            Level::Warn => tracing::warn!(target: "policy", %kind, %name, %digest, "{text}"),
            Level::Error => tracing::error!(target: "policy", %kind, %name, %digest, "{text}"),
        }
    }
}
