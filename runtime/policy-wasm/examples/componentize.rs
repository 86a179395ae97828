//! Turns a core module built for wasm32-unknown-unknown into a component: `componentize IN.wasm OUT.wasm`.
#![allow(clippy::print_stdout, reason = "a command speaks to a terminal")]

use std::{env, fs, io};

fn main() -> io::Result<()> {
    let paths: Vec<String> = env::args().skip(1).collect();
    let [from, to] = paths.as_slice() else {
        return Err(io::Error::other("usage: componentize IN.wasm OUT.wasm"));
    };
    let component =
        lockgate_policy_wasm::componentize(&fs::read(from)?).map_err(io::Error::other)?;
    println!("{to}: {} bytes", component.len());
    fs::write(to, component)
}
