//! Which path is which use case.

use axum::{
    Router,
    extract::Request,
    middleware,
    response::IntoResponse,
    routing::{any, delete, get, post, put},
};
use lockgate_session::{Desk, Streams};

use crate::{
    Configuration, Door, Headers, Limits, PolicyStore, Problem, configuration, decisions, drain,
    headers, health, hls, limits, listen, log, metrics, openapi, pages, policies, recordings,
    reports, revocations, rooms, sessions, socket, streams, verify, whep, whep_events, whip,
};

/// What handlers work on. Cheap to clone: every layer of every request has one.
#[derive(Clone)]
pub struct App(std::sync::Arc<Parts>);

/// What an [`App`] is made of.
#[derive(Clone)]
pub struct Parts {
    /// The core.
    pub streams: Streams,
    /// Where policies decide.
    pub desk: Desk,
    /// Loads and keeps policies.
    pub policies: std::sync::Arc<dyn PolicyStore>,
    /// Who may do what.
    pub door: std::sync::Arc<Door>,
    /// How much anybody may ask for.
    pub limits: std::sync::Arc<Limits>,
    /// How long the body of a request may take, besides the time it takes at 16 KiB/s.
    pub body_within: std::time::Duration,
    /// What goes on every response.
    pub headers: std::sync::Arc<Headers>,
    /// STUN and TURN servers handed to peers.
    pub ice_servers: std::sync::Arc<[crate::IceServer]>,
    /// Requests, counted and traced.
    pub traffic: std::sync::Arc<crate::Traffic>,
    /// How the server is.
    pub health: std::sync::Arc<crate::Health>,
    /// Which lines the log has.
    pub log: std::sync::Arc<dyn crate::LogFilter>,
    /// Those who are connected over Socket.IO.
    pub sockets: std::sync::Arc<crate::Sockets>,
    /// Who may read `/metrics`.
    pub metrics: metrics::Access,
    /// Shows the configuration and reads it again.
    pub configuration: std::sync::Weak<dyn Configuration>,
}

impl App {
    pub(crate) fn downgrade(&self) -> std::sync::Weak<Parts> {
        std::sync::Arc::downgrade(&self.0)
    }

    pub(crate) fn upgrade(parts: &std::sync::Weak<Parts>) -> Option<Self> {
        parts.upgrade().map(Self)
    }
}

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        Self(std::sync::Arc::new(parts))
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What a listener serves.
pub type Routes = Router;

/// The whole HTTP surface. Who is connected over Socket.IO goes on by this application, too.
pub fn router(app: App) -> Routes {
    app.sockets.put(&app);
    routes()
        .fallback(|request: Request| async move { Problem::no_route(request.uri().path()) })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(|_| {
            Problem::internal().into_response()
        }))
        .layer(middleware::from_fn_with_state(app.clone(), limits::govern))
        .layer(middleware::from_fn(drain::refused_bodies))
        .layer(middleware::from_fn_with_state(
            app.body_within,
            listen::paced_bodies,
        ))
        .layer(middleware::from_fn_with_state(app.clone(), headers::on_all))
        .with_state(app)
}

/// Every path with its handlers; each stands in the OpenAPI document, too.
pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(pages::index))
        .route("/watch/{stream}", get(pages::watch))
        .route("/studio", get(pages::studio))
        .route("/dashboard", get(pages::dashboard))
        .route("/rooms/{room}", get(pages::room))
        .route("/assets/{*path}", get(pages::asset))
        .route("/whip/{stream}", post(whip::publish).get(whip::discover))
        .route(
            "/whip/{stream}/{session}",
            get(whip::show).patch(whip::patch).delete(whip::end),
        )
        .route("/whep/{stream}", post(whep::subscribe).get(whep::discover))
        .route(
            "/whep/{stream}/{session}",
            get(whep::show).patch(whep::patch).delete(whep::end),
        )
        .route("/whep/{stream}/{session}/layer", post(whep::layer))
        .route(
            "/whep/{stream}/{session}/stats",
            post(reports::report_of_viewer),
        )
        .route("/whep/{stream}/{session}/sse", post(whep_events::open))
        .route(
            "/whep/{stream}/{session}/sse/{events}",
            get(whep_events::read).delete(whep_events::close),
        )
        .route("/whep/{stream}/{session}/events", get(whep::events))
        .route("/hls/{stream}/playlist.m3u8", get(hls::multivariant))
        .route("/hls/{stream}/{rung}/{file}", get(hls::file))
        .route("/dash/{stream}/manifest.mpd", get(hls::manifest))
        .route("/dash/time", get(hls::time))
        .route("/api/streams", get(streams::list))
        .route(
            "/api/streams/{stream}",
            get(streams::one).delete(streams::stop),
        )
        .route("/api/streams/{stream}/sessions", get(streams::sessions))
        .route(
            "/api/streams/{stream}/sessions/{session}",
            delete(streams::kick_of),
        )
        .route("/api/streams/{stream}/verify", post(verify::verify))
        .route("/api/stream/{stream}/verify", post(verify::verify_too))
        .route("/api/streams/{stream}/metrics", get(reports::metrics))
        .route("/api/streams/{stream}/stats", post(reports::report))
        .route("/api/config", get(configuration::show))
        .route("/api/config/reload", post(configuration::reload))
        .route("/api/openapi.json", get(openapi::serve))
        .route("/api/docs", get(pages::docs))
        .route("/api/sessions", get(sessions::list))
        .route("/api/sessions/export", get(sessions::export))
        .route("/api/sessions/import", post(sessions::import))
        .route(
            "/api/sessions/{session}",
            get(sessions::one).delete(streams::kick),
        )
        .route(
            "/api/revocations",
            get(revocations::list).post(revocations::add),
        )
        .route("/api/revocations/{kind}/{id}", delete(revocations::remove))
        .route("/api/log", get(log::get).put(log::put))
        .route("/api/recordings", get(recordings::list))
        .route("/api/recordings/{stream}/{file}", get(recordings::get))
        .route("/api/rooms", get(rooms::list))
        .route("/api/rooms/{room}", get(rooms::one).delete(rooms::end))
        .route("/api/rooms/{room}/participants", get(rooms::participants))
        .route(
            "/api/rooms/{room}/participants/{participant}",
            delete(rooms::remove).patch(rooms::change),
        )
        .route("/api/policies", get(policies::list))
        .route("/api/policies/{kind}", put(policies::swap))
        .route("/api/policies/{kind}/rollback", post(policies::rollback))
        .route(
            "/api/policies/{kind}/shadow",
            put(policies::shadow).delete(policies::end_shadow),
        )
        .route("/api/policies/{kind}/decisions", get(decisions::get))
        .route("/socket.io/", any(socket::serve))
        .route("/metrics", get(metrics::scrape))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
}
