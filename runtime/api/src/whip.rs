//! WHIP (RFC 9725): publishing over WebRTC.

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use crate::{
    App, Caller, Problem,
    extract::{Name, Sdp, SdpFragment, Session},
    router::{check_ice_tag, created},
    scope::Action,
};

/// `POST /whip/{stream}`: an offer in, 201 with the answer out (RFC 9725 §4.2).
pub(crate) async fn publish(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
    Sdp(offer): Sdp,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Publish(&name)).await?;
    let joined = app.streams.publish(name.clone(), offer).await?;
    Ok(created(
        &app,
        format!("/whip/{name}/{}", joined.session),
        joined,
        &[],
    ))
}

/// `PATCH /whip/{stream}/{session}`: trickled candidates (RFC 9725 §4.3.1).
pub(crate) async fn trickle(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
    headers: HeaderMap,
    SdpFragment(fragment): SdpFragment,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Publish(&name)).await?;
    let peer = app.streams.publisher(&name, session)?;
    check_ice_tag(&headers, &peer.ice_tag())?;
    peer.trickle(fragment)
        .await
        .map_err(lockgate_session::Error::from)?;
    Ok(StatusCode::NO_CONTENT)
}

/// `DELETE /whip/{stream}/{session}` (RFC 9725 §4.2; OBS wants exactly 200).
pub(crate) async fn end(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Publish(&name)).await?;
    app.streams.unpublish(&name, session)?;
    Ok(StatusCode::OK)
}

/// GET and HEAD of an endpoint or a session: nothing to see, and that is no error (RFC 9725 §4.2).
pub(crate) async fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
