//! WHIP (RFC 9725): publishing over WebRTC.

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::Response,
};
use lockgate_session::Visitor;

use crate::{
    App, Caller, Problem,
    extract::{Name, Sdp, SdpFragment, Session},
    scope::Action,
    webrtc,
};

/// `POST /whip/{stream}`: an offer in, 201 with the answer out (RFC 9725 §4.2). `?title=` names the broadcast in the
/// records.
pub(crate) async fn publish(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
    uri: Uri,
    Sdp(offer): Sdp,
) -> Result<Response, Problem> {
    let entered = app.door.enter(&caller, Action::Publish(&name)).await?;
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

/// `PATCH /whip/{stream}/{session}`: candidates and ICE restarts (RFC 9725 §4.3).
pub(crate) async fn patch(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
    headers: HeaderMap,
    SdpFragment(fragment): SdpFragment,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Publish(&name)).await?;
    webrtc::patch(&app.streams.publisher(&name, session)?, &headers, &fragment)
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
