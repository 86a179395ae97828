//! The values that cross, as `sdk/wit/lockgate-policy.wit` has them.

use lockgate_policy::{Fault, Kind, auth, engine};
use wasmtime::component::{ComponentType, Lift, Lower};

/// The function of a kind within its interface.
pub(crate) fn function(kind: Kind) -> &'static str {
    match kind {
        Kind::Abr => "recommend",
        Kind::Optimize => "optimize",
        Kind::Score => "score",
        Kind::Ladder => "plan",
        Kind::Auth => "authorize",
    }
}

/// Parameters of `configure`.
pub(crate) type ConfigureParams<'a> = (&'a str,);
/// Results of `configure`.
pub(crate) type ConfigureResults = (Result<(), String>,);
/// Parameters of the four kinds that are asked in numbers.
pub(crate) type BatchParams<'a> = (Tick, &'a [f64], &'a [f64], &'a [f64]);
/// Their results.
pub(crate) type BatchResults = (Answer,);
/// Parameters of `authorize`.
pub(crate) type AuthParams<'a> = (Request<'a>,);
/// Results of `authorize`.
pub(crate) type AuthResults = (Verdict,);

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Tick {
    #[component(name = "now-ms")]
    now_ms: u64,
    seed: u64,
    mode: u8,
    cause: u8,
}

impl From<engine::Tick> for Tick {
    fn from(tick: engine::Tick) -> Self {
        Self {
            now_ms: tick.now_ms,
            seed: tick.seed,
            mode: tick.mode as u8,
            cause: tick.cause as u8,
        }
    }
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<f64>,
    pub(crate) memo: Vec<f64>,
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(enum)]
#[repr(u8)]
pub(crate) enum Action {
    #[component(name = "publish")]
    Publish,
    #[component(name = "play")]
    Play,
    #[component(name = "join")]
    Join,
    #[component(name = "admin")]
    Admin,
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Answered<'a> {
    status: u16,
    body: &'a str,
}

#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
pub(crate) struct Request<'a> {
    action: Action,
    #[component(name = "stream-id")]
    stream_id: &'a str,
    peer: &'a str,
    claims: &'a str,
    #[component(name = "now-s")]
    now_s: u64,
    answered: Option<Answered<'a>>,
}

impl<'a> Request<'a> {
    /// `claims` are those of the request, as JSON; empty for none.
    pub(crate) fn new(request: &'a auth::Request, claims: &'a str) -> Self {
        let answered = request.answered.as_ref().map(|answered| Answered {
            status: answered.status,
            body: &answered.body,
        });
        Self {
            action: match request.action {
                auth::Action::Publish => Action::Publish,
                auth::Action::Play => Action::Play,
                auth::Action::Join => Action::Join,
                auth::Action::Admin => Action::Admin,
            },
            stream_id: &request.stream,
            peer: &request.peer,
            claims,
            now_s: request.now_s,
            answered,
        }
    }

    /// How many bytes of text it carries.
    pub(crate) fn size(&self) -> usize {
        let body = self.answered.map_or(0, |answered| answered.body.len());
        self.stream_id.len() + self.peer.len() + self.claims.len() + body
    }
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Grant {
    #[component(name = "ttl-s")]
    ttl_s: u32,
    role: String,
    #[component(name = "cap-kbps")]
    cap_kbps: Option<u32>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct Denial {
    status: u16,
    reason: String,
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(crate) enum Verdict {
    #[component(name = "allow")]
    Allow(Grant),
    #[component(name = "deny")]
    Deny(Denial),
    #[component(name = "ask")]
    Ask(String),
}

impl TryFrom<Verdict> for auth::Verdict {
    type Error = Fault;

    fn try_from(verdict: Verdict) -> Result<Self, Fault> {
        Ok(match verdict {
            Verdict::Allow(grant) => Self::Allow {
                ttl_s: grant.ttl_s,
                role: grant.role,
                cap_kbps: grant.cap_kbps,
            },
            Verdict::Deny(denial) if matches!(denial.status, 401 | 403) => Self::Deny {
                status: denial.status,
                reason: denial.reason,
            },
            Verdict::Deny(denial) => {
                let what = format!("it denies with status {}; 401 and 403 deny", denial.status);
                return Err(Fault::BadOutput(what));
            }
            Verdict::Ask(url) if url.starts_with("http://") || url.starts_with("https://") => {
                Self::Ask { url }
            }
            Verdict::Ask(url) => {
                let start: String = url.chars().take(80).collect();
                let what = format!("it asks {start:?}; only http and https are fetched");
                return Err(Fault::BadOutput(what));
            }
        })
    }
}
