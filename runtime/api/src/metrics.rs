//! `/metrics`: what an operator's Prometheus collects, in the text format of OpenMetrics or, for whoever does not ask for
//! that, in Prometheus' own.
//!
//! Nothing is counted here: each scrape asks the core for its numbers. No label has a value that comes from outside: no
//! name of a broadcast, no address, no path, so that nobody can make the series grow.

use std::{collections::HashMap, fmt, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use lockgate_session::history::HistoryCounts;
use lockgate_session::rooms::{JoinResult, RoomInfo};
use lockgate_session::{BreakerState, Counters, Level, Measures, StreamInfo, Total};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::{Registry, Unit},
};
use serde::{Deserialize, Serialize};

use crate::openapi::Unavailable;
use crate::{App, Caller, Problem, policies, process::Process, scope::Action};

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
        (status = 200, description = "The metrics, in the form that is asked for.", content((String = "application/openmetrics-text"), (String = "text/plain"))),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn scrape(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if app.metrics == Access::Token {
        app.door.admit(&caller, Action::Admin).await?;
    }
    let streams = app.streams.list();
    let live = streams.iter().filter(|stream| stream.state == "live");
    let scrape = Scrape {
        kinds: app.desk.measures().await.map_err(policies::refused)?,
        late: app.desk.late(),
        streams: live.clone().count(),
        viewers: live.clone().map(|stream| stream.viewers).sum(),
        publishers: live
            .filter(|stream| stream.publisher == Some("connected"))
            .count(),
        hls_sessions: app.door.hls_sessions(None).len(),
        sockets: app.sockets.count(),
        network_quality: network_quality(&app, &streams),
        cpu_used: (streams.iter())
            .filter_map(|stream| stream.load.cpu_used)
            .sum(),
        rungs_shed: streams.iter().map(|stream| stream.load.shed.len()).sum(),
        rooms: app.streams.rooms().list(),
        joins: app.streams.rooms().joins().to_vec(),
        requests: app.traffic.seen(),
        ready: app.health.is_ready(),
        process: Process::look(),
        history: (app.streams.history())
            .map(|history| history.counts())
            .unwrap_or_default(),
        tasks: tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks(),
    };
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut body = String::new();
    text::encode(&mut body, &registry).map_err(|_| Problem::internal())?;
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    let is_open = accepted.any(|value| {
        let value = value.to_str().unwrap_or_default();
        value.contains("application/openmetrics-text")
    });
    Ok(if is_open {
        ([(header::CONTENT_TYPE, OPEN_METRICS)], body).into_response()
    } else {
        ([(header::CONTENT_TYPE, TEXT)], plain(&body)).into_response()
    })
}

/// The mean over broadcasts of whose viewers and players something is known.
fn network_quality(app: &App, streams: &[StreamInfo]) -> Option<f64> {
    let known: Vec<f64> = streams
        .iter()
        .filter_map(|stream| app.streams.metrics(&stream.id).ok()?.network_quality)
        .collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

/// The same in the text format of Prometheus (version 0.0.4), where a family has the name of its samples, and there are no
/// units and no infos.
fn plain(open: &str) -> String {
    let mut out = String::with_capacity(open.len());
    let mut kinds: HashMap<&str, &str> = HashMap::new();
    for line in open.lines() {
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            kinds.insert(name, kind);
        }
    }
    for line in open.lines() {
        let mut words = line.splitn(4, ' ');
        let (mark, word, name) = (words.next(), words.next(), words.next());
        let (Some("#"), Some(word), Some(name)) = (mark, word, name) else {
            if line != "# EOF" {
                out.push_str(line);
                out.push('\n');
            }
            continue;
        };
        let rest = words.next().unwrap_or_default();
        let kind = kinds.get(name).copied().unwrap_or_default();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let rest = match word {
            "HELP" => rest,
            "TYPE" if kind == "info" => "gauge",
            "TYPE" => rest,
            _ => continue,
        };
        out.push_str(&format!("# {word} {name}{suffix} {rest}\n"));
    }
    out
}

