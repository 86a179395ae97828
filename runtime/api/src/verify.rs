//! `POST /api/streams/{id}/verify`: is this token good for this broadcast?

use axum::{
    Json,
    extract::{RawQuery, State},
};
use serde_json::{Value, json};

use crate::{App, Caller, Problem, decisions::bad_query, extract::Name, scope::Action};

/// 200 `{"authorized": true}` with the actions that the caller's own credentials allow, or 401: for `?action=publish`, `play`
/// or `join` for that one, without it for any of them. What everybody may do without a token is no merit of the token.
pub(crate) async fn verify(
    State(app): State<App>,
    Name(name): Name,
    RawQuery(query): RawQuery,
    caller: Caller,
) -> Result<Json<Value>, Problem> {
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
    let words: Vec<&str> = allowed.iter().map(|action| action.word()).collect();
    Ok(Json(json!({ "authorized": true, "actions": words })))
}
