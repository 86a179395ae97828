//! Which path is which use case.

use axum::{
    Router,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use lockgate_session::{Desk, Joined, Streams};

use crate::{
    Door, PolicyStore, Problem, decisions, headers, hls, metrics, pages, policies, streams, whep,
    whip,
};

/// What handlers work on. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The core.
    pub streams: Streams,
    /// Where policies decide.
    pub desk: Desk,
    /// Loads and keeps policies.
    pub policies: std::sync::Arc<dyn PolicyStore>,
    /// Who may do what.
    pub door: std::sync::Arc<Door>,
    /// STUN and TURN servers handed to peers.
    pub ice_servers: std::sync::Arc<[IceServer]>,
    /// Who may read `/metrics`.
    pub metrics: metrics::Access,
}

/// A STUN or TURN server for peers (RFC 9725 §4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:…`, `turn:…` or `turns:…`.
    pub url: String,
    /// TURN user name.
    pub username: Option<String>,
    /// TURN password.
    pub credential: Option<String>,
}

/// The whole HTTP surface.
pub fn router(app: App) -> Router {
    let page = |name: &'static str| get(move |headers: HeaderMap| pages::page(name, headers));
    Router::new()
        .route("/", page("index"))
        .route("/watch/{stream}", page("watch"))
        .route("/studio", page("studio"))
        .route("/assets/{*path}", get(pages::asset))
        .route("/whip/{stream}", post(whip::publish).get(whip::nothing))
        .route(
            "/whip/{stream}/{session}",
            get(whip::nothing).patch(whip::trickle).delete(whip::end),
        )
        .route("/whep/{stream}", post(whep::subscribe).get(whip::nothing))
        .route(
            "/whep/{stream}/{session}",
            get(whip::nothing).patch(whep::trickle).delete(whep::end),
        )
        .route("/whep/{stream}/{session}/layer", post(whep::layer))
        .route("/whep/{stream}/{session}/events", get(whep::events))
        .route("/hls/{stream}/playlist.m3u8", get(hls::multivariant))
        .route("/hls/{stream}/{rung}/{file}", get(hls::file))
        .route("/api/streams", get(streams::list))
        .route(
            "/api/streams/{stream}",
            get(streams::one).delete(streams::stop),
        )
        .route("/api/streams/{stream}/sessions", get(streams::sessions))
        .route("/api/policies", get(policies::list))
        .route("/api/policies/{kind}", put(policies::swap))
        .route("/api/policies/{kind}/rollback", post(policies::rollback))
        .route(
            "/api/policies/{kind}/shadow",
            put(policies::shadow).delete(policies::end_shadow),
        )
        .route("/api/policies/{kind}/decisions", get(decisions::get))
        .route("/metrics", get(metrics::scrape))
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(|| async { "ready\n" }))
        .fallback(|request: Request| async move { Problem::no_route(request.uri().path()) })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(|_| {
            Problem::internal().into_response()
        }))
        .layer(middleware::from_fn(headers::open_to_all_origins))
        .with_state(app)
}

/// The 201 of WHIP and WHEP: the answer, where the session is, its ICE entity tag, and what the client may use.
pub(crate) fn created(
    app: &App,
    url: String,
    joined: Joined,
    links: &[(String, &str)],
) -> Response {
    let mut response = (StatusCode::CREATED, joined.answer).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/sdp"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // What we make of checked names, hexadecimal ids and configured URLs can always be a header's value.
    let value = |text: String| HeaderValue::try_from(text).ok();
    headers.extend(value(url).map(|url| (header::LOCATION, url)));
    headers.extend(value(format!("\"{}\"", joined.ice_tag)).map(|tag| (header::ETAG, tag)));
    let extensions = links
        .iter()
        .map(|(url, rel)| format!("<{url}>; rel=\"{rel}\""));
    for link in app
        .ice_servers
        .iter()
        .map(IceServer::link)
        .chain(extensions)
    {
        if let Some(link) = value(link) {
            headers.append(header::LINK, link);
        }
    }
    response
}

/// RFC 9725 §4.3.2: a PATCH names the ICE session it is meant for, else 428; another one is 412.
pub(crate) fn check_ice_tag(headers: &HeaderMap, tag: &str) -> Result<(), Problem> {
    let Some(given) = headers.get(header::IF_MATCH) else {
        let detail = "send the ETag of the session as If-Match";
        let title = "If-Match is needed";
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "/problems/if-match-wanted",
            title,
            detail,
        ));
    };
    let given = given.to_str().unwrap_or("");
    if given == "*"
        || given
            .split(',')
            .any(|one| one.trim().trim_matches('"') == tag && one.trim().starts_with('"'))
    {
        return Ok(());
    }
    let detail = "the ICE session was restarted since; use its newest ETag";
    Err(Problem::new(
        StatusCode::PRECONDITION_FAILED,
        "/problems/stale-etag",
        "Another ICE session",
        detail,
    ))
}

impl IceServer {
    fn link(&self) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut link = format!("<{}>; rel=\"ice-server\"", self.url);
        if let (Some(username), Some(credential)) = (&self.username, &self.credential) {
            link.push_str(&format!(
                "; username=\"{}\"; credential=\"{}\"",
                quoted(username),
                quoted(credential)
            ));
            link.push_str("; credential-type=\"password\"");
        }
        link
    }
}
