//! Problem details (RFC 9457): the one form of every error, and the one place that gives it its status.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lockgate_ports::{RecordError, SignalError};
use lockgate_session::Error;
use serde::Serialize;

use crate::{Refusal, limits::Spent};

/// An error as the caller sees it. What only the log may know is logged where this is made.
#[derive(Debug, Clone, Serialize)]
pub struct Problem {
    /// What kind of problem: a stable URI reference.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The kind in a few words.
    title: &'static str,
    #[serde(serialize_with = "status_code")]
    status: StatusCode,
    /// This case in a sentence: what, where, and what to do.
    detail: String,
    /// What a kind says besides.
    #[serde(flatten)]
    more: serde_json::Map<String, serde_json::Value>,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

fn status_code<S: serde::Serializer>(
    status: &StatusCode,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem of a kind.
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            title,
            status,
            detail: detail.into(),
            more: serde_json::Map::new(),
            headers: Vec::new(),
        }
    }

    /// The same problem with a header of its response.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// The same problem with another detail.
    #[must_use]
    pub(crate) fn about(mut self, detail: String) -> Self {
        self.detail = detail;
        self
    }

    /// The same problem with `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers
            .push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        self
    }

    /// The same problem with a further member (RFC 9457 §3.2).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// This case in a sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// No credentials were sent where they are needed (RFC 6750 §3: then without an error code).
    pub fn token_wanted() -> Self {
        let detail =
            "send a token as `Authorization: Bearer TOKEN`; `lockgate token mint` makes one";
        Self::new(
            StatusCode::UNAUTHORIZED,
            "/problems/token-wanted",
            "A token is needed",
            detail,
        )
        .with_header(header::WWW_AUTHENTICATE, r#"Bearer realm="lockgate""#)
    }

    /// The credentials are not good.
    pub fn token_refused() -> Self {
        let detail = "the token is malformed, expired or not from this server; get a new one";
        Self::new(
            StatusCode::UNAUTHORIZED,
            "/problems/token-refused",
            "The token is not valid",
            detail,
        )
        .with_header(
            header::WWW_AUTHENTICATE,
            r#"Bearer realm="lockgate", error="invalid_token""#,
        )
    }

    /// Somebody known may not do this.
    fn forbidden(kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, kind, title, detail).with_header(
            header::WWW_AUTHENTICATE,
            r#"Bearer realm="lockgate", error="insufficient_scope""#,
        )
    }

    /// A budget is spent (draft-ietf-httpapi-ratelimit-headers-10 §6).
    pub fn too_many(spent: &Spent) -> Self {
        let seconds = spent.seconds();
        let detail = format!("that was one request too many; come again in {seconds} s");
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "https://iana.org/assignments/http-problem-types#quota-exceeded",
            "Request cannot be satisfied as assigned quota has been exceeded",
            detail,
        )
        .retry_after(seconds)
        .with("violated-policies", vec![spent.name])
    }

    /// The body comes too slowly.
    pub fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "/problems/too-slow",
            "The body came too slowly",
            "send the whole body at once",
        )
        .with_header(header::CONNECTION, "close")
    }

    /// There is nothing at this path.
    pub fn no_route(path: &str) -> Self {
        let detail = format!("there is nothing at {path}");
        Self::new(
            StatusCode::NOT_FOUND,
            "/problems/not-found",
            "Not found",
            detail,
        )
    }

    /// There is no such session.
    pub fn no_session(session: &str) -> Self {
        let session: String = session.chars().take(64).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "/problems/not-found",
            "No such session",
            format!("there is no session {session:?}; it may have ended by itself"),
        )
    }

    /// The path exists, but not for this method.
    pub fn method_not_allowed() -> Self {
        let detail = "see the Allow header for the methods of this resource";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "/problems/method-not-allowed",
            "Method not allowed",
            detail,
        )
    }

    /// A path segment is no name.
    pub fn bad_name(error: &lockgate_media::NameError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "/problems/bad-name",
            "Not a valid name",
            error.to_string(),
        )
    }

    /// The body has the wrong media type.
    pub fn media_type(wanted: &'static str) -> Self {
        let detail = format!("send the body as `Content-Type: {wanted}`");
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "/problems/media-type",
            "Unsupported media type",
            detail,
        )
    }

    /// The body is larger than allowed.
    pub fn too_large(max: usize) -> Self {
        let detail = format!("the body may have at most {max} bytes");
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "/problems/too-large",
            "Body too large",
            detail,
        )
    }

    /// The body cannot be read.
    pub fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "/problems/bad-body",
            "The body cannot be read",
            detail,
        )
    }

    /// A Delivery Directive of HLS that makes no sense (rfc8216bis §6.2.5).
    pub fn bad_directive(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "/problems/bad-directive",
            "The delivery directive makes no sense",
            detail,
        )
    }

    /// No byte of what is there was asked for.
    pub fn no_range(length: usize) -> Self {
        let detail = format!("there are {length} bytes; ask for some of them");
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "/problems/no-range",
            "The range is not there",
            detail,
        )
    }

    /// The server is not well, or goes down: whoever balances load sends nobody here.
    pub fn not_ready(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "/problems/not-ready",
            "Not ready",
            detail,
        )
        .with_header(header::RETRY_AFTER, "5")
    }

    /// Something is wrong on our side; the log says what.
    pub fn internal() -> Self {
        let detail = "something went wrong on the server; its log says what";
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "/problems/internal",
            "Internal error",
            detail,
        )
    }
}

