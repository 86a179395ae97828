//! Traces, taken by a small collector of OTLP over HTTP.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest, common::v1::any_value::Value, trace::v1::Span,
};
use prost::Message as _;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    ingest::PORTS,
    refused::OFFER,
    support::{Over, Sender, Server, until},
};

/// What has come, and from whom.
#[derive(Default)]
struct Taken {
    spans: Mutex<Vec<Span>>,
    resource: Mutex<HashMap<String, String>>,
    keys: Mutex<Vec<String>>,
}

/// A collector.
struct Collector {
    address: String,
    taken: Arc<Taken>,
    _task: JoinSet<()>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let taken = Arc::<Taken>::default();
        let mut task = JoinSet::new();
        let into = Arc::clone(&taken);
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let into = Arc::clone(&into);
                connections.spawn(async move {
                    let service = service_fn(move |request| take(Arc::clone(&into), request));
                    let serving = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    // The server may go at any time.
                    drop(serving.await);
                });
            }
        });
        Self {
            address,
            taken,
            _task: task,
        }
    }

    fn spans(&self, name: &str) -> Vec<Span> {
        let spans = self.taken.spans.lock().expect("no panic");
        spans
            .iter()
            .filter(|span| span.name == name)
            .cloned()
            .collect()
    }

    async fn span(&self, name: &str) -> Span {
        until(name, Duration::from_secs(40), || async {
            self.spans(name).into_iter().next()
        })
        .await
    }
}

