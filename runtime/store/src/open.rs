//! Opening, with all that a crash, a full disk or somebody else's file can leave behind.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use lockgate_ports::records::RecordError;

use crate::{disk, envelope};

/// Why there is no store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("{} cannot be used for records: {why}; set store.path to a folder that can be written", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system says.
        why: String,
    },
    /// Another process has it open.
    #[error("{} is in use by another server; end it, or set store.path", .0.display())]
    InUse(PathBuf),
    /// It was written by a later version.
    #[error(
        "the records in {} are of format {found}, this version reads up to format {FORMAT}: run the version of Lockgate that wrote them, or set store.path to another folder", folder.display()
    )]
    Newer {
        /// Which.
        folder: PathBuf,
        /// Their format.
        found: String,
    },
    /// Opening took too long.
    #[error("{} did not open within {} s: the disk may be failing", .0.display(), OPEN_WITHIN.as_secs())]
    Late(PathBuf),
}

/// A folder that this process alone works in.
pub(crate) struct Place {
    folder: PathBuf,
    /// Held as long as the store lives.
    _lock: File,
}

enum Opened {
    Db(sled::Db),
    NoRoom,
    Unreadable(String),
}

impl Place {
    /// Makes the folder and locks it.
    pub(crate) fn claim(folder: &Path) -> Result<Self, OpenError> {
        let unusable = |error: io::Error| unusable(folder, &error);
        fs::create_dir_all(folder).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("lock"))
            .map_err(unusable)?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => OpenError::InUse(folder.to_owned()),
            TryLockError::Error(error) => unusable(error),
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            _lock: lock,
        })
    }

    /// The folder that sled works in.
    pub(crate) fn sled(&self) -> PathBuf {
        self.folder.join("records")
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    /// Bytes that may still be written.
    pub(crate) fn room(&self) -> u64 {
        disk::room(&self.folder).unwrap_or(u64::MAX)
    }

    /// Opens the database, or says that there is no room for it. What cannot be read is put aside.
    pub(crate) fn open(&self) -> Result<Result<sled::Db, RecordError>, OpenError> {
        for _ in 0..2 {
            match self.try_open()? {
                Opened::Db(db) => {
                    self.check_format(&db)?;
                    self.put_damaged_aside(&db);
                    return Ok(Ok(db));
                }
                Opened::NoRoom => {
                    tracing::error!(folder = %self.folder.display(), "the disk is full: nothing is recorded until there is room");
                    return Ok(Err(RecordError::Full));
                }
                Opened::Unreadable(why) => self.quarantine(&why)?,
            }
        }
        let error = io::Error::other("a new database cannot be read back");
        Err(self.unusable(&error))
    }

    fn unusable(&self, error: &io::Error) -> OpenError {
        unusable(&self.folder, error)
    }

    fn try_open(&self) -> Result<Opened, OpenError> {
        let path = self.sled();
        if path.exists() && !path.is_dir() {
            return Ok(Opened::Unreadable("it is no folder".to_owned()));
        }
        sweep(&path);
        if self.room() < disk::ROOM_TO_OPEN {
            disk::give_back(&self.ballast());
            if self.room() < disk::ROOM_TO_OPEN {
                return Ok(Opened::NoRoom);
            }
        }
        let (tell, told) = mpsc::sync_channel(1);
        let open_at = path.clone();
        let thread = std::thread::Builder::new()
            .name("records-open".to_owned())
            .spawn(move || drop(tell.send(open_patiently(&open_at))))
            .map_err(|error| self.unusable(&error))?;
        let opened = match told.recv_timeout(OPEN_WITHIN) {
            Ok(opened) => opened,
            Err(mpsc::RecvTimeoutError::Timeout) => return Err(OpenError::Late(path)),
            // sled panicked over what it read.
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                drop(thread.join());
                return Ok(Opened::Unreadable(
                    "reading it failed beyond words".to_owned(),
                ));
            }
        };
        match opened {
            Ok(db) => Ok(Opened::Db(db)),
            Err(_) if self.room() < disk::ROOM_TO_OPEN => Ok(Opened::NoRoom),
            Err(sled::Error::Io(error)) if !is_of_the_file(&error) => Err(self.unusable(&error)),
            Err(error) => Ok(Opened::Unreadable(error.to_string())),
        }
    }

    /// A database of a later format is left as it is; one of ours says so from now on.
    fn check_format(&self, db: &sled::Db) -> Result<(), OpenError> {
        let failed = |error: sled::Error| self.unusable(&io::Error::other(error.to_string()));
        let Some(found) = db.get(FORMAT_KEY).map_err(failed)? else {
            // Format 1 did not say so at first. It is on the disk with the first record.
            let marked = db.insert(FORMAT_KEY, FORMAT.to_string().as_bytes());
            return marked.map(drop).map_err(failed);
        };
        let found = String::from_utf8_lossy(&found).into_owned();
        match found.parse::<u32>() {
            Ok(found) if found <= FORMAT => Ok(()),
            _ => Err(OpenError::Newer {
                folder: self.folder.clone(),
                found: found.chars().take(16).collect(),
            }),
        }
    }

    /// Puts a database that cannot be read aside.
    fn quarantine(&self, why: &str) -> Result<(), OpenError> {
        let now_s = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let aside = (0..100)
            .map(|n| self.folder.join(format!("quarantine-{now_s}-{n}")))
            .find(|path| !path.exists())
            .unwrap_or_else(|| self.folder.join("quarantine"));
        fs::rename(self.sled(), &aside).map_err(|error| self.unusable(&error))?;
        tracing::error!(
            aside = %aside.display(), %why,
            "the records cannot be read; they were put aside and new ones begin. Keep the folder if they matter"
        );
        Ok(())
    }

    /// Takes records whose checksum is wrong out of the database and appends them to a file.
    fn put_damaged_aside(&self, db: &sled::Db) {
        let damaged: Vec<(sled::IVec, sled::IVec)> = db
            .iter()
            .filter_map(Result::ok)
            .filter(|(key, _)| key != FORMAT_KEY)
            .filter(|(key, value)| envelope::open(key, value).is_none())
            .take(DAMAGED_MAX)
            .collect();
        if damaged.is_empty() {
            return;
        }
        let path = self.folder.join("damaged.ndjson");
        let lines = damaged.iter().map(|(key, value)| {
            let line = serde_json::json!({
                "key": String::from_utf8_lossy(key), "value": BASE64_STANDARD.encode(value),
            });
            format!("{line}\n")
        });
        let written = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .and_then(|mut file| {
                file.write_all(lines.collect::<String>().as_bytes())?;
                file.sync_data()
            });
        match written {
            Ok(()) => {
                for (key, _) in &damaged {
                    if let Err(error) = db.remove(key) {
                        tracing::warn!(%error, "a damaged record cannot be taken away");
                    }
                }
                tracing::error!(count = damaged.len(), path = %path.display(), "damaged records were put aside");
            }
            Err(error) => {
                tracing::error!(count = damaged.len(), %error, "damaged records cannot be put aside")
            }
        }
    }
}

