//! The gate for publishers that do not come by HTTP: the same door, the same use case.

use std::sync::Arc;

use lockgate_media::BroadcastName;
use lockgate_ports::{Admitted, BoxFuture, Gate, Refusal, Wish};
use lockgate_session::Streams;

use crate::{Caller, Door, Problem, scope::Action};

/// Lets publishers over RTMP and SRT in.
#[derive(Clone)]
pub struct StreamGate {
    streams: Streams,
    door: Arc<Door>,
}

impl StreamGate {
    /// A gate in front of these streams.
    pub fn new(streams: Streams, door: Arc<Door>) -> Self {
        Self { streams, door }
    }

    async fn admit(&self, wish: Wish) -> Result<Admitted, Problem> {
        let name = BroadcastName::new(&wish.name).map_err(|error| Problem::bad_name(&error))?;
        let caller = Caller {
            peer: Some(wish.peer),
            token: wish.token,
        };
        self.door.admit(&caller, Action::Publish(&name)).await?;
        let who = self.door.principal(&caller);
        Ok(self.streams.publish_stream(name, wish.via, who).await?)
    }
}

impl Gate for StreamGate {
    fn enter(&self, wish: Wish) -> BoxFuture<'_, Result<Admitted, Refusal>> {
        Box::pin(async move {
            self.admit(wish).await.map_err(|problem| Refusal {
                status: problem.status().as_u16(),
                detail: problem.detail().to_owned(),
            })
        })
    }
}
