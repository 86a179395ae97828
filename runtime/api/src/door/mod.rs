//! The door: who is asking, and may they.
//!
//! The steps of `auth.chain` are taken in order. `internal` and `jwt` find out who is asking: good credentials make
//! somebody of the caller, bad ones end it, even where nobody needs any, so that a mistake shows at once. What
//! `auth.anonymous` grants is granted then. For the rest, `http` and `policy` judge, each of those that are configured, and the
//! first no ends it; where neither is, the scopes of the token or user say it. Whatever fails means no.
//!
//! A verdict holds for a session. A WebRTC session is looked at again every `auth.recheck_s` ([`watch`]); HLS, which
//! is many requests, has a session made of who asks for what ([`seats`]), so that a viewer costs one verdict and not
//! one a segment.

mod hook;
mod known;
mod logins;
mod policy;
mod refusal;
mod rooms;
mod seats;
mod users;
mod watch;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lockgate_fetch::Fetcher;
use lockgate_media::BroadcastName;
use lockgate_session::{Desk, SessionId};
use serde::{Deserialize, Serialize};

use crate::{
    Caller, Problem,
    caller::Protocol,
    scope::{Action, Scopes},
    token::{Claims, Revoked, TokenError, Verifier},
};

pub use hook::Hook;
pub(crate) use known::Known;
pub use refusal::Refusal;
pub use seats::{HlsSession, Seated};
pub use users::{BadHash, User, Users, hash_password};
pub use watch::Entered;

use logins::Logins;
use policy::Policy;
use seats::{Seal, Seats};
use watch::Guests;

/// A step of the chain.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// User name and password, by the users of the configuration.
    Internal,
    /// The access token, by its signature.
    Jwt,
    /// The operator's own service, asked by HTTP.
    Http,
    /// The `auth` policy.
    Policy,
}

/// What a door is made of.
pub struct Rules {
    /// The steps, in the order they are taken.
    pub chain: Vec<Step>,
    /// What everybody may do.
    pub anonymous: Scopes,
    /// Checks tokens.
    pub verifier: Verifier,
    /// Tokens that are no longer good.
    pub revoked: Arc<Revoked>,
    /// Users with passwords.
    pub users: Users,
    /// The operator's service, if there is one.
    pub hook: Option<Hook>,
    /// Asks the URLs that the policy wants to be asked.
    pub fetcher: Fetcher,
    /// Where the policy is.
    pub desk: Desk,
    /// How long a verdict holds at most.
    pub recheck: Duration,
    /// How long somebody who was sent out stays out.
    pub kicked: Duration,
    /// How often credentials from one address may be wrong before no more are looked at, and in what time.
    pub failures: Option<(u32, Duration)>,
}

/// Lets in, or does not.
pub struct Door {
    chain: Vec<Step>,
    anonymous: Scopes,
    verifier: Verifier,
    revoked: Arc<Revoked>,
    users: Users,
    hook: Option<Hook>,
    policy: Policy,
    recheck: Duration,
    seats: Arc<Seats>,
    guests: Arc<Guests>,
    logins: Arc<Logins>,
    /// What the counter of wrong logins was made of.
    failures: Option<(u32, Duration)>,
    /// The server goes down: whoever has no session gets none.
    closing: Arc<AtomicBool>,
    started: Instant,
    /// When an HLS player was last let through, in ms since `started`, 0 for never.
    hls_at_ms: Arc<AtomicU64>,
}

/// What comes with being let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Most to be sent, in kbit/s.
    pub cap_kbps: Option<u32>,
    /// The role in a room, where the service or the policy said one.
    pub role: Option<String>,
}

/// A verdict: what is granted, and for how long at most before it is asked for again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    grant: Grant,
    holds: Duration,
}

/// Who is asking, as far as it was found out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Who {
    /// What the token says, or what is known of the user; `None` for nobody in particular.
    claims: Option<Arc<Claims>>,
}

