//! What holds an instance to its limits, and remembers which of them it ran into.

use lockgate_policy::{Fault, Limits, Services};
use wasmtime::{Error, PoolConcurrencyLimitError, ResourceLimiter, Trap};

use crate::host::table_elements_max;

/// The data of a store: counts memory and refuses what is too much.
#[derive(Debug)]
pub(crate) struct Guard {
    limit: usize,
    table_elements_max: usize,
    used: usize,
    refused: bool,
    /// What its imports lead to.
    pub(crate) services: Services,
}

impl Guard {
    pub(crate) fn new(limits: &Limits, services: Services) -> Self {
        Self {
            limit: limits.memory_bytes,
            table_elements_max: table_elements_max(limits.large),
            services,
            used: 0,
            refused: false,
        }
    }

    /// Memory in use. It never shrinks, so this is the high-water mark.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// Forgets refusals: a call that was refused memory and answered all the same has done no wrong.
    pub(crate) fn begin(&mut self) {
        self.refused = false;
    }

    /// What a failed call is called.
    ///
    /// A guest that is refused memory mostly gives up by a trap like any other, so a refusal explains the trap.
    pub(crate) fn fault(&self, error: &Error, steps: u64, backstop_ms: u64) -> Fault {
        if let Some(full) = error.downcast_ref::<PoolConcurrencyLimitError>() {
            return Fault::Host(full.to_string());
        }
        let trap = error.downcast_ref::<Trap>();
        match trap {
            Some(Trap::OutOfFuel) => Fault::Budget(steps),
            Some(Trap::Interrupt) => Fault::Late(backstop_ms),
            _ if self.refused => Fault::Memory(self.limit),
            Some(trap) => Fault::Trap(trap.to_string()),
            None => {
                let cause = error.root_cause().to_string();
                if BAD_OUTPUT.iter().any(|words| cause.contains(words)) {
                    Fault::BadOutput(cause)
                } else {
                    Fault::Trap(cause)
                }
            }
        }
    }
}

impl ResourceLimiter for Guard {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self.used.saturating_add(desired.saturating_sub(current));
        if wanted > self.limit {
            self.refused = true;
            return Ok(false);
        }
        self.used = wanted;
        Ok(true)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let fits = desired <= self.table_elements_max;
        self.refused |= !fits;
        Ok(fits)
    }
}

/// How the runtime words an answer that cannot be read. A test for each holds this list to the runtime's words.
const BAD_OUTPUT: &[&str] = &[
    "too much data is being copied",
    "pointer not aligned",
    "pointer is not aligned",
    "list pointer/length out of bounds",
    "string pointer/length out of bounds",
    "pointer out of bounds",
    "invalid utf-8",
    "unexpected discriminant",
    "invalid option discriminant",
    "invalid expected discriminant",
];
