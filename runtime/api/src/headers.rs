//! What goes on every response: CORS, and the answer to OPTIONS.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::webrtc;

/// Answers OPTIONS (RFC 9725 §4.2: CORS preflight and `Accept-Post`), and opens all responses to any origin: what
/// is protected is protected by tokens, never by cookies, so that no origin gains by its user's browser.
pub(crate) async fn open_to_all_origins(request: Request, next: Next) -> Response {
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
    set(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(
        headers,
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        "Content-Range, Date, ETag, Link, Location, Retry-After, WWW-Authenticate",
    );
    set(headers, header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
