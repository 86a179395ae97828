//! What a ladder has in the hub.

use lockgate_broadcast::{
    Broadcast, TrackTaken,
    track::{Demand, Producer, Role},
};
use lockgate_media::{
    AccessUnit, Format, FrameRate, Rung, TrackId, VideoCodec, VideoFormat, h264::ParameterSets,
};
use lockgate_ports::transcoder::{Plan, SourceInfo};
use tokio::sync::watch;

use crate::{
    ladder::rung_rate,
    sound::{SAVINGS, saving},
    wire::{AAC, OPUS, SOURCE, TrackNo, Unit},
};

/// A rung that was taken out, or is back with what readers want of it.
pub(crate) type Changed = (TrackNo, Option<watch::Receiver<Demand>>);

/// The published tracks of one ladder. They outlive its workers.
pub(crate) struct Tracks {
    broadcast: Broadcast,
    /// The name of the source's own coding.
    own: TrackId,
    rungs: Vec<Entry>,
    /// The number of the next rung that is planned anew.
    next: TrackNo,
    source: Option<Entry>,
    aac: Option<Entry>,
    opus: Option<Entry>,
    /// Opus of fewer bits, in the order of [`SAVINGS`].
    savings: [Option<Entry>; SAVINGS.len()],
}

struct Entry {
    id: TrackId,
    number: TrackNo,
    /// Not there while the rung is shed.
    producer: Option<Producer>,
    /// Video: what is known of it so far.
    video: Option<VideoFormat>,
    /// The newest decoding time.
    last_90k: Option<i64>,
    /// The newest time at which anything is shown.
    newest_90k: Option<i64>,
    /// A unit was left out, so nothing is written before a keyframe.
    awaits_keyframe: bool,
}

impl Tracks {
    /// `own` is the name of the source's own coding.
    pub(crate) fn new(broadcast: Broadcast, own: TrackId) -> Self {
        Self {
            broadcast,
            own,
            rungs: Vec::new(),
            next: 0,
            source: None,
            aac: None,
            opus: None,
            savings: Default::default(),
        }
    }

    /// Publishes the video tracks of a plan. Those that were there before and are in it stay. `goes_on`: it is for the
    /// worker that made them, which goes on with those that are the same.
    pub(crate) fn plan(
        &mut self,
        plan: &Plan,
        source: &SourceInfo,
        goes_on: bool,
    ) -> Result<(), TrackTaken> {
        if !goes_on {
            self.next = 0;
        }
        let video = source.video.as_ref();
        let mut before = std::mem::take(&mut self.rungs);
        // The source's own track, whether it was passed through or encoded: it may go on as the other.
        let at = before.iter().position(|entry| entry.id == self.own);
        let mut own = self
            .source
            .take()
            .or_else(|| at.map(|at| before.swap_remove(at)));
        // What is no longer planned goes before its name is used anew.
        before.retain(|entry| plan.rungs.iter().any(|rung| rung.name == entry.id));
        for rung in plan.rungs.iter().filter(|_| video.is_some()) {
            let (width, height) =
                video.map_or((0, 0), |video| rung.size_for(video.width, video.height));
            let format = VideoFormat {
                codec: VideoCodec::H264,
                width,
                height,
                frame_rate: Some(rung_rate(
                    video.and_then(|video| video.frame_rate),
                    rung.fps,
                )),
                bitrate_bps: Some(u64::from(rung.kbps) * 1000),
                parameter_sets: None,
                reordered: false,
            };
            let kept = if rung.name == self.own {
                own.take()
            } else {
                before
                    .iter()
                    .position(|entry| entry.id == rung.name)
                    .map(|at| before.swap_remove(at))
            };
            let stays = goes_on && kept.as_ref().is_some_and(|entry| entry.number != SOURCE);
            let mut entry = match kept {
                Some(entry) => entry.renewed(&format, stays),
                None => Entry::video(&self.broadcast, &rung.name, Role::Rung, format)?,
            };
            if !stays {
                entry.number = self.next;
                self.next = self.next.saturating_add(1).min(SOURCE - 1);
            }
            self.rungs.push(entry);
        }
        let through = video.filter(|video| plan.passthrough && video.codec == "h264");
        let Some(video) = through else {
            return Ok(());
        };
        let format = VideoFormat {
            codec: VideoCodec::H264,
            width: video.width,
            height: video.height,
            frame_rate: video.frame_rate,
            bitrate_bps: video.bitrate_bps,
            parameter_sets: None,
            reordered: video.b_frames,
        };
        let stays = goes_on && own.as_ref().is_some_and(|entry| entry.number == SOURCE);
        let mut entry = match own {
            Some(entry) => entry.renewed(&format, stays),
            None => Entry::video(&self.broadcast, &self.own, Role::Passthrough, format)?,
        };
        entry.number = SOURCE;
        self.source = Some(entry);
        Ok(())
    }

