//! The packager of one broadcast.

use std::sync::Arc;

use lockgate_media::{
    AccessUnit, AudioCodec, AudioFormat, Format, TrackId, VideoCodec, VideoFormat,
    aac::AudioSpecificConfig, h264,
};

use crate::{
    Config, Container, ManifestAsk, Multivariant, Rendition,
    audio::{AudioSegmenter, Lead},
    cuts::Cuts,
    dash, listing, parts,
    sample::{Chunk, is_sane},
    shelf::Shelf,
    track::{Audio, Media, Sets, Track, Video},
};

/// Turns the access units of one broadcast into segments and playlists.
///
/// Tracks are made known with [`set_track`](Self::set_track), take units between [`start`](Self::start) and
/// [`stop`](Self::stop), and are read through [`snapshot`](Self::snapshot) and [`multivariant`](Self::multivariant).
#[derive(Debug)]
pub struct Packager {
    config: Config,
    origin_unix_ms: i64,
    cuts: Cuts,
    tracks: Vec<Track>,
    /// The broadcast's time as far as units tell it.
    now_90k: i64,
    /// MPEG-TS: the newest audio frame's presentation time.
    audio_90k: Option<i64>,
    finished: bool,
    /// The version of each track's first initialization section.
    init_first: u32,
    /// `PART-TARGET`, once a part was published.
    part_90k: Option<i64>,
}

impl Packager {
    /// `origin_unix_ms` is the wall-clock time of pts 0, in ms since 1970 UTC.
    pub fn new(config: Config, origin_unix_ms: i64) -> Self {
        let config = config.clamped();
        Self {
            config,
            origin_unix_ms,
            cuts: Cuts::new(config.segment_s),
            tracks: Vec::new(),
            now_90k: 0,
            audio_90k: None,
            finished: false,
            init_first: 0,
            part_90k: None,
        }
    }

    /// Counts segments and initialization sections from `first` instead of 0, so that a broadcast never reuses the names
    /// of an earlier one of the same URL, which caches may still hold. The time of its start in s is such a number:
    /// segments last at least a second. Breaks are counted from `discontinuity`.
    #[must_use]
    pub fn numbered_from(mut self, first: u32, discontinuity: u64) -> Self {
        self.cuts.number_from(u64::from(first), discontinuity);
        self.init_first = first;
        self
    }

    /// Makes a track known, or tells what it carries from now on. A new track is paused.
    ///
    /// `passthrough`: its keyframes are where its sender puts them, not on the grid. Say so before any segment is
    /// published: it doubles the target duration of the whole broadcast, which is constant from then on.
    ///
    /// Returns whether it can be packaged: H.264 and AAC can.
    pub fn set_track(&mut self, track: &TrackId, format: &Format, passthrough: bool) -> bool {
        let set = match format {
            Format::Video(format) if format.codec == VideoCodec::H264 => {
                self.set_video(track, format)
            }
            Format::Audio(format) if format.codec == AudioCodec::Aac => {
                self.set_audio(track, format)
            }
            _ => false,
        };
        if !set {
            self.remove_track(track);
            return false;
        }
        if passthrough && format.video().is_some() {
            self.cuts.allow_passthrough();
        }
        if let Some(at) = self.find(track) {
            let track = &mut self.tracks[at];
            track.on_grid = !passthrough;
            track.declared_bps = track.declared_bps.max(format.bitrate_bps());
            if let Media::Video(video) = &mut track.media
                && self.config.container == Container::Fmp4
                && let Some(init) = video.prepare()
            {
                track.shelf.add_init(init);
            }
        }
        self.refresh_all();
        true
    }

    /// Forgets a track; its segments can no longer be fetched.
    pub fn remove_track(&mut self, track: &TrackId) {
        if let Some(at) = self.find(track) {
            self.tracks[at].pause(self.now_90k);
            self.tracks[at].known = false;
            self.refresh(at);
            self.drain();
        }
    }

    /// Lets a track take units.
    pub fn start(&mut self, track: &TrackId) {
        if let Some(at) = self.find(track) {
            self.tracks[at].running = !self.finished;
        }
    }

    /// Pauses a track: its open segment is dropped and its window emptied. It stays in the multivariant playlist.
    /// When it starts again it takes the numbers that the others have then, and never one that it had.
    pub fn stop(&mut self, track: &TrackId) {
        if let Some(at) = self.find(track).filter(|at| self.tracks[*at].running) {
            self.tracks[at].pause(self.now_90k);
            self.refresh(at);
            self.drain();
        }
    }

