//! `/api/revocations`: tokens that are no longer good.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use serde::{Deserialize, Serialize};

use crate::extract::Params;
use crate::openapi::{NotFound, NotRecorded};
use crate::{
    App, Caller, Problem,
    extract::json,
    scope::Action,
    token::{Entry, RevokeError, Whom},
};

/// What is to be revoked: one of them.
#[derive(Deserialize, utoipa::ToSchema)]
#[schema(as = ToRevoke)]
#[serde(deny_unknown_fields)]
struct Wanted {
    /// The token with this id.
    jti: Option<String>,
    /// All tokens of this subject that were made until now.
    sub: Option<String>,
    /// This token, as it is.
    token: Option<String>,
}

/// The answer to `GET /api/revocations`.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Revocations)]
pub(crate) struct Listing {
    revocations: Vec<Entry>,
}

/// What was revoked.
#[utoipa::path(
    get, path = "/api/revocations", tag = "revocations", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "They.", body = Listing),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Listing>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let revocations = app.door.revoked().list();
    Ok(Json(Listing { revocations }))
}

/// Revokes; holds within a second for whatever session came in by such a token, too.
#[utoipa::path(
    post, path = "/api/revocations", tag = "revocations", security(("token" = ["admin"])),
    request_body(content = Wanted, description = "One of the three."),
    responses(
        (status = 201, description = "It is revoked, and on the disk.", body = Entry),
        (status = 507, response = NotRecorded),
    ),
)]
pub(crate) async fn add(
    State(app): State<App>,
    caller: Caller,
    request: Request,
) -> Result<(StatusCode, Json<Entry>), Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let wanted: Wanted = json(request, EXAMPLE).await?;
    let now = unix_now();
    let (whom, exp) = match (wanted.jti, wanted.sub, wanted.token) {
        (Some(jti), None, None) => (Whom::Jti(jti), None),
        (None, Some(sub), None) => (Whom::Sub(sub), None),
        (None, None, Some(token)) => {
            let claims = app.door.claims_of(&token).await.ok_or_else(|| {
                Problem::bad_body("the token is not valid: there is nothing to revoke")
            })?;
            let jti = claims.jti.clone().ok_or_else(|| {
                Problem::bad_body("the token has no jti; revoke its subject: {\"sub\": \"…\"}")
            })?;
            (Whom::Jti(jti), Some(claims.exp))
        }
        _ => return Err(Problem::bad_body(format!("send {EXAMPLE}"))),
    };
    let entry = Entry { whom, at: now, exp };
    let revoked = app.door.revoked();
    revoked.add(entry.clone(), now).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(entry)))
}

/// Takes a revocation back.
#[utoipa::path(
    delete, path = "/api/revocations/{kind}/{id}", tag = "revocations", security(("token" = ["admin"])),
    params(("kind" = String, Path, description = "`jti` or `sub`.", example = "jti"), ("id" = String, Path, description = "The id.")),
    responses(
        (status = 204, description = "It is taken back."),
        (status = 404, response = NotFound),
        (status = 507, response = NotRecorded),
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    Params((kind, id)): Params<(String, String)>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let whom = match kind.as_str() {
        "jti" => Whom::Jti(id),
        "sub" => Whom::Sub(id),
        _ => return Err(Problem::no_route(&format!("/api/revocations/{kind}"))),
    };
    if app.door.revoked().remove(&whom).await.map_err(refused)? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::new(
            StatusCode::NOT_FOUND,
            "/problems/not-found",
            "No such revocation",
            "nothing of that name is revoked",
        ))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err gives")]
fn refused(error: RevokeError) -> Problem {
    match error {
        RevokeError::Id => Problem::bad_body(error.to_string()),
        RevokeError::Full | RevokeError::Record(_) => {
            tracing::error!(%error, "a revocation could not be kept");
            let detail = match error {
                RevokeError::Full => error.to_string(),
                _ => format!("{error}; it holds, but only until the server ends: send it again"),
            };
            Problem::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "/problems/not-recorded",
                "Could not be recorded",
                detail,
            )
        }
    }
}

fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

const EXAMPLE: &str = "{\"jti\": \"…\"}, {\"sub\": \"…\"} or {\"token\": \"…\"}";
