//! WHEP (draft-ietf-wish-whep): watching over WebRTC, with its layer extension and an event stream.

use std::convert::Infallible;

use axum::{
    extract::{RawQuery, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::Stream;
use lockgate_media::{BroadcastName, TrackId};
use lockgate_session::{Error, SessionId, Verdict, Watcher};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::openapi::{
    Conflict, MediaType, NotFound, PreconditionFailed, PreconditionRequired, Unavailable, Unusable,
};
use crate::{
    App, Caller, Problem,
    decisions::bad_query,
    extract::{Name, Session, bounded, object, sdp, sdp_fragment},
    scope::Action,
    webrtc, whep_events,
};

/// Watches: an offer in, the answer out.
#[utoipa::path(
    post, path = "/whep/{stream}", tag = "whep", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("data_saver" = Option<String>, Query, description = "1 asks to save data from the start.")),
    request_body(content = String, description = "The offer.", content_type = "application/sdp"),
    responses(
        (status = 201, description = "The answer.", body = String, content_type = "application/sdp", headers(("Location" = String, description = "The session."), ("ETag" = String, description = "The ICE session."))),
        (status = 409, response = Conflict),
        (status = 415, response = MediaType),
        (status = 422, response = Unusable),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn subscribe(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, Problem> {
    let entered = app.door.enter(&caller, Action::Play(&name)).await?;
    let saves_data = data_saver(query.as_deref())?;
    let offer = sdp(request).await?;
    let watcher = Watcher {
        cap_kbps: entered.grant.cap_kbps,
        visitor: entered.visitor(),
    };
    let joined = app
        .streams
        .subscribe(&name, offer, watcher)
        .await
        .map_err(not_live_is_a_conflict)?;
    app.door.stay(joined.session, entered);
    if saves_data {
        app.streams.save_data(&name, joined.session, true).await?;
    }
    let url = format!("/whep/{name}/{}", joined.session);
    let links = [
        format!("<{url}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
        whep_events::link(&url),
        format!("<{url}/events>; rel=\"urn:lockgate:whep:events\""),
        format!("<{url}/stats>; rel=\"urn:lockgate:whep:stats\""),
    ];
    Ok(webrtc::created(&app, &url, joined, &links))
}

/// `data_saver` of the query; what else stands there is not ours.
fn data_saver(query: Option<&str>) -> Result<bool, Problem> {
    let mut pairs = query.unwrap_or_default().split('&');
    match pairs.find_map(|pair| pair.strip_prefix("data_saver=")) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(other) => Err(bad_query(&format!(
            "data_saver is {other:?}; it is 1 to save data, 0 or absent not to"
        ))),
    }
}

/// WHEP draft-03 §4.2: a stream that nobody publishes is 409 with `Retry-After`.
fn not_live_is_a_conflict(error: Error) -> Problem {
    match error {
        Error::NotLive(_) => {
            let detail = error.to_string();
            Problem::new(
                StatusCode::CONFLICT,
                "/problems/not-live",
                "Not live",
                detail,
            )
            .with_header(header::RETRY_AFTER, "2")
        }
        other => other.into(),
    }
}

/// GET and HEAD of an endpoint: what it is can be seen by its media type (WHEP draft-03 §4.2).
#[utoipa::path(
    get, path = "/whep/{stream}", tag = "whep", security(()),
    params(("stream" = String, Path, description = "The broadcast.", example = "demo")),
    responses(
        (status = 200, description = "Empty, with the media type of offers.", content_type = "application/sdp"),
    ),
)]
pub(crate) async fn discover() -> impl IntoResponse {
    [(header::CONTENT_TYPE, webrtc::SDP)]
}

/// Trickles candidates or restarts ICE.
///
/// We never make a counter-offer (WHEP draft-03 §4.3.2): it could only hold the codecs that the viewer's offer had
/// none of. So there is no answer to be sent here either.
#[utoipa::path(
    patch, path = "/whep/{stream}/{session}", tag = "whep", security(("token" = ["play"])),
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
    app.door.admit(&caller, Action::Play(&name)).await?;
    let fragment = sdp_fragment(request).await?;
    webrtc::patch(&app.streams.viewer(&name, session)?, &headers, &fragment)
}

/// Ends a viewing session.
#[utoipa::path(
    delete, path = "/whep/{stream}/{session}", tag = "whep", security(("token" = ["play"])),
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
    app.door.admit(&caller, Action::Play(&name)).await?;
    app.streams.unsubscribe(&name, session)?;
    Ok(StatusCode::OK)
}

