//! The server-sent events of WHEP's core extensions (draft-ietf-wish-whep, webrtc-http-egress-events).

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Path, Request, State},
    http::{StatusCode, header, request::Parts},
    response::{
        IntoResponse, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use lockgate_media::BroadcastName;
use lockgate_session::{Event, EventKind, Layer, SessionId};
use serde::Serialize;
use serde_json::json;

use crate::openapi::{Conflict, NotFound};
use crate::{
    App, Caller, Problem,
    extract::{Session, bounded},
    scope::Action,
};

/// `{stream}`, `{session}` and `{events}` of the path.
pub(crate) struct EventStream(BroadcastName, SessionId, SessionId);

impl<S: Send + Sync> FromRequestParts<S> for EventStream {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Session(name, session) = Session::from_request_parts(parts, state).await?;
        let no_route = || Problem::no_route(parts.uri.path());
        let path: Path<std::collections::HashMap<String, String>> =
            Path::from_request_parts(&mut parts.clone(), state)
                .await
                .map_err(|_| no_route())?;
        let events = path.get("events").and_then(|text| text.parse().ok());
        Ok(Self(name, session, events.ok_or_else(no_route)?))
    }
}

/// The `Link` of the extension at a session's URL.
pub(crate) fn link(url: &str) -> String {
    let kinds = EventKind::ALL.map(EventKind::name).join(",");
    format!("<{url}/sse>; rel=\"{URN}\"; events=\"{kinds}\"")
}

/// Makes an event stream of the types in the body, of all without one.
#[utoipa::path(
    post, path = "/whep/{stream}/{session}/sse", tag = "whep", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it.")),
    request_body(content = Option<Vec<String>>, description = "`active`, `inactive`, `layers`, `reconnect`, `viewercount`."),
    responses(
        (status = 201, description = "It is made.", headers(("Location" = String, description = "Where it is read."))),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn open(
    State(app): State<App>,
    Session(name, session): Session,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    let body = bounded(request.into_body(), 4096).await?;
    let kinds = kinds(&body)?;
    let id = app.streams.open_events(&name, session, kinds)?;
    let location = format!("/whep/{name}/{session}/sse/{id}");
    Ok((StatusCode::CREATED, [(header::LOCATION, location)]).into_response())
}

/// The events from now on, with what holds at the start.
#[utoipa::path(
    get, path = "/whep/{stream}/{session}/sse/{events}", tag = "whep", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it."), ("events" = SessionId, Path, description = "The event stream, as the `Location` of the 201 has it.")),
    responses(
        (status = 200, description = "Events, without an end.", body = String, content_type = "text/event-stream"),
        (status = 404, response = NotFound),
        (status = 409, response = Conflict),
    ),
)]
pub(crate) async fn read(
    State(app): State<App>,
    EventStream(name, session, id): EventStream,
    caller: Caller,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    let events = app.streams.events(&name, session, id)?;
    let events = futures_util::stream::unfold(events, |mut events| async move {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(message(&event)), events))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

/// Ends an event stream.
#[utoipa::path(
    delete, path = "/whep/{stream}/{session}/sse/{events}", tag = "whep", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("session" = SessionId, Path, description = "The session, as the `Location` of the 201 has it."), ("events" = SessionId, Path, description = "The event stream, as the `Location` of the 201 has it.")),
    responses(
        (status = 200, description = "It is over."),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn close(
    State(app): State<App>,
    EventStream(name, session, id): EventStream,
    caller: Caller,
) -> Result<StatusCode, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    app.streams.close_events(&name, session, id)?;
    Ok(StatusCode::OK)
}

fn kinds(body: &[u8]) -> Result<Vec<EventKind>, Problem> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(EventKind::ALL.to_vec());
    }
    let names: Vec<String> = serde_json::from_slice(body).map_err(|error| {
        Problem::bad_body(format!(
            "send a JSON array of event types, such as [\"layers\"]: {error}"
        ))
    })?;
    let kind = |name: &String| {
        EventKind::named(name).ok_or_else(|| {
            let known = EventKind::ALL.map(EventKind::name).join(", ");
            Problem::bad_body(format!(
                "there is no event type {name:?}; there are {known}"
            ))
        })
    };
    names.iter().map(kind).collect()
}

/// A layer as the extension writes it; bitrates in bit/s.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    rid: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_bitrate: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<u32>,
}

impl From<&Layer> for Written {
    fn from(layer: &Layer) -> Self {
        Self {
            rid: layer.id.to_string(),
            bitrate: layer.bitrate_bps,
            target_bitrate: layer.target_bitrate_bps,
            width: layer.width,
            height: layer.height,
        }
    }
}

fn message(event: &Event) -> sse::Event {
    let data = match event {
        Event::Active | Event::Inactive | Event::Reconnect => json!({}),
        Event::Layers { section, layers } => {
            let layers: Vec<Written> = layers.iter().map(Written::from).collect();
            json!({ section.to_string(): layers })
        }
        Event::ViewerCount(count) => json!({ "viewercount": count }),
    };
    // JSON without line breaks: one `data` line, as the extension wants it.
    sse::Event::default()
        .event(event.kind().name())
        .data(data.to_string())
}

const URN: &str = "urn:ietf:params:whep:ext:core:server-sent-events";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_of_known_types_is_taken_and_nothing_else() {
        assert_eq!(kinds(b" ").ok(), Some(EventKind::ALL.to_vec()));
        assert_eq!(kinds(b"[]").ok(), Some(Vec::new()));
        let two = vec![EventKind::Layers, EventKind::ViewerCount];
        assert_eq!(kinds(br#"["layers","viewercount"]"#).ok(), Some(two));
        for bad in [&br#"["active","scte35"]"#[..], b"{}", b"layers", b"[1]"] {
            assert!(kinds(bad).is_err(), "{}", bad.escape_ascii());
        }
    }
}
