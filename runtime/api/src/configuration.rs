//! `/api/config`: what is configured, and taking up what has changed.

use axum::{Json, extract::State, http::StatusCode, http::header};
use lockgate_ports::BoxFuture;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{App, Caller, Problem, scope::Action};

/// Reads the configuration again and puts it into effect.
pub trait Configuration: Send + Sync + 'static {
    /// What is configured now.
    fn show(&self) -> Configured;

    /// Reads it again. A bad one changes nothing; the error says what is wrong, and where.
    fn reload(&self) -> BoxFuture<'_, Result<Change, String>>;
}

/// The answer to `GET /api/config`.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub struct Configured {
    /// Every key with its value; secrets are left out, and what opens a URL.
    #[schema(value_type = Object)]
    pub config: Value,
    /// Where the values come from that are not the default, by their dotted keys.
    #[schema(value_type = Object)]
    pub origins: Map<String, Value>,
    /// Keys whose new values wait for the next start.
    pub waiting: Vec<String>,
    /// Why the newest change was refused; null if it was not.
    pub refused: Option<String>,
}

/// What became of a change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Change {
    /// Keys whose new values are in effect.
    pub applied: Vec<String>,
    /// Keys whose new values wait for the next start.
    pub waiting: Vec<String>,
}

/// What is configured, where each value comes from, and what waits for the next start.
#[utoipa::path(
    get, path = "/api/config", tag = "configuration", security(("token" = ["admin"])),
    responses((status = 200, description = "The configuration, without secrets.", body = Configured)),
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Configured>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    Ok(Json(configuration(&app)?.show()))
}

/// Reads the configuration again, as a change of its file or SIGHUP does. A bad one changes nothing.
#[utoipa::path(
    post, path = "/api/config/reload", tag = "configuration", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "It is in effect, but for what waits for the next start.", body = Change),
        (status = 422, description = "It is bad, and the old one stays; `detail` says what `lockgate check-config` says.", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn reload(
    State(app): State<App>,
    caller: Caller,
) -> Result<Json<Change>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let changed = configuration(&app)?.reload().await;
    changed.map(Json).map_err(|what| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "/problems/bad-configuration",
            "The configuration cannot be used",
            what,
        )
    })
}

/// Only while the server goes down is there none.
fn configuration(app: &App) -> Result<std::sync::Arc<dyn Configuration>, Problem> {
    app.configuration.upgrade().ok_or_else(|| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "/problems/shutting-down",
            "The server is shutting down",
            "ask again when it is up",
        )
        .with_header(header::RETRY_AFTER, "5")
    })
}
