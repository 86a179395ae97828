//! `[server]`, `[log]` and `[telemetry]`: how it goes down, and what it tells of itself.

use std::collections::BTreeMap;

use lockgate_telemetry::{Format, LogConfig, TracesConfig};
use serde::{Deserialize, Serialize, Serializer};

use super::{Config, Location};

/// How the server goes down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// How long publishers and WebRTC viewers may stay after SIGTERM, in s, 0 to 3600; new ones are refused at once.
    pub drain_s: u64,
}

/// The log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// How lines look.
    pub format: LogFormat,
    /// Which lines: a level, or `target=level` separated by commas.
    pub filter: String,
}

/// How lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// A JSON object each.
    Json,
}

/// Traces for an OpenTelemetry collector.
#[derive(Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Where the collector takes OTLP over HTTP; without it nothing is traced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub endpoint: Option<Location>,
    /// Headers sent to it, such as a key.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", serialize_with = "hidden")]
    pub headers: BTreeMap<String, String>,
    /// What this server is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_name: Option<String>,
    /// The share of traces that begin here and are sent, 0 to 1.
    pub sample: f64,
}

/// Nobody is to see them.
fn hidden<S: Serializer>(
    headers: &BTreeMap<String, String>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(headers.keys().map(|name| (name, "(kept secret)")))
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry")
            .field("endpoint", &self.endpoint)
            .field("headers", &self.headers.keys())
            .field("sample", &self.sample)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The log and the traces. `LOCKGATE_LOG` names another filter, and OpenTelemetry's own variables a collector.
    pub(crate) fn telemetry(&self) -> lockgate_telemetry::Config {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let telemetry = &self.telemetry;
        let endpoint = telemetry
            .endpoint
            .as_ref()
            .map(|endpoint| endpoint.reveal().to_owned())
            .or_else(|| variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
            .or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        lockgate_telemetry::Config {
            log: LogConfig {
                format: match self.log.format {
                    LogFormat::Text => Format::Text,
                    LogFormat::Json => Format::Json,
                },
                filter: self.log_filter(),
                colours: is_terminal && std::env::var_os("NO_COLOR").is_none(),
            },
            traces: endpoint.map(|endpoint| TracesConfig {
                endpoint,
                headers: telemetry.headers.clone().into_iter().collect(),
                service_name: telemetry.service_name.clone(),
                sample: telemetry.sample,
                version: env!("CARGO_PKG_VERSION"),
            }),
        }
    }

    /// Which lines the log has.
    pub(crate) fn log_filter(&self) -> String {
        let named = std::env::var("LOCKGATE_LOG").ok();
        let named = named.filter(|filter| !filter.trim().is_empty());
        named.unwrap_or_else(|| self.log.filter.clone())
    }

    pub(super) fn check_telemetry(&self) -> Result<(), String> {
        let telemetry = &self.telemetry;
        if let Some(endpoint) = &telemetry.endpoint
            && !["http://", "https://"].iter().any(|scheme| {
                let endpoint = endpoint.reveal();
                endpoint.starts_with(scheme) && endpoint.len() > scheme.len()
            })
        {
            return Err(format!(
                "telemetry.endpoint: {endpoint:?} is no http or https URL, such as http://127.0.0.1:4318"
            ));
        }
        if !(0.0..=1.0).contains(&telemetry.sample) {
            let sample = telemetry.sample;
            return Err(format!("telemetry.sample: {sample} is not within 0 to 1"));
        }
        if self.server.drain_s > 3600 {
            let drain_s = self.server.drain_s;
            return Err(format!("server.drain_s: {drain_s} is not within 0 to 3600"));
        }
        lockgate_telemetry::check(&self.log.filter).map_err(|error| format!("log.filter: {error}"))
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { drain_s: 10 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::default(),
            filter: "info".to_owned(),
        }
    }
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            endpoint: None,
            headers: BTreeMap::new(),
            service_name: None,
            sample: 1.0,
        }
    }
}
