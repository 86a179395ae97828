//! The `auth` policy as a step of the chain: it sees the claims of the token and fails closed.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use lockgate_fetch::{FetchError, Fetcher};
use lockgate_session::{Desk, auth};
use moka::{Expiry, future::Cache};

use crate::{Caller, scope::Action};

use super::{Grant, Refusal, Verdict, Who, seats::Seal};

/// Asks the policy.
pub(super) struct Policy {
    desk: Desk,
    /// Asks the URLs that the policy wants to be asked.
    fetcher: Fetcher,
    /// What the policy said, for as long as it said it holds: a player costs one decision, not one a segment, and its
    /// first requests wait for the same one.
    said: Cache<Asked, Said>,
}

/// What the policy said, and for how long it holds.
#[derive(Debug, Clone)]
struct Said {
    verdict: Result<Grant, StatusCode>,
    holds: Duration,
}

/// What was asked: a verdict holds for exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    action: auth::Action,
    stream: String,
    seal: Seal,
    peer: Option<IpAddr>,
    /// Which policy was asked: another one is asked anew.
    generation: u64,
}

impl Policy {
    pub(super) fn new(desk: Desk, fetcher: Fetcher) -> Self {
        let said = Cache::builder()
            .max_capacity(SAID_MAX)
            .expire_after(AsItSaid)
            .build();
        Self {
            desk,
            fetcher,
            said,
        }
    }

    /// Which policy decides; 0 while none does.
    pub(super) fn generation(&self) -> u64 {
        self.desk.auth_generation()
    }

    /// Whether a policy decides.
    pub(super) fn is_there(&self) -> bool {
        self.generation() > 0
    }

    /// What the policy says.
    pub(super) async fn ask(
        &self,
        caller: &Caller,
        who: &Who,
        action: Action<'_>,
    ) -> Result<Verdict, Refusal> {
        let asked = Asked {
            action: word(action),
            stream: action.name().map(ToString::to_string).unwrap_or_default(),
            seal: Seal::of_credentials(caller),
            peer: caller.peer,
            generation: self.generation(),
        };
        let said = self
            .said
            .get_with(asked.clone(), self.put(&asked, who))
            .await;
        match said.verdict {
            Ok(grant) => Ok(Verdict {
                grant,
                holds: said.holds,
            }),
            Err(StatusCode::UNAUTHORIZED) => Err(Refusal::Wanted),
            Err(StatusCode::SERVICE_UNAVAILABLE) => Err(Refusal::Silent),
            Err(_) => Err(Refusal::Denied),
        }
    }

    /// Asks the policy, and the URL it wants to be asked. Whatever goes wrong means no.
    async fn put(&self, asked: &Asked, who: &Who) -> Said {
        let claims: BTreeMap<String, serde_json::Value> = who
            .claims
            .as_ref()
            .map(|claims| claims.all.clone())
            .unwrap_or_default();
        let mut request = auth::Request {
            action: asked.action,
            stream: asked.stream.clone(),
            peer: asked.peer.map_or_else(String::new, |peer| peer.to_string()),
            claims,
            now_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            answered: None,
        };
        let mut verdict = self.desk.authorize(request.clone()).await;
        if let Ok(auth::Verdict::Ask { url }) = &verdict {
            let Some(answered) = self.fetch(url).await else {
                return Said::no(DENIED);
            };
            request.answered = Some(answered);
            verdict = self.desk.authorize(request).await;
        }
        match verdict {
            Ok(auth::Verdict::Allow {
                ttl_s,
                role,
                cap_kbps,
            }) => Said {
                verdict: Ok(Grant {
                    cap_kbps,
                    role: Some(role).filter(|role| !role.is_empty()),
                }),
                holds: Duration::from_secs(ttl_s.into()).min(ALLOWED_MAX),
            },
            Ok(auth::Verdict::Deny { status, reason }) => {
                tracing::info!(action = ?asked.action, stream = %asked.stream, %reason, "the auth policy said no");
                Said {
                    verdict: Err(StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN)),
                    holds: DENIED,
                }
            }
            Ok(auth::Verdict::Ask { .. }) => {
                tracing::error!(
                    "the auth policy asked twice; a URL is fetched once a request: denied"
                );
                Said::no(DENIED)
            }
            Err(error) => {
                tracing::error!(%error, "the auth policy gave no verdict: denied");
                Said {
                    verdict: Err(StatusCode::SERVICE_UNAVAILABLE),
                    holds: Duration::ZERO,
                }
            }
        }
    }

    /// What a URL answered, as the policy is shown it; `None` if it may not be asked.
    async fn fetch(&self, url: &str) -> Option<auth::Answered> {
        match self.fetcher.get(url).await {
            Ok(fetched) => Some(auth::Answered {
                status: fetched.status,
                body: fetched.body,
            }),
            Err(error @ (FetchError::Url(_) | FetchError::Origin(_))) => {
                tracing::error!(%error, "the auth policy wants a URL that auth.ask does not list: denied");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "the URL of the auth policy did not answer");
                Some(auth::Answered {
                    status: 0,
                    body: String::new(),
                })
            }
        }
    }
}

impl Said {
    fn no(holds: Duration) -> Self {
        Self {
            verdict: Err(StatusCode::FORBIDDEN),
            holds,
        }
    }
}

/// A verdict is forgotten when it says so.
struct AsItSaid;

impl Expiry<Asked, Said> for AsItSaid {
    fn expire_after_create(&self, _: &Asked, said: &Said, _: Instant) -> Option<Duration> {
        Some(said.holds)
    }
}

fn word(action: Action<'_>) -> auth::Action {
    match action {
        Action::Publish(_) => auth::Action::Publish,
        Action::Play(_) => auth::Action::Play,
        Action::Join(_) => auth::Action::Join,
        Action::Admin => auth::Action::Admin,
    }
}

/// A verdict is asked for again after this, however long its policy would let it hold.
const ALLOWED_MAX: Duration = Duration::from_secs(3600);
/// How long a denial is remembered: a guesser costs one decision in this time.
const DENIED: Duration = Duration::from_secs(2);
/// Verdicts remembered; beyond them the least used is forgotten.
const SAID_MAX: u64 = 10_000;
