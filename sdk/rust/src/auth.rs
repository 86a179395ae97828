//! Everything a policy of kind `auth` needs: who may do what. It is asked in words.
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! use lockgate_sdk::auth::*;
//!
//! // #[policy(auth)]
//! fn authorize(_: &(), request: &Request) -> Verdict {
//!     match request.claims.get("plan").and_then(Value::as_str) {
//!         Some("paid") => Verdict::Allow { ttl_s: 300, role: String::new(), cap_kbps: None },
//!         _ => Verdict::Deny { status: 403, reason: "not paid".to_owned() },
//!     }
//! }
//!
//! let request = |plan: &str| Request {
//!     action: Action::Play,
//!     stream: "demo".to_owned(),
//!     peer: "192.0.2.1".to_owned(),
//!     claims: BTreeMap::from([("plan".to_owned(), Value::String(plan.to_owned()))]),
//!     now_s: 1_800_000_000,
//!     answered: None,
//! };
//! assert!(matches!(authorize(&(), &request("paid")), Verdict::Allow { .. }));
//! assert!(matches!(authorize(&(), &request("free")), Verdict::Deny { status: 403, .. }));
//! ```

use std::collections::BTreeMap;

pub use serde::Deserialize;

use crate::bindings::auth::exports::lockgate::policy::auth as wit;
pub use crate::{json::Value, policy};

/// What someone wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// To publish a broadcast.
    Publish,
    /// To watch a broadcast.
    Play,
    /// To join a room.
    Join,
    /// To see or change what the API shows of everyone.
    Admin,
}

/// A request to be let in. The host has checked the token's signature and times already.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// What is wanted.
    pub action: Action,
    /// The broadcast or room; empty for `Admin`.
    pub stream: String,
    /// The address of the caller, without a port.
    pub peer: String,
    /// The claims of the token; empty without one.
    pub claims: BTreeMap<String, Value>,
    /// The time in s since 1970-01-01 UTC.
    pub now_s: u64,
    /// What the URL of a `Verdict::Ask` answered, on the second call: status (0 if nothing answered) and body.
    pub answered: Option<(u16, String)>,
}

/// What a policy says to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Let in.
    Allow {
        /// How long this holds, in s; 0 asks again at once.
        ttl_s: u32,
        /// A role in a room; empty for none.
        role: String,
        /// Most to be sent, in kbit/s.
        cap_kbps: Option<u32>,
    },
    /// Not let in.
    Deny {
        /// 401 or 403.
        status: u16,
        /// Why, for the log.
        reason: String,
    },
    /// The host is to fetch this URL and ask once more.
    Ask {
        /// `http` or `https`.
        url: String,
    },
}

#[doc(hidden)]
pub fn from_wit(request: wit::Request) -> Request {
    Request {
        action: match request.action {
            wit::Action::Publish => Action::Publish,
            wit::Action::Play => Action::Play,
            wit::Action::Join => Action::Join,
            wit::Action::Admin => Action::Admin,
        },
        stream: request.stream_id,
        peer: request.peer,
        claims: claims(&request.claims),
        now_s: request.now_s,
        answered: request
            .answered
            .map(|answered| (answered.status, answered.body)),
    }
}

/// The claims of a JSON object. The host writes it; what cannot be read claims nothing.
#[doc(hidden)]
pub fn claims(json: &str) -> BTreeMap<String, Value> {
    crate::json::members(json)
}

#[doc(hidden)]
pub fn to_wit(verdict: Verdict) -> wit::Verdict {
    match verdict {
        Verdict::Allow {
            ttl_s,
            role,
            cap_kbps,
        } => wit::Verdict::Allow(wit::Grant {
            ttl_s,
            role,
            cap_kbps,
        }),
        Verdict::Deny { status, reason } => wit::Verdict::Deny(wit::Denial { status, reason }),
        Verdict::Ask { url } => wit::Verdict::Ask(url),
    }
}

#[doc(hidden)]
#[macro_export]
macro_rules! __auth {
    ($config:ty, $policy:path, $columns:expr, $rungs:expr, $memo:expr) => {
        struct Auth;
        impl $crate::bindings::auth::exports::lockgate::policy::auth::Guest for Auth {
            fn authorize(
                r: $crate::bindings::auth::exports::lockgate::policy::auth::Request,
            ) -> $crate::bindings::auth::exports::lockgate::policy::auth::Verdict {
                let request = $crate::auth::from_wit(r);
                let verdict = $crate::with_config::<$config, _>(|config| $policy(config, &request));
                $crate::auth::to_wit(verdict)
            }
        }
        $crate::bindings::auth::export!(Auth with_types_in $crate::bindings::auth);
    };
}