    /// A rung in place of the source's own coding, where that was passed through and no longer is: who reads it goes on
    /// reading it.
    pub(crate) fn stand_in(&self, plan: &Plan, source: &SourceInfo) -> Option<Rung> {
        let video = source.video.as_ref().filter(|_| !plan.passthrough)?;
        let is_known = |entry: &&Entry| entry.id == self.own;
        self.rungs.iter().chain(&self.source).find(is_known)?;
        let fps = video.frame_rate.map_or(30.0, FrameRate::fps).ceil();
        // No worse than the rung of its size would be: what is known of a bitrate may be of a source's first moments.
        let alike =
            |rung: &&Rung| rung.size_for(video.width, video.height) == (video.width, video.height);
        let rung_bps = plan
            .rungs
            .iter()
            .find(alike)
            .map_or(0, |rung| u64::from(rung.kbps) * 1000);
        let kbps = video.bitrate_bps.unwrap_or(STAND_IN_BPS).max(rung_bps) / 1000;
        Some(Rung {
            name: self.own.clone(),
            width: video.width,
            height: video.height,
            fps: (fps as u32).clamp(1, 240),
            kbps: u32::try_from(kbps).unwrap_or(u32::MAX).clamp(100, 20_000),
        })
    }

    /// Publishes an audio track, or changes what it carries.
    pub(crate) fn audio(&mut self, track: TrackNo, format: Format) -> Result<(), TrackTaken> {
        let (slot, id) = match track {
            AAC => (&mut self.aac, TrackId::aac()),
            OPUS => (&mut self.opus, TrackId::opus()),
            _ => match saving(track)
                .and_then(|at| Some((self.savings.get_mut(at)?, SAVINGS.get(at)?)))
            {
                Some((slot, saving)) => match TrackId::new(saving.name) {
                    Ok(id) => (slot, id),
                    Err(_) => return Ok(()),
                },
                None => return Ok(()),
            },
        };
        match slot {
            Some(entry) => entry.set_format(format),
            None => {
                let producer = self.broadcast.publish(id.clone(), Role::Rung, format)?;
                *slot = Some(Entry::new(id, producer, None));
            }
        }
        Ok(())
    }

    /// Takes the audio tracks away, because the source has no audio any more.
    pub(crate) fn silence(&mut self) {
        self.aac = None;
        self.opus = None;
        self.savings = Default::default();
    }

    /// Writes a unit. Units of tracks that do not exist, and units back in time, are left out.
    pub(crate) fn push(&mut self, unit: Unit, epoch: u32) {
        let entry = match unit.track {
            SOURCE => {
                // Of a peer, what nobody reads comes without what is between keyframes.
                let is_peers = self.own != TrackId::source();
                let unread = |entry: &Entry| entry.readers() == 0;
                if let Some(entry) = self.source.as_mut().filter(|_| is_peers)
                    && unread(entry)
                {
                    entry.learn(&unit);
                    entry.awaits_keyframe = true;
                    return;
                }
                self.source.as_mut()
            }
            AAC => self.aac.as_mut(),
            OPUS => self.opus.as_mut(),
            other if saving(other).is_some() => {
                saving(other).and_then(|at| self.savings.get_mut(at)?.as_mut())
            }
            rung => self.rungs.iter_mut().find(|entry| entry.number == rung),
        };
        if let Some(entry) = entry {
            entry.push(unit, epoch);
        }
    }

    /// The rungs in the order of the plan, with what readers want of each; nothing of one that is shed.
    pub(crate) fn demands(&self) -> Vec<Changed> {
        let demand = |entry: &Entry| entry.producer.as_ref().map(Producer::demand);
        let each = self.rungs.iter();
        each.map(|entry| (entry.number, demand(entry))).collect()
    }

    /// What readers want of the source's own coding, while it is passed through.
    pub(crate) fn source_demand(&self) -> Option<watch::Receiver<Demand>> {
        self.source
            .as_ref()?
            .producer
            .as_ref()
            .map(Producer::demand)
    }

    /// What readers want of a sound.
    pub(crate) fn sound_demand(&self, track: TrackNo) -> Option<watch::Receiver<Demand>> {
        let entry = match track {
            AAC => self.aac.as_ref(),
            OPUS => self.opus.as_ref(),
            _ => self.savings.get(saving(track)?)?.as_ref(),
        };
        entry?.producer.as_ref().map(Producer::demand)
    }