impl Door {
    /// A door.
    pub fn new(rules: Rules) -> Self {
        Self {
            chain: rules.chain,
            anonymous: rules.anonymous,
            verifier: rules.verifier,
            revoked: rules.revoked,
            users: rules.users,
            hook: rules.hook,
            policy: Policy::new(rules.desk, rules.fetcher),
            recheck: rules.recheck,
            seats: Arc::new(Seats::new(rules.kicked)),
            guests: Arc::default(),
            logins: Arc::new(Logins::new(rules.failures)),
            failures: rules.failures,
            closing: Arc::default(),
            started: Instant::now(),
            hls_at_ms: Arc::default(),
        }
    }

    /// A door by other rules for whoever has come in through this one: sessions stay, who was sent out stays out, and each
    /// verdict is asked for again. `kicked` stays as it was.
    #[must_use]
    pub fn changed(&self, rules: Rules) -> Self {
        let same = rules.failures == self.failures;
        let mut door = Self::new(rules);
        door.seats = Arc::clone(&self.seats);
        door.guests = Arc::clone(&self.guests);
        door.closing = Arc::clone(&self.closing);
        door.started = self.started;
        door.hls_at_ms = Arc::clone(&self.hls_at_ms);
        if same {
            door.logins = Arc::clone(&self.logins);
        }
        door
    }

    /// Lets an HTTP request through, or says why not.
    pub async fn admit(&self, caller: &Caller, action: Action<'_>) -> Result<Grant, Problem> {
        Ok(self.decide(caller, action).await?)
    }

    /// Lets a request of an HLS or DASH player through; it is to say what it was given.
    pub async fn seat(&self, caller: &Caller, name: &BroadcastName) -> Result<Seated, Problem> {
        let (_, seat) = self.seated(caller, name).await?;
        Ok(seat)
    }

    /// Decides about somebody who asks, by whatever protocol.
    pub async fn decide(&self, caller: &Caller, action: Action<'_>) -> Result<Grant, Refusal> {
        match action {
            Action::Play(name) if caller.protocol == Protocol::Hls => {
                Ok(self.seated(caller, name).await?.0)
            }
            _ => {
                if let Some(name) = action.name() {
                    self.seats.let_in(Seal::of(caller, name))?;
                }
                let who = self.who(caller).await?;
                Ok(self.judge(caller, &who, action).await?.grant)
            }
        }
    }

    /// Whether the caller may play anything at all, as far as that can be said without a name.
    pub(crate) async fn may_play(&self, caller: &Caller) -> Result<(), Refusal> {
        let who = self.who(caller).await?;
        let judged = self.chain.iter().any(|step| match step {
            Step::Http => self.hook.is_some(),
            Step::Policy => self.policy.is_there(),
            Step::Internal | Step::Jwt => false,
        });
        if judged || self.anonymous.has_play() {
            return Ok(());
        }
        match &who.claims {
            None => Err(Refusal::Wanted),
            Some(claims) if Scopes::known(&claims.scope).has_play() => Ok(()),
            Some(_) => Err(Refusal::Scope("play".to_owned())),
        }
    }

