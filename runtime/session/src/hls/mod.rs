//! HLS of one broadcast: reads the tracks that players fetch, pauses those that nobody does, and answers fetches, also
//! those that ask for what is not there yet.

mod dvr;
mod file;
#[cfg(test)]
mod fuzz;
mod growing;
mod views;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use lockgate_broadcast::{
    Broadcast,
    track::{Role, Start, Track},
};
use lockgate_hls::{Awaited, Container, ManifestAsk, Packager, Rendition, Skip};
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
use dvr::Dvr;
pub use dvr::{DvrConfig, sweep as sweep_dvr};
use file::FileName;
pub use file::{MediaBody, MediaFile};
pub use growing::{CutShort, Growing};
pub use views::Text;
use views::{Form, Views};

/// How HLS is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HlsConfig {
    /// Segments and window.
    pub segments: lockgate_hls::Config,
    /// Package a rendition only while it is fetched.
    pub on_demand: bool,
    /// How long after the last fetch a rendition is still packaged.
    pub keep_alive: Duration,
    /// The long window, if there is one.
    pub dvr: Option<DvrConfig>,
}

/// What a player asks of a media playlist besides its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reload {
    /// Answer when the playlist has come this far (`_HLS_msn`, `_HLS_part`).
    pub awaited: Option<Awaited>,
    /// Leave out what the player has (`_HLS_skip`).
    pub skip: Option<Skip>,
    /// The long window, or the short one, if the player says which.
    pub dvr: Option<bool>,
}

/// A media playlist.
#[derive(Debug, Clone)]
pub struct Playlist {
    /// It.
    pub text: Arc<Text>,
    /// How long caches may keep it for the same URL, in s: it was waited for, so that nobody asks for it again before.
    pub lasts_s: Option<u32>,
}

/// HLS of one broadcast. Dropping it ends its tasks.
pub struct Hls {
    shared: Arc<Shared>,
    _tender: Task,
    /// Writes down the numbers in use, where there are records.
    _keeper: Option<Task>,
}

