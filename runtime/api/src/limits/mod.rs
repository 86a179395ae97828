//! How much anybody may ask for in a while: what abuse costs, it costs the abuser.
//!
//! A request with a good token counts for its subject, any other for the address it comes from; each counts once. Whoever
//! asks for more is told so (429) and when to come again, and every answer under a limit says what is left
//! (draft-ietf-httpapi-ratelimit-headers-10). See [`budget`] for how little memory that takes, and [`address`] for whose
//! word counts on where a request comes from.

mod address;
mod budget;

use std::{net::IpAddr, time::Duration};

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};

use crate::{
    App, Problem,
    caller::{Client, Peer, query_token},
};

pub use address::{Network, NoNetwork, Proxies, Trusted};
pub use budget::{Budget, Key, Spent};

/// The operator's limits; 0 is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Requests to `/api` in a window.
    pub requests: u32,
    /// The same for subjects with the scope `admin`.
    pub admin_requests: u32,
    /// The window.
    pub window: Duration,
    /// New WHIP and WHEP sessions a minute.
    pub joins: u32,
    /// Other requests to WHIP and WHEP a minute.
    pub signals: u32,
    /// Reports of HLS players a minute.
    pub reports: u32,
    /// New connections over RTMP and SRT a minute.
    pub connects: u32,
}

/// All budgets, and who may say where a request comes from.
pub struct Limits {
    settings: Settings,
    proxies: Proxies,
    api: Option<Budget>,
    admin: Option<Budget>,
    joins: Option<Budget>,
    signals: Option<Budget>,
    reports: Option<Budget>,
    connects: Option<Budget>,
}

impl Limits {
    /// These limits.
    pub fn new(settings: Settings, proxies: Proxies) -> Self {
        let minute = Duration::from_secs(60);
        Self {
            settings,
            proxies,
            api: Budget::new("api", settings.requests, settings.window),
            admin: Budget::new("admin", settings.admin_requests, settings.window),
            joins: Budget::new("joins", settings.joins, minute),
            signals: Budget::new("signals", settings.signals, minute),
            reports: Budget::new("reports", settings.reports, minute),
            connects: Budget::new("connects", settings.connects, minute),
        }
    }

    /// Whether these are the limits that those would be; then they go on with what they have counted.
    pub fn are(&self, settings: Settings, proxies: &Proxies) -> bool {
        self.settings == settings && self.proxies == *proxies
    }

    /// Whether an address may connect once more by another protocol than HTTP.
    pub(crate) fn admit(&self, peer: IpAddr) -> bool {
        let budget = self.connects.as_ref();
        budget.is_none_or(|budget| budget.spend(Key::address(peer)).is_ok())
    }

    /// Takes a new session of Socket.IO from a budget.
    pub(crate) fn join(&self, key: Key) -> Result<(), Spent> {
        spend(self.joins.as_ref(), key)
    }

    /// Takes an event over Socket.IO from a budget.
    pub(crate) fn signal(&self, key: Key) -> Result<(), Spent> {
        spend(self.signals.as_ref(), key)
    }

    fn of(&self, class: Class) -> Option<&Budget> {
        match class {
            Class::Api => self.api.as_ref(),
            Class::Join => self.joins.as_ref(),
            Class::Signal => self.signals.as_ref(),
            Class::Report => self.reports.as_ref(),
        }
    }
}

fn spend(budget: Option<&Budget>, key: Key) -> Result<(), Spent> {
    budget.map_or(Ok(()), |budget| budget.spend(key).map(drop))
}

/// What kind of request it is; others are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Api,
    Join,
    Signal,
    Report,
}

impl Class {
    fn of(method: &Method, path: &str) -> Option<Self> {
        let mut segments = path.trim_start_matches('/').split('/');
        let first = segments.next();
        match first {
            _ if *method == Method::OPTIONS => None,
            // Every player reports once a second.
            Some("api" | "whep") if *method == Method::POST && path.ends_with("/stats") => {
                Some(Self::Report)
            }
            Some("api") => Some(Self::Api),
            Some("whip" | "whep") if matches!(*method, Method::GET | Method::HEAD) => None,
            Some("whip" | "whep") if *method == Method::POST && segments.clone().count() <= 1 => {
                Some(Self::Join)
            }
            Some("whip" | "whep") => Some(Self::Signal),
            _ => None,
        }
    }
}

/// Whether requests of a method to a path, or to paths of its pattern, are counted.
pub(crate) fn is_limited(method: &Method, path: &str) -> bool {
    Class::of(method, path).is_some()
}

/// Finds out where a request comes from, and refuses it if it is one too many.
pub(crate) async fn govern(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let client = peer.map(|peer| app.limits.proxies.client(peer, request.headers()));
    if let Some(client) = client {
        request.extensions_mut().insert(Client(client));
    }
    let Some(class) = Class::of(request.method(), request.uri().path()) else {
        return next.run(request).await;
    };
    let token = token_of(&request);
    let Some((budget, key)) = charge(&app, class, client, token).await else {
        return next.run(request).await;
    };
    let (mut response, left) = match budget.spend(key) {
        Ok(left) => (next.run(request).await, left),
        Err(spent) => (Problem::too_many(&spent).into_response(), spent.left()),
    };
    let headers = response.headers_mut();
    for (name, value) in [
        ("ratelimit-policy", budget.policy()),
        ("ratelimit", left.header(budget)),
    ] {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    }
    response
}

/// The token a request shows, whatever it is worth.
fn token_of(request: &Request) -> Option<String> {
    let bearer = request.headers().get(header::AUTHORIZATION);
    let bearer = bearer
        .and_then(|value| value.to_str().ok()?.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    bearer
        .or_else(|| query_token(request.uri()))
        .map(str::to_owned)
}

/// Whose budget a request is paid from.
async fn charge(
    app: &App,
    class: Class,
    client: Option<IpAddr>,
    token: Option<String>,
) -> Option<(&Budget, Key)> {
    if let Some(token) = token
        && let Some((subject, admin)) = app.door.subject(&token).await
    {
        let budget = if admin && class == Class::Api {
            app.limits.admin.as_ref()
        } else {
            app.limits.of(class)
        };
        return Some((budget?, Key::subject(&subject)));
    }
    Some((app.limits.of(class)?, Key::address(client?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart() {
        for (method, path, class) in [
            ("GET", "/api/streams", Some(Class::Api)),
            ("GET", "//api/streams", Some(Class::Api)),
            ("POST", "/api/streams/x/stats", Some(Class::Report)),
            ("GET", "/api/streams/x/stats", Some(Class::Api)),
            ("OPTIONS", "/api/streams", None),
            ("POST", "/whip/x", Some(Class::Join)),
            ("POST", "/whep/x", Some(Class::Join)),
            ("PATCH", "/whep/x/1", Some(Class::Signal)),
            ("POST", "/whep/x/1/layer", Some(Class::Signal)),
            ("POST", "/whep/x/1/stats", Some(Class::Report)),
            ("DELETE", "/whip/x/1", Some(Class::Signal)),
            ("GET", "/whep/x/1/events", None),
            ("GET", "/hls/x/playlist.m3u8", None),
            ("GET", "/", None),
            ("GET", "/apis", None),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(Class::of(&method, path), class, "{method} {path}");
        }
    }
}
