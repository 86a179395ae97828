//! HLS of one broadcast: reads the tracks that players fetch, and pauses those that nobody does.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use lockgate_broadcast::{
    Broadcast,
    track::{Role, Start, Track},
};
use lockgate_hls::{Packager, Rendition};
use lockgate_media::{AudioCodec, Format, TrackId, VideoCodec};
use lockgate_ports::{
    Records,
    task::{Task, own},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout_at},
};

use crate::{Error, numbers};

/// How HLS is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HlsConfig {
    /// Segments and window.
    pub segments: lockgate_hls::Config,
    /// Package a rendition only while it is fetched.
    pub on_demand: bool,
    /// How long after the last fetch a rendition is still packaged.
    pub keep_alive: Duration,
}

/// HLS of one broadcast. Dropping it ends its tasks.
pub struct Hls {
    shared: Arc<Shared>,
    _tender: Task,
    /// Writes down the numbers in use, where there are records.
    _keeper: Option<Task>,
}

/// A segment or init section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaFile {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its media type.
    pub content_type: &'static str,
}

struct Shared {
    broadcast: Broadcast,
    config: HlsConfig,
    packager: Mutex<Packager>,
    /// Touched whenever something was packaged.
    progress: watch::Sender<()>,
    fetched: Mutex<HashMap<TrackId, Instant>>,
    /// A rendition is fetched that was not before.
    wanted: Notify,
    /// The last playlists stand; nothing is started or stopped any more.
    finished: AtomicBool,
}

impl Hls {
    pub(crate) fn start(
        broadcast: Broadcast,
        config: HlsConfig,
        records: Option<Arc<dyn Records>>,
    ) -> Self {
        let started_ms = broadcast.origin().unix_ms();
        let started_s = u32::try_from(started_ms / 1000).unwrap_or(0);
        let from = numbers::from(records.as_deref(), broadcast.name(), started_s);
        let keeper =
            records.map(|records| own(numbers::keep(records, broadcast.name().clone(), from)));
        let packager = Packager::new(config.segments, started_ms)
            .numbered_from(from.segment, from.discontinuity);
        let shared = Arc::new(Shared {
            broadcast,
            config,
            packager: Mutex::new(packager),
            progress: watch::Sender::new(()),
            fetched: Mutex::default(),
            wanted: Notify::new(),
            finished: AtomicBool::new(false),
        });
        let tender = own(Arc::clone(&shared).tend());
        Self {
            shared,
            _tender: tender,
            _keeper: keeper,
        }
    }

    /// The multivariant playlist, with `query` carried on into its URIs. Waits a little for a broadcast that has
    /// just started, until all of its rungs are known.
    pub async fn multivariant(&self, query: Option<&str>) -> Result<String, Error> {
        let shared = &self.shared;
        let complete = |packager: &Packager| {
            let playlist = packager.multivariant();
            let tracks = shared.broadcast.tracks();
            let video = packageable(tracks).filter(|track| track.format().video().is_some());
            let listed = playlist.variants.len();
            (listed > 0 && listed >= video.count()).then_some(playlist)
        };
        match shared.wait_for(complete).await {
            Ok(playlist) => Ok(playlist.playlist(query)),
            // A rung that does not come must not keep the others from being seen.
            Err(error) => {
                let playlist = shared.packager().multivariant();
                if playlist.variants.is_empty() {
                    Err(error)
                } else {
                    Ok(playlist.playlist(query))
                }
            }
        }
    }

    /// The media playlist of a rendition. The first fetch starts the rendition and waits for its first segment.
    pub async fn playlist(&self, id: &TrackId, query: Option<&str>) -> Result<String, Error> {
        self.shared.touch(id)?;
        self.shared
            .wait_for(|packager| {
                let rendition = packager.snapshot(id)?;
                (!rendition.segments.is_empty()).then(|| rendition.playlist(query))
            })
            .await
    }

    /// A segment or init section of a rendition by the name its playlist gives it.
    pub fn file(&self, id: &TrackId, name: &str) -> Result<MediaFile, Error> {
        self.shared.touch(id)?;
        let rendition = self.shared.packager().snapshot(id);
        rendition
            .and_then(|rendition| file_of(&rendition, id, name))
            .ok_or_else(|| Error::NoFile {
                broadcast: self.shared.broadcast.name().clone(),
                file: format!("{id}/{name}"),
            })
    }

    /// The broadcast is over: the playlists end.
    pub(crate) fn finish(&self) {
        self.shared.finished.store(true, Ordering::Release);
        self.shared.packager().finish();
        self.shared.progress.send_replace(());
    }
}

impl Shared {
    fn packager(&self) -> MutexGuard<'_, Packager> {
        self.packager.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fetched(&self) -> MutexGuard<'_, HashMap<TrackId, Instant>> {
        self.fetched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touch(&self, id: &TrackId) -> Result<(), Error> {
        if self.packager().snapshot(id).is_none() {
            return Err(Error::NoTrack {
                broadcast: self.broadcast.name().clone(),
                track: id.clone(),
            });
        }
        if self.fetched().insert(id.clone(), Instant::now()).is_none() {
            self.wanted.notify_one();
        }
        Ok(())
    }

    async fn wait_for<T>(&self, mut ready: impl FnMut(&Packager) -> Option<T>) -> Result<T, Error> {
        let deadline = Instant::now() + FIRST_SEGMENT_WITHIN;
        let mut progress = self.progress.subscribe();
        loop {
            if let Some(answer) = ready(&self.packager()) {
                return Ok(answer);
            }
            if !matches!(timeout_at(deadline, progress.changed()).await, Ok(Ok(()))) {
                return Err(Error::NotReady(self.broadcast.name().clone()));
            }
        }
    }

