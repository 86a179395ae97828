//! `/metrics`: what an operator's Prometheus collects, in the OpenMetrics text format.
//!
//! Nothing is counted here: each scrape asks the core for its numbers.

use std::fmt;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use lockgate_session::{BreakerState, Counters, Level, Measures, Total};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use serde::{Deserialize, Serialize};

use crate::openapi::Unavailable;
use crate::{App, Caller, Problem, policies, scope::Action};

/// Who may read the metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Whoever has the scope `admin`.
    #[default]
    Token,
    /// Everybody who reaches the port.
    Open,
}

/// What Prometheus collects (OpenMetrics). With `http.metrics = "open"` it needs no token.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "The metrics.", body = String, content_type = "application/openmetrics-text"),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn scrape(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    if app.metrics == Access::Token {
        app.door.admit(&caller, Action::Admin).await?;
    }
    let streams = app.streams.list();
    let live = streams.iter().filter(|stream| stream.state == "live");
    let scrape = Scrape {
        kinds: app.desk.measures().await.map_err(policies::refused)?,
        late: app.desk.late(),
        streams: live.clone().count(),
        viewers: live.map(|stream| stream.viewers).sum(),
        tasks: tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut body = String::new();
    text::encode(&mut body, &registry).map_err(|_| Problem::internal())?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response())
}

/// Everything there is to say.
#[derive(Debug)]
struct Scrape {
    kinds: Vec<Measures>,
    late: u64,
    streams: usize,
    viewers: usize,
    tasks: usize,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut encoder;
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        out.encode_descriptor("lockgate_build", "What runs", None, MetricType::Info)?
            .encode_info(&version)?;
        gauge(
            out,
            "lockgate_streams",
            "Live broadcasts",
            None,
            self.streams as u64,
        )?;
        let help = "WebRTC viewers of live broadcasts";
        gauge(out, "lockgate_viewers", help, None, self.viewers as u64)?;
        let help = "Tasks of the server; as many as before once whoever came is gone";
        gauge(out, "lockgate_tasks", help, None, self.tasks as u64)?;
        out.encode_descriptor(
            "lockgate_policy_late",
            "Batches not answered within policies.deadline_ms; the last decisions held",
            None,
            MetricType::Counter,
        )?
        .encode_counter::<NoLabelSet, _, f64>(&self.late, None)?;
        self.totals(out)?;
        self.slots(out)?;
        self.custom(out)?;
        self.durations(out)
    }
}

impl Scrape {
    /// What each policy has done: these never go back, whatever is swapped.
    fn totals(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let plain: [(&str, &str, Count<u64>); 2] = [
            (
                "lockgate_policy_decisions",
                "Rows decided, or requests for auth",
                |counters| counters.decisions,
            ),
            (
                "lockgate_policy_steps",
                "Wasm fuel or Luau steps used",
                |counters| counters.steps,
            ),
        ];
        for (name, help, count) in plain {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (kind, total) in self.each() {
                let labels = labels(kind, &total.name, &total.version);
                family
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, f64>(&count(&total.counters), None)?;
            }
        }
        let by_fault: [(&str, &str, Count<ByFault>); 2] = [
            (
                "lockgate_policy_faults",
                "Calls that failed as a whole; the next in the chain answered",
                |counters| sorted(&counters.faults),
            ),
            (
                "lockgate_policy_rows_refused",
                "Rows that a policy could not answer; the built-in did",
                |counters| sorted(&counters.refusals),
            ),
        ];
        for (name, help, counts) in by_fault {
            let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (kind, total) in self.each() {
                for (fault, count) in counts(&total.counters) {
                    let mut labels = labels(kind, &total.name, &total.version);
                    labels.push(("fault", fault.to_owned()));
                    family
                        .encode_family(&labels)?
                        .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
                }
            }
        }
        let help = "Shadow decisions that differed from the active policy's";
        let name = "lockgate_policy_shadow_disagreements";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        for measures in &self.kinds {
            family
                .encode_family(&kind(measures))?
                .encode_counter::<NoLabelSet, _, f64>(&measures.disagreements, None)?;
        }
        Ok(())
    }

