//! What a policy may import: the host interfaces its manifest names, and nothing else. None of them waits for anything,
//! and each is paid for in instructions, so that counting them still bounds a call.

use lockgate_policy::{
    LoadError, Manifest,
    host::{Import, Level, MetricKind},
    manifest::API,
};
use wasmtime::{
    Engine, StoreContextMut, Trap,
    component::{Linker, LinkerInstance},
};

use crate::{guard::Guard, load::PACKAGE};

/// Holds what a file imports to what its manifest says.
pub(crate) fn check(imports: &[String], manifest: &Manifest) -> Result<(), LoadError> {
    for import in imports {
        match known(import) {
            Some(known) if manifest.imports.contains(&known) => {}
            Some(known) => {
                return Err(LoadError::new(format!(
                    "it imports {known}, but its manifest does not ask for it; add imports = [\"{known}\"] or leave the \
                     import out"
                )));
            }
            // The package's own types: there is nothing in them to be linked.
            None if import.starts_with(&format!("{PACKAGE}types@")) => {}
            None => return Err(unknown(import)),
        }
    }
    let of_file = |wanted: &Import| imports.iter().any(|import| known(import) == Some(*wanted));
    match manifest.imports.iter().find(|wanted| !of_file(wanted)) {
        Some(unused) => Err(LoadError::new(format!(
            "its manifest asks for {unused}, which it does not import; take it out of imports, so that nobody has to \
             grant it"
        ))),
        None => Ok(()),
    }
}

fn unknown(import: &str) -> LoadError {
    let advice = if import.starts_with("wasi") {
        "Build for wasm32-unknown-unknown rather than for WASI: a policy has no files, clock, randomness or network"
            .to_owned()
    } else if import.starts_with(PACKAGE) {
        format!("This host speaks {API}; build it with the SDK of {API}")
    } else {
        "A policy gets its question and what its manifest asks for; remove what needs this"
            .to_owned()
    };
    let offered = Import::ALL.map(Import::name).join(", ");
    LoadError::new(format!(
        "it imports {import:?}, and this host offers no imports but {offered}. {advice}"
    ))
}

/// The import of an interface of this contract.
fn known(interface: &str) -> Option<Import> {
    let (name, version) = interface.strip_prefix(PACKAGE)?.split_once('@')?;
    let is_ours = version.strip_prefix(API)?.starts_with('.');
    Import::ALL
        .into_iter()
        .find(|import| is_ours && import.name() == name)
}

/// A linker with these interfaces.
pub(crate) fn linker(engine: &Engine, imports: &[String]) -> Result<Linker<Guard>, LoadError> {
    let mut linker = Linker::new(engine);
    for import in imports {
        linker
            .instance(import)
            .and_then(|mut instance| match known(import) {
                Some(Import::Log) => log(&mut instance),
                Some(Import::Kv) => kv(&mut instance),
                Some(Import::Metrics) => metrics(&mut instance),
                None => Ok(()),
            })
            .map_err(|error| LoadError::new(format!("it cannot be linked: {error:#}")))?;
    }
    Ok(linker)
}

fn log(instance: &mut LinkerInstance<'_, Guard>) -> wasmtime::Result<()> {
    instance.func_wrap(
        "log",
        |mut store: StoreContextMut<'_, Guard>, (level, text): (u8, String)| {
            pay(&mut store, text.len())?;
            store.data().services.log(Level::from(level), &text);
            Ok(())
        },
    )
}

fn kv(instance: &mut LinkerInstance<'_, Guard>) -> wasmtime::Result<()> {
    instance.func_wrap(
        "get",
        |mut store: StoreContextMut<'_, Guard>, (key,): (String,)| {
            pay(&mut store, key.len())?;
            let numbers = store.data().services.get(&key);
            let numbers = numbers.map_err(wasmtime::Error::msg)?;
            Ok((numbers.map(|numbers| numbers.to_vec()),))
        },
    )?;
    instance.func_wrap(
        "put",
        |mut store: StoreContextMut<'_, Guard>, (key, numbers, ttl_s): (String, Vec<f64>, u32)| {
            pay(&mut store, key.len() + size_of_val(numbers.as_slice()))?;
            Ok((store.data().services.put(&key, &numbers, ttl_s),))
        },
    )
}

fn metrics(instance: &mut LinkerInstance<'_, Guard>) -> wasmtime::Result<()> {
    instance.func_wrap(
        "define",
        |mut store: StoreContextMut<'_, Guard>, (name, kind): (String, u8)| {
            pay(&mut store, name.len())?;
            let services = &store.data().services;
            Ok((MetricKind::of(kind).and_then(|kind| services.define(&name, kind)),))
        },
    )?;
    instance.func_wrap(
        "record-value",
        |mut store: StoreContextMut<'_, Guard>, (metric, value): (u32, f64)| {
            pay(&mut store, 0)?;
            Ok((store.data().services.record(metric, value),))
        },
    )
}

/// Takes instructions for what the host does at a policy's behest.
fn pay(store: &mut StoreContextMut<'_, Guard>, bytes: usize) -> wasmtime::Result<()> {
    let cost = CALL_STEPS + bytes as u64;
    let left = store.get_fuel()?.checked_sub(cost);
    store.set_fuel(left.unwrap_or(0))?;
    match left {
        Some(_) => Ok(()),
        None => Err(Trap::OutOfFuel.into()),
    }
}

/// What a call of the host costs, besides a step for each byte handed over: about as long as it takes.
const CALL_STEPS: u64 = 500;