async fn take(
    taken: Arc<Taken>,
    request: Request<Incoming>,
) -> Result<Response<Full<bytes::Bytes>>, hyper::Error> {
    assert_eq!(request.uri().path(), "/v1/traces");
    let text = |name: &str| {
        let value = request.headers().get(name);
        value
            .map_or("", |value| value.to_str().expect("text"))
            .to_owned()
    };
    assert_eq!(text("content-type"), "application/x-protobuf");
    taken.keys.lock().expect("no panic").push(text("x-key"));
    let body = request.into_body().collect().await?.to_bytes();
    let export = ExportTraceServiceRequest::decode(body).expect("it is protobuf");
    for of_resource in export.resource_spans {
        let attributes = of_resource.resource.expect("who sends it").attributes;
        let mut resource = taken.resource.lock().expect("no panic");
        resource.extend(attributes.into_iter().map(|one| {
            let value = one.value.and_then(|value| value.value);
            (one.key, value.as_ref().map_or_else(String::new, shown))
        }));
        let mut spans = taken.spans.lock().expect("no panic");
        spans.extend(
            of_resource
                .scope_spans
                .into_iter()
                .flat_map(|scope| scope.spans),
        );
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::OK;
    Ok(response)
}

fn shown(value: &Value) -> String {
    match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

fn attribute(span: &Span, key: &str) -> String {
    let attributes = span.attributes.iter();
    let value = attributes
        .filter(|one| one.key == key)
        .find_map(|one| one.value.as_ref()?.value.as_ref());
    value.map_or_else(String::new, shown)
}

#[tokio::test]
async fn requests_publishers_viewers_decisions_and_workers_are_spans() {
    let collector = Collector::start().await;
    let config = format!(
        "{PORTS}[telemetry]\nendpoint = \"http://{}\"\nservice_name = \"gate-7\"\nheaders = {{ x-key = \"of the collector\" }}\n",
        collector.address
    );
    let server = Server::start(&config, &["--demo"]).await;
    server.running("demo").await;
    let sender = Sender::publish(&server, Over::Rtmp, "live", &server.token);
    server.running("live").await;
    drop(sender);

    let viewers = OFFER.replace("sendonly", "recvonly");
    let (trace, parent) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
    let request = server
        .request(Method::POST, "/whep/demo?x=1&token=nobody")
        .header(header::CONTENT_TYPE, "application/sdp")
        .header("traceparent", format!("00-{trace}-{parent}-01"));
    let joined = server
        .send(request.body(Full::from(viewers)).expect("a request"))
        .await;
    assert_eq!(joined.status, 401, "the token is bad");
    let request = server
        .request(Method::POST, "/whep/demo")
        .header(header::CONTENT_TYPE, "application/sdp")
        .header("traceparent", format!("00-{trace}-{parent}-01"));
    let viewers = OFFER.replace("sendonly", "recvonly");
    let joined = server
        .send(request.body(Full::from(viewers)).expect("a request"))
        .await;
    assert_eq!(joined.status, 201, "{}", joined.text());
    // What cannot be read begins a trace of its own.
    let request = server
        .request(Method::GET, "/api/streams/none")
        .header("traceparent", "00-no-trace-01");
    server
        .send(request.body(Full::default()).expect("a request"))
        .await
        .problem(404);

    let hex = |id: &[u8]| -> String { id.iter().map(|byte| format!("{byte:02x}")).collect() };
    let watch = collector.span("watch").await;
    assert_eq!(attribute(&watch, "broadcast"), "demo");
    let requests = until("the requests", Duration::from_secs(40), || async {
        let requests = collector.spans("POST /whep/{stream}");
        (requests.len() >= 2).then_some(requests)
    })
    .await;
    for request in &requests {
        assert_eq!(hex(&request.trace_id), trace);
        assert_eq!(hex(&request.parent_span_id), parent);
        assert_eq!(attribute(request, "url.path"), "/whep/demo");
        assert_eq!(attribute(request, "http.route"), "/whep/{stream}");
    }
    let statuses: Vec<String> = requests
        .iter()
        .map(|request| attribute(request, "http.response.status_code"))
        .collect();
    assert_eq!(statuses, ["401", "201"]);
    assert_eq!(watch.parent_span_id, requests[1].span_id);
    assert_eq!(watch.trace_id, requests[1].trace_id);
    let own = collector.span("GET /api/streams/{stream}").await;
    assert!(own.parent_span_id.is_empty() && hex(&own.trace_id) != trace);
    let publish = collector.span("publish").await;
    assert_eq!(attribute(&publish, "via"), "rtmp");
    let decide = collector.span("decide").await;
    assert!(!attribute(&decide, "kind").is_empty());
    let start = collector.span("worker start").await;
    assert!(start.end_time_unix_nano > start.start_time_unix_nano);
    let resource = collector.taken.resource.lock().expect("no panic").clone();
    assert_eq!(resource["service.name"], "gate-7");
    let keys = collector.taken.keys.lock().expect("no panic").clone();
    assert!(keys.iter().all(|key| key == "of the collector"), "{keys:?}");
    let all = format!("{:?}", collector.taken.spans.lock().expect("no panic"));
    assert!(!all.contains(&server.token) && !all.contains("nobody"));
    assert!(!server.log().contains("of the collector"));
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_end() {
    let collector = Collector::start().await;
    let config = format!(
        "[telemetry]\nendpoint = \"http://{}/\"\n",
        collector.address
    );
    let mut server = Server::start(&config, &[]).await;
    server.get("/api/recordings").await.problem(401);
    assert_eq!(server.terminate().await, Some(0));
    assert_eq!(collector.spans("GET /api/recordings").len(), 1);
}

#[tokio::test]
async fn a_collector_that_is_not_there_or_says_nothing_harms_nobody() {
    // One refuses, the other takes connections and never answers.
    let closed = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = closed.local_addr().expect("an address");
    drop(closed);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    for (address, more) in [
        (nobody, 20_000),
        (silent.local_addr().expect("an address"), 200),
    ] {
        let config = format!("[telemetry]\nendpoint = \"http://{address}\"\n");
        let mut server = Server::start(&config, &[]).await;
        // More than the queue holds.
        for _ in 0..more / 50 {
            let asked: Vec<_> = (0..50).map(|_| server.get("/livez")).collect();
            for answer in futures_util::future::join_all(asked).await {
                assert_eq!(answer.status, 200);
            }
        }
        until("a word in the log", Duration::from_secs(30), || async {
            server
                .log()
                .contains("do not reach their collector")
                .then_some(())
        })
        .await;
        let said = server.log().matches("do not reach their collector").count();
        assert_eq!(said, 1, "it is said once");
        assert_eq!(server.terminate().await, Some(0));
    }
}
