//! The decision log on disk: one thread that writes, and a bounded queue before it.
//!
//! Who decides never waits for the disk. What does not fit into the queue, or cannot be written, is dropped and counted,
//! and that is told once until it is over. Files are numbered, the highest number is the newest; beyond their number the
//! oldest is removed. A line that a crash has cut short is taken off when the next start goes on with the file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use lockgate_policy::decision::Entry;
use serde::Serialize;

use super::log::FilesConfig;

/// Hands entries to the thread that writes. Dropping it writes what waits, within a moment.
pub(super) struct Writer {
    queue: Option<SyncSender<Arc<Entry>>>,
    state: Arc<State>,
    /// Says nothing; it ends when the thread does.
    done: Mutex<Receiver<()>>,
}

#[derive(Default)]
struct State {
    written: AtomicU64,
    dropped: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// The files as people see them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[schema(as = DecisionFiles)]
pub struct FilesInfo {
    /// Entries written since the start.
    pub written: u64,
    /// Entries lost since the start: the disk was slow, full or not there.
    pub dropped: u64,
    /// Why nothing is written now.
    pub trouble: Option<String>,
}

impl Writer {
    /// Starts the thread. A folder that cannot be written is told and tried again; it stops nobody.
    pub(super) fn start(config: FilesConfig) -> io::Result<Self> {
        let (queue, inbox) = sync_channel(QUEUE_MAX);
        let (ends, done) = sync_channel(0);
        let state = Arc::new(State::default());
        let files = Files {
            config,
            state: Arc::clone(&state),
            open: None,
            retry_at: None,
            told: false,
        };
        std::thread::Builder::new()
            .name("decisions".to_owned())
            .spawn(move || {
                files.run(&inbox);
                drop(ends);
            })?;
        Ok(Self {
            queue: Some(queue),
            state,
            done: Mutex::new(done),
        })
    }

    /// Takes an entry, or drops and counts it. Never waits.
    pub(super) fn write(&self, entry: Arc<Entry>) {
        let taken = self
            .queue
            .as_ref()
            .is_some_and(|queue| queue.try_send(entry).is_ok());
        if !taken && self.state.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "the disk is too slow for the decision log: entries are lost and counted; record less, or give policies.log.path a faster disk"
            );
        }
    }

    pub(super) fn info(&self) -> FilesInfo {
        FilesInfo {
            written: self.state.written.load(Ordering::Relaxed),
            dropped: self.state.dropped.load(Ordering::Relaxed),
            trouble: self.state.trouble().clone(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.queue.take());
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        if done.recv_timeout(CLOSE_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the disk takes too long: the last decisions may not be written");
        }
    }
}

