//! A recording: the pictures and the sound of one broadcast in one fragmented MP4 (ISO/IEC 14496-12 §8.16), fragment by
//! fragment, so that a file that ends anywhere plays up to there.
//!
//! It is a value: units in, bytes to append out. What one file cannot hold, such as another coding or a jump in time,
//! ends it, and the caller begins another.

use std::{mem, sync::Arc};

use bytes::{Bytes, BytesMut};
use lockgate_media::{
    AccessUnit, AudioFormat, Format, aac::AudioSpecificConfig, h264::ParameterSets, time::rescale,
};
use mp4_atom::{Decode as _, Encode as _, Ftyp, Moov};

use crate::{
    cmaf,
    sample::{
        BACK_MAX_90K, JUMP_MAX_90K, OFFSET_S, SAMPLES_MAX, SEGMENT_BYTES_MAX, Sample, is_sane,
    },
};

/// What became of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recorded {
    /// It waits for its fragment to be complete.
    Kept,
    /// A fragment, and at first what stands before all of them, is to be appended to the file.
    Append(Bytes),
    /// The file ends with these bytes, and this unit belongs into another.
    Another(Bytes),
}

/// Writes one file.
#[derive(Debug)]
pub struct Recorder {
    video: Option<Lane>,
    audio: Option<Lane>,
    sound: Option<(AudioSpecificConfig, AudioFormat)>,
    /// Media time 0 of the file, in 1/90000 s.
    zero_90k: Option<i64>,
    epoch: Option<u32>,
    sets: Option<ParameterSets>,
    has_begun: bool,
    sequence: u32,
}

#[derive(Debug)]
struct Lane {
    track: u32,
    timescale: u32,
    units: Vec<Arc<AccessUnit>>,
    bytes: usize,
    /// Where the next sample is decoded, in ticks; the container counts durations, not times.
    next: Option<i64>,
    last_dts_90k: Option<i64>,
}

impl Lane {
    fn new(track: u32, timescale: u32) -> Self {
        Self {
            track,
            timescale,
            units: Vec::new(),
            bytes: 0,
            next: None,
            last_dts_90k: None,
        }
    }

    fn is_full(&self) -> bool {
        self.units.len() >= SAMPLES_MAX || self.bytes >= SEGMENT_BYTES_MAX
    }
}

impl Recorder {
    /// A file of these formats; `None` if neither is one that can be recorded: H.264 and AAC can.
    pub fn new(video: Option<&Format>, audio: Option<&Format>) -> Option<Self> {
        let h264 = video
            .and_then(Format::video)
            .filter(|video| video.codec == lockgate_media::VideoCodec::H264);
        let sound = audio
            .and_then(Format::audio)
            .filter(|audio| audio.codec == lockgate_media::AudioCodec::Aac)
            .and_then(|audio| {
                let asc = AudioSpecificConfig::parse(&audio.config).ok()?;
                Some((asc, audio.clone()))
            });
        if h264.is_none() && sound.is_none() {
            return None;
        }
        Some(Self {
            video: h264.map(|_| Lane::new(VIDEO, 90_000)),
            audio: sound
                .as_ref()
                .map(|(asc, _)| Lane::new(AUDIO, asc.sample_rate)),
            sound,
            zero_90k: None,
            epoch: None,
            sets: h264.and_then(|video| video.parameter_sets.clone()),
            has_begun: false,
            sequence: 0,
        })
    }

