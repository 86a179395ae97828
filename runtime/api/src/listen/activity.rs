//! What happens on a connection: whether it is used, given up too often, or held by somebody who does not read.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::sync::Notify;

use super::Timeouts;

/// What happens on one connection.
pub(super) struct Activity {
    timeouts: Timeouts,
    state: Mutex<State>,
    active: AtomicUsize,
    /// Too many requests were given up: not to be seen a second later, after thousands more.
    flooded: Notify,
}

struct State {
    /// Since when no request is under way. It lies ahead while what was answered last may still be on its way.
    idle_since: Instant,
    /// Whether there was one yet.
    used: bool,
    /// Requests given up before they were answered, within a while.
    resets: u32,
    resets_since: Instant,
    /// Responses of which a piece waits to be taken, by their number: until when it may.
    waiting: Vec<(u64, Instant)>,
    next: u64,
}

/// Why a connection is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Nothing was asked for.
    Idle,
    /// Requests were begun and given up again and again.
    Resets,
    /// A response is hardly read.
    Unread,
}

/// A request under way.
pub(super) struct Request {
    activity: Arc<Activity>,
    done: bool,
}

impl Activity {
    pub(super) fn new(timeouts: Timeouts) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            idle_since: now,
            used: false,
            resets: 0,
            resets_since: now,
            waiting: Vec::new(),
            next: 0,
        };
        Arc::new(Self {
            timeouts,
            state: Mutex::new(state),
            active: AtomicUsize::new(0),
            flooded: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Request {
        self.active.fetch_add(1, Ordering::AcqRel);
        self.state().used = true;
        Request {
            activity: Arc::clone(self),
            done: false,
        }
    }

    /// Waits until so many requests were given up that the connection is to be cut.
    pub(super) async fn flooded(&self) {
        self.flooded.notified().await;
    }

    /// Whether the connection is to be cut now.
    pub(super) fn look(&self, now: Instant) -> Option<Cut> {
        let state = self.state();
        if state.resets > RESETS_MAX {
            return Some(Cut::Resets);
        }
        if state.waiting.iter().any(|(_, until)| *until <= now) {
            return Some(Cut::Unread);
        }
        let idle = if state.used {
            self.timeouts.idle
        } else {
            self.timeouts.header
        };
        let is_idle = self.active.load(Ordering::Acquire) == 0
            && state.waiting.is_empty()
            && now.saturating_duration_since(state.idle_since) > idle;
        is_idle.then_some(Cut::Idle)
    }

    fn end(&self, done: bool) {
        let now = Instant::now();
        let mut state = self.state();
        if !done {
            if now.saturating_duration_since(state.resets_since) > RESETS_WITHIN {
                state.resets = 0;
                state.resets_since = now;
            }
            state.resets += 1;
            if state.resets == RESETS_MAX + 1 {
                self.flooded.notify_one();
            }
        }
        state.idle_since = state.idle_since.max(now);
        drop(state);
        self.active.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Request {
    /// It is answered: the response's body goes on counting as the request.
    pub(super) fn answered(mut self, body: Body) -> Body {
        self.done = true;
        let number = {
            let mut state = self.activity.state();
            state.next += 1;
            state.next
        };
        Body::new(Watched {
            body,
            number,
            request: self,
        })
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.activity.end(self.done);
    }
}

/// A response's body of which is known whether it waits for us or for its reader.
struct Watched {
    body: Body,
    number: u64,
    request: Request,
}

impl Watched {
    fn waits_until(&self, until: Option<Instant>) {
        let mut state = self.request.activity.state();
        state.waiting.retain(|(number, _)| *number != self.number);
        match until {
            // Nobody asks for more after the last piece, so nobody tells when it was taken.
            Some(until) if self.body.is_end_stream() => {
                state.idle_since = state.idle_since.max(until);
            }
            Some(until) => state.waiting.push((self.number, until)),
            None => {}
        }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let until = match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, Bytes::len);
                let write = self.request.activity.timeouts.write;
                Some(Instant::now() + write + at_least(len))
            }
            _ => None,
        };
        self.waits_until(until);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.waits_until(None);
    }
}

/// How long so many bytes may take.
pub(super) fn at_least(bytes: usize) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / BYTES_A_SECOND_MIN)
}

/// Slower than that nobody watches or publishes anything.
const BYTES_A_SECOND_MIN: u64 = 16 << 10;
/// A player gives up a few requests when it seeks or changes its rendition; a flood gives up thousands.
const RESETS_MAX: u32 = 100;
const RESETS_WITHIN: Duration = Duration::from_secs(10);
