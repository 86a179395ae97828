//! `/api/rooms`: who is in which room, and what may be done about it.

use axum::{
    Json,
    extract::{Request, State},
    http::StatusCode,
};
use lockgate_media::BroadcastName;
use lockgate_session::{
    SessionId,
    rooms::{ParticipantView, Role, RoomInfo},
};
use serde::{Deserialize, Serialize};

use crate::{
    App, Caller, Problem,
    extract::{Params, json},
    openapi::{BadRequest, NotFound},
    scope::Action,
};

/// The answer to `GET /api/rooms`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Rooms)]
pub(crate) struct Listing {
    rooms: Vec<RoomInfo>,
}

/// The answer to `GET /api/rooms/{room}/participants`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = RoomParticipants)]
pub(crate) struct Participants {
    participants: Vec<ParticipantView>,
}

/// What is to be different about a participant.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = RoomParticipantChange)]
#[serde(deny_unknown_fields)]
pub(crate) struct Change {
    /// Another role. A room has one host: whoever was it speaks from then on.
    #[serde(default)]
    role: Option<Role>,
    /// What the others are not sent. The participant may unmute itself.
    #[serde(default)]
    muted: Option<MutedChange>,
}

/// What of a participant is not sent to others; what is absent stays as it is.
#[derive(Debug, Default, Deserialize, utoipa::ToSchema)]
#[schema(as = RoomMutedChange)]
#[serde(deny_unknown_fields)]
pub(crate) struct MutedChange {
    /// What is heard.
    #[serde(default)]
    audio: Option<bool>,
    /// What is seen.
    #[serde(default)]
    video: Option<bool>,
}

/// The rooms there are. Who may publish under some names sees those.
#[utoipa::path(
    get, path = "/api/rooms", tag = "rooms", security(("token" = ["admin"]), ("token" = ["publish"])),
    responses((status = 200, description = "They.", body = Listing)),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Listing>, Problem> {
    let mut rooms = app.streams.rooms().list();
    if let Err(refused) = app.door.admit(&caller, Action::Admin).await {
        let mut theirs = Vec::new();
        for room in rooms {
            if app
                .door
                .admit(&caller, Action::Publish(&room.id))
                .await
                .is_ok()
            {
                theirs.push(room);
            }
        }
        if theirs.is_empty() {
            return Err(refused);
        }
        rooms = theirs;
    }
    Ok(Json(Listing { rooms }))
}

/// A room.
#[utoipa::path(
    get, path = "/api/rooms/{room}", tag = "rooms", security(("token" = ["admin"]), ("token" = ["publish"])),
    params(("room" = BroadcastName, Path, description = "The room.", example = "standup")),
    responses(
        (status = 200, description = "It.", body = RoomInfo),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn one(
    State(app): State<App>,
    Params(room): Params<String>,
    caller: Caller,
) -> Result<Json<RoomInfo>, Problem> {
    let room = controlled(&app, &caller, &room).await?;
    Ok(Json(app.streams.rooms().info(&room)?))
}

/// Ends a room.
#[utoipa::path(
    delete, path = "/api/rooms/{room}", tag = "rooms", security(("token" = ["admin"]), ("token" = ["publish"])),
    params(("room" = BroadcastName, Path, description = "The room.", example = "standup")),
    responses(
        (status = 204, description = "It is over."),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn end(
    State(app): State<App>,
    Params(room): Params<String>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    let room = controlled(&app, &caller, &room).await?;
    app.streams.rooms().end(&room)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who is in a room, in the order they came, with what each of their places shows.
#[utoipa::path(
    get, path = "/api/rooms/{room}/participants", tag = "rooms", security(("token" = ["admin"]), ("token" = ["publish"])),
    params(("room" = BroadcastName, Path, description = "The room.", example = "standup")),
    responses(
        (status = 200, description = "They.", body = Participants),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn participants(
    State(app): State<App>,
    Params(room): Params<String>,
    caller: Caller,
) -> Result<Json<Participants>, Problem> {
    let room = controlled(&app, &caller, &room).await?;
    let participants = app.streams.rooms().participants(&room)?;
    Ok(Json(Participants { participants }))
}

/// Sends a participant out for as long as the room lasts.
#[utoipa::path(
    delete, path = "/api/rooms/{room}/participants/{participant}", tag = "rooms", security(("token" = ["admin"]), ("token" = ["publish"])),
    params(
        ("room" = BroadcastName, Path, description = "The room.", example = "standup"),
        ("participant" = SessionId, Path, description = "The participant, as the list of them has it."),
    ),
    responses(
        (status = 204, description = "They are out."),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn remove(
    State(app): State<App>,
    Params((room, participant)): Params<(String, String)>,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    let room = controlled(&app, &caller, &room).await?;
    app.streams.rooms().remove(&room, id(&participant)?)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Mutes a participant, or gives them another role.
#[utoipa::path(
    patch, path = "/api/rooms/{room}/participants/{participant}", tag = "rooms", security(("token" = ["admin"]), ("token" = ["publish"])),
    params(
        ("room" = BroadcastName, Path, description = "The room.", example = "standup"),
        ("participant" = SessionId, Path, description = "The participant, as the list of them has it."),
    ),
    request_body(content = Change, description = "What is to be different; what is absent stays."),
    responses(
        (status = 204, description = "It is so."),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn change(
    State(app): State<App>,
    Params((room, participant)): Params<(String, String)>,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, Problem> {
    let room = controlled(&app, &caller, &room).await?;
    let participant = id(&participant)?;
    let change: Change = json(
        request,
        r#"{"role": "speaker"} or {"muted": {"audio": true}}"#,
    )
    .await?;
    let rooms = app.streams.rooms();
    // Nothing is changed of somebody who is not there.
    rooms.mute(&room, participant, None, None)?;
    if let Some(role) = change.role {
        rooms.set_role(&room, participant, role)?;
    }
    if let Some(muted) = change.muted {
        rooms.mute(&room, participant, muted.audio, muted.video)?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// The room, if the caller may control it: administrators all, others those they may publish under the name of.
async fn controlled(app: &App, caller: &Caller, room: &str) -> Result<BroadcastName, Problem> {
    let refused = app.door.admit(caller, Action::Admin).await.err();
    let name = BroadcastName::new(room).map_err(|error| Problem::bad_name(&error));
    match (refused, name) {
        (None, name) => name,
        (Some(refused), Ok(name)) => {
            let publishes = app.door.admit(caller, Action::Publish(&name)).await;
            publishes.map(|_| name).map_err(|_| refused)
        }
        (Some(refused), Err(_)) => Err(refused),
    }
}

fn id(text: &str) -> Result<SessionId, Problem> {
    text.parse().map_err(|()| {
        let text: String = text.chars().take(64).collect();
        Problem::new(
            StatusCode::NOT_FOUND,
            "/problems/not-found",
            "No such participant",
            format!("nobody has the id {text:?}"),
        )
    })
}