struct Shared {
    broadcast: Broadcast,
    config: HlsConfig,
    packager: Mutex<Packager>,
    /// What players see of it.
    views: Views,
    dvr: Option<Dvr>,
    /// Touched whenever the tracks were looked at, or something was packaged of a track that had nothing.
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
        let dvr = config.dvr.as_ref().and_then(|dvr| {
            let started = Dvr::start(dvr);
            let told =
                |error| tracing::warn!(%error, "the thread of the long window cannot be started");
            started.map_err(told).ok()
        });
        let shared = Arc::new(Shared {
            broadcast,
            config,
            packager: Mutex::new(packager),
            views: Views::default(),
            dvr,
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
    pub async fn multivariant(&self, query: Option<&str>) -> Result<Arc<Text>, Error> {
        let shared = &self.shared;
        let complete = |packager: &Packager| {
            let playlist = packager.multivariant();
            let tracks = shared.broadcast.tracks();
            let video = packageable(tracks).filter(|track| track.format().video().is_some());
            let listed = playlist.variants.len();
            (listed > 0 && listed >= video.count()).then_some(playlist)
        };
        match shared.wait_for(complete).await {
            Ok(playlist) => Ok(Text::new(playlist.playlist(query))),
            // A rung that does not come must not keep the others from being seen.
            Err(error) => {
                let playlist = shared.packager().multivariant();
                if playlist.variants.is_empty() {
                    Err(error)
                } else {
                    Ok(Text::new(playlist.playlist(query)))
                }
            }
        }
    }

    /// The media playlist of a rendition. The first fetch starts the rendition and waits for its first segment; one
    /// that names a segment or part waits for that (rfc8216bis §6.2.5.2).
    pub async fn playlist(
        &self,
        id: &TrackId,
        reload: Reload,
        query: Option<&str>,
    ) -> Result<Playlist, Error> {
        let shared = &self.shared;
        let mut news = shared.touch(id)?;
        let starts = Instant::now() + FIRST_SEGMENT_WITHIN;
        let view = wait_until(&mut news, starts, |view| !view.segments.is_empty()).await;
        let view = view.ok_or_else(|| Error::NotReady(shared.broadcast.name().clone()))?;
        let mut lasts_s = None;
        if let Some(awaited) = reload.awaited
            && view.part_target_90k.is_some()
            && !view.ended
        {
            if view.is_too_far(awaited) {
                return Err(Error::TooFarAhead(shared.broadcast.name().clone()));
            }
            let latest = Instant::now() + target(&view) * 3;
            wait_until(&mut news, latest, |view| view.ended || view.has(awaited))
                .await
                .ok_or_else(|| Error::TooLate(shared.broadcast.name().clone()))?;
            lasts_s = Some(6 * view.target_duration_s);
        }
        let by_default = |dvr: &DvrConfig| reload.dvr.unwrap_or(dvr.by_default);
        let form = Form {
            track: id.clone(),
            skip: reload.skip,
            dvr: shared.config.dvr.as_ref().is_some_and(by_default),
            query: query.map(str::to_owned),
        };
        let dvr = shared.dvr.as_ref().filter(|_| form.dvr);
        let earlier = |number| dvr.map(|dvr| dvr.before(id, number)).unwrap_or_default();
        let text = shared.views.text(form, earlier);
        let text = text.ok_or_else(|| Error::NotReady(shared.broadcast.name().clone()))?;
        Ok(Playlist { text, lasts_s })
    }

    /// A segment, part or init section of a rendition by the name its playlist gives it. A part that the playlist
    /// hints at is waited for until it is whole (rfc8216bis §6.2.6). A segment that is being filled, or is the next, comes
    /// as it is filled: players of DASH ask for it ahead, also of a rendition that is started by that.
    pub async fn file(&self, id: &TrackId, name: &str) -> Result<MediaFile, Error> {
        let shared = &self.shared;
        let mut news = shared.touch(id)?;
        let container = shared.config.segments.container;
        let none = || Error::NoFile {
            broadcast: shared.broadcast.name().clone(),
            file: format!("{id}/{name}"),
        };
        let late = || Error::TooLate(shared.broadcast.name().clone());
        let file = FileName::parse(name, container).ok_or_else(none)?;
        let view = Arc::clone(&news.borrow_and_update());
        if let Some(bytes) = file.find(&view) {
            return Ok(file.file(id, container, bytes));
        }
        let latest = Instant::now() + target(&view) * 3;
        let bytes = match (file, &shared.dvr) {
            (FileName::Part(number, index), _) if view.hint() == Some((number, index)) => {
                let decided = |view: &Rendition| view.hint() != Some((number, index));
                let view = wait_until(&mut news, latest, decided).await;
                file.find(&*view.ok_or_else(late)?)
            }
            (FileName::Segment(number), _) if shared.is_coming(&view, number) => {
                let view = wait_until(&mut news, latest, |view| is_decided(view, number)).await;
                let view = view.ok_or_else(late)?;
                if view.open.as_ref().is_some_and(|open| open.number == number) {
                    let growing = Growing::new(news, number, target(&view) * 3);
                    return Ok(file.growing(id, container, growing));
                }
                file.find(&view)
            }
            (FileName::Segment(number), Some(dvr)) => dvr.segment(id, number).await,
            (FileName::Init(version), Some(dvr)) => dvr.init(id, version),
            _ => None,
        };
        Ok(file.file(id, container, bytes.ok_or_else(none)?))
    }

    /// The DASH manifest; see [`ManifestAsk`]. It lists all renditions; those that are not packaged now with what they
    /// would have next, where there are parts. So it starts none of them but one, for the times, if there is no other.
    /// Without parts nothing can be said of what is not packaged, and who reads it keeps all packaged. So it is where the
    /// source is passed through, whose segments no clock tells: players do not get over a rung that begins later.
    pub async fn manifest(&self, ask: ManifestAsk<'_>) -> Result<Arc<Text>, Error> {
        let shared = &self.shared;
        let has_parts = shared.config.segments.clamped().part_ms > 0;
        let complete = |packager: &Packager| {
            let stretch = |id: &TrackId| {
                let view = packager.snapshot(id)?;
                let mut there = view.segments.iter().rev().filter(|segment| !segment.gap);
                Some(there.next()?.discontinuity)
            };
            let has_segments = |id: &TrackId| stretch(id).is_some();
            let tracks: Vec<Track> = packageable(shared.broadcast.tracks()).collect();
            let is_regular = tracks.iter().all(|track| track.role() != Role::Passthrough);
            let clock = shared.clock(&tracks, has_segments);
            let clock = clock.filter(|_| has_parts && is_regular);
            // What begins again does so behind a break, one after the other.
            let newest = tracks.iter().filter_map(|track| stretch(track.id())).max();
            let mut all = newest.is_some();
            for track in &tracks {
                let id = track.id();
                let is_clock = clock.as_ref() == Some(id);
                // One by one, so that those which start late are wanted, too.
                if clock.is_none() || (is_clock && !has_segments(id)) {
                    shared.touch_known(packager, id);
                }
                let is_audio = track.format().audio().is_some();
                let whole = clock.is_none() || is_clock || is_audio;
                all &= stretch(id) == newest || (!whole && packager.snapshot(id).is_some());
            }
            all.then(|| packager.manifest(ask)).flatten()
        };
        match shared.wait_for(complete).await {
            Ok(text) => Ok(Text::new(text)),
            // A rung that does not come must not keep the others from being seen.
            Err(error) => shared.packager().manifest(ask).map(Text::new).ok_or(error),
        }
    }

    /// The broadcast is over: the playlists end.
    pub(crate) fn finish(&self) {
        self.shared.finished.store(true, Ordering::Release);
        self.shared.packaged(|packager| packager.finish());
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

    /// Lets the packager do something, and tells what came of it.
    fn packaged<T>(&self, what: impl FnOnce(&mut Packager) -> T) -> T {
        let mut packager = self.packager();
        let came = what(&mut packager);
        let changed = packager.take_changed();
        if let Some(dvr) = &self.dvr {
            changed.iter().for_each(|view| dvr.take(view));
        }
        let first = |view: &Arc<Rendition>| view.segments.len() <= 1;
        let is_news = changed.iter().any(first);
        // Still locked: the order of what is told is the order of what happened.
        self.views.publish(changed);
        drop(packager);
        if is_news {
            self.progress.send_replace(());
        }
        came
    }

    /// Notes that a rendition is fetched, and returns its news.
    fn touch(&self, id: &TrackId) -> Result<watch::Receiver<Arc<Rendition>>, Error> {
        let none = || Error::NoTrack {
            broadcast: self.broadcast.name().clone(),
            track: id.clone(),
        };
        if !self.touch_known(&self.packager(), id) {
            return Err(none());
        }
        self.views.watch(id).ok_or_else(none)
    }

    fn touch_known(&self, packager: &Packager, id: &TrackId) -> bool {
        let known = packager.snapshot(id).is_some();
        if known && self.fetched().insert(id.clone(), Instant::now()).is_none() {
            self.wanted.notify_one();
        }
        known
    }

    /// The rendition whose segments tell a manifest what time it is: one that has some, one that is fetched, or the one
    /// that costs least. `None` without pictures.
    fn clock(&self, tracks: &[Track], has_segments: impl Fn(&TrackId) -> bool) -> Option<TrackId> {
        let fetched = self.fetched();
        let videos = tracks.iter().filter_map(|track| {
            let format = track.format();
            let video = format.video()?;
            let pixels = u64::from(video.width) * u64::from(video.height);
            let id = track.id();
            let is_encoded = track.role() != Role::Passthrough;
            let cost = (
                !has_segments(id),
                !fetched.contains_key(id),
                is_encoded,
                pixels,
            );
            Some((cost, id))
        });
        let (_, id) = videos.min_by_key(|(cost, _)| *cost)?;
        Some(id.clone())
    }

    /// Whether a segment that a rendition does not list will be there soon, or may be.
    fn is_coming(&self, view: &Rendition, number: u64) -> bool {
        let is_cmaf = view.container == Container::Fmp4 && !view.ended;
        let is_open = view.open.as_ref().is_some_and(|open| open.number == number);
        is_open || (is_cmaf && !is_decided(view, number) && self.packager().expects(number))
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
                self.packaged(|packager| packager.stop(id));
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
                self.packaged(|packager| packager.remove_track(&gone.track));
            }
        }
        let now = Instant::now();
        self.fetched()
            .retain(|_, at| now.saturating_duration_since(*at) < self.config.keep_alive);
        let any = !self.config.on_demand || !self.fetched().is_empty();
        let now_90k = self.broadcast.origin().pts_now();
        self.packaged(|packager| packager.advance(now_90k));
        for track in &tracks {
            let (format, passthrough) = (track.format(), track.role() == Role::Passthrough);
            if !self.packaged(|packager| packager.set_track(track.id(), &format, passthrough)) {
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
                self.packaged(|packager| packager.stop(track.id()));
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
            let changed = formats.has_changed().unwrap_or(false);
            let format = changed.then(|| formats.borrow_and_update().clone());
            self.packaged(|packager| {
                if let Some(format) = format {
                    packager.set_track(track.id(), &format, track.role() == Role::Passthrough);
                }
                packager.push(track.id(), item.unit);
            });
        }
    }
}

/// The tracks that HLS offers. A rung that only stands in for a source with B-frames, where that cannot be sent over
/// WebRTC, is none of them: HLS has the source.
pub(crate) fn packageable(tracks: Vec<Track>) -> impl Iterator<Item = Track> {
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

/// The first view for which `ready` holds; `None` if there is none until `latest`, or none will come.
async fn wait_until(
    news: &mut watch::Receiver<Arc<Rendition>>,
    latest: Instant,
    ready: impl Fn(&Rendition) -> bool,
) -> Option<Arc<Rendition>> {
    let found = timeout_at(latest, news.wait_for(|view| ready(view))).await;
    Some(Arc::clone(&*found.ok()?.ok()?))
}

/// Whether it is known what becomes of a segment: it is there, is being filled, or others after it are.
fn is_decided(view: &Rendition, number: u64) -> bool {
    view.ended || view.newest().is_some_and(|(newest, _)| newest >= number)
}

fn target(view: &Rendition) -> Duration {
    Duration::from_secs(view.target_duration_s.into())
}

/// How long a player is kept waiting for a rendition that has just been started: a worker's start, one cell of the
/// grid to begin at and one to fill, with room for a busy machine. Players give up after 10 s to 20 s.
const FIRST_SEGMENT_WITHIN: Duration = Duration::from_secs(12);
