//! Traces that begin with somebody else (W3C Trace Context).

use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes a span, which nobody has entered yet, part of the trace that `traceparent` and `tracestate` name. What cannot be
/// read is as if it were not there (Trace Context §3.2.2).
pub fn adopt(span: &tracing::Span, traceparent: &str, tracestate: Option<&str>) {
    let named = Named {
        traceparent,
        tracestate,
    };
    let context = TraceContextPropagator::new().extract(&named);
    // Fails where nobody records the span.
    span.set_parent(context).ok();
}

struct Named<'a> {
    traceparent: &'a str,
    tracestate: Option<&'a str>,
}

impl Extractor for Named<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(self.traceparent),
            "tracestate" => self.tracestate,
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}
