//! `host-metrics`: a few numbers that a policy counts for people. It never reads them.

use serde::Serialize;

/// What a metric does with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    /// Adds it.
    Counter,
    /// Becomes it.
    Gauge,
}

impl MetricKind {
    /// As it crosses: 0 counter, 1 gauge.
    pub fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Counter),
            1 => Some(Self::Gauge),
            _ => None,
        }
    }
}

/// A metric and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MetricInfo {
    /// Its name: 1 to 64 of `a-z`, `0-9` and `_`, the first a letter.
    pub name: String,
    /// What it is.
    pub kind: MetricKind,
    /// Its value, always finite.
    pub value: f64,
}

#[derive(Debug, Default)]
pub(super) struct Metrics {
    all: Vec<MetricInfo>,
}

impl Metrics {
    pub(super) fn define(&mut self, name: &str, kind: MetricKind) -> Option<u32> {
        let known = self.all.iter().position(|metric| metric.name == name);
        let at = match known {
            Some(at) => {
                if self.all.get(at)?.kind != kind {
                    return None;
                }
                at
            }
            None if self.all.len() < METRICS_MAX && is_name(name) => {
                self.all.push(MetricInfo {
                    name: name.to_owned(),
                    kind,
                    value: 0.0,
                });
                self.all.len() - 1
            }
            None => return None,
        };
        u32::try_from(at).ok()
    }

    pub(super) fn record(&mut self, metric: u32, value: f64) -> bool {
        let Some(metric) = usize::try_from(metric)
            .ok()
            .and_then(|at| self.all.get_mut(at))
        else {
            return false;
        };
        let next = match metric.kind {
            MetricKind::Counter if value >= 0.0 => metric.value + value,
            MetricKind::Counter => return false,
            MetricKind::Gauge => value,
        };
        if next.is_finite() {
            metric.value = next;
        }
        next.is_finite()
    }

    pub(super) fn info(&self) -> Vec<MetricInfo> {
        self.all.clone()
    }
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Metrics a policy may have.
pub const METRICS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 64;
