//! policy-wasm
#![forbid(unsafe_code)]
