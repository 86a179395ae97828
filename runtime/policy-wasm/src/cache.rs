//! Compiled code, kept from start to start in a directory that only the server writes.
//!
//! What is in there is machine code and is run as it stands: whoever can write there can do whatever the server can.
//! The directory is therefore closed to everyone else. The checksum finds damage, not malice.
#![allow(
    unsafe_code,
    reason = "taking compiled code from a file means trusting that file"
)]

use std::{
    fs,
    hash::{Hash, Hasher},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

/// A directory of compiled components.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    /// Stands for this engine: its version, its settings, this processor.
    engine: String,
}

impl Cache {
    /// Opens a directory, and makes it where it is missing. One that others may write to is refused.
    pub(crate) fn open(directory: &Path, engine: &Engine) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)?;
        let mode = fs::metadata(directory)?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(io::Error::other(format!(
                "others may write to {}, and what it holds is run; chmod it to 0700",
                directory.display()
            )));
        }
        let mut hasher = Hashing(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let mut engine = hex(&hasher.0.finalize());
        engine.truncate(16);
        Ok(Self {
            directory: directory.to_owned(),
            engine,
        })
    }

    /// The component of a digest, if it was kept by an engine like this one and is undamaged.
    pub(crate) fn get(&self, digest: &str, engine: &Engine) -> Option<Component> {
        let file = fs::read(self.path(digest)).ok()?;
        let (sum, code) = file.split_first_chunk::<SUM>()?;
        if Sha256::digest(code).as_slice() != sum {
            return None;
        }
        // SAFETY: the bytes are what `put` wrote: its checksum stands before them, and only this server can write to the
        // directory. The engine itself refuses code of another engine.
        unsafe { Component::deserialize(engine, code) }.ok()
    }

    /// Keeps a component. That it fails is no harm: it is compiled again next time.
    pub(crate) fn put(&self, digest: &str, component: &Component) -> io::Result<()> {
        let code = component.serialize().map_err(io::Error::other)?;
        let path = self.path(digest);
        // Written beside and moved into place, so that a reader never sees half of it.
        let mut beside = path.clone();
        beside.set_extension(format!("{}.new", std::process::id()));
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        file.write_all(&Sha256::digest(&code))?;
        file.write_all(&code)?;
        drop(file);
        fs::rename(&beside, &path)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.directory
            .join(format!("{digest}-{}.cwasm", self.engine))
    }
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lets what can be hashed be hashed to something that stays the same from start to start.
struct Hashing(Sha256);

impl Hasher for Hashing {
    fn finish(&self) -> u64 {
        0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
}

const SUM: usize = 32;
