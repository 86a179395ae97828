//! Counts the steps of a script, and ends it when it has none left.
//!
//! A step is a loop turn, a call or a return: the places where Luau asks its interrupt. The counter stays at zero once
//! it has reached it, so a script that catches the error fails again at its next step and cannot but unwind. The same
//! question about the same state takes the same steps on every machine.
#![allow(
    unsafe_code,
    reason = "mlua's own interrupt calls a closure, which costs half as much again as the script itself"
)]

use std::{
    cell::Cell,
    ffi::c_int,
    time::{Duration, Instant},
};

use mlua::{Lua, ffi};

/// A call that takes this long is ended whatever its steps: single steps can copy megabytes. Only a backstop, for
/// scripts that mean harm; a busy machine must not reach it.
pub(crate) const BACKSTOP: Duration = Duration::from_secs(5);

thread_local! {
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
    static STARTED: Cell<Option<Instant>> = const { Cell::new(None) };
    static IS_LATE: Cell<bool> = const { Cell::new(false) };
}

/// How a call ended, as far as its limits know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    /// Steps taken.
    pub(crate) steps: u64,
    /// All steps were used up.
    pub(crate) is_spent: bool,
    /// The backstop ended it.
    pub(crate) is_late: bool,
}

/// Counts the steps of one call on this thread. There is one at a time: scripts do not call each other.
#[derive(Debug)]
pub(crate) struct Meter {
    limit: u64,
}

impl Meter {
    /// Starts to count.
    pub(crate) fn start(limit: u64) -> Self {
        LEFT.set(limit);
        IS_LATE.set(false);
        STARTED.set(Some(Instant::now()));
        Self { limit }
    }

    /// What has been counted so far.
    pub(crate) fn count(&self) -> Count {
        let left = LEFT.get();
        let is_late = IS_LATE.get();
        Count {
            steps: self.limit.saturating_sub(left),
            is_spent: left == 0 && !is_late,
            is_late,
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // The host's own calls into the state must not be stopped.
        LEFT.set(u64::MAX);
        STARTED.set(None);
    }
}

/// Whether the call that is being counted is over, whatever the script made of it.
pub(crate) fn are_over() -> bool {
    LEFT.get() == 0
}

/// Takes steps for work that a helper of the host does at a script's behest; an error once there are none left.
pub(crate) fn charge(steps: u64) -> mlua::Result<()> {
    LEFT.set(LEFT.get().saturating_sub(steps));
    if LEFT.get() == 0 {
        return Err(mlua::Error::runtime("the policy has used up its steps"));
    }
    Ok(())
}

/// Makes a state count its steps.
pub(crate) fn install(lua: &Lua) -> mlua::Result<()> {
    // SAFETY: the closure leaves the stack as it found it and raises no error.
    unsafe { lua.exec_raw::<()>((), set_interrupt) }
}

fn set_interrupt(state: *mut ffi::lua_State) {
    // SAFETY: `state` is alive for the time of `exec_raw`.
    let callbacks = unsafe { ffi::lua_callbacks(state) };
    // SAFETY: the callbacks live as long as the state, nobody else refers to them while `exec_raw` runs, and `step`
    // fulfils what Luau asks of an interrupt.
    unsafe { (*callbacks).interrupt = Some(step) };
}

/// Luau calls this at each safe point (`gc` below zero), and at each step of its collector, where no error may be raised.
unsafe extern "C-unwind" fn step(state: *mut ffi::lua_State, gc: c_int) {
    if gc >= 0 {
        return;
    }
    let left = LEFT.get();
    // Zero is a multiple too: one comparison for each step.
    if left.is_multiple_of(256) && (left == 0 || is_late()) {
        LEFT.set(0);
        // SAFETY: makes room for the error, as anything that pushes from an interrupt has to.
        unsafe { ffi::lua_rawcheckstack(state, 4) };
        // SAFETY: the format is a C string without arguments. The error unwinds through this frame, which the
        // C-unwind ABI permits and which owns nothing that would have to be dropped.
        unsafe { ffi::luaL_error(state, c"the policy has used up its steps".as_ptr()) };
    }
    LEFT.set(left - 1);
}

/// Only asked while a call is counted; the answer stays until the next one.
fn is_late() -> bool {
    let is_late = STARTED
        .get()
        .is_some_and(|started| started.elapsed() > BACKSTOP);
    if is_late {
        IS_LATE.set(true);
    }
    is_late
}
