//! The engines of a process: one for policies, and one for those that bring an interpreter along.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use lockgate_policy::{Limits, LoadError};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::Cache;

/// How a host is set up. The limits of a single policy come with [`Host::load`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// Most instances at a time, of all policies together; large ones apart.
    pub instances: u32,
    /// Most memory that any policy's limit may grant an instance, in bytes.
    pub memory_bytes_max: usize,
    /// The same for a large policy.
    pub large_memory_bytes_max: usize,
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
            large_memory_bytes_max: 512 << 20,
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
    config: HostConfig,
    ordinary: Runtime,
    large: Runtime,
    ticker: Option<Ticker>,
}

/// An engine and what it has compiled.
pub(crate) struct Runtime {
    pub(crate) engine: Engine,
    pub(crate) cache: Option<Cache>,
}

impl Runtime {
    fn new(settings: &Config, cache: Option<&Path>) -> Result<Self, LoadError> {
        let fail = |what: &str, error: &dyn std::fmt::Display| {
            LoadError::new(format!("{what} for Wasm policies: {error}"))
        };
        let engine = Engine::new(settings).map_err(|error| fail("no engine", &error))?;
        let cache = cache
            .map(|path| Cache::open(path, &engine))
            .transpose()
            .map_err(|error| fail("no cache directory", &error))?;
        Ok(Self { engine, cache })
    }
}

impl Host {
    /// Sets up the engines. One host for each process is enough.
    pub fn new(config: HostConfig) -> Result<Self, LoadError> {
        let cache = config.cache.as_deref();
        let ordinary = Runtime::new(&ordinary(&config), cache)?;
        let large = Runtime::new(&large(), cache)?;
        let engines = [ordinary.engine.clone(), large.engine.clone()];
        let ticker = Ticker::start(engines, config.backstop / TICKS).map_err(|error| {
            LoadError::new(format!("no timer thread for Wasm policies: {error}"))
        })?;
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                ordinary,
                large,
                ticker: Some(ticker),
            }),
        })
    }

    /// Where policies under these limits run.
    pub(crate) fn runtime(&self, limits: &Limits) -> &Runtime {
        if limits.large {
            &self.inner.large
        } else {
            &self.inner.ordinary
        }
    }

    pub(crate) fn config(&self) -> &HostConfig {
        &self.inner.config
    }

    /// Most memory that these limits may grant.
    pub(crate) fn memory_bytes_max(&self, limits: &Limits) -> usize {
        if limits.large {
            self.inner.config.large_memory_bytes_max
        } else {
            self.inner.config.memory_bytes_max
        }
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

/// Policies as compilers make them: one small module, instances out of a pool.
fn ordinary(config: &HostConfig) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(config.instances)
        .total_core_instances(config.instances.saturating_mul(2))
        .total_memories(config.instances)
        .total_tables(config.instances.saturating_mul(2))
        .max_memory_size(config.memory_bytes_max)
        .table_elements(table_elements_max(false))
        // A component of wit-component is one module and, if it needs them, a few that only forward.
        .max_core_instances_per_component(8)
        .max_memories_per_component(MEMORIES_MAX)
        .max_memories_per_module(MEMORIES_MAX)
        .max_tables_per_component(4)
        .max_tables_per_module(4);
    let mut engine = deterministic();
    engine
        .wasm_multi_memory(false)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    engine
}

/// Policies with an interpreter in them: many modules, big tables, a heap. There are few instances of them at a time, and
/// a pool with places for such would take address space from all others.
fn large() -> Config {
    let mut engine = deterministic();
    engine
        // Where a component is made of several, copying between them takes a module with two memories.
        .wasm_multi_memory(true)
        .allocation_strategy(InstanceAllocationStrategy::OnDemand);
    engine
}

/// What makes two runs the same, and ends them.
fn deterministic() -> Config {
    let mut engine = Config::new();
    engine
        .wasm_component_model(true)
        .consume_fuel(true)
        .epoch_interruption(true)
        .cranelift_nan_canonicalization(true)
        // Its results differ from machine to machine unless made not to.
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .max_wasm_stack(512 << 10);
    engine
}

/// Moves the epoch on, so that a call which counts no instructions ends nevertheless.
struct Ticker {
    stop: mpsc::SyncSender<()>,
    thread: thread::JoinHandle<()>,
}

impl Ticker {
    fn start(engines: [Engine; 2], period: Duration) -> std::io::Result<Self> {
        // Nothing is ever sent: the end of the sender ends the thread.
        let (stop, stopped) = mpsc::sync_channel::<()>(0);
        let thread = thread::Builder::new()
            .name("wasm-epoch".to_owned())
            .spawn(move || {
                while stopped.recv_timeout(period) == Err(mpsc::RecvTimeoutError::Timeout) {
                    engines.iter().for_each(Engine::increment_epoch);
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

/// Memories in a policy that is not large.
pub(crate) const MEMORIES_MAX: u32 = 1;

/// Most entries of a table: functions that are called through pointers.
pub(crate) const fn table_elements_max(large: bool) -> usize {
    if large { 100_000 } else { 20_000 }
}
