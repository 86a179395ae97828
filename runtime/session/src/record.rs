//! Recordings: the best rendition of a broadcast with its sound, in files that play however they end.
//!
//! A recording is a reader like any other: it never makes a writer wait, and the rung that it reads is encoded because
//! it is read. Where the disk does not take it any more, it lets go, says so, and tries again; live goes on.

mod files;

use std::{path::PathBuf, sync::Arc, time::Duration};

use lockgate_broadcast::{
    Broadcast,
    track::{Consumer, Role, Start, Track},
};
use lockgate_hls::record::{Recorded, Recorder};
use lockgate_media::{AudioCodec, BroadcastName, TrackId, VideoCodec};
use lockgate_ports::task::{Task, own};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout, timeout_at},
};

pub use files::Recording;
use files::{File, sweep};
pub(crate) use files::{find, list};

/// What is recorded, and for how long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordConfig {
    /// A folder for each broadcast is made here.
    pub folder: PathBuf,
    /// Names of broadcasts, and beginnings of names that end in `*`. Nothing is recorded where there is none.
    pub streams: Vec<String>,
    /// A file lasts so long at most.
    pub file_lasts: Duration,
    /// A file has so many bytes at most.
    pub file_bytes: u64,
    /// Files that ended so long ago go.
    pub keep_for: Option<Duration>,
    /// The oldest files go until all together have no more bytes than this.
    pub keep_bytes: Option<u64>,
}

/// How a recording goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct RecordInfo {
    /// What it does.
    pub state: RecordState,
    /// The track of the pictures.
    pub track: Option<TrackId>,
    /// The file being written.
    pub file: Option<String>,
    /// Bytes of it so far.
    pub bytes: u64,
    /// Why it is paused.
    pub error: Option<String>,
}

/// What a recording does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RecordState {
    /// Nothing has come that can be recorded.
    #[default]
    Waiting,
    /// It writes.
    Recording,
    /// The disk does not take it; it is tried again.
    Paused,
}

/// A broadcast being recorded. Dropping it ends the file.
pub(crate) struct Recordings {
    info: watch::Receiver<RecordInfo>,
    _task: Task,
}

impl RecordConfig {
    /// Whether a broadcast is recorded.
    pub fn is_about(&self, name: &BroadcastName) -> bool {
        self.streams
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.as_str().starts_with(beginning),
                None => pattern == name.as_str(),
            })
    }
}

impl Recordings {
    /// Records a broadcast, if the configuration says so.
    pub(crate) fn start(config: &RecordConfig, broadcast: &Broadcast) -> Option<Self> {
        if !config.is_about(broadcast.name()) {
            return None;
        }
        let (told, info) = watch::channel(RecordInfo::default());
        let writer = Writer {
            config: config.clone(),
            broadcast: broadcast.clone(),
            told,
        };
        Some(Self {
            info,
            _task: own(writer.run()),
        })
    }

    pub(crate) fn info(&self) -> RecordInfo {
        self.info.borrow().clone()
    }

    /// Waits until its last file is whole, once the broadcast is over.
    pub(crate) async fn closed(&mut self) {
        let idle = |info: &RecordInfo| info.state != RecordState::Recording;
        timeout(CLOSED_WITHIN, self.info.wait_for(idle)).await.ok();
    }
}

/// Keeps the folder of recordings within its bounds.
pub(crate) fn keep(config: RecordConfig) -> Option<Task> {
    if config.streams.is_empty() || (config.keep_for.is_none() && config.keep_bytes.is_none()) {
        return None;
    }
    Some(own(async move {
        loop {
            let config = config.clone();
            tokio::task::spawn_blocking(move || sweep(&config))
                .await
                .ok();
            sleep(SWEEP_EVERY).await;
        }
    }))
}

struct Writer {
    config: RecordConfig,
    broadcast: Broadcast,
    told: watch::Sender<RecordInfo>,
}

/// Why a file came to its end.
enum End {
    /// Its tracks are gone, or others came.
    Over,
    /// The disk does not take it.
    Refused(std::io::Error),
}

/// What is recorded: pictures, sound, or both.
struct Tracks {
    video: Option<Track>,
    audio: Option<Track>,
}

impl Tracks {
    /// The source where it can be recorded, or else the best rung; and AAC.
    fn choose(broadcast: &Broadcast) -> Self {
        let tracks = broadcast.tracks();
        let worth = |track: &Track| {
            let format = track.format();
            let video = format
                .video()
                .filter(|video| video.codec == VideoCodec::H264)?;
            let pixels = u64::from(video.width) * u64::from(video.height);
            let rank = match track.role() {
                Role::Ingest => 2,
                Role::Passthrough => 1,
                Role::Rung => 0,
            };
            Some((rank, pixels, video.bitrate_bps))
        };
        let best = tracks
            .iter()
            .filter_map(|track| Some((worth(track)?, track)))
            .max_by_key(|(worth, _)| *worth);
        let is_aac = |track: &&Track| {
            let format = track.format();
            format
                .audio()
                .is_some_and(|audio| audio.codec == AudioCodec::Aac)
        };
        Self {
            video: best.map(|(_, track)| track.clone()),
            audio: tracks.iter().find(is_aac).cloned(),
        }
    }

    fn ids(&self) -> (Option<TrackId>, bool) {
        let id = self.video.as_ref().map(|track| track.id().clone());
        (id, self.audio.is_some())
    }
}

