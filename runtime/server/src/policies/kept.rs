//! What was last good, for a start with a bad file: the artifact in a file named by its digest, which one it is as a record.

use std::{
    collections::HashSet,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lockgate_policy::{Kind, slot::SlotInfo};
use lockgate_ports::{Change, Records, Table};
use serde::{Deserialize, Serialize};

/// Keeps the last good policy of each kind.
pub(super) struct Kept {
    folder: PathBuf,
    records: Arc<dyn Records>,
    /// What the records say, to write only what changes.
    known: Mutex<Vec<(Kind, String)>>,
}

/// Which policy was last good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LastGood {
    /// Its digest, which names its file.
    digest: String,
    /// The manifest that stood beside a script: without it the script would want other columns and imports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
}

impl Kept {
    pub(super) fn new(folder: PathBuf, records: Arc<dyn Records>) -> Self {
        Self {
            folder,
            records,
            known: Mutex::default(),
        }
    }

    /// Keeps a policy that has just been put in charge.
    pub(super) async fn keep(
        &self,
        kind: Kind,
        digest: &str,
        bytes: &[u8],
        manifest: Option<String>,
    ) {
        let (path, bytes) = (self.file(digest), bytes.to_vec());
        let written = tokio::task::spawn_blocking(move || place(&path, &bytes)).await;
        if let Err(error) = written.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%kind, %digest, %error, "the policy cannot be kept for the next start");
            return;
        }
        let last_good = LastGood {
            digest: digest.to_owned(),
            manifest,
        };
        // The manifest lies beside the artifact too, for going back to it after a rollback.
        self.note(kind, &last_good).await;
        self.note_as(&format!("{kind}/{digest}"), &last_good).await;
    }

    /// Follows rollbacks: whatever decides now is what the next start falls back to. Files that no kind can go back to
    /// are taken away.
    pub(super) async fn follow(&self, slots: &[SlotInfo]) {
        let mut in_use = HashSet::new();
        for slot in slots {
            let seats = std::iter::once(&slot.active).chain(&slot.before);
            in_use.extend(seats.map(|seat| seat.digest.clone()));
            let known = self.known(slot.kind);
            in_use.extend(known.clone());
            if known.is_none() || known.as_deref() == Some(&slot.active.digest) {
                continue;
            }
            // Back to the built-in nothing is recorded: what was last good before stays so.
            if let Some(last_good) = self.read(&format!("{}/{}", slot.kind, slot.active.digest)) {
                // Said once it is true: a crash after this line starts with this policy.
                if self.note(slot.kind, &last_good).await {
                    tracing::info!(kind = %slot.kind, digest = %last_good.digest, "this policy counts as last good again");
                }
            }
        }
        if !in_use.is_empty() {
            let folder = self.folder.clone();
            let swept = tokio::task::spawn_blocking(move || sweep(&folder, &in_use)).await;
            let key = |kind: Kind, digest: &str| Change::Remove {
                table: Table::Policies,
                key: format!("{kind}/{digest}"),
            };
            let gone: Vec<Change> = swept
                .unwrap_or_default()
                .iter()
                .flat_map(|digest| Kind::ALL.map(|kind| key(kind, digest)))
                .collect();
            if !gone.is_empty()
                && let Err(error) = self.records.write(gone).await
            {
                tracing::debug!(%error, "records of policies that are gone stay");
            }
        }
    }

    /// The policy of a kind that was last good: its name for messages, its bytes, its manifest.
    pub(super) async fn last_good(&self, kind: Kind) -> Option<(String, Vec<u8>, Option<String>)> {
        let last_good = self.read(kind.name())?;
        let path = self.file(&last_good.digest);
        match tokio::fs::read(&path).await {
            Ok(bytes) => Some((path.display().to_string(), bytes, last_good.manifest)),
            Err(error) => {
                tracing::error!(%kind, path = %path.display(), %error, "the policy that was last good cannot be read");
                None
            }
        }
    }

    fn file(&self, digest: &str) -> PathBuf {
        self.folder.join(digest).with_extension(EXTENSION)
    }

    fn known(&self, kind: Kind) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut of_kind = known.iter().filter(|(of, _)| *of == kind);
        of_kind.next().map(|(_, digest)| digest.clone())
    }

    async fn note(&self, kind: Kind, last_good: &LastGood) -> bool {
        let noted = self.note_as(kind.name(), last_good).await;
        if noted {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.retain(|(of, _)| *of != kind);
            known.push((kind, last_good.digest.clone()));
        }
        noted
    }

    async fn note_as(&self, key: &str, last_good: &LastGood) -> bool {
        let Ok(value) = serde_json::to_vec(last_good) else {
            return false;
        };
        let put = Change::Put {
            table: Table::Policies,
            key: key.to_owned(),
            value,
        };
        let written = self.records.write(vec![put]).await;
        if let Err(error) = &written {
            tracing::warn!(%key, %error, "which policy was last good is not recorded");
        }
        written.is_ok()
    }

    fn read(&self, key: &str) -> Option<LastGood> {
        match self.records.get(Table::Policies, key) {
            Ok(value) => serde_json::from_slice(&value?).ok(),
            Err(error) => {
                tracing::error!(%key, %error, "which policy was last good cannot be read");
                None
            }
        }
    }
}

/// Writes a file beside and moves it into place, on the disk before it has its name.
fn place(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if path.is_file() {
        return Ok(());
    }
    let draft = path.with_extension("new");
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    path.parent()
        .map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

/// Takes away files that are not in use and not new; returns their digests.
fn sweep(folder: &Path, in_use: &HashSet<String>) -> Vec<String> {
    let mut gone = Vec::new();
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for path in files.map(|entry| entry.path()) {
        let digest = path.file_stem().and_then(|stem| stem.to_str());
        let is_kept = path
            .extension()
            .is_some_and(|extension| extension == EXTENSION);
        let modified = std::fs::metadata(&path).and_then(|metadata| metadata.modified());
        // One that was just placed is not in use yet.
        let is_old = modified.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > NEW_FOR));
        let Some(digest) = digest.filter(|digest| is_kept && is_old && !in_use.contains(*digest))
        else {
            continue;
        };
        match std::fs::remove_file(&path) {
            Ok(()) => gone.push(digest.to_owned()),
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "an old policy cannot be taken away");
            }
        }
    }
    gone
}

/// Of kept artifacts: their first bytes say what they are.
const EXTENSION: &str = "policy";
/// How long a file may lie before something uses it.
const NEW_FOR: Duration = Duration::from_secs(60);