    /// How things stand now.
    fn slots(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Generation of the active policy; 0 is the built-in";
        let mut family =
            out.encode_descriptor("lockgate_policy_generation", help, None, MetricType::Gauge)?;
        for measures in &self.kinds {
            let active = &measures.info.active;
            let labels = labels(measures.info.kind.name(), &active.name, &active.version);
            family
                .encode_family(&labels)?
                .encode_gauge(&active.generation)?;
        }
        let help = "Most memory the active policy has used";
        let name = "lockgate_policy_memory";
        let mut family =
            out.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?;
        for measures in &self.kinds {
            let active = &measures.info.active;
            let labels = labels(measures.info.kind.name(), &active.name, &active.version);
            let bytes = active.counters.memory_bytes;
            family.encode_family(&labels)?.encode_gauge(&bytes)?;
        }
        let help = "Breaker of the active policy: 0 closed, 1 half open, 2 open";
        let mut family = out.encode_descriptor(
            "lockgate_policy_breaker_state",
            help,
            None,
            MetricType::Gauge,
        )?;
        for measures in &self.kinds {
            let state: u64 = match measures.info.active.breaker {
                BreakerState::Closed => 0,
                BreakerState::HalfOpen => 1,
                BreakerState::Open => 2,
            };
            family
                .encode_family(&kind(measures))?
                .encode_gauge(&state)?;
        }
        let help = "Who answered last: 0 the active policy, 1 the one before it, 2 the built-in";
        let name = "lockgate_policy_fallback_level";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for measures in &self.kinds {
            let level: u64 = match measures.level {
                Level::Active => 0,
                Level::LastGood => 1,
                Level::Builtin => 2,
            };
            family
                .encode_family(&kind(measures))?
                .encode_gauge(&level)?;
        }
        Ok(())
    }

    /// What the active policies count themselves. The host bounds how many there are and what their names may be. Gauges
    /// all, for what a policy counts begins anew with it.
    fn custom(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "What the active policy reports through host-metrics, from 0 at each swap";
        let name = "lockgate_policy_custom";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for measures in &self.kinds {
            let active = &measures.info.active;
            for metric in active.host.iter().flat_map(|host| &host.metrics) {
                let mut labels = kind(measures);
                labels.push(("policy", escaped(&active.name)));
                labels.push(("name", metric.name.clone()));
                family.encode_family(&labels)?.encode_gauge(&metric.value)?;
            }
        }
        Ok(())
    }

    fn durations(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Time to answer a batch, or a request for auth, whoever answered";
        let name = "lockgate_policy_decision";
        let mut family =
            out.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for measures in &self.kinds {
            let took = &measures.took;
            // The library takes the greatest number for infinity.
            let buckets: Vec<(f64, u64)> = took
                .buckets()
                .map(|(bound, count)| (bound.min(f64::MAX), count))
                .collect();
            let (sum, count) = (took.sum().as_secs_f64(), took.count());
            family
                .encode_family(&kind(measures))?
                .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }

    fn each(&self) -> impl Iterator<Item = (&'static str, &Total)> {
        let totals = |measures: &Measures| measures.info.kind.name();
        self.kinds.iter().flat_map(move |measures| {
            measures
                .totals
                .iter()
                .map(move |total| (totals(measures), total))
        })
    }
}

fn gauge(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> fmt::Result {
    out.encode_descriptor(name, help, unit, MetricType::Gauge)?
        .encode_gauge(&value)
}

/// What is taken from the counters of a policy.
type Count<T> = fn(&Counters) -> T;

/// Counts by the word of their fault.
type ByFault = Vec<(&'static str, u64)>;

type Labels = Vec<(&'static str, String)>;

fn kind(measures: &Measures) -> Labels {
    vec![("kind", measures.info.kind.name().to_owned())]
}

fn labels(kind: &str, policy: &str, version: &str) -> Labels {
    vec![
        ("kind", kind.to_owned()),
        ("policy", escaped(policy)),
        ("version", escaped(version)),
    ]
}

/// The name of a script may be any text; the library writes label values as they are.
fn escaped(text: &str) -> String {
    let short: String = text.chars().take(LABEL_CHARS_MAX).collect();
    short
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn sorted(counts: &std::collections::HashMap<&'static str, u64>) -> ByFault {
    let mut counts: Vec<_> = counts.iter().map(|(word, count)| (*word, *count)).collect();
    counts.sort_unstable();
    counts
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Characters of a policy's name or version in a label.
const LABEL_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_a_label() {
        assert_eq!(escaped("a\"} 1\n\\x"), "a\\\"} 1\\n\\\\x");
    }
}
