//! The files of recordings: written, found, and cleared away.

use std::{
    fs::{self, File as Handle},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use lockgate_hls::vod::date_time;
use lockgate_media::BroadcastName;
use serde::Serialize;

use super::RecordConfig;

/// A file that is being written. What is in it is whole at any time.
pub(super) struct File {
    handle: Handle,
    path: PathBuf,
    name: String,
    bytes: u64,
    synced: Instant,
}

/// A file there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Recording {
    /// The broadcast.
    pub stream: String,
    /// Its name, which is when it began.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// When it was last written, in ms since 1970-01-01 UTC.
    pub modified_ms: u64,
    #[serde(skip)]
    path: PathBuf,
}

impl File {
    /// Begins a file in a folder, named by the time. The folder is made.
    pub(super) fn begin(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut unix_ms = now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(0));
        loop {
            let name = format!("{}.mp4", date_time(unix_ms).replace([':', '.'], "-"));
            let path = folder.join(&name);
            match Handle::create_new(&path) {
                Ok(handle) => {
                    return Ok(Self {
                        handle,
                        path,
                        name,
                        bytes: 0,
                        synced: Instant::now(),
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => unix_ms += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Appends whole fragments. Where that fails, the file is cut back to what was whole.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.handle.write_all(bytes) {
            // On a full disk even this may fail; players stop at what is torn.
            self.handle.set_len(self.bytes).ok();
            if self.bytes == 0 {
                fs::remove_file(&self.path).ok();
            }
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        if self.synced.elapsed() >= SYNC_EVERY {
            self.handle.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }

    pub(super) fn close(self) {
        self.handle.sync_all().ok();
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// All files, oldest first.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<Recording>> {
    let mut found = Vec::new();
    let streams = match fs::read_dir(folder) {
        Ok(streams) => streams,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for stream in streams.filter_map(Result::ok) {
        let Some(name) = stream.file_name().to_str().map(str::to_owned) else {
            continue;
        };
        let Ok(files) = fs::read_dir(stream.path()) else {
            continue;
        };
        for file in files.filter_map(Result::ok) {
            let Ok(about) = file.metadata() else { continue };
            let Some(file_name) = file.file_name().to_str().map(str::to_owned) else {
                continue;
            };
            if !about.is_file() || !is_ours(&file_name) {
                continue;
            }
            let modified = about.modified().unwrap_or(UNIX_EPOCH);
            let modified = modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            found.push(Recording {
                stream: name.clone(),
                file: file_name,
                bytes: about.len(),
                modified_ms: u64::try_from(modified.as_millis()).unwrap_or(0),
                path: file.path(),
            });
        }
    }
    found.sort_by(|one, other| (&one.file, &one.stream).cmp(&(&other.file, &other.stream)));
    Ok(found)
}

/// The path of a file by the names that [`list`] gives it; a name of any other form is none.
pub(crate) fn find(folder: &Path, stream: &BroadcastName, file: &str) -> Option<PathBuf> {
    is_ours(file).then(|| folder.join(stream.as_str()).join(file))
}

/// Takes away what is too old or too much. Files that may still be written stay.
pub(super) fn sweep(config: &RecordConfig) {
    let files = match list(&config.folder) {
        Ok(files) => files,
        Err(error) => {
            tracing::warn!(folder = %config.folder.display(), %error, "recordings cannot be listed");
            return;
        }
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(0));
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    for file in files {
        let age = Duration::from_millis(now_ms.saturating_sub(file.modified_ms));
        let is_old = config.keep_for.is_some_and(|keep| age > keep);
        let is_much = config.keep_bytes.is_some_and(|keep| total > keep);
        if age < IN_USE || !(is_old || is_much) {
            continue;
        }
        match fs::remove_file(&file.path) {
            Ok(()) => {
                total = total.saturating_sub(file.bytes);
                tracing::info!(
                    stream = file.stream,
                    file = file.file,
                    "an old recording goes"
                );
            }
            Err(error) => {
                tracing::warn!(file = %file.path.display(), %error, "an old recording stays")
            }
        }
    }
}

/// `2026-11-27T09-06-35-123Z.mp4`.
fn is_ours(name: &str) -> bool {
    name.strip_suffix(".mp4").is_some_and(|stem| {
        stem.len() == 24
            && stem
                .bytes()
                .all(|byte| byte.is_ascii_digit() || b"-TZ".contains(&byte))
    })
}

/// A crash of the machine costs no more than this; one of the program costs the fragment being made.
const SYNC_EVERY: Duration = Duration::from_secs(10);
/// A file that was written so recently may be written again.
const IN_USE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_by_time_and_nothing_else_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let stream = folder.path().join("cam");
        let mut first = File::begin(&stream).unwrap();
        let mut second = File::begin(&stream).unwrap();
        first.append(b"one").unwrap();
        second.append(b"three").unwrap();
        fs::write(stream.join("notes.txt"), "mine").unwrap();
        let files = list(folder.path()).unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!((files[0].bytes, files[1].bytes), (3, 5));
        assert_eq!(files[0].stream, "cam");
        let name = BroadcastName::new("cam").unwrap();
        assert!(find(folder.path(), &name, &files[0].file).is_some_and(|path| path.is_file()));
        for other in ["../../etc/passwd.mp4", "notes.txt", ".mp4", ""] {
            assert_eq!(find(folder.path(), &name, other), None, "{other}");
        }
    }

    #[test]
    fn the_oldest_go_first_and_what_is_written_stays() {
        let folder = tempfile::tempdir().unwrap();
        let stream = folder.path().join("cam");
        fs::create_dir_all(&stream).unwrap();
        for day in 1..=4 {
            let path = stream.join(format!("2026-01-0{day}T00-00-00-000Z.mp4"));
            fs::write(&path, [0; 100]).unwrap();
            let age = Duration::from_secs(86_400 * (10 - day));
            let file = Handle::options().write(true).open(&path).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
        }
        let mut live = File::begin(&stream).unwrap();
        live.append(&[0; 100]).unwrap();
        let config = RecordConfig {
            folder: folder.path().to_path_buf(),
            keep_for: Some(Duration::from_secs(86_400 * 8 + 100)),
            keep_bytes: Some(250),
            ..RecordConfig::default()
        };
        sweep(&config);
        let left: Vec<String> = list(folder.path())
            .unwrap()
            .into_iter()
            .map(|it| it.file)
            .collect();
        assert_eq!(left.len(), 2, "{left:?}");
        assert_eq!(left[0], "2026-01-04T00-00-00-000Z.mp4");
    }
}