    /// Takes the next unit of a track. Units of unknown and paused tracks, and units that make no sense, are ignored.
    pub fn push(&mut self, track: &TrackId, unit: Arc<AccessUnit>) {
        let Some(at) = self
            .find(track)
            .filter(|at| self.tracks[*at].running && is_sane(&unit))
        else {
            return;
        };
        // One absurd timestamp must not end the life of all retired segments.
        self.now_90k = self
            .now_90k
            .max(unit.pts_90k.min(self.now_90k + NOW_STEP_MAX_90K));
        match self.tracks[at].media {
            Media::Video(_) => self.push_video(at, &unit),
            Media::Audio(_) => self.push_audio(at, unit),
        }
        self.drain();
    }

    /// Tells the broadcast's time in 1/90000 s, so that retired segments go even while no unit comes.
    pub fn advance(&mut self, now_90k: i64) {
        self.now_90k = self.now_90k.max(now_90k);
        for at in 0..self.tracks.len() {
            if self.tracks[at].shelf.expire(self.now_90k) {
                self.refresh(at);
            }
        }
    }

    /// Ends the broadcast: open segments are closed, and all playlists end.
    pub fn finish(&mut self) {
        self.finished = true;
        let part_90k = self.part_90k();
        for at in 0..self.tracks.len() {
            let mut out = Vec::new();
            if let Media::Video(video) = &mut self.tracks[at].media {
                video.segmenter.finish(&self.cuts, part_90k, &mut out);
            }
            self.complete(at, out);
        }
        self.drain();
        for at in 0..self.tracks.len() {
            let mut out = Vec::new();
            if let Media::Audio(audio) = &mut self.tracks[at].media {
                audio.segmenter.end_at_break(part_90k, &mut out);
            }
            self.complete(at, out);
            self.tracks[at].running = false;
        }
        self.refresh_all();
    }

    /// A track's segments and playlist as they are now; cheap. `None` if the track is unknown, or if its media is
    /// multiplexed into others.
    pub fn snapshot(&self, track: &TrackId) -> Option<Arc<Rendition>> {
        let at = self.find(track)?;
        let track = &self.tracks[at];
        (track.video().is_some() || !self.muxes()).then(|| Arc::clone(&track.view))
    }

    /// The multivariant playlist as it is now. Tracks that are paused stay in it.
    pub fn multivariant(&self) -> Multivariant {
        listing::multivariant(self.config.container, &self.tracks)
    }

    /// The DASH manifest as it is now. `None` while there is nothing to list, and in MPEG-TS.
    pub fn manifest(&self, ask: ManifestAsk<'_>) -> Option<String> {
        dash::manifest(&self.tracks, &self.cuts, self.part_90k(), ask)
    }

    /// Whether a segment of this number may be filled now or next, in a rendition that takes part: its players may be
    /// kept waiting for it.
    pub fn expects(&self, number: u64) -> bool {
        !self.finished && self.cuts.expects(number)
    }

    /// The renditions that are not as they were at the last call.
    pub fn take_changed(&mut self) -> Vec<Arc<Rendition>> {
        let tracks = self.tracks.iter_mut();
        tracks
            .filter_map(|track| std::mem::take(&mut track.changed).then(|| Arc::clone(&track.view)))
            .collect()
    }

    fn set_video(&mut self, track: &TrackId, format: &VideoFormat) -> bool {
        match self.slot(track) {
            Some(Track {
                media: Media::Video(video),
                ..
            }) => {
                video.format = format.clone();
                video.announce();
                true
            }
            Some(other) => {
                other.media = Media::Video(Box::new(Video::new(format.clone())));
                true
            }
            None => self.add(track, Media::Video(Box::new(Video::new(format.clone())))),
        }
    }