    /// Which of some actions the caller's own credentials allow, whatever everybody may do. An error: the credentials are
    /// not good for anything.
    pub async fn vouch<'a>(
        &self,
        caller: &Caller,
        actions: &[Action<'a>],
    ) -> Result<Vec<Action<'a>>, Refusal> {
        let who = self.who(caller).await?;
        let mut allowed = Vec::new();
        for action in actions {
            if let Some(name) = action.name()
                && self.seats.let_in(Seal::of(caller, name)).is_err()
            {
                continue;
            }
            match self.ask_judges(caller, &who, *action).await {
                Ok(_) => allowed.push(*action),
                Err(refusal @ (Refusal::BadCredentials | Refusal::TooMany(_))) => {
                    return Err(refusal);
                }
                Err(_) => {}
            }
        }
        Ok(allowed)
    }

    /// A request of an HLS or DASH player. The first one of a session, and one every `auth.recheck_s`, is decided about.
    async fn seated(
        &self,
        caller: &Caller,
        name: &BroadcastName,
    ) -> Result<(Grant, Seated), Refusal> {
        let seal = Seal::of(caller, name);
        self.seats.let_in(seal)?;
        if self.closing.load(Ordering::Acquire) && !self.seats.has(seal) {
            return Err(Refusal::Closing);
        }
        let granted = self.sit(caller, name, seal).await;
        if granted.is_ok() {
            let now_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.hls_at_ms.store(now_ms.max(1), Ordering::Relaxed);
        }
        granted
    }

    async fn sit(
        &self,
        caller: &Caller,
        name: &BroadcastName,
        seal: Seal,
    ) -> Result<(Grant, Seated), Refusal> {
        let seated = |(grant, seat)| (grant, Seated::at(seat));
        let epoch = self.epoch();
        if let Some(taken) = self.seats.take(seal, epoch) {
            return Ok(seated(taken));
        }
        let judged = match self.who(caller).await {
            Ok(who) => {
                let judged = self.judge(caller, &who, Action::Play(name)).await;
                judged.map(|verdict| (who, verdict))
            }
            Err(refusal) => Err(refusal),
        };
        match judged {
            Ok((who, verdict)) => {
                let grant = verdict.grant.clone();
                let subject = who.subject();
                let seat = (self.seats).give(seal, caller, name, subject, verdict, epoch);
                Ok(seated((grant, seat)))
            }
            Err(Refusal::Silent) => {
                let borne = self.seats.bear(seal, epoch).map(seated);
                borne.ok_or(Refusal::Silent)
            }
            Err(refusal) => {
                self.seats.clear(seal);
                Err(refusal)
            }
        }
    }

    /// From now on nobody gets an HLS session who has none: the server is going down.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// How long no HLS or DASH player has asked for anything; `None` if none ever did.
    pub fn hls_quiet(&self) -> Option<Duration> {
        let at_ms = self.hls_at_ms.load(Ordering::Relaxed);
        let at = Duration::from_millis(at_ms);
        (at_ms > 0).then(|| self.started.elapsed().saturating_sub(at))
    }

    /// What a good token says.
    pub(crate) async fn claims_of(&self, token: &str) -> Option<Arc<Claims>> {
        self.verifier.verify(token).await.ok()
    }

    /// The subject of a caller whose token is good, and whether it is an administrator's.
    pub(crate) async fn subject(&self, token: &str) -> Option<(String, bool)> {
        let claims = self.verifier.verify(token).await.ok()?;
        if self.revoked.has(&claims) {
            return None;
        }
        let admin = Scopes::known(&claims.scope).allow(Action::Admin);
        let subject = claims.sub.as_ref().or(claims.jti.as_ref())?;
        Some((subject.clone(), admin))
    }

    /// What was revoked.
    pub fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// The HLS and DASH sessions of a broadcast, or of all.
    pub fn hls_sessions(&self, name: Option<&BroadcastName>) -> Vec<HlsSession> {
        self.seats.list(name)
    }

    /// The HLS or DASH session of a caller, once it was let in.
    pub(crate) fn hls_session(&self, caller: &Caller, name: &BroadcastName) -> Option<SessionId> {
        self.seats.id(Seal::of(caller, name))
    }

    /// Ends a session and keeps whoever had it out for a while. Whether it was one of ours: the peer of a WebRTC session is
    /// still to be closed.
    pub fn kick(&self, session: SessionId) -> bool {
        self.seats.kick(session) || self.guests.kick(session, &self.seats)
    }

    /// Finds out who is asking. Bad credentials are an error.
    async fn who(&self, caller: &Caller) -> Result<Who, Refusal> {
        let guessable = caller.token.is_some() && !self.chain.contains(&Step::Jwt);
        if caller.login.is_some() || guessable {
            self.logins.look(caller.peer)?;
        }
        let mut who = Who::default();
        for step in &self.chain {
            let found = match step {
                Step::Internal => match &caller.login {
                    Some(login) => self.users.check(login).await.map(|user| user.map(Arc::new)),
                    None => Ok(None),
                },
                Step::Jwt => match &caller.token {
                    Some(token) => self.claims(token).await.map(Some),
                    None => Ok(None),
                },
                Step::Http | Step::Policy => Ok(None),
            };
            match found {
                Ok(Some(claims)) if who.claims.is_none() => who.claims = Some(claims),
                Ok(_) => {}
                Err(refusal) => return Err(self.logins.failed(caller.peer, refusal)),
            }
        }
        Ok(who)
    }

    async fn claims(&self, token: &str) -> Result<Arc<Claims>, Refusal> {
        let checked = self.verifier.verify(token).await;
        let checked = checked.and_then(|claims| {
            if self.revoked.has(&claims) {
                Err(TokenError::Revoked)
            } else {
                Ok(claims)
            }
        });
        checked.map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            Refusal::BadCredentials
        })
    }

    /// Decides about somebody known, or about nobody in particular.
    async fn judge(
        &self,
        caller: &Caller,
        who: &Who,
        action: Action<'_>,
    ) -> Result<Verdict, Refusal> {
        if self.anonymous.allow(action) {
            return Ok(self.verdict(who));
        }
        self.ask_judges(caller, who, action).await
    }

    async fn ask_judges(
        &self,
        caller: &Caller,
        who: &Who,
        action: Action<'_>,
    ) -> Result<Verdict, Refusal> {
        let mut verdict = self.verdict(who);
        let mut judged = false;
        for step in &self.chain {
            let said = match (step, &self.hook) {
                (Step::Http, Some(hook)) => hook.ask(caller, action).await,
                (Step::Policy, _) if self.policy.is_there() => {
                    self.policy.ask(caller, who, action).await
                }
                _ => continue,
            };
            judged = true;
            let said = match said {
                Ok(said) => said,
                // The service alone knows whether the credentials were any good.
                Err(Refusal::BadCredentials) => {
                    return Err(self.logins.failed(caller.peer, Refusal::BadCredentials));
                }
                Err(refusal) => return Err(refusal),
            };
            verdict.holds = verdict.holds.min(said.holds);
            let caps = [verdict.grant.cap_kbps, said.grant.cap_kbps];
            verdict.grant.cap_kbps = caps.into_iter().flatten().min();
            verdict.grant.role = verdict.grant.role.or(said.grant.role);
        }
        if judged {
            return Ok(verdict);
        }
        let Some(claims) = &who.claims else {
            // A password for a server without users is as wrong as any other.
            return Err(if caller.login.is_some() || caller.token.is_some() {
                self.logins.failed(caller.peer, Refusal::BadCredentials)
            } else {
                Refusal::Wanted
            });
        };
        if Scopes::known(&claims.scope).allow(action) {
            Ok(verdict)
        } else {
            Err(Refusal::Scope(action.scope()))
        }
    }

    fn verdict(&self, who: &Who) -> Verdict {
        let left = who.claims.as_ref().map(|claims| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let now = now.map_or(0, |since| since.as_secs());
            Duration::from_secs(claims.exp.saturating_sub(now).max(1))
        });
        Verdict {
            grant: Grant::default(),
            holds: self.recheck.min(left.unwrap_or(self.recheck)),
        }
    }

    /// Changes when verdicts of before must not be relied on: a token was revoked, or another policy decides.
    fn epoch(&self) -> (u64, u64) {
        (self.revoked.changes(), self.policy.generation())
    }
}

impl Who {
    fn subject(&self) -> Option<String> {
        self.claims.as_ref()?.sub.clone()
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("chain", &self.chain)
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}
