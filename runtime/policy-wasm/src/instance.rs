//! Instances: the only place where a policy's code runs.

use std::sync::Arc;

use lockgate_policy::{
    Answer, Batch, Fault, Kind, Policy, Services, Spent,
    auth::{Request, Verdict},
};
use wasmtime::{Store, component::Instance};

use crate::{
    artifact::Loaded,
    guard::Guard,
    wire::{self, AuthParams, AuthResults, BatchParams, BatchResults},
};

/// An instance that has been configured.
pub(crate) struct Live {
    store: Store<Guard>,
    instance: Instance,
}

impl Live {
    /// Makes and configures an instance.
    pub(crate) fn start(loaded: &Loaded, config: &str, services: &Services) -> Result<Self, Fault> {
        if !services.has_all(&loaded.manifest) {
            let what = "it has not been given every import of its manifest";
            return Err(Fault::Host(what.to_owned()));
        }
        let steps = loaded.limits.steps_configure;
        let guard = Guard::new(&loaded.limits, services.clone());
        let mut store = Store::new(&loaded.host.runtime(&loaded.limits).engine, guard);
        store.limiter(|guard| guard);
        // Set before anything of it runs: making an instance may run a start function. `configure` gets what is left.
        set_budget(&mut store, loaded, steps, WORDS_BYTES_MAX)?;
        let instance = loaded
            .pre
            .instantiate(&mut store)
            .map_err(|error| store.data().fault(&error, steps, backstop_ms(loaded)))?;
        let mut live = Self { store, instance };
        live.configure(loaded, config, steps)?;
        Ok(live)
    }

    fn set_budget(&mut self, loaded: &Loaded, steps: u64, bytes: usize) -> Result<(), Fault> {
        set_budget(&mut self.store, loaded, steps, bytes)
    }

    fn configure(&mut self, loaded: &Loaded, config: &str, steps: u64) -> Result<(), Fault> {
        let (answer,) = self
            .instance
            .get_typed_func::<wire::ConfigureParams<'_>, wire::ConfigureResults>(
                &mut self.store,
                &loaded.configure,
            )
            .and_then(|configure| configure.call(&mut self.store, (config,)))
            .map_err(|error| self.fault(loaded, &error, steps))?;
        answer.map_err(Fault::Configuration)
    }

    fn decide(
        &mut self,
        loaded: &Loaded,
        kind: Kind,
        batch: &Batch,
        answer: &mut Answer,
    ) -> Result<Spent, Fault> {
        let index = loaded.function(kind).ok_or(Fault::NotAnswered(kind))?;
        loaded.check(kind, batch)?;
        let steps = loaded.steps(kind, batch.row_count);
        let wanted = kind
            .output_width(batch.rung_count)
            .saturating_mul(batch.row_count);
        let bytes = (wanted + batch.memo.len()).saturating_mul(size_of::<f64>());
        // Twice what the answer takes: the rest is for what the runtime counts besides.
        self.set_budget(loaded, steps, bytes.saturating_mul(2).max(WORDS_BYTES_MAX))?;
        let params = (
            wire::Tick::from(batch.tick),
            batch.rungs.as_slice(),
            batch.rows.as_slice(),
            batch.memo.as_slice(),
        );
        let (given,) = self
            .instance
            .get_typed_func::<BatchParams<'_>, BatchResults>(&mut self.store, &index)
            .and_then(|function| function.call(&mut self.store, params))
            .map_err(|error| self.fault(loaded, &error, steps))?;
        for (what, given, wanted) in [
            ("rows", given.rows.len(), wanted),
            ("memo", given.memo.len(), batch.memo.len()),
        ] {
            if given != wanted {
                return Err(Fault::BadOutput(format!(
                    "{given} numbers in {what}; {wanted} are wanted"
                )));
            }
        }
        (answer.rows, answer.memo) = (given.rows, given.memo);
        // One NaN only: others could carry what is in nobody's log.
        for number in answer.rows.iter_mut().chain(&mut answer.memo) {
            if number.is_nan() {
                *number = f64::NAN;
            }
        }
        self.spent(steps)
    }

    fn authorize(&mut self, loaded: &Loaded, request: &Request) -> Result<(Verdict, Spent), Fault> {
        let index = loaded
            .function(Kind::Auth)
            .ok_or(Fault::NotAnswered(Kind::Auth))?;
        let claims = Loaded::claims(request)?;
        let request = wire::Request::new(request, &claims);
        let steps = loaded.steps_of_request(request.size());
        self.set_budget(loaded, steps, WORDS_BYTES_MAX)?;
        let (verdict,) = self
            .instance
            .get_typed_func::<AuthParams<'_>, AuthResults>(&mut self.store, &index)
            .and_then(|function| function.call(&mut self.store, (request,)))
            .map_err(|error| self.fault(loaded, &error, steps))?;
        Ok((verdict.try_into()?, self.spent(steps)?))
    }

    fn fault(&self, loaded: &Loaded, error: &wasmtime::Error, steps: u64) -> Fault {
        self.store.data().fault(error, steps, backstop_ms(loaded))
    }

    fn spent(&self, steps: u64) -> Result<Spent, Fault> {
        let left = self.store.get_fuel().map_err(|error| host_error(&error))?;
        Ok(Spent {
            steps: steps.saturating_sub(left),
            memory_bytes: self.store.data().used() as u64,
        })
    }
}

