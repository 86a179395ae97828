//! `/api/log`: which lines the log has, looked at and changed while it runs.

use axum::{
    Json,
    extract::{Request, State},
};
use serde::{Deserialize, Serialize};

use crate::{App, Caller, Problem, extract::json, scope::Action};

/// Decides which lines are written.
pub trait LogFilter: Send + Sync + 'static {
    /// The filter in effect.
    fn text(&self) -> String;

    /// Another one from now on, or why it is none.
    fn set(&self, filter: &str) -> Result<(), String>;
}

/// Which lines the log has.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = LogFilter)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shown {
    /// A level, or `target=level` separated by commas.
    filter: String,
}

/// Which lines the log has.
#[utoipa::path(
    get, path = "/api/log", tag = "operations", security(("token" = ["admin"])),
    responses((status = 200, description = "The filter in effect.", body = Shown)),
)]
pub(crate) async fn get(State(app): State<App>, caller: Caller) -> Result<Json<Shown>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let filter = app.log.text();
    Ok(Json(Shown { filter }))
}

/// Changes which lines the log has, until the next start, or until `log.filter` changes.
#[utoipa::path(
    put, path = "/api/log", tag = "operations", security(("token" = ["admin"])), request_body = Shown,
    responses((status = 200, description = "It is in effect.", body = Shown)),
)]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Json<Shown>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let wanted: Shown = json(request, "{\"filter\": \"debug\"}").await?;
    app.log.set(&wanted.filter).map_err(Problem::bad_body)?;
    tracing::info!(filter = %wanted.filter, "the log has another filter");
    Ok(Json(wanted))
}
