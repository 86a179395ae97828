//! The rules of the house as tests: who may know whom, and what may stand where. ARCHITECTURE.md names them.

#[cfg(test)]
mod directions;
#[cfg(test)]
mod sources;