/// A policy in use. After a fault it answers nothing more.
pub(crate) struct WasmPolicy {
    loaded: Arc<Loaded>,
    /// The configuration, for the instances that `auth` makes anew for each request.
    config: String,
    services: Services,
    /// What answers batches. Where `auth` is all it judges, what the first request gets.
    live: Option<Live>,
}

impl WasmPolicy {
    pub(crate) fn new(loaded: Arc<Loaded>, config: String, services: Services, live: Live) -> Self {
        Self {
            loaded,
            config,
            services,
            live: Some(live),
        }
    }

    /// An instance that no request and no batch has seen.
    fn fresh(&mut self) -> Result<Live, Fault> {
        let is_for_auth = |kind: &Kind| *kind == Kind::Auth;
        let first = match self.loaded.manifest.kinds.keys().all(is_for_auth) {
            true => self.live.take(),
            false => None,
        };
        match first {
            Some(live) => Ok(live),
            None => Live::start(&self.loaded, &self.config, &self.services),
        }
    }
}

impl Policy for WasmPolicy {
    fn decide(&mut self, kind: Kind, batch: &Batch, answer: &mut Answer) -> Result<Spent, Fault> {
        if kind == Kind::Auth || self.loaded.function(kind).is_none() {
            return Err(Fault::NotAnswered(kind));
        }
        // Taken out, and put back if all went well: what failed is never entered again.
        let Some(mut live) = self.live.take() else {
            let what = "this instance has failed before; make a new one";
            return Err(Fault::Host(what.to_owned()));
        };
        self.services.begin(batch.tick.now_ms);
        let spent = live.decide(&self.loaded, kind, batch, answer);
        self.services.end(spent.is_ok());
        self.live = spent.is_ok().then_some(live);
        spent
    }

    fn authorize(&mut self, request: &Request) -> Result<(Verdict, Spent), Fault> {
        if self.loaded.function(Kind::Auth).is_none() {
            return Err(Fault::NotAnswered(Kind::Auth));
        }
        let mut live = self.fresh()?;
        self.services.begin(request.now_s.saturating_mul(1000));
        let verdict = live.authorize(&self.loaded, request);
        self.services.end(verdict.is_ok());
        verdict
    }
}

/// Gives the next call its limits: steps, time, and what it may hand back.
fn set_budget(
    store: &mut Store<Guard>,
    loaded: &Loaded,
    steps: u64,
    bytes: usize,
) -> Result<(), Fault> {
    store.data_mut().begin();
    store.set_fuel(steps).map_err(|error| host_error(&error))?;
    store.set_epoch_deadline(loaded.host.epochs());
    store.set_hostcall_fuel(bytes);
    Ok(())
}

fn host_error(error: &wasmtime::Error) -> Fault {
    Fault::Host(format!("it is set up wrongly: {error}"))
}

fn backstop_ms(loaded: &Loaded) -> u64 {
    u64::try_from(loaded.host.config().backstop.as_millis()).unwrap_or(u64::MAX)
}

/// Most bytes that a policy may hand back beside the numbers that were asked for.
const WORDS_BYTES_MAX: usize = 64 << 10;
