//! From what Luau raises to what the host counts and shows.

use lockgate_policy::{Fault, Limits};
use mlua::Error;

use crate::steps::{BACKSTOP, Count};

/// The fault that an error means which ended a call. `is_refused` says that the host, not the script, raised it, because of
/// what the script had answered.
pub(crate) fn fault(
    error: &Error,
    count: &Count,
    steps: u64,
    limits: &Limits,
    script: &str,
    is_refused: bool,
) -> Fault {
    if count.is_late {
        return Fault::Late(u64::try_from(BACKSTOP.as_millis()).unwrap_or(u64::MAX));
    }
    if count.is_spent {
        return Fault::Budget(steps);
    }
    if is_memory(error) {
        return Fault::Memory(limits.memory_bytes);
    }
    of_row(error, script, is_refused)
}

/// The fault that an error means which ended no more than a row.
pub(crate) fn of_row(error: &Error, script: &str, is_refused: bool) -> Fault {
    let text = words(error, script);
    if is_refused {
        Fault::BadOutput(text)
    } else {
        Fault::Trap(text)
    }
}

/// Whether memory ran out. A script that raises an error in these words ends its batch, which hurts nobody else.
pub(crate) fn is_memory(error: &Error) -> bool {
    matches!(root(error), Error::MemoryError(_))
        || root(error).to_string().contains("not enough memory")
}

/// An error in words that begin with the script's line, where it is known.
pub(crate) fn words(error: &Error, script: &str) -> String {
    let whole = match error {
        Error::RuntimeError(text) | Error::MemoryError(text) => text.clone(),
        Error::SyntaxError { message, .. } => message.clone(),
        Error::CallbackError { traceback, cause } => {
            format!("{}{TRACE}\n{traceback}", words(root(cause), script))
        }
        other => other.to_string(),
    };
    let (text, trace) = whole.split_once(TRACE).unwrap_or((&whole, ""));
    // Built-ins that the prelude wraps name a line of the prelude, which helps nobody.
    let text = text
        .strip_prefix("prelude:")
        .and_then(|rest| rest.split_once(": "))
        .map_or(text, |(_, rest)| rest);
    // The address of a table or function differs from run to run.
    let text = match text.split_once(": 0x") {
        Some((kind, _)) if !kind.contains(' ') => {
            format!(
                "an error that is a {} and no text",
                kind.trim_start_matches('<')
            )
        }
        _ => text.to_owned(),
    };
    let text = clip(&text);
    if text.starts_with(&format!("{script}:")) {
        return text;
    }
    let line = trace
        .lines()
        .map(str::trim)
        .find(|line| line.starts_with(&format!("{script}:")))
        .and_then(|line| line.split_whitespace().next());
    match line {
        Some(line) => format!("{}: {text}", line.trim_end_matches(':')),
        None => text,
    }
}

fn root(error: &Error) -> &Error {
    match error {
        Error::CallbackError { cause, .. } => root(cause),
        Error::BadArgument { cause, .. } => root(cause),
        other => other,
    }
}

fn clip(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}

const TRACE: &str = "\nstack traceback:";
/// Characters of a script's own words that are passed on.
const TEXT_MAX: usize = 300;
