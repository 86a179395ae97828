//! Who may enter: the scopes of the token decide. A scope is an action, or an action and a stream: `play`, `play:demo`,
//! `publish:team-*`; `admin` may do everything.

use lockgate_sdk::auth::*;

#[policy(auth)]
fn authorize(_: &(), request: &Request) -> Verdict {
    if request.claims.is_empty() {
        return deny(401, "no token");
    }
    let Some(Value::String(scopes)) = request.claims.get("scope") else {
        return deny(403, "the token has no scopes");
    };
    let wanted = match request.action {
        Action::Publish => "publish",
        Action::Play => "play",
        Action::Join => "join",
        Action::Admin => "admin",
    };
    let covers = |scope: &str| {
        let (kind, pattern) = scope.split_once(':').unwrap_or((scope, "*"));
        let covers = match pattern.strip_suffix('*') {
            Some(beginning) => request.stream.starts_with(beginning),
            None => pattern == request.stream,
        };
        kind == "admin" || (kind == wanted && covers)
    };
    if scopes.split(' ').any(covers) {
        return Verdict::Allow {
            ttl_s: 300,
            role: String::new(),
            cap_kbps: None,
        };
    }
    deny(403, "no scope covers this")
}

fn deny(status: u16, reason: &str) -> Verdict {
    Verdict::Deny {
        status,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(action: Action, scope: &str) -> Verdict {
        let request = Request {
            action,
            stream: "demo".to_owned(),
            peer: "192.0.2.1".to_owned(),
            claims: [("scope".to_owned(), scope.into())].into(),
            now_s: 0,
            answered: None,
        };
        authorize(&(), &request)
    }

    #[test]
    fn scopes_decide() {
        assert!(matches!(
            ask(Action::Play, "publish play:de*"),
            Verdict::Allow { .. }
        ));
        assert!(matches!(
            ask(Action::Publish, "play"),
            Verdict::Deny { status: 403, .. }
        ));
    }
}
