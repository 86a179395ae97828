//! One socket of somebody who was let in: what is sent to it, and what ends with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use axum::http::StatusCode;
use lockgate_ports::task::Task;
use serde::Serialize;
use socketioxide::{SendError, SocketError, extract::SocketRef};

use crate::{App, Problem, door::Known};

use super::{Sockets, mailbox::Habits, rooms};

/// One socket of somebody who was let in.
pub(crate) struct Connection {
    socket: SocketRef,
    sockets: Weak<Sockets>,
    /// Who it is.
    pub(crate) known: Known,
    /// The room it is in.
    pub(crate) room: rooms::Place,
    habits: Arc<Habits>,
    /// What is to be done when it is gone; `None` once it is.
    ends: Mutex<Option<Vec<End>>>,
    /// What goes on for it, by its name.
    kept: Mutex<HashMap<String, Task>>,
}

type End = Box<dyn FnOnce() + Send>;

impl Connection {
    pub(super) fn new(
        socket: SocketRef,
        sockets: Weak<Sockets>,
        known: Known,
        habits: Arc<Habits>,
    ) -> Self {
        Self {
            socket,
            sockets,
            known,
            habits,
            room: rooms::Place::default(),
            ends: Mutex::new(Some(Vec::new())),
            kept: Mutex::default(),
        }
    }

    /// What handlers work on, as it is now.
    pub(crate) fn app(&self) -> Result<App, Problem> {
        let down = || Problem::from(lockgate_session::Error::ShuttingDown);
        self.sockets.upgrade().ok_or_else(down)?.app()
    }

    /// Sends an event. False: it does not get there. Whoever does not take what is sent is disconnected.
    pub(crate) fn emit(&self, event: &str, data: &(impl Serialize + ?Sized)) -> bool {
        self.sent(self.socket.emit(event, data))
    }

    /// Sends an event that may be left out where those before it still wait.
    pub(crate) fn try_emit(&self, event: &str, data: &(impl Serialize + ?Sized)) -> bool {
        self.socket.emit(event, data).is_ok()
    }

    pub(super) fn sent(&self, sent: Result<(), SendError>) -> bool {
        match sent {
            Ok(()) => true,
            Err(SendError::Socket(SocketError::InternalChannelFull)) => {
                self.habits.came_late();
                false
            }
            Err(error) => {
                tracing::debug!(%error, "an event was not sent");
                false
            }
        }
    }

    /// Does something when it is gone; at once if it is already.
    pub(crate) fn when_gone(&self, end: impl FnOnce() + Send + 'static) {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *ends {
            Some(ends) => ends.push(Box::new(end)),
            None => {
                drop(ends);
                end();
            }
        }
    }

    /// Goes on with something as long as it is there, in place of what goes on by that name.
    pub(crate) fn keep(&self, name: &str, task: Task) -> Result<(), Problem> {
        let mut kept = self.kept();
        kept.retain(|_, task| !task.is_finished());
        if kept.len() >= KEPT_MAX && !kept.contains_key(name) {
            return Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "/problems/too-many",
                "Too much goes on at once",
                format!("one connection may follow {KEPT_MAX} things at a time"),
            ));
        }
        kept.insert(name.to_owned(), task);
        Ok(())
    }

    /// Ends what goes on by a name.
    pub(crate) fn drop_kept(&self, name: &str) {
        self.kept().remove(name);
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<String, Task>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says why, and disconnects it. It is not to come back by itself.
    pub(crate) fn end(&self, why: &Problem) {
        self.emit("error", why);
        if let Err(error) = self.socket.clone().disconnect() {
            tracing::debug!(%error, "a socket is disconnected as soon as it takes something");
            self.habits.came_late();
        }
    }

    /// Whether it has said that it leaves, whether that was done or not.
    pub(super) fn leaves(&self) -> bool {
        self.habits.leaves()
    }

    pub(super) fn socket(&self) -> &SocketRef {
        &self.socket
    }

    pub(super) fn is_connected(&self) -> bool {
        self.socket.connected()
    }

    pub(super) fn end_if_late(&self) {
        if self.habits.is_late() && self.socket.clone().disconnect().is_ok() {
            tracing::debug!(socket = %self.socket.id, "a socket that did not take what it was sent is disconnected");
        }
    }

    pub(super) fn gone(&self) {
        let ends = self
            .ends
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        for end in ends.into_iter().flatten() {
            end();
        }
        self.kept().clear();
    }
}

/// What may go on for one connection at a time.
const KEPT_MAX: usize = 16;

/// A problem as text: all that a CONNECT_ERROR has room for.
pub(super) fn written(problem: &Problem) -> String {
    serde_json::to_string(problem).unwrap_or_default()
}
