//! Bodies of requests that come too slowly.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::activity::at_least;

/// Gives each body a time to come in: so long at first, and longer with what came.
pub(crate) async fn paced_bodies(
    State(grace): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let started = Instant::now();
    let body = Body::new(Paced {
        body,
        started,
        grace,
        came: 0,
        late: Box::pin(sleep_until(started + grace)),
    });
    next.run(Request::from_parts(parts, body)).await
}

/// Whether it is for this that a body could not be read.
pub(crate) fn is_too_slow(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut error = Some(error);
    while let Some(one) = error {
        if one.is::<TooSlow>() {
            return true;
        }
        error = one.source();
    }
    false
}

#[derive(Debug)]
struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body came too slowly")
    }
}

impl std::error::Error for TooSlow {}

struct Paced {
    body: Body,
    started: Instant,
    grace: Duration,
    came: usize,
    late: Pin<Box<Sleep>>,
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.came = self
                    .came
                    .saturating_add(frame.data_ref().map_or(0, Bytes::len));
                polled
            }
            Poll::Ready(_) => polled,
            Poll::Pending => {
                let until = self.started + self.grace + at_least(self.came);
                if self.late.deadline() != until {
                    self.late.as_mut().reset(until);
                }
                match self.late.as_mut().poll(context) {
                    Poll::Ready(()) => Poll::Ready(Some(Err(axum::Error::new(TooSlow)))),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