    fn set_audio(&mut self, track: &TrackId, format: &AudioFormat) -> bool {
        let Ok(asc) = AudioSpecificConfig::parse(&format.config) else {
            return false;
        };
        if !AUDIO_RATES_HZ.contains(&asc.sample_rate) {
            return false;
        }
        let new = || Audio {
            format: format.clone(),
            asc,
            segmenter: AudioSegmenter::new(asc.sample_rate),
        };
        let Some(at) = self.slot_at(track) else {
            let audio = new();
            let init = audio.init();
            return self.add(track, Media::Audio(Box::new(audio))) && self.add_init(track, init);
        };
        let (part_90k, mut out) = (self.part_90k(), Vec::new());
        match &mut self.tracks[at].media {
            Media::Audio(audio) if audio.format.config == format.config => {
                audio.format = format.clone();
                return true;
            }
            Media::Audio(audio) => audio.segmenter.end_at_break(part_90k, &mut out),
            Media::Video(_) => {}
        }
        self.complete(at, out);
        match &mut self.tracks[at].media {
            Media::Audio(audio) => {
                audio.format = format.clone();
                audio.asc = asc;
                audio.segmenter.renew(asc.sample_rate);
            }
            other @ Media::Video(_) => *other = Media::Audio(Box::new(new())),
        }
        let init = self.tracks[at].audio().and_then(Audio::init);
        self.add_init(track, init)
    }

    fn add_init(&mut self, track: &TrackId, init: Option<bytes::Bytes>) -> bool {
        match (self.find(track), init) {
            (Some(at), Some(init)) if self.config.container == Container::Fmp4 => {
                self.tracks[at].shelf.add_init(init);
                true
            }
            (Some(_), init) => init.is_some(),
            (None, _) => false,
        }
    }

    /// A track, known or remembered, which is known from now on.
    fn slot(&mut self, track: &TrackId) -> Option<&mut Track> {
        let at = self.slot_at(track)?;
        self.tracks.get_mut(at)
    }

    fn slot_at(&mut self, track: &TrackId) -> Option<usize> {
        let at = self.tracks.iter().position(|other| other.id == *track)?;
        self.tracks[at].known = true;
        Some(at)
    }

    fn add(&mut self, track: &TrackId, media: Media) -> bool {
        if self.tracks.len() >= TRACKS_MAX {
            self.tracks.retain(|track| track.known);
        }
        if self.tracks.len() >= TRACKS_MAX {
            return false;
        }
        let view = Rendition {
            track: track.clone(),
            is_audio: matches!(media, Media::Audio(_)),
            container: self.config.container,
            segments: Vec::new(),
            open: None,
            retired: Vec::new(),
            inits: Vec::new(),
            target_duration_s: self.cuts.target_s(),
            part_target_90k: self.part_90k(),
            origin_unix_ms: self.origin_unix_ms,
            ended: self.finished,
        };
        self.tracks.push(Track::new(
            track.clone(),
            media,
            Shelf::new(self.config.window, self.init_first),
            view,
        ));
        true
    }

    fn push_video(&mut self, at: usize, unit: &Arc<AccessUnit>) {
        let part_90k = self.part_90k();
        let track = &mut self.tracks[at];
        let Media::Video(video) = &mut track.media else {
            return;
        };
        let has_picture = |nal| {
            !matches!(
                h264::nal_type(nal),
                h264::NAL_SPS | h264::NAL_PPS | h264::NAL_AUD
            )
        };
        if !h264::nals(&unit.data).any(has_picture) {
            return;
        }
        let sets = match video.sets_of(unit) {
            Sets::Missing => return,
            Sets::Same => None,
            Sets::New(sets, info, init) => Some((sets, info, init)),
        };
        let renewed = sets.is_some() && video.has_used_sets();
        let mut out = Vec::new();
        video
            .segmenter
            .push(unit, renewed, &mut self.cuts, part_90k, &mut out);
        self.complete(at, out);
        if let Some((sets, info, init)) = sets {
            let track = &mut self.tracks[at];
            let is_new = match &mut track.media {
                Media::Video(video) => video.use_sets(sets, info),
                Media::Audio(_) => false,
            };
            if is_new && self.config.container == Container::Fmp4 {
                track.shelf.add_init(init);
            }
        }
    }

    fn push_audio(&mut self, at: usize, unit: Arc<AccessUnit>) {
        if self.muxes() {
            // One audio track goes into the variants: the first that is known.
            if self.tracks.iter().position(|track| track.audio().is_some()) != Some(at) {
                return;
            }
            self.audio_90k = Some(unit.pts_90k);
            for track in self.tracks.iter_mut().filter(|track| track.running) {
                if let Media::Video(video) = &mut track.media {
                    video.mix.push_audio(Arc::clone(&unit));
                }
            }
        } else if let Media::Audio(audio) = &mut self.tracks[at].media {
            audio.segmenter.push(unit);
        }
    }

