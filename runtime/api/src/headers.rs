//! What goes on every response: CORS, security headers, and the answer to OPTIONS.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use tracing::Instrument as _;

use crate::{App, webrtc};

/// What the operator chose.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    cors: Vec<HeaderValue>,
    hsts: Option<HeaderValue>,
}

impl Headers {
    /// Origins whose pages may read answers, `*` for all; and for how many seconds browsers are to come by HTTPS only. An
    /// origin that cannot be one is left out: it would never ask.
    pub fn new(cors: &[String], hsts_s: Option<u64>) -> Self {
        let hsts = hsts_s.and_then(|seconds| format!("max-age={seconds}").try_into().ok());
        Self {
            cors: cors
                .iter()
                .filter_map(|origin| HeaderValue::try_from(origin).ok())
                .collect(),
            hsts,
        }
    }

    /// Whether pages of an origin may read answers.
    pub(crate) fn lets_read(&self, origin: &HeaderValue) -> bool {
        self.cors
            .iter()
            .any(|known| known == "*" || known == origin)
    }

    /// Opens a response to the origin that asks, if it may read it. What is protected is protected by tokens, never by
    /// cookies, so that no origin gains by its user's browser.
    fn open(&self, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
        if self.cors.iter().any(|origin| origin == "*") {
            set(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
            return;
        }
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        if let Some(origin) = origin.filter(|origin| self.cors.contains(origin)) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        }
    }
}

/// Answers OPTIONS (RFC 9725 §4.2: CORS preflight and `Accept-Post`), and puts on each response what all have.
pub(crate) async fn on_all(State(app): State<App>, request: Request, next: Next) -> Response {
    let passing = app.traffic.enter(&request);
    let answer = answered(&app.headers, request, next);
    // A span that nobody records costs nothing if it is not even looked at.
    let response = if passing.span.is_disabled() {
        answer.await
    } else {
        answer.instrument(passing.span.clone()).await
    };
    passing.answered(&response);
    response
}

async fn answered(rules: &Headers, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = if request.method() == Method::OPTIONS {
        let path = request.uri().path();
        let mut response = StatusCode::OK.into_response();
        if path.starts_with("/whip/") || path.starts_with("/whep/") {
            let headers = response.headers_mut();
            set(headers, HeaderName::from_static("accept-post"), webrtc::SDP);
            let accept_patch = HeaderName::from_static("accept-patch");
            set(headers, accept_patch, webrtc::SDP_FRAGMENT);
        }
        let headers = response.headers_mut();
        set(
            headers,
            header::ACCESS_CONTROL_ALLOW_METHODS,
            "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        );
        set(
            headers,
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "Authorization, Content-Type, If-Match, If-None-Match, Link, Range",
        );
        set(headers, header::ACCESS_CONTROL_MAX_AGE, "86400");
        response
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    rules.open(origin, headers);
    set(
        headers,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Content-Range, Date, ETag, Link, Location, RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate",
    );
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    // A token may stand in an address.
    set(headers, header::REFERRER_POLICY, "no-referrer");
    // What is no page is not to become one, nor a part of one.
    if !headers.contains_key(header::CONTENT_SECURITY_POLICY) {
        set(headers, header::CONTENT_SECURITY_POLICY, NO_PAGE);
    }
    if let Some(hsts) = &rules.hsts {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}

const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";
