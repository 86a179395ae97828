//! One socket of somebody who was let in: what is sent to it, and what ends with it.

use std::sync::{
    Mutex, PoisonError, Weak,
    atomic::{AtomicBool, Ordering},
};

use serde::Serialize;
use socketioxide::{SendError, SocketError, extract::SocketRef};

use crate::{App, Problem, door::Known};

use super::{Sockets, rooms};

/// One socket of somebody who was let in.
pub(crate) struct Connection {
    socket: SocketRef,
    sockets: Weak<Sockets>,
    /// Who it is.
    pub(crate) known: Known,
    /// The room it is in.
    pub(crate) room: rooms::Place,
    /// It did not take what it was sent, so that it no longer knows what it should.
    late: AtomicBool,
    /// What is to be done when it is gone; `None` once it is.
    ends: Mutex<Option<Vec<End>>>,
}

type End = Box<dyn FnOnce() + Send>;

impl Connection {
    pub(super) fn new(socket: SocketRef, sockets: Weak<Sockets>, known: Known) -> Self {
        Self {
            socket,
            sockets,
            known,
            room: rooms::Place::default(),
            late: AtomicBool::new(false),
            ends: Mutex::new(Some(Vec::new())),
        }
    }

    /// Its name: made anew for each connection.
    pub(crate) fn id(&self) -> String {
        self.socket.id.to_string()
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
                self.late.store(true, Ordering::Release);
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

    /// Says why, and disconnects it. It is not to come back by itself.
    pub(crate) fn end(&self, why: &Problem) {
        self.emit("error", why);
        if let Err(error) = self.socket.clone().disconnect() {
            tracing::debug!(%error, "a socket is disconnected as soon as it takes something");
            self.late.store(true, Ordering::Release);
        }
    }

    pub(super) fn socket(&self) -> &SocketRef {
        &self.socket
    }

    pub(super) fn is_connected(&self) -> bool {
        self.socket.connected()
    }

    pub(super) fn end_if_late(&self) {
        if self.late.load(Ordering::Acquire) && self.socket.clone().disconnect().is_ok() {
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
    }
}

/// A problem as text: all that a CONNECT_ERROR has room for.
pub(super) fn written(problem: &Problem) -> String {
    serde_json::to_string(problem).unwrap_or_default()
}
