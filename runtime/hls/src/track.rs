//! One track of the broadcast: what it carries, its segmenter, its writer, its shelf.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use lockgate_media::{
    AccessUnit, AudioFormat, TrackId, VideoFormat, aac::AudioSpecificConfig, h264,
};

use crate::{
    Part, Rendition, Segment,
    audio::{AudioSegmenter, FRAME_SAMPLES},
    cmaf,
    cuts::Cuts,
    rate::Rate,
    sample::Chunk,
    shelf::Shelf,
    ts::TsMuxer,
    video::VideoSegmenter,
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) id: TrackId,
    /// Not removed. A removed track is remembered, so that its names are not used again.
    pub(crate) known: bool,
    /// Its keyframes are on the grid of cells.
    pub(crate) on_grid: bool,
    pub(crate) running: bool,
    pub(crate) media: Media,
    pub(crate) shelf: Shelf,
    pub(crate) rate: Rate,
    /// Largest bitrate that was ever declared, in bit/s.
    pub(crate) declared_bps: Option<u64>,
    pub(crate) ts: TsMuxer,
    /// Fragments written.
    sequence: u32,
    /// Samples of the segment that is being filled.
    samples: usize,
    /// The view is not the one that was last taken.
    pub(crate) changed: bool,
    pub(crate) view: Arc<Rendition>,
}

/// What a track carries.
#[derive(Debug)]
pub(crate) enum Media {
    Video(Box<Video>),
    Audio(Box<Audio>),
}

#[derive(Debug)]
pub(crate) struct Video {
    pub(crate) format: VideoFormat,
    pub(crate) segmenter: VideoSegmenter,
    /// The parameter sets in force, and what they say.
    pub(crate) sets: Option<(h264::ParameterSets, h264::SpsInfo)>,
    /// They are in a segment, not only announced.
    sets_used: bool,
    /// Of these there is an initialization section already, before there is any media.
    prepared: Option<h264::ParameterSets>,
    pub(crate) mix: Mix,
}

#[derive(Debug)]
pub(crate) struct Audio {
    pub(crate) format: AudioFormat,
    pub(crate) asc: AudioSpecificConfig,
    pub(crate) segmenter: AudioSegmenter,
}

/// MPEG-TS: segments that wait for the audio that belongs into them.
#[derive(Debug, Default)]
pub(crate) struct Mix {
    waiting: VecDeque<Chunk>,
    audio: VecDeque<Arc<AccessUnit>>,
    last_pts_90k: Option<i64>,
}

/// What a keyframe's parameter sets mean for the segmenter.
pub(crate) enum Sets {
    /// Nothing can be decoded yet.
    Missing,
    Same,
    /// New ones; they are in force for this unit on.
    New(h264::ParameterSets, h264::SpsInfo, Bytes),
}

impl Video {
    pub(crate) fn new(format: VideoFormat) -> Self {
        let mut video = Self {
            format,
            segmenter: VideoSegmenter::default(),
            sets: None,
            sets_used: false,
            prepared: None,
            mix: Mix::default(),
        };
        video.announce();
        video
    }

    /// Takes the format's parameter sets for the playlist until real ones have come.
    pub(crate) fn announce(&mut self) {
        if !self.sets_used {
            let sets = self.format.parameter_sets.clone();
            self.sets = sets.and_then(|sets| sets.info().ok().map(|info| (sets, info)));
        }
    }

    /// Looks at the parameter sets of a unit. Those in the stream count; the format's stand in where there are none.
    pub(crate) fn sets_of(&self, unit: &AccessUnit) -> Sets {
        if !unit.keyframe {
            return if self.sets_used {
                Sets::Same
            } else {
                Sets::Missing
            };
        }
        let found =
            h264::ParameterSets::find(&unit.data).or_else(|| self.format.parameter_sets.clone());
        match found {
            Some(sets)
                if self.sets_used && self.sets.as_ref().is_some_and(|(now, _)| *now == sets) =>
            {
                Sets::Same
            }
            Some(sets) => match sets.info() {
                Ok(info) => match cmaf::video_init(&sets, &info) {
                    Some(init) => Sets::New(sets, info, init),
                    None => Sets::Missing,
                },
                Err(_) => Sets::Missing,
            },
            None if self.sets_used => Sets::Same,
            None => Sets::Missing,
        }
    }

    /// An initialization section of what is announced, for players that start with it; `None` if there is one.
    pub(crate) fn prepare(&mut self) -> Option<Bytes> {
        let (sets, info) = self.sets.as_ref().filter(|_| !self.sets_used)?;
        if self.prepared.as_ref() == Some(sets) {
            return None;
        }
        let init = cmaf::video_init(sets, info)?;
        self.prepared = Some(sets.clone());
        Some(init)
    }

