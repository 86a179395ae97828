//! Configuration, composition, the command line, shutdown. The one crate that names every adapter.
//!
//! Start reading at [`Server`]: what is put together, and in which order.
#![forbid(unsafe_code)]

mod announce;
mod bench;
mod check;
pub mod cli;
pub mod config;
mod doctor;
mod door;
mod drain;
mod ingest;
mod live;
mod package;
mod policies;
mod policy;
mod secret;
mod server;
mod sessions;
mod supervisor;
mod tokens;

pub use config::Config;
pub use server::Server;
