//! Requests to `/socket.io/`: who may begin, and how many of them. A session over long polling holds no connection, so
//! sessions are counted for themselves.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header, uri::Authority},
    response::{IntoResponse as _, Response},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::ServiceExt as _;

use crate::{
    App, Problem,
    caller::{Client, Peer},
    limits::Key,
    listen::{Counted, Tally},
};

use super::Terms;

/// How many there are.
pub(super) struct Crowd {
    room: Arc<Semaphore>,
    tally: Tally,
}

/// A place that is taken as long as this lives: it goes with the request's parts, which the session keeps.
#[derive(Clone)]
struct Seat(#[expect(dead_code, reason = "held, not read")] Arc<(OwnedSemaphorePermit, Counted)>);

impl Crowd {
    pub(super) fn new(terms: Terms) -> Self {
        Self {
            room: Arc::new(Semaphore::new(terms.most.min(Semaphore::MAX_PERMITS))),
            tally: Tally::new(terms.per_address),
        }
    }

    fn enter(&self, client: std::net::IpAddr) -> Option<Seat> {
        let place = Arc::clone(&self.room).try_acquire_owned().ok()?;
        Some(Seat(Arc::new((place, self.tally.enter(client)?))))
    }
}

/// Socket.IO, over WebSocket or long polling. A request that begins a session takes a place.
pub(crate) async fn serve(State(app): State<App>, mut request: Request) -> Response {
    if !may_come(&app, request.headers()) {
        return foreign().into_response();
    }
    if begins(request.uri()) {
        let client = request.extensions().get::<Client>().map(|client| client.0);
        let peer = || request.extensions().get::<Peer>().map(|peer| peer.0.ip());
        if let Some(client) = client.or_else(peer) {
            if let Err(spent) = app.limits.join(Key::address(client)) {
                return Problem::too_many(&spent).into_response();
            }
            let Some(seat) = app.sockets.crowd.enter(client) else {
                return full().into_response();
            };
            request.extensions_mut().insert(seat);
        }
    }
    match app.sockets.service.clone().oneshot(request).await {
        Ok(response) => response.map(axum::body::Body::new),
        Err(never) => match never {},
    }
}

/// Whether a request has no session yet.
fn begins(uri: &Uri) -> bool {
    let query = uri.query().unwrap_or("");
    !query.split('&').any(|pair| pair.starts_with("sid="))
}

/// Browsers ask nobody before they open a WebSocket to another origin, so what CORS says of answers is asked here: whether
/// a page may talk to us. Programs that are no browsers have no origin.
fn may_come(app: &App, headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    if !headers.contains_key(header::UPGRADE) {
        return true;
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let same = text(header::HeaderName::from_static("sec-fetch-site")) == Some("same-origin");
    let ours = || {
        let origin = origin.to_str().ok()?.split_once("://")?.1;
        let host: Authority = text(header::HOST)?.parse().ok()?;
        Some(origin.eq_ignore_ascii_case(host.as_str()))
    };
    same || app.headers.lets_read(origin) || ours().unwrap_or(false)
}

fn foreign() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "/problems/foreign-origin",
        "Not from this page",
        "pages of this origin may not connect; add it to http.cors",
    )
}

fn full() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "/problems/full",
        "No room for another connection",
        "as many are connected as may be, from this address or altogether; come again later",
    )
    .with_header(header::RETRY_AFTER, "10")
}
