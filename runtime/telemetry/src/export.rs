//! Traces over OTLP/HTTP. What is to be sent waits in a bounded queue, on a thread of the library; what does not fit is
//! dropped, and nothing else ever waits for a collector.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::{Request, Response};
use lockgate_fetch::{
    http::{Http, Trust},
    shown,
};
use lockgate_ports::task::own;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider},
};
use tokio::runtime::Handle;
use tracing_subscriber::{Layer, Registry, filter::LevelFilter, filter::filter_fn};

use crate::{SPANS, StartError};

/// What the operator chose.
#[derive(Clone)]
pub struct TracesConfig {
    /// The collector's URL, to which `/v1/traces` is added (OTLP §OTLP/HTTP Request), unless it ends so already.
    pub endpoint: String,
    /// Sent with each batch, such as a key; not to be shown.
    pub headers: HashMap<String, String>,
    /// What we are called; `OTEL_SERVICE_NAME` says it otherwise.
    pub service_name: Option<String>,
    /// The share of traces that begin here and are sent, 0 to 1. Whoever sends a `traceparent` decides for its own.
    pub sample: f64,
    /// Our version.
    pub version: &'static str,
}

impl std::fmt::Debug for TracesConfig {
    /// Without the headers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TracesConfig")
            .field("endpoint", &shown(&self.endpoint))
            .field("sample", &self.sample)
            .finish_non_exhaustive()
    }
}

pub(crate) fn provider(config: TracesConfig) -> Result<SdkTracerProvider, StartError> {
    let failed = |error: &dyn std::fmt::Display| StartError::Exporter(error.to_string());
    let trust = if config.endpoint.starts_with("https:") {
        Trust::System
    } else {
        Trust::NoTls
    };
    let carrier = Carrier {
        http: Http::new(trust, 1).map_err(|error| failed(&error))?,
        runtime: Handle::current(),
        fails: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(carrier)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(target(&config.endpoint))
        .with_headers(config.headers)
        .with_timeout(WITHIN)
        .build()
        .map_err(|error| failed(&error))?;
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE_MAX)
        .with_max_export_batch_size(BATCH_MAX)
        .with_scheduled_delay(DELAY)
        .build();
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batches)
        .build();
    // The environment's names (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) are read by the library.
    let mut resource = Resource::builder().with_attributes([
        KeyValue::new("service.version", config.version),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ]);
    if let Some(name) = config.service_name {
        resource = resource.with_service_name(name);
    } else if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
        resource = resource.with_service_name("lockgate");
    }
    Ok(SdkTracerProvider::builder()
        .with_resource(resource.build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
            config.sample,
        ))))
        .with_span_processor(processor)
        .build())
}

pub(crate) fn layer(provider: &SdkTracerProvider) -> Box<dyn Layer<Registry> + Send + Sync> {
    let only_spans =
        filter_fn(|metadata| metadata.target() == SPANS).with_max_level_hint(LevelFilter::INFO);
    Box::new(
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("lockgate"))
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(only_spans),
    )
}

fn target(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with(PATH) {
        base.to_owned()
    } else {
        format!("{base}{PATH}")
    }
}

/// Our HTTP client, lent to the library. Its thread is none of the runtime's, so the work is done over there.
#[derive(Debug)]
struct Carrier {
    http: Http,
    runtime: Handle,
    fails: AtomicBool,
}

#[async_trait]
impl HttpClient for Carrier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let to = request.uri().to_string();
        let http = self.http.clone();
        let task = {
            let _inside = self.runtime.enter();
            own(async move { http.send(request, WITHIN, ANSWER_LEN_MAX).await })
        };
        let answer = task.await?;
        let problem = match &answer {
            Ok(answer) if answer.status.is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status)),
            Err(error) => Some(error.to_string()),
        };
        // Once when it begins and once when it is over, not each time.
        match problem {
            Some(error) if !self.fails.swap(true, Ordering::AcqRel) => {
                tracing::warn!(to = shown(&to), %error, "traces do not reach their collector and are dropped until they do");
            }
            None if self.fails.swap(false, Ordering::AcqRel) => {
                tracing::info!(to = shown(&to), "traces reach their collector again");
            }
            _ => {}
        }
        let answer = answer?;
        let mut response = Response::new(answer.body);
        *response.status_mut() = answer.status;
        Ok(response)
    }
}

const PATH: &str = "/v1/traces";
/// Spans that wait to be sent: some hundred bytes each.
const QUEUE_MAX: usize = 4096;
const BATCH_MAX: usize = 512;
/// How long a span waits for others.
const DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take.
const WITHIN: Duration = Duration::from_secs(5);
/// An answer says little, and nothing that we read.
const ANSWER_LEN_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_added_once() {
        for (endpoint, wanted) in [
            ("http://c:4318", "http://c:4318/v1/traces"),
            ("http://c:4318/", "http://c:4318/v1/traces"),
            ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
        ] {
            assert_eq!(target(endpoint), wanted);
        }
    }
}
