//! The benchmark tables.
fn main() {}
