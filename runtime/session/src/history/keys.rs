//! Where records lie in the table of sessions: each under the time it began at, so that the table is in that order; its
//! time under its id, to find it; and its id once more while it is live, to find what a crash left live.

use lockgate_ports::{Change, Table};

use super::record::{FormatError, SessionRecord};
use crate::SessionId;

/// Under which all records stand, by their time.
pub(super) const TIMES: &str = "t/";
/// Under which the sessions stand that are live.
pub(super) const LIVE: &str = "l/";

/// A record's place: all keys of records sort by time, then id.
pub(super) fn of(started_at_ms: u64, id: SessionId) -> String {
    format!("{TIMES}{started_at_ms:013}/{id}")
}

/// Where the time of a session stands.
pub(super) fn time_of(id: SessionId) -> String {
    format!("i/{id}")
}

/// Where it says that a session is live.
pub(super) fn live(id: SessionId) -> String {
    format!("{LIVE}{id}")
}

/// The least key of a time.
pub(super) fn at(started_at_ms: u64) -> String {
    format!("{TIMES}{started_at_ms:013}")
}

/// The time in the value under [`time_of`].
pub(super) fn read_time(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The changes that write a record of which nothing is there, or a live one that is there already.
pub(super) fn written(record: &SessionRecord, is_there: bool) -> Result<Vec<Change>, FormatError> {
    let time = record.started_at_ms.to_string().into_bytes();
    let mut changes = vec![put(of(record.started_at_ms, record.id), record.encode()?)];
    if !is_there {
        changes.push(put(time_of(record.id), time.clone()));
    }
    match (is_there, record.is_live()) {
        (false, true) => changes.push(put(live(record.id), time)),
        (true, false) => changes.push(remove(live(record.id))),
        _ => {}
    }
    Ok(changes)
}

/// The changes that take a record away.
pub(super) fn removed(started_at_ms: u64, id: SessionId) -> [Change; 3] {
    [
        remove(of(started_at_ms, id)),
        remove(time_of(id)),
        remove(live(id)),
    ]
}

fn put(key: String, value: Vec<u8>) -> Change {
    Change::Put {
        table: Table::Sessions,
        key,
        value,
    }
}

pub(super) fn remove(key: String) -> Change {
    Change::Remove {
        table: Table::Sessions,
        key,
    }
}
