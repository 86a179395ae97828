//! WHIP and WHEP with nothing around them: one broadcast in memory, for trying the transport with real clients.
//!
//! `cargo run -p lockgate-transport --example whip_whep`, then publish to `/whip` and play from `/whep`, or open
//! `/publish` and `/watch` in a browser. `/watch?video=…` asks for another track. This is no server to leave running:
//! it knows no limits, no tokens and no entity tags.

use std::{collections::HashMap, convert::Infallible, net::SocketAddr, sync::Arc};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, LOCATION},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use lockgate_broadcast::{Broadcast, Limits, Origin};
use lockgate_media::{BroadcastName, TrackId};
use lockgate_ports::{
    Peer, Selection, SignalError, Signaller, ViewerFeed,
    signaller::{IceTag, Patched},
};
use lockgate_transport::{Config, Transport};
use tokio::{
    net::TcpListener,
    sync::{Mutex, watch},
    task::JoinSet,
};

struct App {
    transport: Arc<Transport>,
    broadcast: Broadcast,
    sessions: Mutex<HashMap<String, Session>>,
}

/// A peer and, of a viewer, the end that selects its tracks.
type Session = (Arc<dyn Peer>, Option<watch::Sender<Selection>>);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_env_filter("info,rtc=error,rtc_ice=error,rtc_dtls=error,webrtc=error")
        .init();
    let port = |name: &str, other: u16| -> Result<u16, std::num::ParseIntError> {
        std::env::var(name).map_or(Ok(other), |text| text.parse())
    };
    let transport = Transport::bind(Config {
        udp_listen: SocketAddr::from(([127, 0, 0, 1], port("UDP", 8189)?)).into(),
        ..Config::default()
    })
    .await?;
    let app = Arc::new(App {
        transport,
        broadcast: Broadcast::new(
            BroadcastName::new("example")?,
            Origin::now(),
            Limits::default(),
        ),
        sessions: Mutex::default(),
    });
    let listener = TcpListener::bind(("127.0.0.1", port("PORT", 8080)?)).await?;
    tracing::info!(http = %listener.local_addr()?, "open /publish and /watch");
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await?;
        let app = Arc::clone(&app);
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let app = Arc::clone(&app);
                async move { Ok::<_, Infallible>(app.answer(request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let video = request
            .uri()
            .query()
            .and_then(|query| query.strip_prefix("video="))
            .and_then(|id| TrackId::new(id).ok())
            .unwrap_or_else(TrackId::source);
        let Ok(body) = Limited::new(request.into_body(), 1 << 17).collect().await else {
            return text(StatusCode::PAYLOAD_TOO_LARGE, "");
        };
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        match (method, path.as_str()) {
            (Method::GET, "/publish") => page(PUBLISH),
            (Method::GET, "/watch") => page(WATCH),
            (Method::POST, "/whip") => {
                let accepted = self.transport.publish(body, self.broadcast.clone()).await;
                self.created(accepted, None).await
            }
            (Method::POST, "/whep") => {
                let selection = watch::Sender::new(selection(video));
                let feed = ViewerFeed {
                    broadcast: self.broadcast.clone(),
                    selection: selection.subscribe(),
                    congested: Arc::default(),
                };
                let accepted = self.transport.subscribe(body, feed).await;
                self.created(accepted, Some(selection)).await
            }
            (Method::POST, "/report") => {
                tracing::info!(report = body, "the page says");
                text(StatusCode::NO_CONTENT, "")
            }
            (Method::GET, "/stats") => text(StatusCode::OK, &self.stats().await),
            (Method::PATCH, id) => self.patch(id, body).await,
            (Method::PUT, id) => {
                if let Some((_, Some(sender))) = self.sessions.lock().await.get(id) {
                    sender.send_replace(selection(video));
                }
                text(StatusCode::NO_CONTENT, "")
            }
            (Method::DELETE, id) => {
                if let Some((peer, _)) = self.sessions.lock().await.remove(id) {
                    peer.close();
                }
                text(StatusCode::OK, "")
            }
            _ => text(StatusCode::NOT_FOUND, ""),
        }
    }

    async fn created(
        &self,
        accepted: Result<lockgate_ports::Accepted, SignalError>,
        selection: Option<watch::Sender<Selection>>,
    ) -> Response<Full<Bytes>> {
        match accepted {
            Err(error) => text(status(&error), &error.to_string()),
            Ok(accepted) => {
                let id = format!("/session/{}", accepted.peer.ice_tag());
                let mut response = text(StatusCode::CREATED, &accepted.answer);
                let headers = response.headers_mut();
                headers.insert(
                    CONTENT_TYPE,
                    "application/sdp".parse().expect("it is a header"),
                );
                headers.insert(LOCATION, id.parse().expect("it is a header"));
                self.sessions
                    .lock()
                    .await
                    .insert(id, (accepted.peer, selection));
                response
            }
        }
    }

    async fn patch(&self, id: &str, fragment: String) -> Response<Full<Bytes>> {
        let peer = self
            .sessions
            .lock()
            .await
            .get(id)
            .map(|(peer, _)| Arc::clone(peer));
        match peer {
            None => text(StatusCode::NOT_FOUND, ""),
            Some(peer) => match peer.patch(&fragment, &IceTag::Any) {
                Ok(Patched::Trickled) => text(StatusCode::NO_CONTENT, ""),
                Ok(Patched::Restarted { fragment, .. }) => text(StatusCode::OK, &fragment),
                Err(error) => text(status(&error), &error.to_string()),
            },
        }
    }

    async fn stats(&self) -> String {
        let mut out = format!("{:?}\n", self.transport.counters());
        for track in self.broadcast.tracks() {
            out += &format!(
                "{} {:?} {:?}\n",
                track.id(),
                track.format(),
                track.counters()
            );
        }
        for (id, (peer, _)) in &*self.sessions.lock().await {
            let (state, playing) = (peer.state(), peer.playing());
            out += &format!(
                "{id} {:?} {:?} {:?} {:?}\n",
                *state.borrow(),
                *playing.borrow(),
                peer.link(),
                peer.ingest()
            );
        }
        out
    }
}

fn selection(video: TrackId) -> Selection {
    Selection {
        video: Some(video),
        audio: Some(TrackId::opus()),
        ..Selection::default()
    }
}

fn status(error: &SignalError) -> StatusCode {
    match error {
        SignalError::Malformed(_) => StatusCode::BAD_REQUEST,
        SignalError::Unsupported(_) => StatusCode::UNPROCESSABLE_ENTITY,
        SignalError::Closed => StatusCode::GONE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    response
}

fn page(body: &str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::OK, body);
    let kind = "text/html".parse().expect("it is a header");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

const PUBLISH: &str = include_str!("publish.html");
const WATCH: &str = include_str!("watch.html");
