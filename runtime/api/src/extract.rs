//! What handlers take of a request: path names and bodies, whose rejections are problems.

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts, Path, Request},
    http::{HeaderMap, header, request::Parts},
};
use bytes::Bytes;
use lockgate_media::BroadcastName;
use lockgate_session::{Error, SessionId};
use serde::de::DeserializeOwned;

use crate::{Problem, webrtc};

/// Parameters of the path, as [`axum::extract::Path`] has them; what cannot be read is a problem.
pub(crate) struct Params<T>(pub(crate) T);

/// `{stream}` of the path.
pub(crate) struct Name(pub(crate) BroadcastName);

/// `{stream}` and `{session}` of the path.
pub(crate) struct Session(pub(crate) BroadcastName, pub(crate) SessionId);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<T>::from_request_parts(parts, state).await;
        path.map(|Path(all)| Self(all))
            .map_err(|_| Problem::no_route(parts.uri.path()))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(map) = path(parts, state).await?;
        Ok(Self(name(&map)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Session {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path(map) = path(parts, state).await?;
        let broadcast = name(&map)?;
        let text = map.get("session").map_or("", String::as_str);
        let session = text
            .parse()
            .map_err(|()| Problem::no_route(parts.uri.path()))?;
        Ok(Self(broadcast, session))
    }
}

/// A body of type `application/sdp`. Like every body it is read once its sender was let in.
pub(crate) async fn sdp(request: Request) -> Result<String, Problem> {
    text(request, webrtc::SDP).await
}

/// A body of type `application/trickle-ice-sdpfrag` (RFC 8840 §9).
pub(crate) async fn sdp_fragment(request: Request) -> Result<String, Problem> {
    text(request, webrtc::SDP_FRAGMENT).await
}

/// The whole body, at most `max` bytes.
pub(crate) async fn bounded(body: Body, max: usize) -> Result<Bytes, Problem> {
    to_bytes(body, max).await.map_err(|error| {
        let inner = || std::error::Error::source(&error);
        if inner().is_some_and(|inner| inner.is::<http_body_util::LengthLimitError>()) {
            Problem::too_large(max)
        } else if crate::listen::is_too_slow(&error) {
            Problem::too_slow()
        } else {
            Problem::bad_body("the body ended early or could not be read")
        }
    })
}

/// A path segment that may or may not be a valid name, but is one of ours when it is.
pub(crate) fn track(
    text: &str,
    broadcast: &BroadcastName,
) -> Result<lockgate_media::TrackId, Problem> {
    lockgate_media::TrackId::new(text).map_err(|_| {
        Error::NoFile {
            broadcast: broadcast.clone(),
            file: text.chars().take(64).collect(),
        }
        .into()
    })
}

/// A body of JSON, at most 64 KiB.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    example: &str,
) -> Result<T, Problem> {
    let body = bounded(request.into_body(), JSON_LEN_MAX).await?;
    object(&body, example)
}

/// An object of JSON; serde alone would take a list of its values, too.
pub(crate) fn object<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    let wrong = |what: &dyn std::fmt::Display| Problem::bad_body(format!("send {example}: {what}"));
    let value: serde_json::Value = serde_json::from_slice(body).map_err(|error| wrong(&error))?;
    if !value.is_object() {
        return Err(wrong(&"the body is no object"));
    }
    T::deserialize(value).map_err(|error| wrong(&error))
}

type PathMap = std::collections::HashMap<String, String>;

async fn path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Path<PathMap>, Problem> {
    Path::<PathMap>::from_request_parts(parts, state)
        .await
        .map_err(|_| Problem::no_route(parts.uri.path()))
}

fn name(map: &PathMap) -> Result<BroadcastName, Problem> {
    let text = map.get("stream").map_or("", String::as_str);
    BroadcastName::new(text).map_err(|error| Problem::bad_name(&error))
}

async fn text(request: Request, media_type: &'static str) -> Result<String, Problem> {
    if !has_type(request.headers(), media_type) {
        return Err(Problem::media_type(media_type));
    }
    let declared = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    if declared.is_some_and(|len: usize| len > SDP_LEN_MAX) {
        return Err(Problem::too_large(SDP_LEN_MAX));
    }
    let bytes = bounded(request.into_body(), SDP_LEN_MAX).await?;
    String::from_utf8(bytes.into()).map_err(|_| Problem::bad_body("the body is not UTF-8 text"))
}

fn has_type(headers: &HeaderMap, media_type: &str) -> bool {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    value
        .split(';')
        .next()
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case(media_type))
}

const JSON_LEN_MAX: usize = 64 << 10;
/// Real offers have 2 to 20 KiB; what rivals allow is the same (MediaMTX: 128 KiB).
const SDP_LEN_MAX: usize = 128 << 10;
