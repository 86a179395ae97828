//! What the disk itself is asked for: room, and that what was written is there.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

/// Bytes that may still be written where `folder` lies.
pub(crate) fn room(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Waits until a file's bytes, or a folder's entries, are on the disk.
pub(crate) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_data()
}

/// Keeps a file of some size, so that there is room to give back when the disk is full: sled needs some only to open.
pub(crate) fn keep_ballast(path: &Path) -> io::Result<()> {
    let is_whole = fs::metadata(path).is_ok_and(|metadata| metadata.len() >= BALLAST);
    if is_whole {
        return Ok(());
    }
    let len = usize::try_from(BALLAST).unwrap_or(usize::MAX);
    fs::write(path, vec![0; len]).inspect_err(|_| give_back(path))
}

/// Gives the ballast back.
pub(crate) fn give_back(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the ballast cannot be given back");
    }
}

/// What is given back when the disk is full.
const BALLAST: u64 = 4 << 20;
/// Least room with which the database is opened: sled's segments have 512 KiB.
pub(crate) const ROOM_TO_OPEN: u64 = 2 << 20;
/// Room from which a ballast is kept.
pub(crate) const ROOM_FOR_BALLAST: u64 = 32 << 20;