    /// Keeps the set of packaged tracks equal to what there is and what is fetched.
    async fn tend(self: Arc<Self>) {
        let mut changes = self.broadcast.changes();
        let mut pumps: HashMap<TrackId, Task> = HashMap::new();
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        while !self.finished.load(Ordering::Acquire) {
            self.reconcile(&mut pumps);
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = self.wanted.notified() => {}
                _ = tick.tick() => {}
            }
        }
    }

    fn reconcile(self: &Arc<Self>, pumps: &mut HashMap<TrackId, Task>) {
        let tracks: Vec<Track> = packageable(self.broadcast.tracks()).collect();
        pumps.retain(|id, pump| {
            let there = tracks.iter().any(|track| track.id() == id) && !pump.is_finished();
            if !there {
                self.packager().stop(id);
            }
            there
        });
        // A rung that is shed is gone while others stay; at the end of a broadcast all go, and their playlists stay.
        if tracks.iter().any(|track| track.format().video().is_some()) {
            let listed = self.packager().multivariant().variants;
            for gone in listed
                .iter()
                .filter(|listed| !tracks.iter().any(|track| *track.id() == listed.track))
            {
                self.packager().remove_track(&gone.track);
            }
        }
        let now = Instant::now();
        self.fetched()
            .retain(|_, at| now.saturating_duration_since(*at) < self.config.keep_alive);
        let any = !self.config.on_demand || !self.fetched().is_empty();
        self.packager().advance(self.broadcast.origin().pts_now());
        for track in &tracks {
            if !self.packager().set_track(
                track.id(),
                &track.format(),
                track.role() == Role::Passthrough,
            ) {
                continue;
            }
            let is_audio = track.format().audio().is_some();
            let wanted = !self.config.on_demand
                || (is_audio && any)
                || self.fetched().contains_key(track.id());
            if wanted && !pumps.contains_key(track.id()) {
                self.packager().start(track.id());
                pumps.insert(
                    track.id().clone(),
                    own(Arc::clone(self).pump(track.clone())),
                );
            } else if !wanted && pumps.remove(track.id()).is_some() {
                self.packager().stop(track.id());
            }
        }
        self.progress.send_replace(());
    }

    /// Carries one track's units into the packager until the track closes.
    async fn pump(self: Arc<Self>, track: Track) {
        let mut consumer = track.consume(Start::CachedKeyframe);
        let mut formats = track.formats();
        formats.mark_unchanged();
        while let Some(item) = consumer.next().await {
            let mut packager = self.packager();
            if formats.has_changed().unwrap_or(false) {
                let format = formats.borrow_and_update().clone();
                packager.set_track(track.id(), &format, track.role() == Role::Passthrough);
            }
            packager.push(track.id(), item.unit);
            drop(packager);
            self.progress.send_replace(());
        }
    }
}

/// The tracks that HLS offers. A rung that only stands in for a source with B-frames, where that cannot be sent over
/// WebRTC, is none of them: HLS has the source.
fn packageable(tracks: Vec<Track>) -> impl Iterator<Item = Track> {
    let pixels = |track: &Track| {
        let format = track.format();
        let video = format.video()?;
        Some((
            u64::from(video.width) * u64::from(video.height),
            video.reordered,
        ))
    };
    let source = tracks
        .iter()
        .filter(|track| track.role() == Role::Passthrough)
        .filter_map(pixels)
        .find_map(|(pixels, reordered)| reordered.then_some(pixels));
    tracks.into_iter().filter(move |track| {
        let stands_in = track.role() == Role::Rung
            && source.is_some_and(|source| pixels(track).is_some_and(|(size, _)| size >= source));
        is_packageable(track) && !stands_in
    })
}

/// HLS carries what has regular keyframes, in H.264, and AAC.
fn is_packageable(track: &Track) -> bool {
    match track.format() {
        Format::Video(video) => video.codec == VideoCodec::H264 && track.role() != Role::Ingest,
        Format::Audio(audio) => audio.codec == AudioCodec::Aac,
    }
}

/// A file of a rendition by its name, `segment_{n}.m4s`, `segment_{n}.ts` or `init_{v}.mp4`, exactly as playlists
/// write it: a segment is looked up by its number, never by a path.
fn file_of(rendition: &Rendition, id: &TrackId, name: &str) -> Option<MediaFile> {
    let (stem, extension) = name.split_once('.')?;
    let (kind, number) = stem.split_once('_')?;
    let canonical = number.bytes().all(|digit| digit.is_ascii_digit())
        && (number == "0" || !number.starts_with('0'));
    let number: u64 = number.parse().ok().filter(|_| canonical)?;
    let is_audio = *id == TrackId::aac();
    let (bytes, content_type) = match (kind, extension) {
        ("segment", "m4s" | "ts") if extension == rendition.container.extension() => {
            let mp4 = if is_audio { "audio/mp4" } else { "video/mp4" };
            (
                &rendition.segment(number)?.bytes,
                if extension == "ts" { "video/mp2t" } else { mp4 },
            )
        }
        ("init", "mp4") => {
            let init = rendition.init(u32::try_from(number).ok()?)?;
            (
                &init.bytes,
                if is_audio { "audio/mp4" } else { "video/mp4" },
            )
        }
        _ => return None,
    };
    Some(MediaFile {
        bytes: bytes.clone(),
        content_type,
    })
}

/// How long a player is kept waiting for a rendition that has just been started: a worker's start, one cell of the
/// grid to begin at and one to fill, with room for a busy machine. Players give up after 10 s to 20 s.
const FIRST_SEGMENT_WITHIN: Duration = Duration::from_secs(12);