    /// Takes a picture, from a keyframe on.
    pub fn video(&mut self, unit: Arc<AccessUnit>) -> Recorded {
        if !is_sane(&unit) {
            return Recorded::Kept;
        }
        let found = unit
            .keyframe
            .then(|| ParameterSets::find(&unit.data))
            .flatten();
        if self.breaks(&unit, self.video.as_ref())
            || (self.zero_90k.is_some() && found.is_some() && found != self.sets)
        {
            return Recorded::Another(self.finish());
        }
        if found.is_some() && self.zero_90k.is_none() {
            self.sets = found;
        }
        if self.zero_90k.is_none() && !unit.keyframe {
            return Recorded::Kept;
        }
        self.begin(&unit);
        let due = self.video.as_ref().is_some_and(|lane| {
            let first = lane.units.first().map(|first| first.dts_90k);
            let lasts = first.map_or(0, |first| unit.dts_90k - first);
            (unit.keyframe && lasts >= FRAGMENT_MIN_90K)
                || lasts >= FRAGMENT_MAX_90K
                || lane.is_full()
        });
        let fragment = due.then(|| self.fragment(Some(unit.dts_90k)));
        if let Some(lane) = &mut self.video {
            lane.bytes += unit.data.len();
            lane.last_dts_90k = Some(unit.dts_90k);
            lane.units.push(unit);
        }
        match fragment {
            Some(bytes) if !bytes.is_empty() => Recorded::Append(bytes),
            _ => Recorded::Kept,
        }
    }

    /// Takes a frame of sound. Where there are pictures, sound before the first of them is left out.
    pub fn audio(&mut self, unit: Arc<AccessUnit>) -> Recorded {
        if !is_sane(&unit) || self.audio.is_none() {
            return Recorded::Kept;
        }
        if self.breaks(&unit, self.audio.as_ref()) {
            return Recorded::Another(self.finish());
        }
        match self.zero_90k {
            None if self.video.is_some() => return Recorded::Kept,
            Some(zero) if unit.pts_90k < zero => return Recorded::Kept,
            _ => {}
        }
        self.begin(&unit);
        let alone = self.video.is_none();
        let mut due = false;
        if let Some(lane) = &mut self.audio {
            let first = lane.units.first().map(|first| first.dts_90k);
            let lasts = first.map_or(0, |first| unit.dts_90k - first);
            due = (alone && lasts >= FRAGMENT_MAX_90K) || lane.is_full();
        }
        let fragment = due.then(|| self.fragment(None));
        if let Some(lane) = &mut self.audio {
            lane.bytes += unit.data.len();
            lane.last_dts_90k = Some(unit.dts_90k);
            lane.units.push(unit);
        }
        match fragment {
            Some(bytes) if !bytes.is_empty() => Recorded::Append(bytes),
            _ => Recorded::Kept,
        }
    }

    /// The file is over: what is left of it.
    pub fn finish(&mut self) -> Bytes {
        // Without a picture or sound it is no file.
        if self.zero_90k.is_none() {
            return Bytes::new();
        }
        self.fragment(None)
    }

    fn begin(&mut self, unit: &AccessUnit) {
        self.zero_90k.get_or_insert(unit.dts_90k);
        self.epoch.get_or_insert(unit.epoch);
    }

    /// Whether a unit does not continue its track.
    fn breaks(&self, unit: &AccessUnit, lane: Option<&Lane>) -> bool {
        let step = lane
            .and_then(|lane| lane.last_dts_90k)
            .map_or(0, |last| unit.dts_90k - last);
        self.epoch.is_some_and(|epoch| epoch != unit.epoch)
            || !(-BACK_MAX_90K..=JUMP_MAX_90K).contains(&step)
    }

    /// Writes all that waits; `next_90k` is when the next picture is decoded, if there is one.
    fn fragment(&mut self, next_90k: Option<i64>) -> Bytes {
        let mut out = BytesMut::new();
        if !self.has_begun {
            let Some(init) = self.init() else {
                return Bytes::new();
            };
            out.extend_from_slice(&init);
            self.has_begun = true;
        }
        let zero_90k = self.zero_90k.unwrap_or(0);
        for lane in [&mut self.video, &mut self.audio].into_iter().flatten() {
            let next_90k = next_90k.filter(|_| lane.track == VIDEO);
            self.sequence = self.sequence.wrapping_add(1);
            if let Some(bytes) = lane.write(self.sequence, zero_90k, next_90k) {
                out.extend_from_slice(&bytes);
            }
        }
        out.freeze()
    }

