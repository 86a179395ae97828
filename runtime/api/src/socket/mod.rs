//! Socket.IO at `/socket.io/`: rooms, the feed of the dashboard, and a viewer's choice of quality.
//!
//! The protocol, over WebSocket or long polling, is socketioxide's; what may come in by it is ours. [`arrive`] bounds who
//! connects, [`mailbox`] what they send, [`connection`] what they are sent, and [`events`] says which event is which use case.
//! Sockets outlive the router that took them in: each event asks for the [`App`] of now.

mod arrive;
mod connection;
mod events;
mod feed;
mod mailbox;
mod quality;
mod rooms;
mod sdp;
mod snapshot;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak},
    time::Duration,
};

use lockgate_ports::task::{Task, own};
use socketioxide::{
    ParserConfig, SocketIo,
    extract::{SocketRef, TryData},
    handler::ConnectHandler as _,
    service::SocketIoService,
    socket::Sid,
};
use tokio::time::{MissedTickBehavior, interval};

use crate::{App, Problem, router};

use arrive::Crowd;
use connection::Connection;
use mailbox::Arrival;

pub(crate) use arrive::serve;
#[cfg(test)]
pub(crate) use sdp::Directions;

/// How many may be connected.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Altogether.
    pub most: usize,
    /// From one address; 0 is no limit.
    pub per_address: usize,
}

/// Those who are connected over Socket.IO.
pub struct Sockets {
    io: SocketIo,
    /// What is not at our path is not routed here.
    service: SocketIoService<axum::Router>,
    crowd: Crowd,
    /// What they work on.
    app: RwLock<Weak<router::Parts>>,
    /// Each with the task that does what it asks for.
    open: Mutex<HashMap<Sid, (Arc<Connection>, Task)>>,
}

impl Sockets {
    /// Nobody is connected yet.
    pub fn new(terms: Terms) -> Arc<Self> {
        let (service, io) = SocketIo::builder()
            .ping_interval(PING_EVERY)
            .ping_timeout(PONG_WITHIN)
            .connect_timeout(CONNECT_WITHIN)
            .upgrade_timeout(CONNECT_WITHIN)
            .max_buffer_size(WAITING_MAX)
            .max_payload(MESSAGE_LEN_MAX as u64)
            .ws_max_message_size(MESSAGE_LEN_MAX)
            .ws_max_frame_size(MESSAGE_LEN_MAX)
            .with_parser(
                ParserConfig::common()
                    .max_incoming_binaries(BINARIES_MAX)
                    .max_incoming_binary_buf_size(MESSAGE_LEN_MAX)
                    .packet_completion_timeout(CONNECT_WITHIN),
            )
            .build_with_inner_svc(axum::Router::new());
        let sockets = Arc::new(Self {
            io,
            service,
            crowd: Crowd::new(terms),
            app: RwLock::new(Weak::new()),
            open: Mutex::default(),
        });
        sockets.listen();
        sockets
    }

    /// From now on they work on this.
    pub(crate) fn put(&self, app: &App) {
        *self.app.write().unwrap_or_else(PoisonError::into_inner) = app.downgrade();
    }

    fn app(&self) -> Result<App, Problem> {
        let app = self.app.read().unwrap_or_else(PoisonError::into_inner);
        App::upgrade(&app).ok_or_else(|| lockgate_session::Error::ShuttingDown.into())
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.open().len()
    }

    /// Looks several times a second whose token was revoked and who does not take what it is sent, and disconnects them.
    pub async fn watch(self: Arc<Self>) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tick.tick().await;
            let Ok(app) = self.app() else { continue };
            let now = app.door.changes();
            let changed = seen.replace(now) != Some(now);
            for connection in self.connections() {
                if changed && !app.door.still_knows(&connection.known) {
                    connection.end(&Problem::token_refused());
                }
                connection.end_if_late();
            }
        }
    }

    /// Disconnects all of them: the server goes down. They may try again elsewhere, or when it is up.
    pub async fn close(&self) {
        // Who never reads does not hold it up.
        tokio::time::timeout(CLOSE_WITHIN, self.io.close())
            .await
            .ok();
        let open = std::mem::take(&mut *self.open());
        for (connection, _task) in open.into_values() {
            connection.gone();
        }
    }

    fn listen(self: &Arc<Self>) {
        let sockets = Arc::downgrade(self);
        let admit = {
            let sockets = Weak::clone(&sockets);
            async move |socket: SocketRef, TryData(auth): TryData<serde_json::Value>| {
                let sockets = sockets.upgrade().ok_or_else(refusal_of_nobody)?;
                let arrival = Arrival::admit(&sockets, &socket, auth.ok().as_ref()).await;
                arrival.map_err(|problem| connection::written(&problem))
            }
        };
        let begin = async move |socket: SocketRef| {
            if let Some(sockets) = sockets.upgrade() {
                sockets.begin(socket);
            }
        };
        self.io.ns("/", begin.with(admit));
    }

    /// Somebody is connected: what they have sent already, and send from now on, is done.
    fn begin(self: &Arc<Self>, socket: SocketRef) {
        let Some(arrival) = Arrival::take(&socket) else {
            return;
        };
        let Arrival {
            known,
            mail,
            habits,
        } = arrival;
        let sid = socket.id;
        let connection = Arc::new(Connection::new(socket, Arc::downgrade(self), known, habits));
        let task = own(events::run(Arc::clone(&connection), mail));
        self.open().insert(sid, (Arc::clone(&connection), task));
        // Whoever was gone before this was not in the list when it went.
        if !connection.is_connected() {
            self.forget(sid);
        }
    }

    fn forget(&self, sid: Sid) {
        let gone = self.open().remove(&sid);
        if let Some((connection, task)) = gone {
            drop(task);
            connection.gone();
        }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        let open = self.open();
        open.values()
            .map(|(connection, _)| Arc::clone(connection))
            .collect()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Sid, (Arc<Connection>, Task)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Sockets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sockets")
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

fn refusal_of_nobody() -> String {
    connection::written(&lockgate_session::Error::ShuttingDown.into())
}

/// What is gone without a word is seen after at most this and [`PONG_WITHIN`].
const PING_EVERY: Duration = Duration::from_secs(15);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// From the first request to the CONNECT packet, and for a change to WebSocket.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Packets that wait for a client to take them.
const WAITING_MAX: usize = 256;
/// As much as a request to WHIP may have, and what is around it.
const MESSAGE_LEN_MAX: usize = 256 << 10;
/// Nothing of ours has any, but clients may send some.
const BINARIES_MAX: usize = 4;
/// How often it is seen who may not stay.
const LOOK_EVERY: Duration = Duration::from_millis(250);
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
