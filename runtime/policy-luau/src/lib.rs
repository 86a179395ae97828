//! policy-luau
#![forbid(unsafe_code)]
