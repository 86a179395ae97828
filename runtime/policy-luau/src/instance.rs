//! A script at work: a state, and its limits around each call.

use std::sync::Arc;

use lockgate_policy::{
    Answer, Batch, Fault, Kind, Limits, Policy, Services, Spent,
    auth::{Request, Verdict},
};
use mlua::{Function, Table, Value, chunk::ChunkMode};

use crate::{
    artifact::{Script, function_of},
    fault, request,
    seat::Seat,
    state::{self, State},
    steps::Meter,
};

/// An instance of a script, on one thread.
pub(crate) struct Instance {
    script: Arc<Script>,
    services: Services,
    state: State,
    seats: Vec<Seat>,
    authorize: Option<Function>,
    /// It has failed once: what it holds may be in any state.
    is_broken: bool,
}

impl Instance {
    /// The kinds a script answers, by running it once.
    pub(crate) fn kinds(script: &Script) -> Result<Vec<Kind>, Fault> {
        let services = Services::of(&script.manifest);
        let state = state::new(&services).map_err(|error| host(&error))?;
        let policy = run(&state, script)?;
        let mut kinds = Vec::new();
        for kind in Kind::ALL {
            if function(&policy, script, function_of(kind))?.is_some() {
                kinds.push(kind);
            }
        }
        Ok(kinds)
    }

    /// A fresh instance, configured.
    pub(crate) fn new(
        script: &Arc<Script>,
        config: &serde_json::Value,
        services: &Services,
    ) -> Result<Self, Fault> {
        if !services.has_all(&script.manifest) {
            let what = "it has not been given every import of its manifest";
            return Err(Fault::Host(what.to_owned()));
        }
        let state = state::new(services).map_err(|error| host(&error))?;
        let policy = run(&state, script)?;
        configure(&state, script, &policy, config)?;
        // From here on a global would be state that nobody carries.
        state.lua.globals().set_readonly(true);
        unlimited(&state)?;
        let mut seats = Vec::new();
        let mut authorize = None;
        for kind in script.manifest.kinds.keys().copied() {
            let judge =
                function(&policy, script, function_of(kind))?.ok_or(Fault::NotAnswered(kind))?;
            if kind == Kind::Auth {
                authorize = Some(judge);
            } else {
                seats.push(Seat::new(&state, script, kind, &judge).map_err(|error| host(&error))?);
            }
        }
        Ok(Self {
            script: Arc::clone(script),
            services: services.clone(),
            state,
            seats,
            authorize,
            is_broken: false,
        })
    }

    /// Runs `call` within the limits of a call about `rows` rows. With its result come the steps it took.
    fn within<T>(
        &mut self,
        kind: Kind,
        rows: usize,
        call: impl FnOnce(&mut Self) -> mlua::Result<T>,
    ) -> Result<(T, u64), Fault> {
        let limits = self.script.limits;
        let budget = budget(&self.script, kind, rows);
        limited(&self.state, &limits)?;
        let meter = Meter::start(budget);
        let result = call(self);
        let count = meter.count();
        drop(meter);
        unlimited(&self.state)?;
        // A call that was stopped while the prelude had the last word has still used up its steps.
        let error = match result {
            Ok(value) if !count.is_spent && !count.is_late => {
                return Ok((value, count.steps));
            }
            Ok(_) => mlua::Error::runtime("its steps"),
            Err(error) => error,
        };
        self.is_broken = true;
        // What ends a batch of rows by itself was raised by the host: see `inspect` in the prelude.
        let (script, is_refused) = (&self.script.name, kind != Kind::Auth);
        Err(fault::fault(
            &error, &count, budget, &limits, script, is_refused,
        ))
    }

    fn whole(&self) -> Result<(), Fault> {
        if self.is_broken {
            return Err(Fault::Host(
                "this instance has failed before; make a new one".to_owned(),
            ));
        }
        Ok(())
    }
}

impl Policy for Instance {
    fn decide(&mut self, kind: Kind, batch: &Batch, answer: &mut Answer) -> Result<Spent, Fault> {
        self.whole()?;
        let at = self
            .seats
            .iter()
            .position(|seat| seat.kind == kind)
            .ok_or(Fault::NotAnswered(kind))?;
        self.seats[at].check(batch).map_err(Fault::Host)?;
        self.seats[at]
            .show_ladder(&self.state.lua, batch)
            .map_err(|error| host(&error))?;
        let judge = |instance: &mut Self| {
            instance.seats[at].judge(&instance.state, &instance.script.name, batch, answer)
        };
        self.services.begin(batch.tick.now_ms);
        let judged = self.within(kind, batch.row_count, judge);
        self.services.end(judged.is_ok());
        let (peak, steps) = judged?;
        Ok(spent(steps, peak))
    }

