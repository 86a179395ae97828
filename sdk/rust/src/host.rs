//! What a policy may ask of its host beside its question. Each part needs its name in `imports` of `plugin.toml` and the
//! operator's grant.
//!
//! In `cargo test` there is no host: lines go to standard error, what is put is kept for the thread, metrics stand in
//! [`metrics::values`].

/// Lines for people: `host-log`.
pub mod log {
    /// For the author.
    pub fn debug(text: &str) {
        super::edge::log(0, text);
    }

    /// For whoever wants to know.
    pub fn info(text: &str) {
        super::edge::log(1, text);
    }

    /// Somebody should look.
    pub fn warn(text: &str) {
        super::edge::log(2, text);
    }

    /// Something is wrong.
    pub fn error(text: &str) {
        super::edge::log(3, text);
    }
}

/// Numbers under keys, for what belongs to no single row: `host-kv`.
pub mod kv {
    /// What stood under a key when the call began, whatever the call itself has put.
    pub fn get(key: &str) -> Option<Vec<f64>> {
        super::edge::get(key)
    }

    /// Keeps at most 64 finite numbers for `ttl_s` seconds of the policy's own clock; 0 forgets the key. False where they
    /// were not kept.
    pub fn put(key: &str, numbers: &[f64], ttl_s: u32) -> bool {
        super::edge::put(key, numbers, ttl_s)
    }
}

/// A few numbers for people and dashboards: `host-metrics`.
pub mod metrics {
    /// Adds to the counter of this name. False where nothing happened.
    pub fn add(name: &str, value: f64) -> bool {
        super::edge::record(name, 0, value)
    }

    /// Sets the gauge of this name. False where nothing happened.
    pub fn set(name: &str, value: f64) -> bool {
        super::edge::record(name, 1, value)
    }

    /// What this thread's metrics stand at, for tests.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn values() -> std::collections::BTreeMap<String, f64> {
        super::edge::values()
    }
}

#[cfg(target_arch = "wasm32")]
mod edge {
    use crate::bindings::{
        host_kv::lockgate::policy::host_kv, host_log::lockgate::policy::host_log,
        host_metrics::lockgate::policy::host_metrics,
    };

    pub(super) fn log(level: u8, text: &str) {
        host_log::log(level, text);
    }

    pub(super) fn get(key: &str) -> Option<Vec<f64>> {
        host_kv::get(key)
    }

    pub(super) fn put(key: &str, numbers: &[f64], ttl_s: u32) -> bool {
        host_kv::put(key, numbers, ttl_s)
    }

    pub(super) fn record(name: &str, kind: u8, value: f64) -> bool {
        host_metrics::define(name, kind)
            .is_some_and(|metric| host_metrics::record_value(metric, value))
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod edge {
    use std::{cell::RefCell, collections::BTreeMap};

    thread_local! {
        static KEPT: RefCell<BTreeMap<String, Vec<f64>>> = const { RefCell::new(BTreeMap::new()) };
        static METRICS: RefCell<BTreeMap<String, f64>> = const { RefCell::new(BTreeMap::new()) };
    }

    pub(super) fn log(level: u8, text: &str) {
        let level = ["debug", "info", "warn", "error"][usize::from(level.min(3))];
        eprintln!("{level}: {text}");
    }

    pub(super) fn get(key: &str) -> Option<Vec<f64>> {
        KEPT.with_borrow(|kept| kept.get(key).cloned())
    }

    pub(super) fn put(key: &str, numbers: &[f64], ttl_s: u32) -> bool {
        let is_good = (1..=128).contains(&key.len())
            && numbers.len() <= 64
            && numbers.iter().all(|number| number.is_finite());
        if is_good {
            KEPT.with_borrow_mut(|kept| match ttl_s {
                0 => kept.remove(key),
                _ => kept.insert(key.to_owned(), numbers.to_vec()),
            });
        }
        is_good
    }

    pub(super) fn record(name: &str, kind: u8, value: f64) -> bool {
        let is_good = value.is_finite() && (kind == 1 || value >= 0.0);
        if is_good {
            METRICS.with_borrow_mut(|metrics| {
                let metric = metrics.entry(name.to_owned()).or_default();
                *metric = if kind == 0 { *metric + value } else { value };
            });
        }
        is_good
    }

    pub(super) fn values() -> BTreeMap<String, f64> {
        METRICS.with_borrow(Clone::clone)
    }
}