impl Writer {
    async fn run(self) {
        loop {
            let tracks = self.wait().await;
            let end = self.file(&tracks).await;
            match end {
                End::Over => {
                    self.told.send_replace(RecordInfo::default());
                }
                End::Refused(error) => {
                    let name = self.broadcast.name();
                    tracing::error!(broadcast = %name, %error, "recording pauses: the disk does not take it; live goes on");
                    self.told.send_modify(|info| {
                        *info = RecordInfo {
                            state: RecordState::Paused,
                            error: Some(format!(
                                "{}: {error}; free space and it goes on by itself",
                                self.config.folder.display()
                            )),
                            ..RecordInfo::default()
                        };
                    });
                    sleep(TRY_AGAIN_AFTER).await;
                    tracing::info!(broadcast = %name, "recording is tried again");
                }
            }
        }
    }

    /// Waits until there is something to record, and a little longer for what usually comes with it.
    async fn wait(&self) -> Tracks {
        let mut changes = self.broadcast.changes();
        let mut until: Option<Instant> = None;
        loop {
            changes.mark_unchanged();
            let tracks = Tracks::choose(&self.broadcast);
            let is_some = tracks.video.is_some() || tracks.audio.is_some();
            let is_all = tracks.video.is_some() && tracks.audio.is_some();
            if is_all || until.is_some_and(|until| is_some && Instant::now() >= until) {
                return tracks;
            }
            if is_some {
                until.get_or_insert_with(|| Instant::now() + COMPLETE_WITHIN);
            }
            let far = Instant::now() + Duration::from_secs(3600);
            if let Ok(Err(_)) = timeout_at(until.unwrap_or(far), changes.changed()).await {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Writes one file to its end.
    async fn file(&self, tracks: &Tracks) -> End {
        let format = |track: &Option<Track>| track.as_ref().map(Track::format);
        let recorder = Recorder::new(
            format(&tracks.video).as_ref(),
            format(&tracks.audio).as_ref(),
        );
        let Some(mut recorder) = recorder else {
            sleep(COMPLETE_WITHIN).await;
            return End::Over;
        };
        let consume = |track: &Option<Track>| {
            track
                .as_ref()
                .map(|track| track.consume(Start::CachedKeyframe))
        };
        let (mut video, mut audio) = (consume(&tracks.video), consume(&tracks.audio));
        if let Some(video) = &video {
            video.request_keyframe();
        }
        let mut changes = self.broadcast.changes();
        let mut file: Option<File> = None;
        let began = Instant::now();
        let end = loop {
            let recorded = tokio::select! {
                item = next(&mut video) => match item {
                    Some(unit) => {
                        // A file is cut where the next one can begin.
                        let is_long = unit.keyframe && file.as_ref().is_some_and(|file| {
                            file.bytes() >= self.config.file_bytes || began.elapsed() >= self.config.file_lasts
                        });
                        if is_long { Recorded::Another(recorder.finish()) } else { recorder.video(unit) }
                    }
                    None => Recorded::Another(recorder.finish()),
                },
                item = next(&mut audio) => match item {
                    Some(unit) => {
                        let is_long = video.is_none() && began.elapsed() >= self.config.file_lasts;
                        if is_long { Recorded::Another(recorder.finish()) } else { recorder.audio(unit) }
                    }
                    None => Recorded::Another(recorder.finish()),
                },
                _ = changes.changed() => {
                    if Tracks::choose(&self.broadcast).ids() == tracks.ids() {
                        Recorded::Kept
                    } else {
                        Recorded::Another(recorder.finish())
                    }
                }
            };
            let (bytes, is_over) = match recorded {
                Recorded::Kept => continue,
                Recorded::Append(bytes) => (bytes, false),
                Recorded::Another(bytes) => (bytes, true),
            };
            if !bytes.is_empty() {
                match self.append(file.take(), bytes).await {
                    Ok(written) => {
                        self.tell(tracks, &written);
                        file = Some(written);
                    }
                    Err(error) => break End::Refused(error),
                }
            }
            if is_over {
                break End::Over;
            }
        };
        if let Some(file) = file {
            tokio::task::spawn_blocking(move || file.close()).await.ok();
        } else {
            // Where nothing could be written at all, the same would happen at once again.
            sleep(Duration::from_millis(200)).await;
        }
        end
    }

    /// Appends to a file, or begins one, away from the runtime's threads.
    async fn append(&self, file: Option<File>, bytes: bytes::Bytes) -> std::io::Result<File> {
        let folder = self.config.folder.join(self.broadcast.name().as_str());
        let name = self.broadcast.name().clone();
        let work = move || {
            let mut file = match file {
                Some(file) => file,
                None => {
                    let file = File::begin(&folder)?;
                    tracing::info!(broadcast = %name, file = file.name(), "recording");
                    file
                }
            };
            file.append(&bytes)?;
            Ok(file)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(written) => written,
            Err(_) => Err(std::io::Error::other("the thread that writes has panicked")),
        }
    }

    fn tell(&self, tracks: &Tracks, file: &File) {
        self.told.send_modify(|info| {
            *info = RecordInfo {
                state: RecordState::Recording,
                track: tracks.ids().0,
                file: Some(file.name().to_owned()),
                bytes: file.bytes(),
                error: None,
            };
        });
    }
}

async fn next(consumer: &mut Option<Consumer>) -> Option<Arc<lockgate_media::AccessUnit>> {
    match consumer {
        Some(consumer) => Some(consumer.next().await?.unit),
        None => std::future::pending().await,
    }
}

/// How long to wait for pictures once there is sound, or for sound once there are pictures.
const COMPLETE_WITHIN: Duration = Duration::from_secs(4);
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(3);
/// A disk that takes longer for the last fragment will not take it.
const CLOSED_WITHIN: Duration = Duration::from_secs(3);
const SWEEP_EVERY: Duration = Duration::from_secs(60);