    fn authorize(&mut self, request: &Request) -> Result<(Verdict, Spent), Fault> {
        self.whole()?;
        let Some(authorize) = self.authorize.clone() else {
            return Err(Fault::NotAnswered(Kind::Auth));
        };
        let asked = request::to_luau(&self.state.lua, request).map_err(|error| host(&error))?;
        self.services.begin(request.now_s.saturating_mul(1000));
        let said = self.within(Kind::Auth, 1, |_| authorize.call::<Value>(asked));
        let judged = said.and_then(|(said, steps)| {
            let verdict = request::verdict(&said)
                .map_err(|what| Fault::BadOutput(format!("{}: {what}", self.script.name)))?;
            Ok((verdict, steps))
        });
        self.services.end(judged.is_ok());
        let (verdict, steps) = judged?;
        let used = self.state.tidy().map_err(|error| host(&error))?;
        Ok((verdict, spent(steps, used)))
    }
}

fn spent(steps: u64, used: usize) -> Spent {
    Spent {
        steps,
        memory_bytes: u64::try_from(used).unwrap_or(u64::MAX),
    }
}

/// Steps a call may take: what the manifest asks for, as far as the host allows.
fn budget(script: &Script, kind: Kind, rows: usize) -> u64 {
    let limits = &script.limits;
    let wants = script.manifest.kinds.get(&kind);
    let least = |most: u64, wanted: Option<u64>| match wanted {
        Some(wanted) if wanted > 0 => most.min(wanted),
        _ => most,
    };
    let call = least(limits.steps, wants.map(|wants| wants.budget));
    let row = least(
        limits.steps_per_row,
        wants.map(|wants| wants.budget_per_row),
    );
    call.saturating_add(row.saturating_mul(u64::try_from(rows).unwrap_or(u64::MAX)))
}

/// Runs the script's body and takes the table it returns. Leaves the memory limit on.
fn run(state: &State, script: &Script) -> Result<Table, Fault> {
    let load = || {
        state
            .lua
            .load(&script.bytecode[..])
            .set_name(format!("={}", script.name))
            .set_mode(ChunkMode::Binary)
            .call::<Value>(())
    };
    match guarded(state, script, load)? {
        Value::Table(policy) => Ok(policy),
        other => Err(Fault::BadOutput(format!(
            "{} returns a {} where a table with its functions must be; is `return policy` its last line?",
            script.name,
            other.type_name()
        ))),
    }
}

fn configure(
    state: &State,
    script: &Script,
    policy: &Table,
    config: &serde_json::Value,
) -> Result<(), Fault> {
    let Some(configure) = function(policy, script, "configure")? else {
        return match config {
            serde_json::Value::Null => Ok(()),
            serde_json::Value::Object(fields) if fields.is_empty() => Ok(()),
            _ => {
                let what = "it has no function `configure`, so it takes no configuration";
                Err(Fault::Configuration(what.to_owned()))
            }
        };
    };
    unlimited(state)?;
    let config = match config {
        serde_json::Value::Null => state.lua.create_table().map(Value::Table),
        config => request::json(&state.lua, config),
    };
    let config = config.map_err(|error| host(&error))?;
    let call = || configure.call::<()>(config);
    guarded(state, script, call).map_err(|fault| match fault {
        Fault::Trap(what) => Fault::Configuration(what),
        other => other,
    })
}

/// Runs a call before the first question, within the limits for that.
fn guarded<T>(
    state: &State,
    script: &Script,
    call: impl FnOnce() -> mlua::Result<T>,
) -> Result<T, Fault> {
    let limits = &script.limits;
    limited(state, limits)?;
    let meter = Meter::start(limits.steps_configure);
    let result = call();
    let count = meter.count();
    drop(meter);
    let error = match result {
        Ok(value) if !count.is_spent && !count.is_late => return Ok(value),
        Ok(_) => mlua::Error::runtime("its steps"),
        Err(error) => error,
    };
    Err(fault::fault(
        &error,
        &count,
        limits.steps_configure,
        limits,
        &script.name,
        false,
    ))
}

/// A function of the policy's table; `None` without one. Metatables are not asked.
fn function(policy: &Table, script: &Script, name: &str) -> Result<Option<Function>, Fault> {
    match policy
        .raw_get::<Value>(name)
        .map_err(|error| host(&error))?
    {
        Value::Nil => Ok(None),
        Value::Function(function) => Ok(Some(function)),
        other => Err(Fault::BadOutput(format!(
            "{}: policy.{name} is a {}; it must be a function",
            script.name,
            other.type_name()
        ))),
    }
}

fn limited(state: &State, limits: &Limits) -> Result<(), Fault> {
    set_limit(state, limits.memory_bytes)
}

/// While the host works in a state it must not fail for the script's sake, and builds tables four times as fast.
fn unlimited(state: &State) -> Result<(), Fault> {
    set_limit(state, 0)
}

fn set_limit(state: &State, bytes: usize) -> Result<(), Fault> {
    let set = state.lua.set_memory_limit(bytes);
    set.map(|_| ()).map_err(|error| host(&error))
}

/// An error that is not the script's doing.
fn host(error: &mlua::Error) -> Fault {
    Fault::Host(error.to_string())
}
