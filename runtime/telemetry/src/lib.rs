//! What the server tells of itself while it runs: the log, and traces for an OpenTelemetry collector. The only crate that
//! names OpenTelemetry.
//!
//! Events are for people and go into the log. Spans of the target [`SPANS`] are for traces and go nowhere else, so
//! that where no collector is configured they cost a look at a flag. Start reading at [`start`].
#![forbid(unsafe_code)]

mod export;
mod log;
mod parent;

use std::time::Duration;

use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _};

pub use export::TracesConfig;
pub use log::{BadFilter, Filter, Format, LogConfig, check};
pub use parent::adopt;

/// The target of all spans that traces are made of.
pub const SPANS: &str = "lockgate::span";

/// What the operator chose.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The log.
    pub log: LogConfig,
    /// Traces, if they are wanted.
    pub traces: Option<TracesConfig>,
}

/// Why there is no log, or there are no traces.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The filter cannot be read.
    #[error("log.filter: {0}")]
    Filter(#[from] BadFilter),
    /// The exporter cannot be set up.
    #[error("telemetry.endpoint: {0}")]
    Exporter(String),
    /// Somebody else writes the log already.
    #[error("the log was started twice")]
    Twice,
}

/// A running log, and perhaps traces. Dropping it sends what is still to be sent.
#[derive(Debug)]
pub struct Telemetry {
    filter: Filter,
    provider: Option<opentelemetry_sdk::trace::SdkTracerProvider>,
}

/// Starts the log, and the traces where they are configured. To be called once, inside the runtime, which then carries
/// the traces to their collector.
pub fn start(config: Config) -> Result<Telemetry, StartError> {
    let (lines, filter) = log::layer(&config.log)?;
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![lines];
    let provider = config.traces.map(export::provider).transpose()?;
    if let Some(provider) = &provider {
        layers.push(export::layer(provider));
    }
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layers))
        .map_err(|_| StartError::Twice)?;
    Ok(Telemetry { filter, provider })
}

impl Telemetry {
    /// What decides which lines are written.
    pub fn filter(&self) -> Filter {
        self.filter.clone()
    }

    /// Whether spans are sent anywhere.
    pub fn has_traces(&self) -> bool {
        self.provider.is_some()
    }

    /// Sends what is still to be sent, for so long at most. Waits: not for a thread of the runtime.
    pub fn finish(self, within: Duration) {
        // The collector may be gone by now, which was said when it went.
        if let Some(provider) = &self.provider {
            provider.shutdown_with_timeout(within).ok();
        }
    }
}
