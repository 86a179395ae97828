//! Policies as WebAssembly components.
//!
//! A [`Host`] loads a component, checks it against the contract (`sdk/wit/lockgate-policy.wit`) without running it,
//! compiles it, and makes instances that cannot do anything but answer: nothing is linked in but the imports its manifest
//! names, none of which waits; instructions are counted,
//! memory is limited, and what they hand back is checked for its form. It never judges an answer's meaning; that is for
//! the caller, who knows what a rung is. Start reading at [`Host::load`].
#![deny(unsafe_code)]

mod artifact;
mod cache;
mod encode;
mod guard;
mod host;
mod imports;
mod inspect;
mod instance;
mod load;
mod wire;

pub use artifact::WasmArtifact;
pub use host::{Host, HostConfig};
pub use inspect::{MANIFEST_SECTION, componentize};

#[cfg(test)]
mod tests;
