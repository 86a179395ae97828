//! The log: one line for each event on standard error, for people or as JSON, with a filter that can be changed.

use std::sync::Arc;

use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::SPANS;

/// What the operator chose.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// How lines look.
    pub format: Format,
    /// Which lines: a level, or `target=level` separated by commas (`EnvFilter`).
    pub filter: String,
    /// Whether text is coloured.
    pub colours: bool,
}

/// How lines look. What stands in them is the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON object: `timestamp`, `level`, `target`, `message`, and the event's fields.
    Json,
}

/// A text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no filter: {1}; write error, warn, info, debug or trace, or TARGET=LEVEL separated by commas"
)]
pub struct BadFilter(String, String);

/// Decides which lines are written. Clones are the same.
#[derive(Clone)]
pub struct Filter {
    handle: Arc<reload::Handle<EnvFilter, Registry>>,
    text: Arc<std::sync::Mutex<String>>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            format: Format::default(),
            filter: "info".to_owned(),
            colours: false,
        }
    }
}

impl Filter {
    /// The filter in effect.
    pub fn text(&self) -> String {
        let text = self.text.lock();
        text.unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// Another filter from now on. A bad one changes nothing.
    pub fn set(&self, filter: &str) -> Result<(), BadFilter> {
        let parsed = parse(filter)?;
        let text = self.text.lock();
        let mut text = text.unwrap_or_else(std::sync::PoisonError::into_inner);
        let gone = |error: reload::Error| BadFilter(filter.to_owned(), error.to_string());
        self.handle.reload(parsed).map_err(gone)?;
        filter.clone_into(&mut text);
        Ok(())
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Filter").field(&self.text()).finish()
    }
}

type Lines = Box<dyn Layer<Registry> + Send + Sync>;

pub(crate) fn layer(config: &LogConfig) -> Result<(Lines, Filter), BadFilter> {
    let (filter, handle) = reload::Layer::new(parse(&config.filter)?);
    let lines = fmt::layer()
        .with_ansi(config.colours)
        .with_writer(std::io::stderr);
    let lines: Lines = match config.format {
        Format::Text => Box::new(lines.with_filter(filter)),
        Format::Json => {
            let lines = lines.json().flatten_event(true).with_current_span(false);
            Box::new(lines.with_span_list(false).with_filter(filter))
        }
    };
    let filter = Filter {
        handle: Arc::new(handle),
        text: Arc::new(std::sync::Mutex::new(config.filter.clone())),
    };
    Ok((lines, filter))
}

/// Whether a text is a filter.
pub fn check(text: &str) -> Result<(), BadFilter> {
    parse(text).map(drop)
}

fn parse(text: &str) -> Result<EnvFilter, BadFilter> {
    let bad = |why: String| BadFilter(text.chars().take(200).collect(), why);
    if text.len() > FILTER_LEN_MAX {
        return Err(bad(format!("it has more than {FILTER_LEN_MAX} bytes")));
    }
    // What the WebRTC stack says of every packet it drops while a peer connects is counted where it matters.
    let quiet = ["rtc", "rtc_ice", "rtc_dtls", "rtc_srtp", "webrtc"];
    let quiet = quiet.map(|target| format!("{target}=error")).join(",");
    let whole = format!("{quiet},{text},{SPANS}=off");
    if text.trim().is_empty() {
        return Err(bad("it is empty".to_owned()));
    }
    EnvFilter::builder()
        .with_regex(false)
        .parse(whole)
        .map_err(|error| bad(error.to_string()))
}

const FILTER_LEN_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_a_level_or_levels_by_target() {
        for good in ["debug", "warn,lockgate_api=trace", "off", "rtc=debug"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", " ", "lockgate=loud", "=info=", &"a,".repeat(1000)] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("is no filter"), "{error}");
        }
    }
}
