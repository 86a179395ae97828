//! The door: who is asking, and may they.
//!
//! What `auth.anonymous` grants needs nobody's leave. For everything else there is either the token's scopes or, where the
//! operator named one, the `auth` policy, which sees the token's claims and fails closed.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::http::StatusCode;
use lockgate_fetch::{FetchError, Fetcher};
use lockgate_session::{Desk, Principal, auth};
use moka::{Expiry, future::Cache};

use crate::{
    Caller, Problem,
    scope::{Action, Scopes},
    token::{self, Claims},
};

/// Knows the secret, what everybody may do without a token, and whether a policy decides the rest.
pub struct Door {
    secret: Vec<u8>,
    anonymous: Scopes,
    policies: Desk,
    /// Asks the URLs that the policy wants to be asked.
    fetcher: Fetcher,
    /// What the policy said, for as long as it said it holds: a player costs one decision, not one a segment, and its
    /// first requests wait for the same one.
    said: Cache<Asked, Said>,
}

/// What comes with being let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grant {
    /// Most to be sent, in kbit/s.
    pub cap_kbps: Option<u32>,
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
    token: String,
    peer: Option<IpAddr>,
    /// Which policy was asked: another one is asked anew.
    generation: u64,
}

impl Door {
    /// A door with its secret and the scopes granted without a token. Where the desk has an `auth` policy, that
    /// decides the rest, with the help of what `fetcher` may ask.
    pub fn new(secret: Vec<u8>, anonymous: Scopes, policies: Desk, fetcher: Fetcher) -> Self {
        let said = Cache::builder()
            .max_capacity(SAID_MAX)
            .expire_after(AsItSaid)
            .build();
        Self {
            secret,
            anonymous,
            policies,
            fetcher,
            said,
        }
    }

    /// Lets a request through or says why not: 401 without a good token where one is needed, 403 with one that does
    /// not allow the action. A bad token is refused even where none is needed, so that a mistake shows at once.
    pub async fn admit(&self, caller: &Caller, action: Action<'_>) -> Result<Grant, Problem> {
        let token = caller.token.as_deref();
        let claims = token.map(|token| self.claims(token)).transpose()?;
        if self.anonymous.allow(action) {
            return Ok(Grant::default());
        }
        let generation = self.policies.auth_generation();
        if generation > 0 {
            let asked = Asked {
                action: word(action),
                stream: stream(action),
                token: token.unwrap_or_default().to_owned(),
                peer: caller.peer,
                generation,
            };
            let said = self
                .said
                .get_with(asked.clone(), self.ask(&asked, claims))
                .await;
            return match said.verdict {
                Ok(grant) => Ok(grant),
                Err(StatusCode::UNAUTHORIZED) => Err(Problem::token_wanted()),
                Err(_) => Err(Problem::policy_denied()),
            };
        }
        let Some(claims) = claims else {
            return Err(Problem::token_wanted());
        };
        let scopes = Scopes::parse(&claims.scope).map_err(|_| Problem::token_refused())?;
        if scopes.allow(action) {
            Ok(Grant::default())
        } else {
            Err(Problem::scope_wanted(action))
        }
    }

    /// Who a caller is that was let in: the subject of the token where it names one, else the token itself, else nobody
    /// in particular.
    pub fn principal(&self, caller: &Caller) -> Principal {
        let Some(token) = &caller.token else {
            return Principal::new("anonymous");
        };
        let subject = self.claims(token).ok().and_then(|claims| claims.sub);
        match subject {
            Some(subject) => Principal::new(format!("subject {subject}")),
            None => Principal::new(format!("token {token}")),
        }
    }

    fn claims(&self, token: &str) -> Result<Claims, Problem> {
        token::verify(&self.secret, token).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            Problem::token_refused()
        })
    }

    /// Asks the policy, and the URL it wants to be asked. Whatever goes wrong means no.
    async fn ask(&self, asked: &Asked, claims: Option<Claims>) -> Said {
        let claims: BTreeMap<String, serde_json::Value> = claims
            .and_then(|claims| serde_json::to_value(claims).ok())
            .and_then(|claims| serde_json::from_value(claims).ok())
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
        let mut verdict = self.policies.authorize(request.clone()).await;
        if let Ok(auth::Verdict::Ask { url }) = &verdict {
            let Some(answered) = self.fetch(url).await else {
                return Said::no(DENIED);
            };
            request.answered = Some(answered);
            verdict = self.policies.authorize(request).await;
        }
        match verdict {
            Ok(auth::Verdict::Allow {
                ttl_s, cap_kbps, ..
            }) => Said {
                verdict: Ok(Grant { cap_kbps }),
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
                Said::no(Duration::ZERO)
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
        Action::Admin => auth::Action::Admin,
    }
}

fn stream(action: Action<'_>) -> String {
    match action {
        Action::Publish(name) | Action::Play(name) => name.to_string(),
        Action::Admin => String::new(),
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}

/// A verdict is asked for again after this, however long its policy would let it hold.
const ALLOWED_MAX: Duration = Duration::from_secs(3600);
/// How long a denial is remembered: a guesser costs one decision in this time.
const DENIED: Duration = Duration::from_secs(2);
/// Verdicts remembered; beyond them the least used is forgotten.
const SAID_MAX: u64 = 10_000;