pub(crate) fn unusable(folder: &Path, error: &io::Error) -> OpenError {
    OpenError::Folder {
        folder: folder.to_owned(),
        why: error.to_string(),
    }
}

/// Whether this says that what was read is no database, or half of one. Only then is it put aside.
fn is_of_the_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::Other
    )
}

/// Opens, again and again for a moment where sled says neither that the file is broken nor what else is wrong: it may be
/// held still.
fn open_patiently(path: &Path) -> sled::Result<sled::Db> {
    for _ in 0..RETRIES {
        match open(path) {
            Err(sled::Error::Io(error)) if error.kind() == io::ErrorKind::Other => {
                tracing::warn!(path = %path.display(), %error, "the records do not open yet");
                std::thread::sleep(RETRY_AFTER);
            }
            opened => return opened,
        }
    }
    open(path)
}

fn open(path: &Path) -> sled::Result<sled::Db> {
    // A database that was just closed keeps its lock until sled's own threads have let go of it.
    if let Ok(file) = File::open(path.join("db")) {
        file.lock()?;
    }
    let db = sled::Config::new()
        .path(path)
        .cache_capacity(CACHE_BYTES)
        // The writer flushes before it acknowledges; sled's own thread would only give up silently on an error.
        .flush_every_ms(None)
        .open()?;
    // A database that was just made is there only when its folder says so.
    disk::sync(path)?;
    for file in ["db", "conf"] {
        disk::sync(&path.join(file))?;
    }
    Ok(db)
}

/// Takes away what a crash while opening left behind: sled would take the torn file for its newest snapshot and never
/// open again.
fn sweep(path: &Path) {
    let torn = fs::read_dir(path)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("snap.") && name.ends_with(".generating")
        });
    for entry in torn {
        let path = entry.path();
        match fs::remove_file(&path) {
            Ok(()) => {
                tracing::warn!(path = %path.display(), "a snapshot that a crash left half-written was taken away")
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a torn snapshot cannot be taken away")
            }
        }
    }
}

/// The format of the whole database: which tables there are, and how a value is sealed.
const FORMAT: u32 = 1;
/// Where it stands; no table's letter begins so.
const FORMAT_KEY: &[u8] = b"\0format";
/// A healthy database of a million records opens in seconds.
const OPEN_WITHIN: Duration = Duration::from_secs(60);
/// How often, and after which pause, opening is tried again.
const RETRIES: usize = 5;
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// sled's own default is 1 GiB.
const CACHE_BYTES: u64 = 16 << 20;
/// Damaged records put aside at one start.
const DAMAGED_MAX: usize = 10_000;
