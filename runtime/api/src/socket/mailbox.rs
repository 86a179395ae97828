//! What a socket sends, in order and bounded, from before it is told that it is connected.

use std::{
    num::NonZero,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use governor::{DefaultDirectRateLimiter, Quota};
use serde_json::Value as Json;
use socketioxide::{
    adapter::LocalAdapter,
    extract::{AckSender, SocketRef},
    handler::{FromMessageParts as _, MessageHandler, Value},
    socket::Socket,
};
use tokio::sync::mpsc;

use axum::extract::FromRequestParts as _;

use crate::{
    Caller, Problem,
    caller::Protocol,
    door::Known,
    limits::{Key, Spent},
};

use super::{
    Sockets,
    events::{Event, tell},
};

/// Somebody who was let in and is not told yet.
pub(super) struct Arrival {
    pub(super) known: Known,
    pub(super) mail: mpsc::Receiver<Event>,
    pub(super) habits: Arc<Habits>,
}

/// What a socket has shown of itself.
#[derive(Debug, Default)]
pub(super) struct Habits {
    late: AtomicBool,
    leaves: AtomicBool,
}

impl Habits {
    /// It did not take what it was sent, so that it no longer knows what it should.
    pub(super) fn came_late(&self) {
        self.late.store(true, Ordering::Release);
    }

    pub(super) fn is_late(&self) -> bool {
        self.late.load(Ordering::Acquire)
    }

    /// The last it said of rooms is that it leaves, whether that was done or not.
    pub(super) fn leaves(&self) -> bool {
        self.leaves.load(Ordering::Acquire)
    }
}

/// Takes what a socket sends.
struct Mailbox {
    sockets: Weak<Sockets>,
    key: Option<Key>,
    pace: DefaultDirectRateLimiter,
    sender: mpsc::Sender<Event>,
    habits: Arc<Habits>,
}

/// Lent to the socket between being let in and being connected.
#[derive(Clone)]
struct Lent(Arc<Mutex<Option<Arrival>>>);

impl Arrival {
    /// Lets a socket in, or says why not: a good token, or none, is let in.
    pub(super) async fn admit(
        sockets: &Arc<Sockets>,
        socket: &SocketRef,
        auth: Option<&Json>,
    ) -> Result<(), Problem> {
        let app = sockets.app()?;
        let mut parts = socket.req_parts().clone();
        let shown = auth.and_then(|auth| auth.get("token"));
        let token = match shown {
            None | Some(Json::Null) => None,
            Some(Json::String(token)) => Some(token.trim()).filter(|token| !token.is_empty()),
            Some(_) => return Err(Problem::bad_body("auth.token is to be a string")),
        };
        let mut caller = match token {
            // What is shown on purpose counts, whatever else is there.
            Some(token) => {
                parts.headers.remove(axum::http::header::AUTHORIZATION);
                let mut caller = Caller::from_request_parts(&mut parts, &()).await?;
                caller.token = Some(bare(token).to_owned());
                caller
            }
            None => Caller::from_request_parts(&mut parts, &()).await?,
        };
        caller.protocol = Protocol::Room;
        let known = app.door.know(caller).await?;
        let (sender, mail) = mpsc::channel(WAITING_MAX);
        let burst = NonZero::new(BURST).unwrap_or(NonZero::<u32>::MIN);
        let rate = NonZero::new(A_SECOND).unwrap_or(NonZero::<u32>::MIN);
        let mailbox = Mailbox {
            sockets: Arc::downgrade(sockets),
            key: known.key(),
            pace: DefaultDirectRateLimiter::direct(Quota::per_second(rate).allow_burst(burst)),
            sender,
            habits: Arc::default(),
        };
        let habits = Arc::clone(&mailbox.habits);
        socket.on_fallback(mailbox);
        let (sid, sockets) = (socket.id, Arc::downgrade(sockets));
        socket.on_disconnect(async move || {
            if let Some(sockets) = sockets.upgrade() {
                sockets.forget(sid);
            }
        });
        let arrival = Self {
            known,
            mail,
            habits,
        };
        let lent = Arc::new(Mutex::new(Some(arrival)));
        socket.extensions.insert(Lent(lent));
        Ok(())
    }

    pub(super) fn take(socket: &SocketRef) -> Option<Self> {
        let lent: Lent = socket.extensions.remove()?;
        lent.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// `Bearer TOKEN` is what some put there, too.
fn bare(token: &str) -> &str {
    match token.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => token,
    }
}

/// Marks a handler as ours.
pub(super) enum Own {}

/// Called by the one that reads the socket, so that order is kept and nothing is begun before it may be.
impl MessageHandler<LocalAdapter, Own> for Mailbox {
    fn call(&self, socket: Arc<Socket>, mut value: Value, ack_id: Option<i64>) {
        let Ok(sender) = AckSender::from_message_parts(&socket, &mut value, &ack_id);
        let ack = ack_id.map(|_| sender);
        let refuse = |ack, problem| {
            if let Err(error) = tell(&socket, ack, Err(problem)) {
                tracing::debug!(%error, "a refusal was not sent");
                self.habits.came_late();
            }
        };
        if let Err(problem) = self.pay() {
            refuse(ack, problem);
            return;
        }
        let mut event = match Event::read(&value) {
            Ok(event) => event,
            Err(problem) => return refuse(ack, problem),
        };
        event.ack = ack;
        let leaves = match event.name.as_str() {
            "leave" => Some(true),
            "join" => Some(false),
            _ => None,
        };
        if let Err(error) = self.sender.try_send(event) {
            let event = error.into_inner();
            refuse(event.ack, too_fast());
        } else if let Some(leaves) = leaves {
            // Whoever says so and is gone at once is gone before that is done.
            self.habits.leaves.store(leaves, Ordering::Release);
        }
    }
}

impl Mailbox {
    fn pay(&self) -> Result<(), Problem> {
        self.pace.check().map_err(|_| too_fast())?;
        let Some(sockets) = self.sockets.upgrade() else {
            return Ok(());
        };
        let limits = Arc::clone(&sockets.app()?.limits);
        let paid = self.key.map_or(Ok(()), |key| limits.signal(key));
        paid.map_err(|spent| Problem::too_many(&spent))
    }
}

fn too_fast() -> Problem {
    Problem::too_many(&Spent {
        name: "events",
        wait: std::time::Duration::from_secs(1),
    })
}

/// Events of a socket that wait for those before them.
const WAITING_MAX: usize = 64;
/// Events of a socket in a second, and how many at once: somebody who joins sends a candidate for each of their networks.
const A_SECOND: u32 = 20;
const BURST: u32 = 100;
