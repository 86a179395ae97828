//! One track of the broadcast: what it carries, its segmenter, its writer, its shelf.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use lockgate_media::{
    AccessUnit, AudioFormat, TrackId, VideoFormat, aac::AudioSpecificConfig, h264,
};

use crate::{
    Rendition, Segment, audio::AudioSegmenter, cmaf, cuts::Cuts, rate::Rate, sample::Closed,
    shelf::Shelf, ts::TsMuxer, video::VideoSegmenter,
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) id: TrackId,
    /// Not removed. A removed track is remembered, so that its names are not used again.
    pub(crate) known: bool,
    pub(crate) running: bool,
    pub(crate) media: Media,
    pub(crate) shelf: Shelf,
    pub(crate) rate: Rate,
    /// Largest bitrate that was ever declared, in bit/s.
    pub(crate) declared_bps: Option<u64>,
    pub(crate) ts: TsMuxer,
    /// Fragments written.
    sequence: u32,
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
    /// They are in an initialization section or in a segment, not only announced.
    sets_used: bool,
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
    waiting: VecDeque<Closed>,
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

    /// Puts parameter sets in force.
    pub(crate) fn use_sets(&mut self, sets: h264::ParameterSets, info: h264::SpsInfo) {
        self.sets = Some((sets, info));
        self.sets_used = true;
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
            running: false,
            media,
            shelf,
            rate: Rate::default(),
            declared_bps: None,
            ts: TsMuxer::default(),
            sequence: 0,
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

    /// Writes a segment as CMAF.
    pub(crate) fn write_cmaf(&mut self, closed: &Closed) -> Option<Bytes> {
        let (kind, timescale) = match &self.media {
            Media::Video(_) => (cmaf::Kind::Video, 90_000),
            Media::Audio(audio) => (cmaf::Kind::Audio, audio.asc.sample_rate),
        };
        self.sequence = self.sequence.wrapping_add(1);
        let mut out = cmaf::styp()?;
        out.extend_from_slice(&cmaf::fragment(
            self.sequence,
            timescale,
            kind,
            &closed.samples,
        )?);
        Some(Bytes::from(out))
    }

    /// Writes a segment as MPEG-TS, with the audio that belongs into it. `ended`: no unit will come.
    pub(crate) fn write_ts(
        &mut self,
        closed: &Closed,
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
                let audio = video.mix.take_audio(closed, closed.end_90k + tail);
                self.ts.segment(&closed.samples, &audio, asc, closed.broke)
            }
            Media::Audio(audio) => {
                let frames: Vec<_> = closed
                    .samples
                    .iter()
                    .map(|sample| Arc::clone(&sample.unit))
                    .collect();
                self.ts
                    .segment(&[], &frames, Some(&audio.asc), closed.broke)
            }
        }
    }

    /// Puts a written segment on the shelf; if it could not be written, empties the window, so that its numbers have
    /// no hole.
    pub(crate) fn shelve(
        &mut self,
        closed: &Closed,
        bytes: Option<Bytes>,
        cuts: &mut Cuts,
        now_90k: i64,
    ) {
        let Some(bytes) = bytes else {
            self.shelf.empty(now_90k);
            return;
        };
        let duration_90k = closed.end_90k - closed.start_90k;
        cuts.publish(duration_90k);
        self.rate.add(
            bytes.len(),
            duration_90k,
            closed.samples.len(),
            cuts.target_s(),
        );
        let segment = Segment {
            number: closed.place.number,
            discontinuity: closed.place.discontinuity,
            init: self.shelf.init_version(),
            start_90k: closed.start_90k,
            duration_90k,
            bytes,
        };
        self.shelf.append(segment, now_90k);
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

    pub(crate) fn push_segment(&mut self, closed: Closed) {
        self.waiting.push_back(closed);
    }

    /// The next segment whose audio is there, or need not be waited for. `audio_90k`: how far audio has come, if it
    /// runs; `video_90k`: how far video has come.
    pub(crate) fn ready(&mut self, audio_90k: Option<i64>, video_90k: i64) -> Option<Closed> {
        let end = self.waiting.front()?.end_90k;
        let waits = audio_90k.is_some_and(|audio| audio < end)
            && video_90k < end + WAIT_90K
            && self.waiting.len() == 1;
        if waits {
            None
        } else {
            self.waiting.pop_front()
        }
    }

    fn take_audio(&mut self, closed: &Closed, end_90k: i64) -> Vec<Arc<AccessUnit>> {
        if closed.broke {
            self.last_pts_90k = None;
        }
        let mut taken = Vec::new();
        while let Some(unit) = self.audio.pop_front_if(|unit| {
            // Far ahead is not held: it would block what comes behind it.
            unit.pts_90k < end_90k || unit.pts_90k > end_90k + AHEAD_MAX_90K
        }) {
            let from = self.last_pts_90k.map_or(closed.start_90k, |last| last + 1);
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