    /// What stands before the fragments: both tracks in one `moov`.
    fn init(&self) -> Option<Bytes> {
        let video = match (&self.video, &self.sets) {
            (Some(_), Some(sets)) => Some(cmaf::video_init(sets, &sets.info().ok()?)?),
            (Some(_), None) => return None,
            (None, _) => None,
        };
        let audio = match &self.sound {
            Some((asc, format)) => Some(cmaf::audio_init(
                asc,
                &format.config,
                format.channels,
                format.bitrate_bps.unwrap_or(0),
            )?),
            None => None,
        };
        let mut both: Option<(Ftyp, Moov)> = None;
        for (init, track) in [(video, VIDEO), (audio, AUDIO)] {
            let Some(init) = init else { continue };
            let mut rest = &init[..];
            let ftyp = Ftyp::decode(&mut rest).ok()?;
            let mut moov = Moov::decode(&mut rest).ok()?;
            for trak in &mut moov.trak {
                trak.tkhd.track_id = track;
            }
            for trex in moov.mvex.iter_mut().flat_map(|mvex| &mut mvex.trex) {
                trex.track_id = track;
            }
            match &mut both {
                None => both = Some((ftyp, moov)),
                Some((_, all)) => {
                    all.trak.append(&mut moov.trak);
                    if let (Some(all), Some(more)) = (&mut all.mvex, moov.mvex) {
                        all.trex.extend(more.trex);
                    }
                }
            }
        }
        let (ftyp, mut moov) = both?;
        moov.mvhd.next_track_id = AUDIO + 1;
        let mut out = Vec::new();
        ftyp.encode(&mut out).ok()?;
        moov.encode(&mut out).ok()?;
        Some(out.into())
    }
}

impl Lane {
    fn write(&mut self, sequence: u32, zero_90k: i64, next_90k: Option<i64>) -> Option<Vec<u8>> {
        let units = mem::take(&mut self.units);
        self.bytes = 0;
        let ticks = |at_90k: i64| rescale(at_90k - zero_90k, 90_000, self.timescale);
        let mut samples: Vec<Sample> = Vec::with_capacity(units.len());
        let mut at = self.next;
        for (place, unit) in units.iter().enumerate() {
            let following = units.get(place + 1).map(|next| next.dts_90k).or(next_90k);
            let own = ticks(unit.dts_90k);
            let dts = at.unwrap_or(own);
            let usual = if self.track == AUDIO {
                1024
            } else {
                i64::from(unit.duration_90k).max(1)
            };
            // Sound is counted frame by frame while its times say the same; a gap is its last frame's duration.
            let end = match following {
                Some(next) if self.track == AUDIO && (ticks(next) - dts - usual).abs() <= usual => {
                    dts + usual
                }
                Some(next) => ticks(next).max(dts + 1),
                None => dts + usual,
            };
            samples.push(Sample {
                // The writer adds the offset that live segments have.
                dts: dts - i64::from(OFFSET_S) * i64::from(self.timescale),
                duration: u32::try_from(end - dts).unwrap_or(1),
                offset: i32::try_from(rescale(unit.pts_90k - unit.dts_90k, 90_000, self.timescale))
                    .unwrap_or(0),
                unit: Arc::clone(unit),
            });
            at = Some(end);
        }
        self.next = at;
        let kind = if self.track == VIDEO {
            cmaf::Kind::Video
        } else {
            cmaf::Kind::Audio
        };
        let mut bytes = cmaf::fragment(sequence, self.timescale, kind, &samples)?;
        number(&mut bytes, self.track)?;
        Some(bytes)
    }
}

/// Gives a fragment the number of its track: `moof`, `mfhd`, `traf`, `tfhd` stand first, each of a fixed length.
fn number(fragment: &mut [u8], track: u32) -> Option<()> {
    let at = fragment
        .get(..64)?
        .windows(4)
        .position(|name| name == b"tfhd")?;
    let place = fragment.get_mut(at + 8..at + 12)?;
    place.copy_from_slice(&track.to_be_bytes());
    Some(())
}

const VIDEO: u32 = 1;
const AUDIO: u32 = 2;
/// A keyframe this long after the beginning of a fragment begins the next one.
const FRAGMENT_MIN_90K: i64 = 90_000;
/// A fragment is written after so long at the latest: that much is lost by a crash.
const FRAGMENT_MAX_90K: i64 = 2 * 90_000;