/// Records cannot be read or written now (RFC 4918 §11.5 for a full disk).
pub(crate) fn not_recorded(error: &RecordError) -> Problem {
    let (status, title) = match error {
        RecordError::Full => (StatusCode::INSUFFICIENT_STORAGE, "The disk is full"),
        RecordError::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "The record is too large"),
        _ => (
            StatusCode::SERVICE_UNAVAILABLE,
            "The records cannot be reached",
        ),
    };
    Problem::new(status, "/problems/not-recorded", title, error.to_string()).retry_after(5)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Wanted => Self::token_wanted(),
            Refusal::BadCredentials => Self::token_refused(),
            Refusal::Scope(_) => Self::forbidden(
                "/problems/scope-wanted",
                "The token does not allow this",
                detail,
            ),
            Refusal::Denied | Refusal::Silent => {
                Self::forbidden("/problems/denied", "Not allowed", detail)
            }
            Refusal::Closing => Error::ShuttingDown.into(),
            Refusal::Kicked => Self::forbidden("/problems/kicked", "Not allowed now", detail),
            Refusal::TooMany(wait) => Self::too_many(&Spent {
                name: "logins",
                wait,
            })
            .about(detail),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        let not_found =
            |title, detail| Self::new(StatusCode::NOT_FOUND, "/problems/not-found", title, detail);
        match error {
            Error::NameTaken(_) | Error::Kept { .. } => Self::new(
                StatusCode::CONFLICT,
                "/problems/name-taken",
                "The name is taken",
                detail,
            ),
            Error::NotLive(_) => not_found("Not live", detail),
            Error::NotReady(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/not-ready",
                "Not ready yet",
                detail,
            )
            .with_header(header::RETRY_AFTER, "2"),
            Error::NoSession { .. } => not_found("No such session", detail),
            Error::NoTrack { .. } => not_found("No such track", detail),
            Error::NoRoom(_) => not_found("No such room", detail),
            Error::NoParticipant { .. } => not_found("No such participant", detail),
            Error::RoomFull { .. } | Error::TooManyRooms(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/room-full",
                "The room is full",
                detail,
            )
            .with_header(header::RETRY_AFTER, "10"),
            Error::Banned(_) => Self::new(
                StatusCode::FORBIDDEN,
                "/problems/sent-out",
                "Sent out of the room",
                detail,
            ),
            Error::NotAllowed(_) => Self::new(
                StatusCode::FORBIDDEN,
                "/problems/not-allowed",
                "Not allowed in this room",
                detail,
            ),
            Error::TooOften(_) => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "/problems/too-often",
                "Too often",
                detail,
            )
            .retry_after(1),
            Error::Unusable(_) => Self::bad_body(detail),
            Error::NoFile { .. } => not_found("No such file", detail),
            Error::Signal(SignalError::StaleTag) => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "/problems/stale-etag",
                "Another ICE session",
                detail,
            ),
            Error::Full { .. } | Error::Signal(SignalError::Full) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/full",
                "No room for another peer",
                detail,
            )
            .with_header(header::RETRY_AFTER, "10"),
            Error::Signal(SignalError::Malformed(_)) => Self::new(
                StatusCode::BAD_REQUEST,
                "/problems/bad-sdp",
                "The SDP cannot be used",
                detail,
            ),
            Error::Signal(SignalError::Unsupported(_)) => {
                let title = "The offer asks for something unsupported";
                Self::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "/problems/unsupported-sdp",
                    title,
                    detail,
                )
            }
            Error::Signal(SignalError::Closed) => not_found("No such session", detail),
            Error::TooFarAhead(_) => Self::bad_directive(detail),
            Error::TooLate(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "/problems/stalled",
                "The broadcast has stalled",
                detail,
            )
            .with_header(header::RETRY_AFTER, "1"),
            Error::Disk(_) => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "/problems/disk",
                "The disk cannot be read",
                detail,
            ),
            Error::ShuttingDown => {
                let title = "The server is shutting down";
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "/problems/shutting-down",
                    title,
                    detail,
                )
                .with_header(header::RETRY_AFTER, "5")
            }
            _ => {
                tracing::error!(error = %detail, "a request failed on our side");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, headers) = (self.status, self.headers.clone());
        let mut response = (status, Json(self)).into_response();
        let map = response.headers_mut();
        map.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        map.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in headers {
            map.insert(name, value);
        }
        response
    }
}
