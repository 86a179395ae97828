//! The door: who is asking, and may they.
//!
//! What `auth.anonymous` grants needs nobody's leave. For everything else there is either the token's scopes or, where the
//! operator named one, the `auth` policy, which sees the token's claims and fails closed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::http::{HeaderMap, StatusCode, Uri, header};
use lockgate_session::{Desk, auth};

use crate::{
    Problem,
    scope::{Action, Scopes},
    token::{self, Claims},
};

/// Knows the secret, what everybody may do without a token, and whether a policy decides the rest.
pub struct Door {
    secret: Vec<u8>,
    anonymous: Scopes,
    policies: Desk,
    /// What the policy said, for as long as it said it holds: a player costs one decision, not one a segment.
    said: Mutex<HashMap<Asked, Said>>,
}

/// Until when a verdict holds, and what it is.
type Said = (Instant, Result<(), StatusCode>);

/// What was asked: a verdict holds for exactly this.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    action: &'static str,
    stream: String,
    token: String,
    /// Which policy was asked: another one is asked anew.
    generation: u64,
}

impl Door {
    /// A door with its secret and the scopes granted without a token. Where the desk has an `auth` policy, that
    /// decides the rest.
    pub fn new(secret: Vec<u8>, anonymous: Scopes, policies: Desk) -> Self {
        Self {
            secret,
            anonymous,
            policies,
            said: Mutex::default(),
        }
    }

    /// Lets a request through or says why not: 401 without a good token where one is needed, 403 with one that does
    /// not allow the action. A bad token is refused even where none is needed, so that a mistake shows at once.
    pub async fn admit(
        &self,
        headers: &HeaderMap,
        uri: &Uri,
        action: Action<'_>,
    ) -> Result<(), Problem> {
        let token = bearer(headers)?.or_else(|| query_token(uri));
        let claims = token.map(|token| self.claims(token)).transpose()?;
        if self.anonymous.allow(action) {
            return Ok(());
        }
        let generation = self.policies.auth_generation();
        if generation > 0 {
            let token = token.unwrap_or_default().to_owned();
            let asked = Asked {
                action: word(action),
                stream: stream(action),
                token,
                generation,
            };
            return match self.ask(asked, claims).await {
                Ok(()) => Ok(()),
                Err(StatusCode::UNAUTHORIZED) => Err(Problem::token_wanted()),
                Err(_) => Err(Problem::policy_denied()),
            };
        }
        let Some(claims) = claims else {
            return Err(Problem::token_wanted());
        };
        let scopes = Scopes::parse(&claims.scope).map_err(|_| Problem::token_refused())?;
        if scopes.allow(action) {
            Ok(())
        } else {
            Err(Problem::scope_wanted(action))
        }
    }

    fn claims(&self, token: &str) -> Result<Claims, Problem> {
        token::verify(&self.secret, token).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            Problem::token_refused()
        })
    }

    /// Asks the policy, or takes what it said before. Whatever goes wrong means no.
    async fn ask(&self, asked: Asked, claims: Option<Claims>) -> Result<(), StatusCode> {
        let before = self.said().get(&asked).copied();
        if let Some((until, said)) = before
            && Instant::now() < until
        {
            return said;
        }
        let claims: BTreeMap<String, serde_json::Value> = claims
            .and_then(|claims| serde_json::to_value(claims).ok())
            .and_then(|claims| serde_json::from_value(claims).ok())
            .unwrap_or_default();
        let request = auth::Request {
            action: match asked.action {
                "publish" => auth::Action::Publish,
                "play" => auth::Action::Play,
                _ => auth::Action::Admin,
            },
            stream: asked.stream.clone(),
            // Who is behind a proxy is known once trusted proxies are.
            peer: String::new(),
            claims,
            now_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
            answered: None,
        };
        let (said, holds) = match self.policies.authorize(request).await {
            Ok(auth::Verdict::Allow { ttl_s, .. }) => {
                (Ok(()), Duration::from_secs(ttl_s.into()).min(ALLOWED_MAX))
            }
            Ok(auth::Verdict::Deny { status, reason }) => {
                tracing::info!(action = asked.action, stream = %asked.stream, %reason, "the auth policy said no");
                (
                    Err(StatusCode::from_u16(status).unwrap_or(StatusCode::FORBIDDEN)),
                    DENIED,
                )
            }
            Ok(auth::Verdict::Ask { .. }) => {
                tracing::error!(
                    "the auth policy wants a URL to be asked, which this build does not do: denied"
                );
                (Err(StatusCode::FORBIDDEN), DENIED)
            }
            Err(error) => {
                tracing::error!(%error, "the auth policy gave no verdict: denied");
                (Err(StatusCode::FORBIDDEN), Duration::ZERO)
            }
        };
        let now = Instant::now();
        let mut all = self.said();
        if all.len() >= SAID_MAX {
            all.retain(|_, (until, _)| now < *until);
        }
        if all.len() < SAID_MAX {
            all.insert(asked, (now + holds, said));
        }
        said
    }

    fn said(&self) -> MutexGuard<'_, HashMap<Asked, Said>> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn word(action: Action<'_>) -> &'static str {
    match action {
        Action::Publish(_) => "publish",
        Action::Play(_) => "play",
        Action::Admin => "admin",
    }
}

fn stream(action: Action<'_>) -> String {
    match action {
        Action::Publish(name) | Action::Play(name) => name.to_string(),
        Action::Admin => String::new(),
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1); any other scheme is refused.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| Problem::token_refused())?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Problem::token_wanted()),
    }
}

/// The token of `?token=` (RFC 6750 §2.3), for players that cannot send headers.
pub(crate) fn query_token(uri: &Uri) -> Option<&str> {
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
        .filter(|token| !token.is_empty())
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
/// Verdicts remembered; beyond them the policy is asked each time.
const SAID_MAX: usize = 10_000;
