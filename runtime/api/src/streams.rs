//! `/api`: what is live.

use axum::{Json, extract::State, http::StatusCode};
use lockgate_media::BroadcastName;
use lockgate_session::{Error, SessionId, StreamInfo, ViewerInfo};
use serde::Serialize;

use crate::extract::Params;
use crate::openapi::NotFound;
use crate::{App, Caller, HlsSession, Problem, extract::Name, scope::Action};

/// The answer to `GET /api/streams`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Streams)]
pub(crate) struct Listing {
    streams: Vec<StreamInfo>,
}

/// The answer to `GET /api/streams/{id}/sessions`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = StreamSessions)]
pub(crate) struct Sessions {
    /// The session of its publisher, where that is a WebRTC peer.
    publisher: Option<SessionId>,
    /// Its WebRTC viewers.
    sessions: Vec<ViewerInfo>,
    /// Its HLS and DASH players.
    hls: Vec<HlsSession>,
}

/// What is live: the broadcasts that the caller may watch.
#[utoipa::path(
    get, path = "/api/streams", tag = "streams", security(("token" = ["play"])),
    responses(
        (status = 200, description = "They.", body = Listing),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Listing>, Problem> {
    app.door.may_play(&caller).await?;
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

/// A broadcast.
#[utoipa::path(
    get, path = "/api/streams/{stream}", tag = "streams", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo")),
    responses(
        (status = 200, description = "It.", body = StreamInfo),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
) -> Result<Json<StreamInfo>, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    Ok(Json(app.streams.info(&name)?))
}

/// Who publishes and who watches.
#[utoipa::path(
    get, path = "/api/streams/{stream}/sessions", tag = "streams", security(("token" = ["admin"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo")),
    responses(
        (status = 200, description = "They.", body = Sessions),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn sessions(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
) -> Result<Json<Sessions>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    Ok(Json(Sessions {
        sessions: app.streams.sessions(&name)?,
        publisher: app.streams.publisher_of(&name)?,
        hls: app.door.hls_sessions(Some(&name)),
    }))
}

/// Ends a session of whatever protocol, and keeps whoever had it out for a while.
#[utoipa::path(
    delete, path = "/api/sessions/{session}", tag = "streams", security(("token" = ["admin"])),
    params(("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it.")),
    responses(
        (status = 204, description = "It is over."),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn kick(
    State(app): State<App>,
    Params(session): Params<String>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    end_session(&app, &session)
}

/// Ends a session of this broadcast, and keeps whoever had it out for a while.
#[utoipa::path(
    delete, path = "/api/streams/{stream}/sessions/{session}", tag = "streams", security(("token" = ["admin"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it.")),
    responses(
        (status = 204, description = "It is over."),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn kick_of(
    State(app): State<App>,
    Params((stream, session)): Params<(String, String)>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let name = BroadcastName::new(&stream).map_err(|error| Problem::bad_name(&error))?;
    let session_id: SessionId = session
        .parse()
        .map_err(|()| Problem::no_session(&session))?;
    let of_hls = app.door.hls_sessions(Some(&name));
    let of_webrtc = app.streams.sessions(&name).unwrap_or_default();
    let is_its = app
        .streams
        .publisher_of(&name)
        .is_ok_and(|id| id == Some(session_id))
        || of_hls.iter().any(|one| one.id == session_id)
        || of_webrtc.iter().any(|one| one.id == session_id);
    if !is_its {
        return Err(Error::NoSession {
            broadcast: name,
            session: session_id,
        }
        .into());
    }
    end_session(&app, &session)
}

fn end_session(app: &App, session: &str) -> Result<StatusCode, Problem> {
    let id: SessionId = session.parse().map_err(|()| Problem::no_session(session))?;
    let was_ours = app.door.kick(id);
    match app.streams.end_session(id) {
        None if !was_ours => Err(Problem::no_session(session)),
        stream => {
            tracing::info!(session = %id, stream = ?stream, "an administrator ended a session");
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

/// Ends a broadcast.
#[utoipa::path(
    delete, path = "/api/streams/{stream}", tag = "streams", security(("token" = ["admin"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo")),
    responses(
        (status = 204, description = "It is over."),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn stop(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    app.streams.stop(&name)?;
    Ok(StatusCode::NO_CONTENT)
}
