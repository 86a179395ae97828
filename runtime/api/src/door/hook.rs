//! The operator's own service, asked by HTTP. What it is sent is what MediaMTX sends, so that services for that go on working.

use std::time::{Duration, Instant};

use lockgate_fetch::{FetchError, Fetcher};
use moka::{Expiry, future::Cache};
use serde::{Deserialize, Serialize};

use crate::{Caller, caller::Protocol, scope::Action};

use super::{Grant, Refusal, Verdict, seats::Seal};

/// Asks a URL: a POST with who wants what as JSON. 2xx lets in, anything else does not.
pub struct Hook {
    url: String,
    within: Duration,
    fetcher: Fetcher,
    said: Cache<Asked, Said>,
}

/// What the service is asked.
#[derive(Serialize)]
struct Question<'a> {
    action: &'static str,
    path: &'a str,
    protocol: &'static str,
    ip: String,
    user: &'a str,
    password: &'a str,
    token: &'a str,
    user_agent: &'a str,
}

/// What it may say besides its status.
#[derive(Debug, Default, Deserialize)]
struct Answer {
    /// `false` denies although the status is 2xx.
    #[serde(default)]
    allowed: Option<bool>,
    /// Why not, for the log.
    #[serde(default)]
    reason: Option<String>,
    /// How long it holds, in s.
    #[serde(default)]
    ttl_s: Option<u64>,
    /// Most to be sent, in kbit/s.
    #[serde(default)]
    cap_kbps: Option<u32>,
    /// `host`, `speaker` or `listener`, for who wants to join a room.
    #[serde(default)]
    role: Option<String>,
}

/// A verdict holds for exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    action: String,
    protocol: Protocol,
    seal: Seal,
}

#[derive(Debug, Clone)]
struct Said {
    verdict: Result<Verdict, Refusal>,
    holds: Duration,
}

impl Hook {
    /// The service at `url`, which answers within `within`, or not at all.
    pub fn new(url: String, within: Duration) -> Result<Self, FetchError> {
        let fetcher = Fetcher::of_url(&url)?;
        let said = Cache::builder()
            .max_capacity(SAID_MAX)
            .expire_after(AsItSaid)
            .build();
        Ok(Self {
            url,
            within,
            fetcher,
            said,
        })
    }

    /// What it says. Many who ask the same at once wait for the same answer.
    pub(super) async fn ask(
        &self,
        caller: &Caller,
        action: Action<'_>,
    ) -> Result<Verdict, Refusal> {
        let asked = Asked {
            action: action.scope(),
            protocol: caller.protocol,
            seal: Seal::of_credentials(caller),
        };
        let said = self
            .said
            .get_with(asked, async { self.fetch(caller, action).await })
            .await;
        said.verdict
    }

    async fn fetch(&self, caller: &Caller, action: Action<'_>) -> Said {
        let login = caller.login.as_ref();
        let question = Question {
            action: action.word(),
            path: action.name().map_or("", |name| name.as_str()),
            protocol: caller.protocol.name(),
            ip: caller
                .peer
                .map_or_else(String::new, |peer| peer.to_string()),
            user: login.map_or("", |login| &login.user),
            password: login.map_or("", |login| &login.password),
            token: caller.token.as_deref().unwrap_or(""),
            user_agent: &caller.agent,
        };
        let no = |refusal, holds| Said {
            verdict: Err(refusal),
            holds,
        };
        let Ok(body) = serde_json::to_vec(&question) else {
            return no(Refusal::Denied, Duration::ZERO);
        };
        let fetched = match self.fetcher.post(&self.url, body, self.within).await {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::error!(%error, "auth.http did not answer: denied");
                return no(Refusal::Silent, Duration::ZERO);
            }
        };
        let answer: Answer = serde_json::from_str(&fetched.body).unwrap_or_default();
        let allowed = (200..300).contains(&fetched.status) && answer.allowed != Some(false);
        if allowed {
            let holds = answer.ttl_s.map_or(ALLOWED_MAX, Duration::from_secs);
            let holds = holds.min(ALLOWED_MAX);
            let grant = Grant {
                cap_kbps: answer.cap_kbps,
                role: answer.role,
            };
            return Said {
                verdict: Ok(Verdict { grant, holds }),
                holds: if answer.ttl_s.is_some() {
                    holds
                } else {
                    REMEMBERED
                },
            };
        }
        let reason = answer.reason.unwrap_or_default();
        let reason: String = reason.chars().take(200).collect();
        tracing::info!(action = action.scope(), status = fetched.status, %reason, "auth.http said no");
        let shown = caller.token.is_some() || caller.login.is_some();
        match fetched.status {
            401 if shown => no(Refusal::BadCredentials, DENIED),
            401 => no(Refusal::Wanted, DENIED),
            500.. => no(Refusal::Silent, DENIED),
            _ => no(Refusal::Denied, DENIED),
        }
    }
}

struct AsItSaid;

impl Expiry<Asked, Said> for AsItSaid {
    fn expire_after_create(&self, _: &Asked, said: &Said, _: Instant) -> Option<Duration> {
        Some(said.holds)
    }
}

/// An answer holds no longer than this, whatever it says.
const ALLOWED_MAX: Duration = Duration::from_secs(3600);
/// How long a yes without `ttl_s` answers the same question, so that a player's first requests cost one.
const REMEMBERED: Duration = Duration::from_secs(2);
/// How long a no is remembered: a guesser costs one request in this time.
const DENIED: Duration = Duration::from_secs(2);
/// Answers remembered; beyond them the least used is forgotten.
const SAID_MAX: u64 = 10_000;
