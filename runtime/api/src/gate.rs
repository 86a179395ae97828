//! The gate for publishers that do not come by HTTP: the same door, the same use case.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

use lockgate_media::BroadcastName;
use lockgate_ports::{Admitted, BoxFuture, Gate, Refusal, Wish, ingest::Via};
use lockgate_session::Streams;

use crate::{Caller, Door, Limits, Login, Problem, Protocol, scope::Action};

/// Lets publishers over RTMP and SRT in.
#[derive(Clone)]
pub struct StreamGate {
    streams: Streams,
    door: Arc<RwLock<Arc<Door>>>,
    limits: Arc<RwLock<Arc<Limits>>>,
}

impl StreamGate {
    /// A gate in front of these streams.
    pub fn new(streams: Streams, door: Arc<Door>, limits: Arc<Limits>) -> Self {
        Self {
            streams,
            door: Arc::new(RwLock::new(door)),
            limits: Arc::new(RwLock::new(limits)),
        }
    }

    /// Lets publishers in by another door and within other limits from now on.
    pub fn put(&self, door: Arc<Door>, limits: Arc<Limits>) {
        *self.door.write().unwrap_or_else(PoisonError::into_inner) = door;
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = limits;
    }

    fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn admit(&self, wish: Wish) -> Result<Admitted, Problem> {
        let name = BroadcastName::new(&wish.name).map_err(|error| Problem::bad_name(&error))?;
        let login = |(user, password)| Login { user, password };
        let caller = Caller {
            peer: Some(wish.peer),
            token: wish.credentials.token,
            login: wish.credentials.login.map(login),
            protocol: match wish.via {
                Via::Rtmp => Protocol::Rtmp,
                Via::Srt => Protocol::Srt,
            },
            agent: String::new(),
        };
        let door = self.door();
        let entered = door.enter(&caller, Action::Publish(&name)).await?;
        let who = entered.principal().visiting(entered.visitor());
        let (session, admitted) = self.streams.publish_stream(name, wish.via, who).await?;
        door.stay(session, entered);
        Ok(admitted)
    }
}

impl Gate for StreamGate {
    fn knock(&self, peer: IpAddr) -> bool {
        let limits = self.limits.read().unwrap_or_else(PoisonError::into_inner);
        limits.admit(peer.to_canonical())
    }

    fn enter(&self, wish: Wish) -> BoxFuture<'_, Result<Admitted, Refusal>> {
        Box::pin(async move {
            self.admit(wish).await.map_err(|problem| Refusal {
                status: problem.status().as_u16(),
                detail: problem.detail().to_owned(),
            })
        })
    }
}