    /// Puts parameter sets in force. Returns whether they need an initialization section.
    pub(crate) fn use_sets(&mut self, sets: h264::ParameterSets, info: h264::SpsInfo) -> bool {
        let is_new = self.prepared.take().as_ref() != Some(&sets);
        self.sets = Some((sets, info));
        self.sets_used = true;
        is_new
    }

    /// Whether new parameter sets would replace used ones.
    pub(crate) fn has_used_sets(&self) -> bool {
        self.sets_used
    }
}

impl Audio {
    pub(crate) fn init(&self) -> Option<Bytes> {
        let bitrate_bps = self.format.bitrate_bps.unwrap_or(0);
        cmaf::audio_init(
            &self.asc,
            &self.format.config,
            self.format.channels,
            bitrate_bps,
        )
    }
}

impl Track {
    pub(crate) fn new(id: TrackId, media: Media, shelf: Shelf, view: Rendition) -> Self {
        Self {
            id,
            known: true,
            on_grid: true,
            running: false,
            media,
            shelf,
            rate: Rate::default(),
            declared_bps: None,
            ts: TsMuxer::default(),
            sequence: 0,
            samples: 0,
            changed: true,
            view: Arc::new(view),
        }
    }

    pub(crate) fn video(&self) -> Option<&Video> {
        match &self.media {
            Media::Video(video) if self.known => Some(video),
            _ => None,
        }
    }

    pub(crate) fn audio(&self) -> Option<&Audio> {
        match &self.media {
            Media::Audio(audio) if self.known => Some(audio),
            _ => None,
        }
    }

    /// How long its frames last in 1/90000 s, if that is known.
    pub(crate) fn frame_90k(&self) -> Option<f64> {
        match &self.media {
            Media::Video(video) => {
                let told = video.sets.as_ref().and_then(|(_, info)| info.frame_rate);
                let rate = video.format.frame_rate.or(told)?;
                Some(90_000.0 / rate.fps()).filter(|frame| frame.is_normal())
            }
            Media::Audio(audio) => {
                let rate = f64::from(audio.asc.sample_rate.max(1));
                Some(FRAME_SAMPLES as f64 * 90_000.0 / rate)
            }
        }
    }

    /// Drops what is open and empties the window.
    pub(crate) fn pause(&mut self, now_90k: i64) {
        self.running = false;
        match &mut self.media {
            Media::Video(video) => {
                video.segmenter.pause();
                video.mix = Mix::default();
            }
            Media::Audio(audio) => audio.segmenter.pause(),
        }
        self.shelf.empty(now_90k);
    }

    /// Writes a stretch of a segment as CMAF.
    pub(crate) fn write_cmaf(&mut self, chunk: &Chunk) -> Option<Bytes> {
        let (kind, timescale) = match &self.media {
            Media::Video(_) => (cmaf::Kind::Video, 90_000),
            Media::Audio(audio) => (cmaf::Kind::Audio, audio.asc.sample_rate),
        };
        self.sequence = self.sequence.wrapping_add(1);
        let fragment = cmaf::fragment(self.sequence, timescale, kind, &chunk.samples)?;
        if chunk.index > 0 {
            return Some(Bytes::from(fragment));
        }
        let mut out = cmaf::styp()?;
        out.extend_from_slice(&fragment);
        Some(Bytes::from(out))
    }

    /// Writes a segment as MPEG-TS, with the audio that belongs into it. `ended`: no unit will come.
    pub(crate) fn write_ts(
        &mut self,
        chunk: &Chunk,
        asc: Option<&AudioSpecificConfig>,
        ended: bool,
    ) -> Bytes {
        match &mut self.media {
            Media::Video(video) => {
                let tail = if ended && video.mix.waiting.is_empty() {
                    WAIT_90K
                } else {
                    0
                };
                let audio = video.mix.take_audio(chunk, chunk.ends_90k() + tail);
                self.ts.segment(&chunk.samples, &audio, asc, chunk.broke)
            }
            Media::Audio(audio) => {
                let frames: Vec<_> = chunk
                    .samples
                    .iter()
                    .map(|sample| Arc::clone(&sample.unit))
                    .collect();
                self.ts.segment(&[], &frames, Some(&audio.asc), chunk.broke)
            }
        }
    }

