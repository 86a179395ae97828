//! WHIP (RFC 9725): publishing over WebRTC.

use axum::{
    extract::{Query, Request, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use lockgate_session::Visitor;

use crate::openapi::{
    Conflict, MediaType, NotFound, PreconditionFailed, PreconditionRequired, Unavailable, Unusable,
};
use crate::{
    App, Caller, Problem,
    extract::{Name, Session, sdp, sdp_fragment},
    scope::Action,
    webrtc,
};
use lockgate_media::BroadcastName;
use lockgate_session::SessionId;

/// Publishes: an offer in, the answer out (RFC 9725 §4.2). `?title=` names the broadcast in the records.
#[utoipa::path(
    post, path = "/whip/{stream}", tag = "whip", security(("token" = ["publish"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("title" = Option<String>, Query, description = "What the records call the broadcast.")),
    request_body(content = String, description = "The offer.", content_type = "application/sdp"),
    responses(
        (status = 201, description = "The answer.", body = String, content_type = "application/sdp", headers(("Location" = String, description = "The session."), ("ETag" = String, description = "The ICE session."))),
        (status = 409, response = Conflict),
        (status = 415, response = MediaType),
        (status = 422, response = Unusable),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn publish(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
    uri: Uri,
    request: Request,
) -> Result<Response, Problem> {
    let entered = app.door.enter(&caller, Action::Publish(&name)).await?;
    let offer = sdp(request).await?;
    let visitor = Visitor {
        title: title(&uri),
        ..entered.visitor()
    };
    let who = entered.principal().visiting(visitor);
    let joined = app.streams.publish(name.clone(), offer, who).await?;
    app.door.stay(joined.session, entered);
    let url = format!("/whip/{name}/{}", joined.session);
    Ok(webrtc::created(&app, &url, joined, &[]))
}

/// `title` of the query; what else stands there is not ours.
fn title(uri: &Uri) -> Option<String> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let title = pairs.into_iter().find(|(name, _)| name == "title");
    title.map(|(_, title)| title)
}

/// Trickles candidates or restarts ICE (RFC 9725 §4.3).
#[utoipa::path(
    patch, path = "/whip/{stream}/{session}", tag = "whip", security(("token" = ["publish"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it."), ("If-Match" = String, Header, description = "The ETag of the session; `*` restarts ICE.")),
    request_body(content = String, description = "An SDP fragment (RFC 8840 §9).", content_type = "application/trickle-ice-sdpfrag"),
    responses(
        (status = 200, description = "An ICE restart: our half.", body = String, content_type = "application/trickle-ice-sdpfrag", headers(("ETag" = String, description = "The new ICE session."))),
        (status = 204, description = "Candidates were taken."),
        (status = 404, response = NotFound),
        (status = 412, response = PreconditionFailed),
        (status = 415, response = MediaType),
        (status = 422, response = Unusable),
        (status = 428, response = PreconditionRequired),
    ),
)]
pub(crate) async fn patch(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Publish(&name)).await?;
    let fragment = sdp_fragment(request).await?;
    webrtc::patch(&app.streams.publisher(&name, session)?, &headers, &fragment)
}

/// Ends a publication (RFC 9725 §4.2; OBS wants exactly 200).
#[utoipa::path(
    delete, path = "/whip/{stream}/{session}", tag = "whip", security(("token" = ["publish"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it.")),
    responses(
        (status = 200, description = "It is over."),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn end(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Publish(&name)).await?;
    app.streams.unpublish(&name, session)?;
    Ok(StatusCode::OK)
}

/// Nothing to see, and that is no error (RFC 9725 §4.1).
#[utoipa::path(
    get, path = "/whip/{stream}", tag = "whip", security(()),
    params(("stream" = String, Path, description = "The broadcast.", example = "demo")),
    responses(
        (status = 204, description = "Nothing."),
    ),
)]
pub(crate) async fn discover() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Nothing to see of a session either (RFC 9725 §4.1).
#[utoipa::path(
    get, path = "/whip/{stream}/{session}", tag = "whip", security(()),
    params(("stream" = String, Path, description = "The broadcast.", example = "demo"), ("session" = String, Path, description = "The session.")),
    responses(
        (status = 204, description = "Nothing."),
    ),
)]
pub(crate) async fn show() -> StatusCode {
    StatusCode::NO_CONTENT
}
