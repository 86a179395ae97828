//! Where records are kept that must outlive the process: sessions, what was last good, what was revoked.

use crate::BoxFuture;

/// A named set of records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// Sessions of publishers and viewers, live and past.
    Sessions,
    /// What a broadcast goes on with after a restart, by its name.
    Broadcasts,
    /// The policy that was last good, by its kind.
    Policies,
    /// Tokens that are no longer good, by their id.
    Revoked,
}

/// One change to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Writes a record, over the one there was.
    Put {
        /// Where.
        table: Table,
        /// Its key, at most 256 bytes.
        key: String,
        /// What it says, at most 64 KiB.
        value: Vec<u8>,
    },
    /// Takes a record away, if there is one.
    Remove {
        /// Where.
        table: Table,
        /// Its key.
        key: String,
    },
}

/// Why a record was not written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The disk is full. What is live goes on; nothing is acknowledged until there is room.
    #[error("the disk is full: nothing can be recorded until there is room")]
    Full,
    /// The store cannot be used at the moment.
    #[error("the records cannot be reached: {0}")]
    Unavailable(String),
    /// More changes wait than the disk can take.
    #[error("too many changes wait to be recorded")]
    Busy,
    /// A key or value is longer than it may be.
    #[error("the record {0} is larger than a record may be")]
    TooLarge(String),
}

/// Which records of a table are wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Range<'a> {
    /// Only keys that begin so.
    pub prefix: &'a str,
    /// Only keys beyond this one, in the order asked for.
    pub beyond: Option<&'a str>,
    /// From the last key to the first.
    pub reverse: bool,
}

/// A table's records by their keys.
pub type Listed = Vec<(String, Vec<u8>)>;

/// Keeps records. What it acknowledges survives the end of the process and of power.
pub trait Records: Send + Sync + 'static {
    /// Makes changes, all or none, in the order of the calls. Done means durable.
    fn write(&self, changes: Vec<Change>) -> BoxFuture<'_, Result<(), RecordError>>;

    /// Reads a record.
    fn get(&self, table: Table, key: &str) -> Result<Option<Vec<u8>>, RecordError>;

    /// Reads at most `limit` records in the order of their keys.
    fn list(&self, table: Table, range: Range<'_>, limit: usize) -> Result<Listed, RecordError>;
}
