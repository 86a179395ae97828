//! `/api/sessions`: who published and who watched, now and before, for an administrator.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::{Query as Pairs, Request, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use lockgate_media::BroadcastName;
use lockgate_ports::RecordError;
use lockgate_session::{
    SessionId,
    history::{
        EndReason, Found, History, HistoryError, Imported, LineError, Query, RecordState, Role,
        SessionView, Via, read_lines,
    },
};
use serde_json::json;

use crate::openapi::{BadRequest, NotFound, NotRecorded, Unavailable};
use crate::{
    App, Caller, Problem,
    decisions::bad_query,
    extract::{Params, bounded},
    problem::not_recorded,
    scope::Action,
};

/// What the query of a list or of an export may say; [`Query::of`] reads it.
#[derive(utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(
    dead_code,
    reason = "only its fields are of use, and those to the OpenAPI document"
)]
struct Filters {
    /// Of this broadcast.
    stream: Option<BroadcastName>,
    /// Of broadcasts of this publisher.
    host: Option<String>,
    /// Of this subject or user.
    subject: Option<String>,
    /// Who publishes, or who watches.
    role: Option<Role>,
    /// By this protocol.
    protocol: Option<Via>,
    /// Live, or over.
    state: Option<RecordState>,
    /// Over for this reason.
    reason: Option<EndReason>,
    /// Begun then or later, in ms since 1970-01-01 UTC.
    started_after_ms: Option<u64>,
    /// Begun before then, in ms since 1970-01-01 UTC.
    started_before_ms: Option<u64>,
}

/// Lists sessions, live and past. Filtered by `stream`, `host`, `subject`, `role`, `protocol`, `state`, `reason`,
/// `started_after_ms` (inclusive) and `started_before_ms`; sorted by `sort`, one of `started_at`, `ended_at`, `duration` and
/// `data_used`, with `-` in front for the greatest first (`-started_at`); `limit` of them (50, at most 1000), and from
/// `cursor` on, which is `next` of the page before.
#[utoipa::path(
    get, path = "/api/sessions", tag = "sessions", security(("token" = ["admin"])),
    params(
        Filters,
        ("sort" = Option<String>, Query, description = "`started_at`, `ended_at`, `duration` or `data_used`; `-` in front puts the greatest first."),
        ("limit" = Option<u32>, Query, description = "So many of them, 1 to 1000; 50 if absent."),
        ("cursor" = Option<String>, Query, description = "`next` of the page before."),
    ),
    responses(
        (status = 200, description = "They.", body = Found),
        (status = 400, response = BadRequest),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
) -> Result<Json<Found>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let query = query(&uri)?;
    let found = history(&app)?.list(query).await.map_err(unread)?;
    Ok(Json(found))
}

/// One session, live or past.
#[utoipa::path(
    get, path = "/api/sessions/{session}", tag = "sessions", security(("token" = ["admin"])),
    params(("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it.")),
    responses(
        (status = 200, description = "It.", body = SessionView),
        (status = 404, response = NotFound),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    Params(session): Params<String>,
    caller: Caller,
) -> Result<Json<SessionView>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let id = session
        .parse()
        .map_err(|()| Problem::no_session(&session))?;
    Ok(Json(history(&app)?.get(id).await.map_err(unread)?))
}

/// All sessions that match the filters, oldest first, a record a line. What is live is given as it is now.
#[utoipa::path(
    get, path = "/api/sessions/export", tag = "sessions", security(("token" = ["admin"])),
    params(
        Filters,
    ),
    responses(
        (status = 200, description = "Records, one JSON object a line.", body = String, content_type = "application/x-ndjson"),
        (status = 400, response = BadRequest),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn export(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let history = Arc::clone(history(&app)?);
    let query = query(&uri)?.oldest_first(PAGE);
    // The first page before the answer begins: what is wrong with the store is told by its status.
    let first = history.list(query.clone()).await.map_err(unread)?;
    let pages = stream::try_unfold(Some(first), move |page| {
        let (history, query) = (Arc::clone(&history), query.clone());
        async move {
            let Some(page) = page else {
                return Ok::<_, HistoryError>(None);
            };
            let next = match page.next {
                Some(cursor) => Some(history.list(query.after(cursor)).await?),
                None => None,
            };
            Ok(Some((lines(&page.sessions), next)))
        }
    });
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, Body::from_stream(pages)).into_response())
}

fn lines(sessions: &[SessionView]) -> Bytes {
    let mut lines = Vec::new();
    for session in sessions {
        // Every record is an object of texts and numbers: it can always be written.
        lines.extend(serde_json::to_vec(&session.record).unwrap_or_default());
        lines.push(b'\n');
    }
    lines.into()
}

/// Takes in the lines of an export, at most 64 MiB of them. 200 means that they are on the
/// disk. Where a line is bad, none is taken, and `lines` of the answer names the bad ones. Sent again, it changes
/// nothing.
#[utoipa::path(
    post, path = "/api/sessions/import", tag = "sessions", security(("token" = ["admin"])),
    request_body(content = String, description = "Lines of an export.", content_type = "application/x-ndjson"),
    responses(
        (status = 200, description = "They are on the disk.", body = Imported),
        (status = 507, response = NotRecorded),
    ),
)]
pub(crate) async fn import(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<Json<Imported>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let history = history(&app)?;
    let _turn = history.turn().await;
    let body = bounded(request.into_body(), IMPORT_LEN_MAX).await?;
    let read = tokio::task::spawn_blocking(move || read_lines(&body)).await;
    let records = read
        .map_err(|_| Problem::internal())?
        .map_err(|bad| bad_lines(&bad))?;
    let imported = history.import(records).await?;
    tracing::info!(?imported, "sessions were imported");
    Ok(Json(imported))
}

fn bad_lines(bad: &[LineError]) -> Problem {
    let first = bad.first().map_or_else(String::new, |bad| {
        format!("line {}: {}", bad.line, bad.error)
    });
    Problem::bad_body(format!(
        "nothing was imported; send lines of GET /api/sessions/export: {first}"
    ))
    .with("lines", json!(bad))
}

fn history(app: &App) -> Result<&Arc<History>, Problem> {
    app.streams.history().ok_or_else(Problem::internal)
}

fn query(uri: &Uri) -> Result<Query, Problem> {
    let pairs = Pairs::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|rejection| bad_query(&rejection.body_text()))?;
    let pairs = pairs.0.iter();
    Query::of(pairs.map(|(name, value)| (name.as_str(), value.as_str())))
        .map_err(|what| bad_query(&what))
}

/// What cannot be read because the disk is full is only not there now; 507 is for what cannot be written.
fn unread(error: HistoryError) -> Problem {
    match error {
        HistoryError::Records(RecordError::Full) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "/problems/not-recorded",
            "The records cannot be reached",
            format!("{error}; what is live is given with state=live"),
        )
        .retry_after(5),
        error => error.into(),
    }
}

impl From<HistoryError> for Problem {
    fn from(error: HistoryError) -> Self {
        let detail = error.to_string();
        match error {
            HistoryError::NoSession(_) => Self::new(
                StatusCode::NOT_FOUND,
                "/problems/not-found",
                "No such session",
                detail,
            ),
            HistoryError::Records(error) => not_recorded(&error),
            _ => {
                tracing::error!(error = %detail, "the history failed");
                Self::internal()
            }
        }
    }
}

/// Records that are read together for an export.
const PAGE: usize = 500;
/// Some hundred thousand records.
const IMPORT_LEN_MAX: usize = 64 << 20;
