//! The imports of a script: the table `host`, with what its manifest asks for. Without any there is no such table.
//!
//! As the helpers they are paid for in steps, and what a script hands them is held to what the contract allows.

use lockgate_policy::{
    Services,
    host::{Import, Level, MetricKind, NUMBERS_MAX},
};
use mlua::{Error, Lua, LuaString, Table, Value};

use crate::steps::charge;

/// What a call of the host costs: about as long as it takes.
const CALL_STEPS: u64 = 30;
/// Bytes that are handled for one step besides.
const BYTES_A_STEP: usize = 64;

/// Puts the table into the globals, as far as there is something to be in it.
pub(crate) fn install(lua: &Lua, globals: &Table, services: &Services) -> mlua::Result<()> {
    let host = lua.create_table()?;
    let parts: [(Import, &str, Part); 3] = [
        (Import::Log, "log", log),
        (Import::Kv, "kv", kv),
        (Import::Metrics, "metrics", metrics),
    ];
    let mut is_empty = true;
    for (import, name, part) in parts {
        if services.has(import) {
            let table = part(lua, services)?;
            table.set_readonly(true);
            host.raw_set(name, table)?;
            is_empty = false;
        }
    }
    if is_empty {
        return Ok(());
    }
    host.set_readonly(true);
    globals.raw_set("host", host)
}

type Part = fn(&Lua, &Services) -> mlua::Result<Table>;

fn log(lua: &Lua, services: &Services) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, level) in [
        ("debug", Level::Debug),
        ("info", Level::Info),
        ("warn", Level::Warn),
        ("error", Level::Error),
    ] {
        let services = services.clone();
        let line = lua.create_function(move |_, text: LuaString| {
            let bytes = text.as_bytes();
            pay(bytes.len())?;
            services.log(level, &String::from_utf8_lossy(&bytes));
            Ok(())
        })?;
        table.raw_set(name, line)?;
    }
    Ok(table)
}

fn kv(lua: &Lua, services: &Services) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let space = services.clone();
    let get = lua.create_function(move |lua, key: LuaString| {
        pay(key.as_bytes().len())?;
        // A key that is no text can never have been put.
        let Ok(key) = key.to_str() else {
            return Ok(None);
        };
        let numbers = space.get(&key).map_err(Error::runtime)?;
        numbers
            .map(|numbers| lua.create_sequence_from(numbers.iter().copied()))
            .transpose()
    })?;
    let space = services.clone();
    let put = lua.create_function(move |_, (key, list, ttl_s): (LuaString, Table, f64)| {
        let length = list.raw_len();
        pay(key.as_bytes().len() + size_of::<f64>() * length.min(NUMBERS_MAX))?;
        let Ok(key) = key.to_str() else {
            return Ok(false);
        };
        if length > NUMBERS_MAX {
            return Ok(false);
        }
        let mut numbers = Vec::with_capacity(length);
        for at in 1..=length {
            numbers.push(number(&list.raw_get(at)?)?);
        }
        Ok(space.put(&key, &numbers, seconds(ttl_s)?))
    })?;
    table.raw_set("get", get)?;
    table.raw_set("put", put)?;
    Ok(table)
}

fn metrics(lua: &Lua, services: &Services) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    for (name, kind) in [("add", MetricKind::Counter), ("set", MetricKind::Gauge)] {
        let services = services.clone();
        let record = lua.create_function(move |_, (metric, value): (LuaString, f64)| {
            pay(metric.as_bytes().len())?;
            let metric = metric.to_str().ok();
            let metric = metric.and_then(|metric| services.define(&metric, kind));
            Ok(metric.is_some_and(|metric| services.record(metric, value)))
        })?;
        table.raw_set(name, record)?;
    }
    Ok(table)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "whole numbers of Luau have 53 bits"
)]
fn number(value: &Value) -> mlua::Result<f64> {
    match value {
        Value::Number(number) => Ok(*number),
        Value::Integer(number) => Ok(*number as f64),
        _ => Err(Error::runtime(
            "host.kv.put(key, numbers, ttl_s) takes a list of numbers",
        )),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is in range"
)]
fn seconds(ttl_s: f64) -> mlua::Result<u32> {
    if (0.0..=f64::from(u32::MAX)).contains(&ttl_s) {
        return Ok(ttl_s.ceil() as u32);
    }
    let what = "host.kv.put(key, numbers, ttl_s) takes seconds from 0 on";
    Err(Error::runtime(what))
}

fn pay(bytes: usize) -> mlua::Result<()> {
    let steps = u64::try_from(bytes / BYTES_A_STEP).unwrap_or(u64::MAX);
    charge(CALL_STEPS.saturating_add(steps))
}