    /// Takes rungs out of the broadcast, or brings them back.
    pub(crate) fn shed(&mut self, shed: &[TrackId]) -> Result<Vec<Changed>, TrackTaken> {
        let mut changed = Vec::new();
        for entry in &mut self.rungs {
            let is_shed = shed.contains(&entry.id);
            if is_shed == entry.producer.is_none() {
                continue;
            }
            let demand = if is_shed {
                entry.producer = None;
                None
            } else {
                let format = entry.video.clone().map(Format::Video);
                let Some(format) = format else { continue };
                let producer = self
                    .broadcast
                    .publish(entry.id.clone(), Role::Rung, format)?;
                let demand = producer.demand();
                entry.producer = Some(producer);
                entry.awaits_keyframe = true;
                Some(demand)
            };
            changed.push((entry.number, demand));
        }
        Ok(changed)
    }

    /// The newest time written to any track, in 1/90000 s.
    pub(crate) fn newest_90k(&self) -> Option<i64> {
        self.rungs
            .iter()
            .chain([&self.source, &self.aac, &self.opus].into_iter().flatten())
            .chain(self.savings.iter().flatten())
            .filter_map(|entry| entry.newest_90k)
            .max()
    }
}

impl Entry {
    fn new(id: TrackId, producer: Producer, video: Option<VideoFormat>) -> Self {
        Self {
            id,
            number: 0,
            producer: Some(producer),
            awaits_keyframe: video.is_some(),
            video,
            last_90k: None,
            newest_90k: None,
        }
    }

    fn video(
        broadcast: &Broadcast,
        id: &TrackId,
        role: Role,
        format: VideoFormat,
    ) -> Result<Self, TrackTaken> {
        let producer = broadcast.publish(id.clone(), role, Format::Video(format.clone()))?;
        Ok(Self::new(id.clone(), producer, Some(format)))
    }

    fn readers(&self) -> usize {
        let producer = self.producer.as_ref();
        producer.map_or(0, |producer| producer.track().readers())
    }

    /// The same track under a new plan: what is known of its coding stays until a keyframe says otherwise. It awaits one
    /// but where it goes on.
    fn renewed(mut self, format: &VideoFormat, goes_on: bool) -> Self {
        if let Some(video) = &mut self.video {
            video.bitrate_bps = format.bitrate_bps;
            video.frame_rate = format.frame_rate;
            video.reordered = format.reordered;
            let format = Format::Video(video.clone());
            self.set_format(format);
        }
        self.awaits_keyframe |= !goes_on;
        self
    }

    fn set_format(&self, format: Format) {
        if let Some(producer) = &self.producer {
            producer.set_format(format);
        }
    }

    fn push(&mut self, unit: Unit, epoch: u32) {
        let is_back = self.last_90k.is_some_and(|last| unit.dts_90k <= last);
        if is_back || (self.awaits_keyframe && !unit.keyframe) {
            self.awaits_keyframe = self.video.is_some();
            return;
        }
        if unit.keyframe {
            self.awaits_keyframe = false;
            self.learn(&unit);
        }
        self.last_90k = Some(unit.dts_90k);
        self.newest_90k = self.newest_90k.max(Some(unit.pts_90k));
        let Some(producer) = &self.producer else {
            return;
        };
        producer.push(
            AccessUnit::new(unit.pts_90k, unit.keyframe, unit.data)
                .with_dts(unit.dts_90k)
                .with_duration(unit.duration_90k)
                .with_epoch(epoch),
        );
    }

    /// Takes size and parameter sets from a keyframe, if they are new.
    fn learn(&mut self, unit: &Unit) {
        let Some(video) = &mut self.video else { return };
        let Some(sets) = ParameterSets::find(&unit.data) else {
            return;
        };
        if video.parameter_sets.as_ref() == Some(&sets) {
            return;
        }
        if let Ok(info) = sets.info() {
            video.width = info.width;
            video.height = info.height;
        }
        // Copied out, or the whole keyframe would live as long as the format.
        video.parameter_sets = ParameterSets::new(
            bytes::Bytes::copy_from_slice(&sets.sps),
            bytes::Bytes::copy_from_slice(&sets.pps),
        );
        let format = Format::Video(video.clone());
        self.set_format(format);
    }
}

/// What a source is taken to need whose bitrate nobody knows.
const STAND_IN_BPS: u64 = 2_500_000;
