//! Keys and values as they lie on disk. A value is a version, a CRC-32 over its key and itself, and what it says.

use lockgate_ports::records::{Change, RecordError, Table};

/// A record's key: its table's letter and its name.
pub(crate) fn key(table: Table, name: &str) -> Vec<u8> {
    let mut key = vec![letter(table)];
    key.extend_from_slice(name.as_bytes());
    key
}

/// The name in a key.
pub(crate) fn name(key: &[u8]) -> Option<&str> {
    std::str::from_utf8(key.get(1..)?).ok()
}

/// The keys of a table that begin with `prefix`: from the first, up to but without the second.
pub(crate) fn range(table: Table, prefix: &str) -> (Vec<u8>, Vec<u8>) {
    let from = key(table, prefix);
    let mut to = from.clone();
    // No byte of UTF-8 and no table's letter is the last there is, so that the next one is always greater.
    if let Some(last) = to.last_mut() {
        *last = last.saturating_add(1);
    }
    (from, to)
}

/// A change as it goes to sled: a key, and its sealed value if it is not taken away.
pub(crate) type Row = (Vec<u8>, Option<Vec<u8>>);

/// Changes as rows.
pub(crate) fn rows(changes: &[Change]) -> Result<Vec<Row>, RecordError> {
    let mut rows = Vec::with_capacity(changes.len());
    for change in changes {
        match change {
            Change::Put { table, key, value } => {
                if key.len() > KEY_LEN_MAX || value.len() > VALUE_LEN_MAX {
                    return Err(RecordError::TooLarge(key.chars().take(64).collect()));
                }
                let key = self::key(*table, key);
                let value = seal(&key, value);
                rows.push((key, Some(value)));
            }
            Change::Remove { table, key } => rows.push((self::key(*table, key), None)),
        }
    }
    Ok(rows)
}

/// A value as it lies on disk.
pub(crate) fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(HEAD_LEN + value.len());
    sealed.push(VERSION);
    sealed.extend_from_slice(&checksum(key, value).to_le_bytes());
    sealed.extend_from_slice(value);
    sealed
}

/// What a value says; `None` if it is damaged or of another version.
pub(crate) fn open(key: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let (head, value) = sealed.split_at_checked(HEAD_LEN)?;
    let (version, sum) = head.split_first()?;
    let sum = u32::from_le_bytes(sum.try_into().ok()?);
    (*version == VERSION && sum == checksum(key, value)).then(|| value.to_vec())
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

fn letter(table: Table) -> u8 {
    match table {
        Table::Sessions => b's',
        Table::Broadcasts => b'b',
        Table::Policies => b'p',
        Table::Revoked => b'r',
    }
}

/// Of the layout of a value.
const VERSION: u8 = 1;
/// Version and checksum.
const HEAD_LEN: usize = 5;
const KEY_LEN_MAX: usize = 256;
/// Far below what sled would put into files of their own, which it syncs by other means.
const VALUE_LEN_MAX: usize = 64 << 10;