    /// Puts a written stretch on the shelf; if it could not be written, empties the window, so that its numbers have
    /// no hole. Returns whether the segment is whole now.
    pub(crate) fn shelve(
        &mut self,
        chunk: &Chunk,
        bytes: Option<Bytes>,
        cuts: &mut Cuts,
        now_90k: i64,
    ) -> bool {
        let started = chunk.index == 0 || self.shelf.open().is_some();
        let Some(bytes) = bytes.filter(|_| started) else {
            self.shelf.empty(now_90k);
            return false;
        };
        if chunk.index == 0 {
            self.samples = 0;
            self.fill_gap(chunk, cuts, now_90k);
        }
        self.samples += chunk.samples.len();
        let part = Part {
            duration_90k: chunk.duration_90k,
            independent: chunk.samples.iter().any(|sample| sample.unit.keyframe),
            bytes,
        };
        let init = self.shelf.init_version();
        self.shelf.add_part(|| segment(chunk, init), part);
        let Some(end_90k) = chunk.end_90k else {
            return false;
        };
        let duration_90k = end_90k - chunk.start_90k;
        cuts.publish(duration_90k);
        if let Some(segment) = self.shelf.close(duration_90k, now_90k) {
            let (bytes, target_s) = (segment.bytes.len(), cuts.target_s());
            self.rate.add(bytes, duration_90k, self.samples, target_s);
        }
        true
    }

    /// Lists what other renditions have before this segment, and this one has not.
    fn fill_gap(&mut self, chunk: &Chunk, cuts: &Cuts, now_90k: i64) {
        let missing = chunk.opened.missing;
        let Some(last) = self.shelf.last().filter(|_| missing > 0) else {
            return;
        };
        if missing > self.shelf.window_max() as u64 {
            self.shelf.empty(now_90k);
            return;
        }
        let from_90k = last.start_90k + last.duration_90k;
        let absent_90k =
            i64::try_from(missing).map_or(0, |count| (chunk.start_90k - from_90k) / count);
        let duration_90k = absent_90k.clamp(GAP_MIN_90K, cuts.limit_90k());
        for number in chunk.opened.place.number - missing..chunk.opened.place.number {
            let left = i64::try_from(chunk.opened.place.number - number).unwrap_or(0);
            let gap = Segment {
                number,
                start_90k: chunk.start_90k - left * duration_90k,
                duration_90k,
                gap: true,
                ..segment(chunk, self.shelf.init_version())
            };
            self.shelf.append(Arc::new(gap), now_90k);
        }
    }
}

/// The segment that a stretch belongs to, without any.
fn segment(chunk: &Chunk, init: Option<u32>) -> Segment {
    Segment {
        number: chunk.opened.place.number,
        discontinuity: chunk.opened.place.discontinuity,
        init,
        start_90k: chunk.start_90k,
        duration_90k: 0,
        bytes: Bytes::new(),
        parts: Vec::new(),
        gap: false,
    }
}

impl Mix {
    /// Adds audio for this variant; the oldest is lost where video never comes for it.
    pub(crate) fn push_audio(&mut self, unit: Arc<AccessUnit>) {
        if self.audio.len() == AUDIO_MAX {
            self.audio.pop_front();
        }
        self.audio.push_back(unit);
    }

    pub(crate) fn push_segment(&mut self, chunk: Chunk) {
        self.waiting.push_back(chunk);
    }

    /// The next segment whose audio is there, or need not be waited for. `audio_90k`: how far audio has come, if it
    /// runs; `video_90k`: how far video has come.
    pub(crate) fn ready(&mut self, audio_90k: Option<i64>, video_90k: i64) -> Option<Chunk> {
        let end = self.waiting.front()?.ends_90k();
        let waits = audio_90k.is_some_and(|audio| audio < end)
            && video_90k < end + WAIT_90K
            && self.waiting.len() == 1;
        if waits {
            None
        } else {
            self.waiting.pop_front()
        }
    }

    fn take_audio(&mut self, chunk: &Chunk, end_90k: i64) -> Vec<Arc<AccessUnit>> {
        if chunk.broke {
            self.last_pts_90k = None;
        }
        let mut taken = Vec::new();
        while let Some(unit) = self.audio.pop_front_if(|unit| {
            // Far ahead is not held: it would block what comes behind it.
            unit.pts_90k < end_90k || unit.pts_90k > end_90k + AHEAD_MAX_90K
        }) {
            let from = self.last_pts_90k.map_or(chunk.start_90k, |last| last + 1);
            if (from..end_90k).contains(&unit.pts_90k) {
                self.last_pts_90k = Some(unit.pts_90k);
                taken.push(unit);
            }
        }
        taken
    }
}

/// Audio frames that wait for their video: 20 s, the longest segment, at 96 kHz.
const AUDIO_MAX: usize = 2_048;
/// Audio further ahead of its video than this will not be met by it.
const AHEAD_MAX_90K: i64 = 10 * 90_000;
/// How long a finished segment waits for its audio, in 1/90000 s of video.
const WAIT_90K: i64 = 90_000;
/// A gap where no time is missing, in 1/90000 s: players do not like segments of no duration.
const GAP_MIN_90K: i64 = 90;