/// Nothing to see of a session, and that is no error.
#[utoipa::path(
    get, path = "/whep/{stream}/{session}", tag = "whep", security(()),
    params(("stream" = String, Path, description = "The broadcast.", example = "demo"), ("session" = String, Path, description = "The session.")),
    responses(
        (status = 204, description = "Nothing."),
    ),
)]
pub(crate) async fn show() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// What a viewer asks for by the layer extension. A rendition is one layer: what chooses inside one is refused, as is
/// what we do not know, for a wish that is passed over would look as if it were kept.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = LayerChoice)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Layer {
    /// The place of the video section in the SDP, as `layers` events name it.
    #[serde(default)]
    media_id: Option<String>,
    /// A track id as `layers` events name it; absent or null leaves the choice to the policy.
    #[serde(default)]
    rid: Option<TrackId>,
    /// What earlier drafts call it.
    #[serde(default)]
    encoding_id: Option<TrackId>,
    /// Ours: the viewer asks to save data, or no longer does; absent leaves it as it is.
    #[serde(default)]
    data_saver: Option<bool>,
}

/// Picks a rendition, or leaves the choice to the server again (the layer extension).
#[utoipa::path(
    post, path = "/whep/{stream}/{session}/layer", tag = "whep", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it.")),
    request_body(content = Layer, description = "{} leaves the choice to the server."),
    responses(
        (status = 200, description = "It is wanted from now on."),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn layer(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
    request: Request,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    let body = bounded(request.into_body(), 4096).await?;
    let layer: Layer = object(&body, "{\"rid\": \"TRACK\"}, or {} for the server's choice")?;
    let section = app.streams.video_section(&name, session)?;
    if let Some(wanted) = layer.media_id
        && section.is_none_or(|section| section.to_string() != wanted)
    {
        return Err(Problem::bad_body(match section {
            Some(section) => format!("mediaId is {wanted:?}; the video section is \"{section}\""),
            None => "this session has no video section".to_owned(),
        }));
    }
    if let Some(on) = layer.data_saver {
        app.streams.save_data(&name, session, on).await?;
    }
    app.streams
        .choose(&name, session, layer.rid.or(layer.encoding_id))
        .await?;
    Ok(StatusCode::OK)
}

/// What a viewer is told about itself.
#[derive(Debug, Serialize)]
struct Playing {
    /// The track that is really being sent.
    rung: Option<TrackId>,
    /// The last decision; its rung plays from its next keyframe on.
    #[serde(flatten)]
    verdict: Option<Decided>,
}

#[derive(Debug, Serialize)]
struct Decided {
    wanted: TrackId,
    automatic: bool,
    reason: String,
}

/// Server-sent events `rung`, one at the start and one at every change, and `layers` whenever there are other tracks to
/// choose from.
#[utoipa::path(
    get, path = "/whep/{stream}/{session}/events", tag = "whep", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it.")),
    responses(
        (status = 200, description = "Events, without an end.", body = String, content_type = "text/event-stream"),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn events(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    let (verdicts, playing) = app.streams.watch_viewer(&name, session)?;
    let tracks = app.streams.watch_tracks(&name)?;
    Ok(Sse::new(changes(verdicts, playing, tracks))
        .keep_alive(KeepAlive::default())
        .into_response())
}

struct Watches {
    verdicts: watch::Receiver<Option<Verdict>>,
    playing: watch::Receiver<Option<TrackId>>,
    tracks: watch::Receiver<u64>,
}

fn changes(
    verdicts: watch::Receiver<Option<Verdict>>,
    playing: watch::Receiver<Option<TrackId>>,
    tracks: watch::Receiver<u64>,
) -> impl Stream<Item = Result<Event, Infallible>> {
    let watches = Watches {
        verdicts,
        playing,
        tracks,
    };
    let first = (watches, true);
    futures_util::stream::unfold(first, |(mut watches, first)| async move {
        if !first {
            let (open, is_layers) = tokio::select! {
                changed = watches.verdicts.changed() => (changed.is_ok(), false),
                changed = watches.playing.changed() => (changed.is_ok(), false),
                changed = watches.tracks.changed() => (changed.is_ok(), true),
            };
            if !open {
                return None;
            }
            if is_layers {
                let event = Event::default().event("layers").data("{}");
                return Some((Ok(event), (watches, false)));
            }
        }
        let verdict = watches.verdicts.borrow_and_update().clone();
        let now = Playing {
            rung: watches.playing.borrow_and_update().clone(),
            verdict: verdict.map(|verdict| Decided {
                wanted: verdict.rung,
                automatic: verdict.automatic,
                reason: verdict.reason,
            }),
        };
        let event = Event::default()
            .event("rung")
            .json_data(&now)
            .unwrap_or_default();
        Some((Ok(event), (watches, false)))
    })
}
