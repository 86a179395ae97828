//! `/api`: what is live.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use lockgate_session::{Error, SessionId, StreamInfo, ViewerInfo};
use serde::Serialize;

use crate::{App, Caller, HlsSession, Problem, extract::Name, scope::Action};

/// The answer to `GET /api/streams`.
#[derive(Debug, Serialize)]
pub(crate) struct Listing {
    streams: Vec<StreamInfo>,
}

/// The answer to `GET /api/streams/{id}/sessions`.
#[derive(Debug, Serialize)]
pub(crate) struct Sessions {
    /// The session of its publisher, where that is a WebRTC peer.
    publisher: Option<SessionId>,
    /// Its WebRTC viewers.
    sessions: Vec<ViewerInfo>,
    /// Its HLS and DASH players.
    hls: Vec<HlsSession>,
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

/// `GET /api/streams/{id}/sessions`: who publishes and who watches, for an administrator.
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

/// `DELETE /api/sessions/{session}`: ends a session of whatever protocol, and keeps whoever had it out for a while.
pub(crate) async fn kick(
    State(app): State<App>,
    Path(session): Path<String>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    end_session(&app, &session)
}

/// `DELETE /api/streams/{id}/sessions/{session}`: the same where it is a session of this broadcast.
pub(crate) async fn kick_of(
    State(app): State<App>,
    Path((stream, session)): Path<(String, String)>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let name =
        lockgate_media::BroadcastName::new(&stream).map_err(|error| Problem::bad_name(&error))?;
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