/// Everything there is to say.
#[derive(Debug)]
struct Scrape {
    kinds: Vec<Measures>,
    late: u64,
    streams: usize,
    viewers: usize,
    publishers: usize,
    hls_sessions: usize,
    sockets: usize,
    network_quality: Option<f64>,
    cpu_used: f64,
    rungs_shed: usize,
    rooms: Vec<RoomInfo>,
    joins: Vec<(JoinResult, u64)>,
    requests: Vec<(&'static str, Arc<str>, &'static str, u64)>,
    ready: bool,
    process: Option<Process>,
    history: HistoryCounts,
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
        let help = "Publishers that are connected";
        gauge(
            out,
            "lockgate_publishers",
            help,
            None,
            self.publishers as u64,
        )?;
        let help = "HLS and DASH sessions of the last minute";
        gauge(
            out,
            "lockgate_hls_sessions",
            help,
            None,
            self.hls_sessions as u64,
        )?;
        let help = "Clients connected over Socket.IO";
        gauge(out, "lockgate_sockets", help, None, self.sockets as u64)?;
        self.rooms(out)?;
        let help = "1 while new sessions are taken in, as /readyz says";
        gauge(out, "lockgate_ready", help, None, u64::from(self.ready))?;
        self.media(out)?;
        self.requests(out)?;
        if let Some(process) = &self.process {
            process.encode(out)?;
        }
        let help = "Tasks of the server; as many as before once whoever came is gone";
        gauge(out, "lockgate_tasks", help, None, self.tasks as u64)?;
        out.encode_descriptor(
            "lockgate_policy_late",
            "Batches not answered within policies.deadline_ms; the last decisions held",
            None,
            MetricType::Counter,
        )?
        .encode_counter::<NoLabelSet, _, f64>(&self.late, None)?;
        self.history(out)?;
        self.totals(out)?;
        self.slots(out)?;
        self.custom(out)?;
        self.durations(out)
    }
}

impl Scrape {
    /// How viewers fare, and what encoding takes.
    fn media(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Average score of viewers and players, 0 to 100; absent while nobody is scored";
        let mut family =
            out.encode_descriptor("lockgate_network_quality", help, None, MetricType::Gauge)?;
        if let Some(quality) = &self.network_quality {
            family.encode_gauge(quality)?;
        }
        let help = "CPU seconds a second that encoding takes, all ladders together";
        out.encode_descriptor("lockgate_ladder_cpu_used", help, None, MetricType::Gauge)?
            .encode_gauge(&self.cpu_used)?;
        let help = "Rungs that are left out because encoding could not keep up";
        let shed = self.rungs_shed as u64;
        gauge(out, "lockgate_ladder_rungs_shed", help, None, shed)
    }

    fn requests(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let help = "HTTP requests answered, by method, route and class of status";
        let name = "lockgate_http_requests";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (method, route, status, count) in &self.requests {
            let labels = [
                ("method", *method),
                ("route", &**route),
                ("status", *status),
            ];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, f64>(count, None)?;
        }
        Ok(())
    }

    fn rooms(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let rooms = self.rooms.len() as u64;
        gauge(out, "lockgate_rooms", "Rooms that are open", None, rooms)?;
        let help = "Participants of rooms, seats that are kept among them";
        let name = "lockgate_room_participants";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let sum = |of: fn(&RoomInfo) -> usize| self.rooms.iter().map(of).sum::<usize>() as u64;
        for (role, count) in [
            ("host", sum(|room| room.roles.host)),
            ("speaker", sum(|room| room.roles.speaker)),
            ("listener", sum(|room| room.roles.listener)),
        ] {
            family
                .encode_family(&[("role", role)])?
                .encode_gauge(&count)?;
        }
        let help = "Wishes to join a room, by what became of them";
        let name = "lockgate_room_joins";
        let mut family = out.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (result, count) in &self.joins {
            family
                .encode_family(&[("result", result.name())])?
                .encode_counter::<NoLabelSet, _, f64>(count, None)?;
        }
        Ok(())
    }

    /// The records of sessions.
    fn history(&self, out: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = self.history;
        let help = "Records of sessions on the disk";
        gauge(
            out,
            "lockgate_session_records",
            help,
            None,
            counts.kept.unwrap_or(0),
        )?;
        let help = "Sessions whose beginning or end is not on the disk yet";
        gauge(
            out,
            "lockgate_session_records_waiting",
            help,
            None,
            counts.waiting,
        )?;
        for (name, help, count) in [
            (
                "lockgate_session_records_written",
                "Records of sessions written, each change counted",
                counts.written,
            ),
            (
                "lockgate_session_records_lost",
                "Sessions not recorded, or whose end was not, because too many waited for the disk",
                counts.lost,
            ),
        ] {
            out.encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
        }
        Ok(())
    }

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

fn sorted(counts: &HashMap<&'static str, u64>) -> ByFault {
    let mut counts: Vec<_> = counts.iter().map(|(word, count)| (*word, *count)).collect();
    counts.sort_unstable();
    counts
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// Characters of a policy's name or version in a label.
const LABEL_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_format_has_the_same_under_the_names_of_samples() {
        let open = "# HELP a_build What runs.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n# HELP a_b_seconds How long.\n# TYPE a_b_seconds counter\n# UNIT a_b_seconds seconds\na_b_seconds_total 2.5\n# HELP a_c Some.\n# TYPE a_c gauge\na_c 3\n# EOF\n";
        let wanted = "# HELP a_build_info What runs.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n# HELP a_b_seconds_total How long.\n# TYPE a_b_seconds_total counter\na_b_seconds_total 2.5\n# HELP a_c Some.\n# TYPE a_c gauge\na_c 3\n";
        assert_eq!(plain(open), wanted);
    }

    #[test]
    fn names_cannot_break_out_of_a_label() {
        assert_eq!(escaped("a\"} 1\n\\x"), "a\\\"} 1\\n\\\\x");
    }
}
