//! A small HTTP service of somebody else.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

/// Answers each request as it is told to, and remembers what it was asked.
pub(super) struct Service {
    pub(super) origin: String,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

type Answer = (u16, String);
type Answering = Box<dyn Fn(&str) -> Answer + Send>;

struct Shared {
    asked: Mutex<Vec<String>>,
    answer: Mutex<Answering>,
}

impl Service {
    pub(super) async fn start(answer: impl Fn(&str) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            asked: Mutex::default(),
            answer: Mutex::new(Box::new(answer)),
        });
        let mut tasks = JoinSet::new();
        let accepting = Arc::clone(&shared);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&accepting);
                connections.spawn(async move {
                    let service =
                        service_fn(move |request| answer_one(Arc::clone(&shared), request));
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    // Whoever asks may go before the answer.
                    drop(connection.await);
                });
            }
        });
        Self {
            origin,
            shared,
            tasks,
        }
    }

    /// Answers differently from now on.
    pub(super) fn answers(&self, answer: impl Fn(&str) -> Answer + Send + 'static) {
        *self.shared.answer.lock().expect("no panic") = Box::new(answer);
    }

    /// The bodies of the requests so far.
    pub(super) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().expect("no panic").clone()
    }

    /// Goes down: connections are cut, and nobody listens any more.
    pub(super) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn answer_one(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    let (status, text) = (shared.answer.lock().expect("no panic"))(&body);
    shared.asked.lock().expect("no panic").push(body);
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    Ok(response)
}
