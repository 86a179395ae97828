//! `POST /api/streams/{id}/verify`: is this token good for this broadcast?

use axum::{
    Json,
    extract::{RawQuery, State},
};
use lockgate_media::BroadcastName;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{App, Caller, Problem, decisions::bad_query, extract::Name, scope::Action};

/// Whether the caller's own credentials are good for a broadcast: 200 `{"authorized": true}` with the actions that they allow,
/// or 401. What everybody may do without a token is no merit of the token.
#[utoipa::path(
    post, path = "/api/streams/{stream}/verify", tag = "streams", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("action" = Option<String>, Query, description = "`publish`, `play` or `join`: that one; without it any.", example = "play")),
    responses(
        (status = 200, description = "It is good.", body = Verified),
    ),
)]
pub(crate) async fn verify(
    State(app): State<App>,
    Name(name): Name,
    RawQuery(query): RawQuery,
    caller: Caller,
) -> Result<Json<Verified>, Problem> {
    if caller.token.is_none() && caller.login.is_none() {
        return Err(Problem::token_wanted().with("authorized", false));
    }
    let all = [
        Action::Publish(&name),
        Action::Play(&name),
        Action::Join(&name),
    ];
    let mut pairs = query.as_deref().unwrap_or_default().split('&');
    let wanted = pairs.find_map(|pair| pair.strip_prefix("action="));
    let asked: Vec<Action<'_>> = match wanted {
        None => all.to_vec(),
        Some(word) => all
            .into_iter()
            .filter(|action| action.word() == word)
            .collect(),
    };
    if asked.is_empty() {
        return Err(bad_query("action is publish, play or join"));
    }
    let allowed = match app.door.vouch(&caller, &asked).await {
        Ok(allowed) => allowed,
        Err(refusal) => return Err(Problem::from(refusal).with("authorized", false)),
    };
    if allowed.is_empty() {
        let detail = format!("the token is good, but allows nothing of {name}");
        let problem = Problem::token_refused().about(detail);
        return Err(problem.with("authorized", false));
    }
    Ok(Json(Verified {
        authorized: true,
        actions: allowed.iter().map(|action| action.word()).collect(),
    }))
}

/// The same under the name that others have for it.
#[utoipa::path(
    post, path = "/api/stream/{stream}/verify", tag = "streams", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("action" = Option<String>, Query, description = "`publish`, `play` or `join`: that one; without it any.", example = "play")),
    responses(
        (status = 200, description = "It is good.", body = Verified),
    ),
)]
pub(crate) async fn verify_too(
    app: State<App>,
    name: Name,
    query: RawQuery,
    caller: Caller,
) -> Result<Json<Verified>, Problem> {
    verify(app, name, query, caller).await
}

/// What credentials allow.
#[derive(Serialize, ToSchema)]
pub(crate) struct Verified {
    /// Always true: else it is 401.
    authorized: bool,
    /// `publish`, `play` and `join`, as far as they are allowed.
    #[schema(value_type = Vec<String>)]
    actions: Vec<&'static str>,
}