impl State {
    fn trouble(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The files, owned by the thread.
struct Files {
    config: FilesConfig,
    state: Arc<State>,
    open: Option<Open>,
    /// After trouble: nothing is tried before.
    retry_at: Option<Instant>,
    told: bool,
}

struct Open {
    number: u64,
    file: BufWriter<File>,
    bytes: u64,
    /// Entries that may still be in the buffer only.
    unsure: u64,
}

impl Files {
    fn run(mut self, inbox: &Receiver<Arc<Entry>>) {
        // Looked at once before the first decision, so that a wrong path shows at the start.
        if let Err(error) = self.opened() {
            self.fail(&error, 0);
        }
        let mut line = Vec::new();
        while let Ok(entry) = inbox.recv() {
            self.put(&entry, &mut line);
            while let Ok(entry) = inbox.try_recv() {
                self.put(&entry, &mut line);
            }
            self.flush();
        }
    }

    fn put(&mut self, entry: &Entry, line: &mut Vec<u8>) {
        if self.retry_at.is_some_and(|at| Instant::now() < at) {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.retry_at = None;
        line.clear();
        if serde_json::to_writer(&mut *line, entry).is_err() {
            self.state.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        line.push(b'\n');
        let most = self.config.file_bytes;
        let written = self.opened().and_then(|open| {
            open.file.write_all(line)?;
            open.bytes += line.len() as u64;
            open.unsure += 1;
            Ok(open.bytes >= most)
        });
        match written {
            Ok(false) => {}
            Ok(true) => self.next(),
            Err(error) => self.fail(&error, 1),
        }
    }

    fn flush(&mut self) {
        let Some(open) = &mut self.open else {
            return;
        };
        match open.file.flush() {
            Ok(()) => {
                let sure = std::mem::take(&mut open.unsure);
                self.state.written.fetch_add(sure, Ordering::Relaxed);
                if sure > 0 && self.told {
                    self.told = false;
                    *self.state.trouble() = None;
                    let lost = self.state.dropped.load(Ordering::Relaxed);
                    tracing::info!(lost, "the decision log is written again");
                }
            }
            Err(error) => self.fail(&error, 0),
        }
    }

    /// Begins the next file.
    fn next(&mut self) {
        self.flush();
        if let Some(open) = self.open.take() {
            let begun = self.begin(open.number + 1);
            match begun {
                Ok(open) => self.open = Some(open),
                Err(error) => self.fail(&error, 0),
            }
        }
    }

    fn fail(&mut self, error: &io::Error, lost: u64) {
        let unsure = self.open.take().map_or(0, |open| {
            // What is in the buffer is lost; writing it now would only fail again.
            drop(open.file.into_parts());
            open.unsure
        });
        self.state
            .dropped
            .fetch_add(lost + unsure, Ordering::Relaxed);
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        let folder = self.config.folder.display();
        if !self.told {
            self.told = true;
            tracing::warn!(
                %error,
                "the decision log cannot be written in {folder}: entries are lost and counted until it can; deciding goes on. Make room, or set policies.log.path"
            );
        }
        *self.state.trouble() = Some(format!("{folder}: {error}"));
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                fs::create_dir_all(&self.config.folder)?;
                let newest = numbers(&self.config.folder)?.into_iter().max();
                let open = self.begin(newest.unwrap_or(1))?;
                if open.bytes >= self.config.file_bytes {
                    self.begin(open.number + 1)?
                } else {
                    open
                }
            }
        };
        Ok(self.open.insert(open))
    }

    /// Opens a file to go on with it, and removes those that are too many.
    fn begin(&self, number: u64) -> io::Result<Open> {
        let folder = &self.config.folder;
        let mut all = numbers(folder)?;
        all.retain(|other| *other != number);
        all.sort_unstable();
        let too_many = (all.len() + 1).saturating_sub(self.config.files.max(1));
        for old in all.into_iter().take(too_many) {
            fs::remove_file(path(folder, old))?;
        }
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path(folder, number))?;
        let bytes = whole_lines(&mut file)?;
        if bytes < file.metadata()?.len() {
            file.set_len(bytes)?;
        }
        Ok(Open {
            number,
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
            bytes,
            unsure: 0,
        })
    }
}

fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{BEFORE}{number:08}{AFTER}"))
}

/// The numbers of the files that are there.
fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for found in fs::read_dir(folder)? {
        let name = found?.file_name();
        let number: Option<u64> = name
            .to_str()
            .and_then(|name| name.strip_prefix(BEFORE)?.strip_suffix(AFTER)?.parse().ok());
        numbers.extend(number);
    }
    Ok(numbers)
}

/// The length of a file up to the end of its last whole line.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut piece = vec![0; PIECE_BYTES];
    while end > 0 {
        let from = end.saturating_sub(PIECE_BYTES as u64);
        let len = usize::try_from(end - from).unwrap_or(PIECE_BYTES);
        let Some(piece) = piece.get_mut(..len) else {
            break;
        };
        file.seek(SeekFrom::Start(from))?;
        file.read_exact(piece)?;
        if let Some(at) = piece.iter().rposition(|byte| *byte == b'\n') {
            return Ok(from + at as u64 + 1);
        }
        end = from;
    }
    Ok(0)
}

const BEFORE: &str = "decisions-";
const AFTER: &str = ".ndjson";
/// Entries that may wait for the disk: a few seconds of a thousand viewers, all logged.
const QUEUE_MAX: usize = 8192;
/// After trouble with the disk, how long until it is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long the last entries may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);
const BUFFER_BYTES: usize = 64 << 10;
const PIECE_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests;
