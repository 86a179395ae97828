//! A certificate that we sign ourselves, for development: browsers warn of it once.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair};

use super::TlsError;

/// The files of the certificate for these names. It is made anew when they change or it is old, and else kept, so that a
/// browser that was told to believe it still does.
pub(super) fn certificate(names: &[String], folder: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let at = |name: &str| folder.join(name);
    let (certificate, key, list) = (at("self-signed.crt"), at("self-signed.key"), at("names"));
    let wanted = names.join("\n");
    let age = fs::metadata(&certificate).and_then(|file| file.modified());
    let is_fresh = age.is_ok_and(|made| made.elapsed().is_ok_and(|age| age < KEPT));
    let is_same = fs::read_to_string(&list).is_ok_and(|kept| kept == wanted);
    if is_fresh && is_same && key.is_file() {
        return Ok((certificate, key));
    }
    let failed = |error: rcgen::Error| TlsError::Make(error.to_string());
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, "Lockgate, self-signed");
    params.distinguished_name = subject;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let private = KeyPair::generate().map_err(failed)?;
    let made = params.self_signed(&private).map_err(failed)?;
    let write = |path: &Path, text: &str| {
        let mut file = fs::OpenOptions::new();
        let file = file.write(true).create(true).truncate(true).mode(0o600);
        let written = file
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| TlsError::File {
            path: path.to_owned(),
            what: format!("cannot be written: {error}"),
        })
    };
    fs::create_dir_all(folder).map_err(|error| TlsError::File {
        path: folder.to_owned(),
        what: format!("cannot be made: {error}"),
    })?;
    write(&key, &private.serialize_pem())?;
    write(&certificate, &made.pem())?;
    write(&list, &wanted)?;
    Ok((certificate, key))
}

/// After this it is made anew. Its own end is far away.
const KEPT: Duration = Duration::from_secs(300 * 86_400);
