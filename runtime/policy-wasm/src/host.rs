//! One engine for all policies of a process.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use lockgate_policy::LoadError;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::Cache;

/// How a host is set up. The limits of a single policy come with [`Host::load`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Most instances at a time, of all policies together.
    pub instances: u32,
    /// Most memory that any policy's limit may grant an instance, in bytes.
    pub memory_bytes_max: usize,
    /// A call is ended after this much time at the latest, should counting instructions not have ended it.
    pub backstop: Duration,
    /// Where compiled code is kept from start to start. Only the server may write there: what it holds is run.
    pub cache: Option<PathBuf>,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            instances: 256,
            memory_bytes_max: 64 << 20,
            backstop: Duration::from_millis(100),
            cache: None,
        }
    }
}

/// Loads policies and runs them. Cheap to clone; all clones are one host.
#[derive(Clone)]
pub struct Host {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    config: HostConfig,
    cache: Option<Cache>,
    ticker: Option<Ticker>,
}

impl Host {
    /// Sets up an engine. One for each process is enough.
    pub fn new(config: HostConfig) -> Result<Self, LoadError> {
        let fail = |what: &str, error: &dyn std::fmt::Display| {
            LoadError::new(format!("{what} for Wasm policies: {error}"))
        };
        let engine =
            Engine::new(&engine_config(&config)).map_err(|error| fail("no engine", &error))?;
        let cache = match &config.cache {
            Some(path) => Some(
                Cache::open(path, &engine).map_err(|error| fail("no cache directory", &error))?,
            ),
            None => None,
        };
        let ticker = Ticker::start(engine.clone(), config.backstop / TICKS)
            .map_err(|error| fail("no timer thread", &error))?;
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                config,
                cache,
                ticker: Some(ticker),
            }),
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn config(&self) -> &HostConfig {
        &self.inner.config
    }

    pub(crate) fn cache(&self) -> Option<&Cache> {
        self.inner.cache.as_ref()
    }

    /// The deadline of a call in ticks: the backstop, and the tick that has begun already.
    pub(crate) fn epochs(&self) -> u64 {
        u64::from(TICKS) + 1
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(ticker) = self.ticker.take() {
            ticker.stop();
        }
    }
}

fn engine_config(config: &HostConfig) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(config.instances)
        .total_core_instances(config.instances.saturating_mul(2))
        .total_memories(config.instances)
        .total_tables(config.instances.saturating_mul(2))
        .max_memory_size(config.memory_bytes_max)
        .table_elements(TABLE_ELEMENTS_MAX)
        // A component of wit-component is one module and, if it needs them, a few that only forward.
        .max_core_instances_per_component(8)
        .max_memories_per_component(1)
        .max_memories_per_module(1)
        .max_tables_per_component(4)
        .max_tables_per_module(4);
    let mut engine = Config::new();
    engine
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        // Its results differ from machine to machine unless made not to.
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false)
        .max_wasm_stack(512 << 10)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    engine
}

/// Moves the epoch on, so that a call which counts no instructions ends nevertheless.
struct Ticker {
    stop: mpsc::SyncSender<()>,
    thread: thread::JoinHandle<()>,
}

impl Ticker {
    fn start(engine: Engine, period: Duration) -> std::io::Result<Self> {
        // Nothing is ever sent: the end of the sender ends the thread.
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let thread = thread::Builder::new()
            .name("wasm-epoch".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(period) == Err(mpsc::RecvTimeoutError::Timeout) {
                    engine.increment_epoch();
                }
            })?;
        Ok(Self { stop, thread })
    }

    fn stop(self) {
        drop(self.stop);
        // It does nothing that could panic, and there would be nobody to tell.
        drop(self.thread.join());
    }
}

/// Ticks in a backstop.
const TICKS: u32 = 2;

/// Most entries of a table: functions that are called through pointers.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 20_000;
