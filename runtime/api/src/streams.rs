//! `/api`: what is live.

use axum::{Json, extract::State, http::StatusCode};
use lockgate_session::{StreamInfo, ViewerInfo};
use serde::Serialize;

use crate::{App, Caller, Problem, extract::Name, scope::Action};

/// The answer to `GET /api/streams`.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    streams: Vec<StreamInfo>,
}

/// The answer to `GET /api/streams/{id}/sessions`.
#[derive(Debug, Serialize)]
pub(crate) struct Sessions {
    sessions: Vec<ViewerInfo>,
}

/// `GET /api/streams`: those the caller may watch.
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Listing>, Problem> {
    let mut streams = Vec::new();
    for stream in app.streams.list() {
        match app.door.admit(&caller, Action::Play(&stream.id)).await {
            Ok(_) => streams.push(stream),
            Err(problem) if problem.status() == StatusCode::FORBIDDEN => {}
            Err(problem) => return Err(problem),
        }
    }
    Ok(Json(Listing { streams }))
}

/// `GET /api/streams/{id}`.
pub(crate) async fn one(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
) -> Result<Json<StreamInfo>, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    Ok(Json(app.streams.info(&name)?))
}

/// `GET /api/streams/{id}/sessions`: its WebRTC viewers, for an administrator.
pub(crate) async fn sessions(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
) -> Result<Json<Sessions>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    Ok(Json(Sessions {
        sessions: app.streams.sessions(&name)?,
    }))
}

/// `DELETE /api/streams/{id}`: ends a broadcast.
pub(crate) async fn stop(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    app.streams.stop(&name)?;
    Ok(StatusCode::NO_CONTENT)
}