    /// Whether audio goes into the variants.
    fn muxes(&self) -> bool {
        self.config.container == Container::Ts
            && self.tracks.iter().any(|track| track.video().is_some())
    }

    /// Lets all tracks go as far as they can.
    fn drain(&mut self) {
        let videos = self
            .tracks
            .iter()
            .filter(|track| track.running && !self.finished);
        let leader = videos
            .filter_map(Track::video)
            .map(|video| video.segmenter.leads())
            .max();
        let lead = leader.map_or(Lead::Alone, |(.., frontier)| Lead::Video(frontier));
        let runs = self
            .tracks
            .iter()
            .any(|track| track.running && track.audio().is_some())
            && !self.finished;
        let audio_90k = runs.then_some(self.audio_90k.unwrap_or(i64::MIN));
        let part_90k = self.part_90k();
        for at in 0..self.tracks.len() {
            let mut out = Vec::new();
            match &mut self.tracks[at].media {
                Media::Audio(audio) => {
                    audio
                        .segmenter
                        .poll(lead, &mut self.cuts, part_90k, &mut out);
                }
                Media::Video(video) => {
                    let video_90k = video.segmenter.frontier_90k().unwrap_or(i64::MAX);
                    out.extend(std::iter::from_fn(|| video.mix.ready(audio_90k, video_90k)));
                }
            }
            self.publish(at, &out);
        }
    }

    /// Takes what a segmenter has completed.
    fn complete(&mut self, at: usize, chunks: Vec<Chunk>) {
        match &mut self.tracks[at].media {
            Media::Video(video) if self.config.container == Container::Ts => {
                chunks
                    .into_iter()
                    .for_each(|chunk| video.mix.push_segment(chunk));
            }
            _ => self.publish(at, &chunks),
        }
    }

    fn publish(&mut self, at: usize, chunks: &[Chunk]) {
        if chunks.is_empty() {
            return;
        }
        let constants = (self.cuts.target_s(), self.part_90k);
        self.part_90k = self.part_90k();
        let asc = self
            .tracks
            .iter()
            .find_map(|track| track.audio())
            .map(|audio| audio.asc);
        let track = &mut self.tracks[at];
        for chunk in chunks {
            let bytes = match self.config.container {
                Container::Fmp4 => track.write_cmaf(chunk),
                Container::Ts => Some(track.write_ts(chunk, asc.as_ref(), self.finished)),
            };
            track.shelve(chunk, bytes, &mut self.cuts, self.now_90k);
        }
        if (self.cuts.target_s(), self.part_90k) == constants {
            self.refresh(at)
        } else {
            self.refresh_all()
        }
    }

    /// The longest part in 1/90000 s, if there are parts: constant once the first is published, and until then what
    /// suits the tracks that are known.
    fn part_90k(&self) -> Option<i64> {
        if self.config.part_ms == 0 || self.part_90k.is_some() {
            return self.part_90k;
        }
        let known = self.tracks.iter().filter(|track| track.known);
        let frames: Vec<f64> = known.filter_map(Track::frame_90k).collect();
        let wanted_90k = i64::from(self.config.part_ms) * 90;
        Some(parts::target_90k(wanted_90k, &frames))
    }

    fn refresh(&mut self, at: usize) {
        let part_target_90k = self.part_90k();
        let track = &mut self.tracks[at];
        track.changed = true;
        track.view = Arc::new(Rendition {
            track: track.id.clone(),
            is_audio: track.audio().is_some(),
            container: self.config.container,
            segments: track.shelf.window(),
            open: track.shelf.open().filter(|_| self.config.part_ms > 0),
            retired: track.shelf.retired(),
            inits: track.shelf.inits(),
            target_duration_s: self.cuts.target_s(),
            part_target_90k,
            origin_unix_ms: self.origin_unix_ms,
            ended: self.finished,
        });
    }

    fn refresh_all(&mut self) {
        (0..self.tracks.len()).for_each(|at| self.refresh(at));
    }

    fn find(&self, track: &TrackId) -> Option<usize> {
        self.tracks
            .iter()
            .position(|other| other.known && other.id == *track)
    }
}

/// A ladder has five rungs; simulcast and languages add a few.
const TRACKS_MAX: usize = 32;
/// The sample rates that AAC has an index for.
const AUDIO_RATES_HZ: std::ops::RangeInclusive<u32> = 7_350..=96_000;
/// How far one unit can move the broadcast's time.
const NOW_STEP_MAX_90K: i64 = 10 * 90_000;
