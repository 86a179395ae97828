//! Requests, counted and traced by their route, never by what stands in a path.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
    response::Response,
};

use crate::caller::Peer;

/// Makes a span part of the trace that a request's `traceparent` and `tracestate` name.
pub type Adopt = Arc<dyn Fn(&tracing::Span, &str, Option<&str>) + Send + Sync>;

/// Counts requests.
#[derive(Default)]
pub struct Traffic {
    /// As many as the router has, and one for what it does not have.
    routes: RwLock<HashMap<Arc<str>, Arc<Counts>>>,
    adopt: Option<Adopt>,
}

/// By method and class of status.
#[derive(Default)]
struct Counts([[AtomicU64; 5]; METHODS.len()]);

/// A request that is not answered yet.
pub(crate) struct Passing {
    counts: Arc<Counts>,
    method: usize,
    pub(crate) span: tracing::Span,
}

impl Traffic {
    /// Nothing yet. `adopt` is there if spans are sent anywhere.
    pub fn new(adopt: Option<Adopt>) -> Self {
        Self {
            adopt,
            ..Self::default()
        }
    }

    /// A request comes.
    pub(crate) fn enter(&self, request: &Request) -> Passing {
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or("", MatchedPath::as_str);
        let method = METHODS.iter().position(|known| known == request.method());
        let method = method.unwrap_or(METHODS.len() - 1);
        let span = match &self.adopt {
            Some(adopt) => Self::span(request, route, adopt),
            None => tracing::Span::none(),
        };
        Passing {
            counts: self.counts(route),
            method,
            span,
        }
    }

    /// Without the query, where a token may stand.
    fn span(request: &Request, route: &str, adopt: &Adopt) -> tracing::Span {
        let method = request.method().as_str();
        let name = match route {
            "" => method.to_owned(),
            route => format!("{method} {route}"),
        };
        let path: String = request.uri().path().chars().take(PATH_LEN_MAX).collect();
        let peer = request.extensions().get::<Peer>();
        let span = tracing::info_span!(
            target: "lockgate::span",
            parent: None,
            "request",
            otel.name = name,
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            http.request.method = method,
            http.route = route,
            url.path = path,
            client.address = peer.map(|peer| peer.0.ip().to_string()),
            http.response.status_code = tracing::field::Empty,
        );
        let header = |name: &str| request.headers().get(name)?.to_str().ok();
        if let Some(parent) = header("traceparent") {
            adopt(&span, parent, header("tracestate"));
        }
        span
    }

    fn counts(&self, route: &str) -> Arc<Counts> {
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = known.get(route) {
            return Arc::clone(counts);
        }
        drop(known);
        let mut known = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(known.entry(route.into()).or_default())
    }

    /// What was counted: method, route, class of status, and how many.
    pub(crate) fn seen(&self) -> Vec<(&'static str, Arc<str>, &'static str, u64)> {
        let known = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut seen = Vec::new();
        for (route, counts) in known.iter() {
            for (method, classes) in METHOD_NAMES.iter().zip(&counts.0) {
                for (class, count) in CLASSES.iter().zip(classes) {
                    let count = count.load(Ordering::Relaxed);
                    if count > 0 {
                        seen.push((*method, Arc::clone(route), *class, count));
                    }
                }
            }
        }
        seen.sort_unstable();
        seen
    }
}

impl Passing {
    /// It is answered.
    pub(crate) fn answered(self, response: &Response) {
        let status = response.status().as_u16();
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        let by_class = self.counts.0.get(self.method);
        if let Some(count) = by_class.and_then(|classes| classes.get(class)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if !self.span.is_disabled() {
            self.span.record("http.response.status_code", status);
            if status >= 500 {
                self.span.record("otel.status_code", "ERROR");
            }
        }
    }
}

/// The last stands for all others: whoever makes up methods makes up no series.
const METHODS: [Method; 8] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::TRACE,
];
const METHOD_NAMES: [&str; METHODS.len()] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// As much of a path as a span has.
const PATH_LEN_MAX: usize = 200;
