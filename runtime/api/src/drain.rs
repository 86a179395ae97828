//! Bodies of refused requests.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{Version, header},
    middleware::Next,
    response::Response,
};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, SizeHint};

/// Reads what is left of the body of a refused request before the answer goes, as far as that takes little.
///
/// Over HTTP/1.1 a server that answers early closes the connection, and what the client still sends into it makes the
/// system throw away the answer (RFC 9112 §9.6): the client would see a reset and never learn why.
pub(crate) async fn refused_bodies(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if parts.version > Version::HTTP_11 || body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    // Who waits for a 100 sends no body when refused; to read would be to ask for it (RFC 9110 §10.1.1).
    let waits = parts.headers.contains_key(header::EXPECT);
    let rest = Rest(Arc::new(Mutex::new(body)));
    let body = Body::new(Rest(Arc::clone(&rest.0)));
    let response = next.run(Request::from_parts(parts, body)).await;
    let refused = response.status().is_client_error() || response.status().is_server_error();
    if refused && !waits {
        // Late or too large: the connection closes, as it would have.
        drop(tokio::time::timeout(DRAIN_WITHIN, drain(rest)).await);
    }
    response
}

async fn drain(mut rest: Rest) {
    let mut left = DRAIN_LEN_MAX;
    while let Some(Ok(frame)) = rest.frame().await {
        let len = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(len) {
            Some(still) => left = still,
            None => return,
        }
    }
}

/// A body that stays readable when its first reader is gone.
struct Rest(Arc<Mutex<Body>>);

impl HttpBody for Rest {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Pin::new(&mut *body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.size_hint()
    }
}

/// Most bytes that are read for nothing.
const DRAIN_LEN_MAX: usize = 1 << 20;
/// How long that may take.
const DRAIN_WITHIN: Duration = Duration::from_secs(2);
