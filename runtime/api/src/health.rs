//! `/livez` and `/readyz`: whether this process does its work, and whether it is to be sent any.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use axum::extract::State;

use crate::{App, Problem, openapi::Unavailable};

/// How the server is, as whoever looks after it found it last.
#[derive(Debug, Default)]
pub struct Health {
    draining: AtomicBool,
    sick: Mutex<Option<String>>,
}

impl Health {
    /// The server is going down: alive, but no longer ready.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// What does not work, or `None`. True if that is news.
    pub fn found(&self, sick: Option<String>) -> bool {
        let mut known = self.sick.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = *known != sick;
        *known = sick;
        is_news
    }

    fn alive(&self) -> Result<(), Problem> {
        let sick = self.sick.lock().unwrap_or_else(PoisonError::into_inner);
        match &*sick {
            Some(what) => Err(Problem::not_ready(what.clone())),
            None => Ok(()),
        }
    }

    /// Whether new sessions are taken in.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready().is_ok()
    }

    fn ready(&self) -> Result<(), Problem> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Problem::not_ready("the server is shutting down"));
        }
        self.alive()
    }
}

/// Whether the process does its work: 503 only where a restart would help.
#[utoipa::path(
    get, path = "/livez", tag = "operations", security(()),
    responses(
        (status = 200, description = "It does.", body = String, content_type = "text/plain"),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn livez(State(app): State<App>) -> Result<&'static str, Problem> {
    app.health.alive().map(|()| "alive\n")
}

/// Whether new sessions are taken in.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", security(()),
    responses(
        (status = 200, description = "They are.", body = String, content_type = "text/plain"),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn readyz(State(app): State<App>) -> Result<&'static str, Problem> {
    app.health.ready().map(|()| "ready\n")
}
