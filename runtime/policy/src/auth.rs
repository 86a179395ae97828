//! `auth`: who may enter. The one kind that is asked in words, and that fails closed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::engine::Fault;

/// What someone wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What is wanted.
    pub action: Action,
    /// The broadcast or room; empty for `admin`.
    pub stream: String,
    /// The address of the caller, without a port.
    pub peer: String,
    /// The claims of the token; empty without one.
    pub claims: BTreeMap<String, serde_json::Value>,
    /// The time in s since 1970-01-01 UTC.
    pub now_s: u64,
    /// What the URL of an `ask` answered, on the second call: status and body.
    pub answered: Option<Answered>,
}

/// What a URL answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// HTTP status; 0 if nothing answered.
    pub status: u16,
    /// At most 64 KiB of the body.
    pub body: String,
}

/// What a policy says to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
pub enum Verdict {
    /// Let in.
    Allow {
        /// How long this holds, in s; 0 asks again at once.
        ttl_s: u32,
        /// A role in a room; empty for none.
        role: String,
        /// Most to be sent, in kbit/s; `None` for no limit.
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

/// The built-in: the scopes of the token decide, as they do without any policy.
///
/// A token without a `scope` claim, or one that does not cover the action, is denied with 403; no token with 401.
pub fn reference(request: &Request) -> Result<Verdict, Fault> {
    let deny = |status, reason: &str| {
        Ok(Verdict::Deny {
            status,
            reason: reason.to_owned(),
        })
    };
    if request.claims.is_empty() {
        return deny(401, "no token");
    }
    let Some(serde_json::Value::String(scopes)) = request.claims.get("scope") else {
        return deny(403, "the token has no scopes");
    };
    let wanted = match request.action {
        Action::Publish => "publish",
        Action::Play => "play",
        Action::Join => "join",
        Action::Admin => "admin",
    };
    for scope in scopes.split(' ') {
        let (kind, pattern) = scope.split_once(':').unwrap_or((scope, "*"));
        let covers = match pattern.strip_suffix('*') {
            Some(beginning) => request.stream.starts_with(beginning),
            None => pattern == request.stream,
        };
        if kind == "admin" || (kind == wanted && covers) {
            return Ok(Verdict::Allow {
                ttl_s: 300,
                role: String::new(),
                cap_kbps: None,
            });
        }
    }
    deny(403, "no scope covers this")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(action: Action, stream: &str, scope: Option<&str>) -> Verdict {
        let claims = scope
            .map(|scope| ("scope".to_owned(), scope.into()))
            .into_iter()
            .collect();
        let (peer, now_s, answered) = ("192.0.2.1".to_owned(), 0, None);
        let request = Request {
            action,
            stream: stream.to_owned(),
            peer,
            claims,
            now_s,
            answered,
        };
        reference(&request).unwrap()
    }

    #[test]
    fn scopes_decide() {
        let allowed = |verdict| matches!(verdict, Verdict::Allow { .. });
        assert!(allowed(ask(Action::Play, "demo", Some("play:demo"))));
        assert!(allowed(ask(
            Action::Play,
            "demo",
            Some("publish:x play:de*")
        )));
        assert!(allowed(ask(Action::Admin, "", Some("admin"))));
        assert!(allowed(ask(Action::Publish, "x", Some("admin"))));
        assert!(matches!(
            ask(Action::Play, "demo", None),
            Verdict::Deny { status: 401, .. }
        ));
        assert!(matches!(
            ask(Action::Publish, "demo", Some("play")),
            Verdict::Deny { status: 403, .. }
        ));
    }
}
