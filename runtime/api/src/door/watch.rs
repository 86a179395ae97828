//! Sessions that outlive the request that began them: WHIP and WHEP, and whatever else comes to stay.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{StreamExt as _, stream};
use lockgate_media::BroadcastName;
use lockgate_session::{Principal, SessionId, Streams, Visitor};

use crate::{Caller, scope::Action};

use super::{
    Door, Grant, Refusal, Who,
    seats::{Seal, Seats},
};

/// Somebody who was let in and may stay.
#[derive(Debug, Clone)]
pub struct Entered {
    /// What was granted.
    pub grant: Grant,
    caller: Caller,
    who: Who,
    wants: Wants,
    /// What held when it was decided.
    epoch: (u64, u64),
}

#[derive(Debug, Clone)]
enum Wants {
    Publish(BroadcastName),
    Play(BroadcastName),
    Join(BroadcastName),
}

/// Those who stay.
#[derive(Default)]
pub(super) struct Guests(Mutex<HashMap<SessionId, Guest>>);

struct Guest {
    entered: Entered,
    /// When it is looked at again.
    due: Instant,
    /// How often in a row there was nobody to ask.
    silent: u32,
    epoch: (u64, u64),
}

impl Entered {
    /// Who it is, as far as it matters for coming back: the subject where one is known, else what was shown, else
    /// nobody in particular.
    pub fn principal(&self) -> Principal {
        if let Some(subject) = self.who.subject() {
            return Principal::new(format!("subject {subject}"));
        }
        match (&self.caller.token, &self.caller.login) {
            (Some(token), _) => Principal::new(format!("token {token}")),
            (None, Some(login)) => {
                Principal::new(format!("login {}:{}", login.user, login.password))
            }
            (None, None) => Principal::new("anonymous"),
        }
    }

    /// What is written down of them.
    pub fn visitor(&self) -> Visitor {
        self.caller.visitor(self.who.subject())
    }
}

impl Door {
    /// Decides about somebody who comes to stay; [`stay`](Self::stay) says under which session.
    pub async fn enter(&self, caller: &Caller, action: Action<'_>) -> Result<Entered, Refusal> {
        let wants = Wants::of(action).ok_or(Refusal::Denied)?;
        let epoch = self.epoch();
        if let Some(name) = action.name() {
            self.seats.let_in(Seal::of(caller, name))?;
        }
        let who = self.who(caller).await?;
        self.enter_as(caller, who, wants, epoch).await
    }

    /// The same of somebody who is known already.
    pub(super) async fn enter_known(
        &self,
        caller: &Caller,
        who: &Who,
        action: Action<'_>,
    ) -> Result<Entered, Refusal> {
        let wants = Wants::of(action).ok_or(Refusal::Denied)?;
        let epoch = self.epoch();
        if let Some(name) = action.name() {
            self.seats.let_in(Seal::of(caller, name))?;
        }
        self.enter_as(caller, who.clone(), wants, epoch).await
    }

    async fn enter_as(
        &self,
        caller: &Caller,
        who: Who,
        wants: Wants,
        epoch: (u64, u64),
    ) -> Result<Entered, Refusal> {
        let grant = self.judge(caller, &who, wants.action()).await?.grant;
        Ok(Entered {
            grant,
            caller: caller.clone(),
            who,
            wants,
            epoch,
        })
    }

    /// Watches over a session from now on.
    pub fn stay(&self, session: SessionId, entered: Entered) {
        let guest = Guest {
            epoch: entered.epoch,
            entered,
            due: self.due(),
            silent: 0,
        };
        self.guests.lock().insert(session, guest);
    }

    /// Looks at every session again when it is due, and at all of them when a token was revoked or another policy
    /// decides, and ends those that may not stay. What a token's `exp` says is for the door: who came in before may stay.
    pub async fn watch(self: Arc<Self>, streams: Streams) {
        let mut tick = tokio::time::interval(LOOK_EVERY);
        loop {
            tick.tick().await;
            self.seats.tidy();
            let due = self.guests.due(self.epoch(), &streams);
            stream::iter(due)
                .for_each_concurrent(AT_ONCE, |(session, entered)| {
                    let (door, streams) = (&self, &streams);
                    async move { door.look_at(session, &entered, streams).await }
                })
                .await;
        }
    }

    async fn look_at(&self, session: SessionId, entered: &Entered, streams: &Streams) {
        let epoch = self.epoch();
        let revoked = |who: &Who| {
            let claims = who.claims.as_ref();
            claims.is_some_and(|claims| self.revoked.has(claims))
        };
        let verdict = if revoked(&entered.who) {
            Err(Refusal::BadCredentials)
        } else {
            let action = entered.wants.action();
            let judged = self.judge(&entered.caller, &entered.who, action).await;
            judged.map(drop)
        };
        let mut guests = self.guests.lock();
        let Some(guest) = guests.get_mut(&session) else {
            return;
        };
        match verdict {
            Ok(()) => guest.silent = 0,
            Err(Refusal::Silent) if guest.silent + 1 < SILENT_MAX => guest.silent += 1,
            Err(refusal) => {
                guests.remove(&session);
                drop(guests);
                if let Some(stream) = streams.end_session(session) {
                    tracing::info!(%stream, %refusal, "a session may not stay any longer and is ended");
                }
                return;
            }
        }
        guest.due = self.due();
        guest.epoch = epoch;
    }

    /// Not all at once: some time around `recheck` from now.
    fn due(&self) -> Instant {
        Instant::now() + self.recheck.mul_f64(0.75 + rand::random::<f64>() / 2.0)
    }
}

impl Guests {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, Guest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those to be looked at now; sessions that are over are forgotten.
    fn due(&self, epoch: (u64, u64), streams: &Streams) -> Vec<(SessionId, Entered)> {
        let now = Instant::now();
        let mut due = Vec::new();
        self.lock().retain(|session, guest| {
            if guest.due <= now || guest.epoch != epoch {
                if !streams.has_session(*session) {
                    return false;
                }
                due.push((*session, guest.entered.clone()));
            }
            true
        });
        due
    }

    /// Forgets a session and keeps whoever had it out. Whether there was one.
    pub(super) fn kick(&self, session: SessionId, seats: &Seats) -> bool {
        let Some(guest) = self.lock().remove(&session) else {
            return false;
        };
        let entered = &guest.entered;
        if let Some(name) = entered.wants.action().name() {
            seats.keep_out(Seal::of(&entered.caller, name));
        }
        true
    }
}

impl Wants {
    /// What somebody comes to stay for; nobody stays at the API.
    fn of(action: Action<'_>) -> Option<Self> {
        match action {
            Action::Publish(name) => Some(Self::Publish(name.clone())),
            Action::Play(name) => Some(Self::Play(name.clone())),
            Action::Join(name) => Some(Self::Join(name.clone())),
            Action::Admin => None,
        }
    }

    fn action(&self) -> Action<'_> {
        match self {
            Self::Publish(name) => Action::Publish(name),
            Self::Play(name) => Action::Play(name),
            Self::Join(name) => Action::Join(name),
        }
    }
}

/// How often it is seen who is due: what was revoked or sent out is gone within a second.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Verdicts asked for at the same time.
const AT_ONCE: usize = 64;
/// A session ends when there was nobody to ask so often in a row.
const SILENT_MAX: u32 = 3;
