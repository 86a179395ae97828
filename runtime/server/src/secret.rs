//! What tokens are signed with.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};

use crate::Config;

/// The configured secret, or the one kept in the store, made there on the first start.
pub(crate) fn secret(config: &Config) -> anyhow::Result<Vec<u8>> {
    if let Some(secret) = &config.auth.secret {
        return Ok(secret.reveal().as_bytes().to_vec());
    }
    let folder = &config.store.path;
    fs::create_dir_all(folder).with_context(|| {
        format!(
            "the store folder {} cannot be made; set store.path",
            folder.display()
        )
    })?;
    let path = folder.join("secret");
    match make(&path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => {
            return Err(error).with_context(|| format!("{} cannot be written", path.display()));
        }
    }
    let text =
        fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let text = text.trim();
    anyhow::ensure!(
        text.len() >= 32,
        "{} holds no secret of at least 32 bytes; remove it and a new one is made",
        path.display()
    );
    Ok(text.as_bytes().to_vec())
}

/// Writes a new secret, readable by the owner alone, unless there is one. It appears whole or not at all.
fn make(path: &Path) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let secret: [u8; 32] = rand::random();
    let draft = path.with_extension(format!("{:08x}.new", rand::random::<u32>()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    writeln!(file, "{}", STANDARD_NO_PAD.encode(secret))?;
    file.sync_all()?;
    // A hard link fails if another process was first; then its secret is the one.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    linked
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.store.path = folder.path().join("data");
        let first = secret(&config).unwrap();
        assert_eq!(secret(&config).unwrap(), first);
        let file = config.store.path.join("secret");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(fs::read_dir(&config.store.path).unwrap().count(), 1);
        fs::write(&file, "short").unwrap();
        assert!(
            secret(&config)
                .unwrap_err()
                .to_string()
                .contains("remove it")
        );
    }
}
