//! The long window: closed segments on disk, in a folder that is bounded in time and in bytes, and gone with the
//! broadcast.
//!
//! Live never waits for it. One thread writes and removes, behind a queue that is bounded in bytes; what it cannot
//! take or write is a gap in the long playlist, and is counted. Files are named by numbers of ours, never by a name
//! from outside.

use std::{
    collections::{HashMap, VecDeque},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use bytes::Bytes;
use lockgate_hls::{Rendition, Segment};
use lockgate_media::TrackId;
use tokio::sync::Semaphore;

/// Where the long window is kept, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DvrConfig {
    /// The folder; each broadcast has one of its own in it.
    pub path: PathBuf,
    /// How much of a broadcast is kept.
    pub keep: Duration,
    /// Most bytes of a broadcast, all renditions together.
    pub bytes_max: u64,
    /// Playlists are long unless a player asks for a short one, instead of the other way round.
    pub by_default: bool,
}

/// Removes what earlier runs left in the folder: nothing lists it any more. Other files in it are not touched.
pub fn sweep(path: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The long window of one broadcast. Dropping it removes the folder.
pub(super) struct Dvr {
    shared: Arc<Shared>,
    queue: SyncSender<Job>,
    reads: Semaphore,
}

struct Shared {
    folder: PathBuf,
    keep_90k: i64,
    bytes_max: u64,
    index: Mutex<Index>,
    /// Bytes that wait for the disk.
    waiting: AtomicU64,
    /// What could not be kept has been told, and nothing has gone well since.
    told: AtomicBool,
}

#[derive(Default)]
struct Index {
    tracks: HashMap<TrackId, Kept>,
    bytes: u64,
}

/// What is kept of a rendition.
struct Kept {
    ordinal: usize,
    /// The newest segment seen.
    last: Option<u64>,
    entries: VecDeque<Entry>,
    inits: Vec<(u32, Bytes)>,
}

struct Entry {
    /// Without bytes and parts. A gap if they could not be kept.
    segment: Arc<Segment>,
    bytes: u64,
}

enum Job {
    Write {
        track: TrackId,
        number: u64,
        file: PathBuf,
        bytes: Bytes,
    },
    Remove(PathBuf),
}

impl Dvr {
    pub(super) fn start(config: &DvrConfig) -> io::Result<Self> {
        let (queue, inbox) = sync_channel(QUEUE_MAX);
        let shared = Arc::new(Shared {
            folder: config
                .path
                .join(format!("{PREFIX}{:032x}", rand::random::<u128>())),
            keep_90k: i64::try_from(config.keep.as_secs())
                .map_or(i64::MAX, |s| s.saturating_mul(90_000)),
            bytes_max: config.bytes_max,
            index: Mutex::default(),
            waiting: AtomicU64::new(0),
            told: AtomicBool::new(false),
        });
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("dvr".to_owned())
            .spawn(move || of_thread.run(&inbox))?;
        Ok(Self {
            shared,
            queue,
            reads: Semaphore::new(READS_MAX),
        })
    }

    /// Takes a rendition's new segments, and lets go of what is too old.
    pub(super) fn take(&self, view: &Rendition) {
        let mut index = self.shared.index();
        let ordinal = index.tracks.len();
        let track = index.tracks.entry(view.track.clone()).or_insert(Kept {
            ordinal,
            last: None,
            entries: VecDeque::new(),
            inits: Vec::new(),
        });
        let fresh = view
            .segments
            .iter()
            .filter(|segment| track.last.is_none_or(|last| segment.number > last));
        let fresh: Vec<Arc<Segment>> = fresh.cloned().collect();
        for segment in fresh {
            self.add(&mut index, view, &segment);
        }
        self.evict(&mut index);
    }

    fn add(&self, index: &mut Index, view: &Rendition, segment: &Arc<Segment>) {
        let Some(track) = index.tracks.get_mut(&view.track) else {
            return;
        };
        // Numbers without a hole, or what is older cannot be listed: a rung that rested starts anew.
        if track.last.is_some_and(|last| segment.number != last + 1) {
            let gone: Vec<Entry> = track.entries.drain(..).collect();
            for entry in gone {
                index.bytes = index.bytes.saturating_sub(entry.bytes);
                self.remove(track.ordinal, &entry);
            }
        }
        track.last = Some(segment.number);
        if let Some(init) = segment.init.and_then(|version| view.init(version))
            && !track
                .inits
                .iter()
                .any(|(version, _)| *version == init.version)
        {
            track.inits.push((init.version, init.bytes.clone()));
        }
        let bytes = segment.bytes.len() as u64;
        let kept = !segment.gap && self.write(&view.track, track.ordinal, segment);
        let entry = Entry {
            segment: Arc::new(Segment {
                bytes: Bytes::new(),
                parts: Vec::new(),
                gap: !kept,
                ..Segment::clone(segment)
            }),
            bytes: if kept { bytes } else { 0 },
        };
        index.bytes += entry.bytes;
        track.entries.push_back(entry);
    }

    fn write(&self, track: &TrackId, ordinal: usize, segment: &Segment) -> bool {
        let length = segment.bytes.len() as u64;
        let waiting = self.shared.waiting.fetch_add(length, Ordering::Relaxed) + length;
        let job = Job::Write {
            track: track.clone(),
            number: segment.number,
            file: self.shared.file(ordinal, segment.number),
            bytes: segment.bytes.clone(),
        };
        let taken = waiting <= WAITING_MAX && self.queue.try_send(job).is_ok();
        if !taken {
            self.shared.waiting.fetch_sub(length, Ordering::Relaxed);
            self.shared.tell("the disk is too slow");
        }
        taken
    }

    fn evict(&self, index: &mut Index) {
        let newest = index.tracks.values().filter_map(|track| {
            let last = &track.entries.back()?.segment;
            Some(last.start_90k + last.duration_90k)
        });
        let Some(now_90k) = newest.max() else { return };
        loop {
            let over = index.bytes > self.shared.bytes_max;
            let oldest = index
                .tracks
                .values_mut()
                .filter(|track| track.entries.len() > 1)
                .min_by_key(|track| track.entries.front().map(|entry| entry.segment.start_90k));
            let Some(track) = oldest else { return };
            let is_old = |entry: &mut Entry| {
                over || entry.segment.start_90k < now_90k - self.shared.keep_90k
            };
            let Some(entry) = track.entries.pop_front_if(is_old) else {
                return;
            };
            let needed = track.entries.iter().filter_map(|entry| entry.segment.init);
            let needed: Vec<u32> = needed.collect();
            track.inits.retain(|(version, _)| needed.contains(version));
            self.remove(track.ordinal, &entry);
            index.bytes = index.bytes.saturating_sub(entry.bytes);
        }
    }

    /// What cannot be removed now goes with the folder.
    fn remove(&self, ordinal: usize, entry: &Entry) {
        if !entry.segment.gap {
            let file = self.shared.file(ordinal, entry.segment.number);
            drop(self.queue.try_send(Job::Remove(file)));
        }
    }

    /// The segments in front of this number, if they go on to it.
    pub(super) fn before(&self, track: &TrackId, number: u64) -> Vec<Arc<Segment>> {
        let index = self.shared.index();
        let Some(track) = index.tracks.get(track) else {
            return Vec::new();
        };
        let entries = track.entries.iter().map(|entry| &entry.segment);
        let before: Vec<_> = entries
            .filter(|segment| segment.number < number)
            .cloned()
            .collect();
        if before.last().is_some_and(|last| last.number + 1 == number) {
            before
        } else {
            Vec::new()
        }
    }

    /// An init section that is still needed.
    pub(super) fn init(&self, track: &TrackId, version: u32) -> Option<Bytes> {
        let index = self.shared.index();
        let inits = &index.tracks.get(track)?.inits;
        let found = inits.iter().find(|(known, _)| *known == version)?;
        Some(found.1.clone())
    }

    /// A segment's bytes, read from the disk away from the tasks. `None` if it is not kept.
    pub(super) async fn segment(&self, track: &TrackId, number: u64) -> Option<Bytes> {
        let file = {
            let index = self.shared.index();
            let track = index.tracks.get(track)?;
            let mut entries = track.entries.iter();
            entries.find(|entry| entry.segment.number == number && !entry.segment.gap)?;
            self.shared.file(track.ordinal, number)
        };
        // A slow disk makes few wait, not all.
        let turn = tokio::time::timeout(READ_WITHIN, self.reads.acquire()).await;
        let _turn = turn.ok()?.ok()?;
        let read = tokio::time::timeout(READ_WITHIN, tokio::fs::read(&file)).await;
        match read {
            Ok(Ok(bytes)) => Some(Bytes::from(bytes)),
            Ok(Err(error)) => {
                tracing::debug!(file = %file.display(), %error, "a kept segment cannot be read");
                None
            }
            Err(_) => None,
        }
    }
}

impl Shared {
    fn run(&self, inbox: &Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            match job {
                Job::Write {
                    track,
                    number,
                    file,
                    bytes,
                } => {
                    let written = self.write(&file, &bytes);
                    self.waiting
                        .fetch_sub(bytes.len() as u64, Ordering::Relaxed);
                    match written {
                        Ok(()) => self.told.store(false, Ordering::Relaxed),
                        Err(error) => {
                            self.tell(&format!("{}: {error}", file.display()));
                            self.lose(&track, number);
                            drop(fs::remove_file(&file));
                        }
                    }
                }
                Job::Remove(file) => drop(fs::remove_file(file)),
            }
        }
        if let Err(error) = fs::remove_dir_all(&self.folder)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(folder = %self.folder.display(), %error, "the folder of a broadcast's long window cannot be removed");
        }
    }

    fn write(&self, file: &Path, bytes: &Bytes) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        // Whoever reads finds all of it or nothing.
        let part = file.with_extension("part");
        fs::write(&part, bytes)
            .and_then(|()| fs::rename(&part, file))
            .inspect_err(|_| drop(fs::remove_file(&part)))
    }

    /// A segment is a gap from now on.
    fn lose(&self, track: &TrackId, number: u64) {
        let mut index = self.index();
        let index = &mut *index;
        let Some(track) = index.tracks.get_mut(track) else {
            return;
        };
        let mut entries = track.entries.iter_mut();
        if let Some(entry) = entries.find(|entry| entry.segment.number == number) {
            entry.segment = Arc::new(Segment {
                gap: true,
                ..Segment::clone(&entry.segment)
            });
            index.bytes = index.bytes.saturating_sub(std::mem::take(&mut entry.bytes));
        }
    }

    fn tell(&self, why: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "the long window has gaps: {why}; give hls.dvr_path a faster or larger disk, or lower hls.dvr_s"
            );
        }
    }

    fn file(&self, ordinal: usize, number: u64) -> PathBuf {
        self.folder.join(format!("{ordinal}_{number}"))
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What our folders are called.
const PREFIX: &str = "broadcast-";
/// Segments that wait for the disk.
const QUEUE_MAX: usize = 256;
/// Bytes that wait for the disk.
const WAITING_MAX: u64 = 64 << 20;
/// Segments that are read at a time.
const READS_MAX: usize = 16;
/// A read that takes longer is not waited for.
const READ_WITHIN: Duration = Duration::from_secs(5);
