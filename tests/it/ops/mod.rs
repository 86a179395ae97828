//! What whoever runs a server relies on.

mod drain;
mod log;
mod manager;
mod traces;
