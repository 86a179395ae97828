//! A fresh Luau state with nothing in it that could harm: the tight set of libraries, then the prelude.

use std::sync::OnceLock;

use mlua::{
    Function, Lua, LuaOptions, StdLib, Table, Value,
    chunk::{ChunkMode, Compiler},
};

use lockgate_policy::Services;

use crate::{helpers, host, steps};

const PRELUDE: &str = include_str!("../../../sdk/luau/prelude.luau");

/// Bytes in use from which on garbage is collected.
const GARBAGE_FROM: usize = 1 << 20;

/// What a script sees besides its libraries. Whatever else a new state comes with is removed.
const GLOBALS: &[&str] = &[
    "_VERSION",
    "assert",
    "bit32",
    "buffer",
    "error",
    "getmetatable",
    "ipairs",
    "math",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "select",
    "setmetatable",
    "table",
    "tonumber",
    "tostring",
    "type",
    "typeof",
    "unpack",
    "vector",
    "xpcall",
    // From the host:
    "ends_with",
    "glob",
    "host",
    "lower",
    "null",
    "split",
    "starts_with",
    "sub",
];

/// A state in which a policy can be run.
pub(crate) struct State {
    pub(crate) lua: Lua,
    /// Makes the runner of a kind: see the end of the prelude.
    pub(crate) seat: Function,
}

impl State {
    /// Says how much memory is in use, and collects what is garbage once it is much.
    ///
    /// Luau's own collector paces itself by the clock, so that the same script would run out of memory on one day and
    /// not on the next. It is stopped; in its place stands this, between rows.
    pub(crate) fn tidy(&self) -> mlua::Result<usize> {
        let used = self.lua.used_memory();
        if used > GARBAGE_FROM {
            self.lua.gc_collect()?;
            // A whole collection starts the collector again.
            self.lua.gc_stop();
        }
        Ok(used)
    }
}

/// Makes a state with these imports and closes it up. It counts steps, but has no memory limit yet.
pub(crate) fn new(services: &Services) -> mlua::Result<State> {
    let libraries = StdLib::TABLE | StdLib::MATH | StdLib::BIT | StdLib::BUFFER | StdLib::VECTOR;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    steps::install(&lua)?;
    let globals = lua.globals();
    helpers::install(&lua, &globals)?;
    host::install(&lua, &globals, services)?;
    globals.raw_set("null", Value::NULL)?;
    let math: Table = globals.raw_get("math")?;
    math.raw_remove("random")?;
    math.raw_remove("randomseed")?;
    let seat: Function = lua
        .load(prelude()?)
        .set_name("=prelude")
        .set_mode(ChunkMode::Binary)
        .call(())?;
    let mut extra = Vec::new();
    for pair in globals.pairs::<Value, Value>() {
        let (key, _) = pair?;
        let is_known = key
            .as_string()
            .and_then(|name| name.to_str().ok())
            .is_some_and(|name| GLOBALS.contains(&&*name));
        if !is_known {
            extra.push(key);
        }
    }
    for key in extra {
        globals.raw_remove(key)?;
    }
    lua.sandbox(true)?;
    lua.gc_collect()?;
    lua.gc_stop();
    Ok(State { lua, seat })
}

/// The prelude is compiled once.
fn prelude() -> mlua::Result<&'static [u8]> {
    static BYTECODE: OnceLock<Result<Vec<u8>, String>> = OnceLock::new();
    let compile = || {
        Compiler::new()
            .set_optimization_level(2)
            .compile(PRELUDE)
            .map_err(|error| error.to_string())
    };
    BYTECODE
        .get_or_init(compile)
        .as_deref()
        .map_err(mlua::Error::runtime)
}
