//! What every source drives: decoded frames into the ladder, decoded sound into AAC and Opus.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
    mpsc::Receiver,
};

use ffmpeg_next::frame::{Audio, Video};
use lockgate_ports::transcoder::SourceInfo;

use crate::{
    encoder::EncoderError,
    ladder::{Asked, Ladder},
    out::Out,
    sound::{Sound, SoundError, SoundsWanted},
    stream::Pipe,
    wire::{SOURCE, Start, ToParent, ToWorker, TrackNo, Unit, Work},
};

/// The encoding half of the worker.
pub(crate) struct Pipeline {
    ladder: Option<Ladder>,
    sound: Option<Sound>,
    /// Before this media time no picture is encoded.
    video_from_90k: i64,
    pub(crate) out: Out,
}

/// What the media thread gets from the thread that reads the socket.
#[derive(Debug)]
pub(crate) enum Inbound {
    /// A control message.
    Control(ToWorker),
    /// A unit of a peer.
    Unit(Unit),
    /// Units of the peer's video were lost here, because decoding was too slow.
    Lost,
}

/// The media thread's view of the parent.
pub(crate) struct Desk {
    pub(crate) inbound: Receiver<Inbound>,
    /// A publisher's byte stream.
    pub(crate) stream: Pipe,
    pub(crate) switchboard: Arc<Switchboard>,
    pub(crate) out: Out,
}

/// What the parent wants of each rung; written by the thread that reads the socket.
#[derive(Debug, Default)]
pub(crate) struct Switchboard {
    /// In the order in which they were first planned; none is ever taken out.
    asked: RwLock<Vec<(TrackNo, Arc<Asked>)>>,
    /// Somebody reads the source's own coding.
    source: AtomicBool,
    /// Which sounds somebody reads.
    sounds: SoundsWanted,
}

/// Why the work cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error(transparent)]
    Encoder(#[from] EncoderError),
    #[error(transparent)]
    Sound(#[from] SoundError),
    #[error("{0}")]
    Source(String),
    /// The source became another one; a new worker is to look at it.
    #[error("{0}")]
    Changed(String),
    /// The parent is gone; there is nobody to tell.
    #[error("the parent is gone")]
    Alone,
}

impl WorkError {
    /// Whether trying again cannot help.
    pub(crate) fn is_hopeless(&self) -> bool {
        matches!(self, Self::Encoder(_) | Self::Sound(_))
    }
}

impl Switchboard {
    /// Makes the entries of a plan that are not there yet.
    fn plug_in(&self, work: &Work) {
        let mut all = self.asked.write().unwrap_or_else(PoisonError::into_inner);
        for (at, track) in work.tracks.iter().enumerate() {
            if all.iter().any(|(number, _)| number == track) {
                continue;
            }
            let asked = Asked::default();
            let is_wanted = work.wanted.get(at).copied().unwrap_or(false);
            asked.wanted.store(is_wanted, Ordering::Relaxed);
            all.push((*track, Arc::new(asked)));
        }
    }

    /// All entries; none before the plan.
    pub(crate) fn all(&self) -> Vec<Arc<Asked>> {
        let all = self.asked.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(_, asked)| Arc::clone(asked)).collect()
    }

    /// The entry of a rung.
    pub(crate) fn get(&self, track: TrackNo) -> Option<Arc<Asked>> {
        let all = self.asked.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.iter().find(|(number, _)| *number == track);
        found.map(|(_, asked)| Arc::clone(asked))
    }

    /// Whether somebody reads the source's own coding.
    pub(crate) fn wants_source(&self) -> bool {
        self.source.load(Ordering::Relaxed)
    }

    /// Does what a control message asks. Tracks that do not exist are passed over.
    pub(crate) fn apply(&self, message: &ToWorker) {
        match message {
            ToWorker::Plan(work) => {
                self.plug_in(work);
            }
            ToWorker::Enable { track, on } => {
                if *track == SOURCE {
                    self.source.store(*on, Ordering::Relaxed);
                } else if let Some(wanted) = self.sounds.of(*track) {
                    wanted.store(*on, Ordering::Relaxed);
                } else if let Some(asked) = self.get(*track) {
                    asked.wanted.store(*on, Ordering::Relaxed);
                }
            }
            ToWorker::Shed { track, on } => {
                if let Some(asked) = self.get(*track) {
                    asked.shed.store(*on, Ordering::Relaxed);
                }
            }
            ToWorker::Keyframe { track } => {
                if let Some(asked) = self.get(*track) {
                    asked.keyframe.store(true, Ordering::Relaxed);
                }
            }
            _ => {}
        }
    }
}

impl Desk {
    /// Tells what the source is and waits for the plan. Units that come meanwhile are given to `other`.
    pub(crate) fn ask_for_plan(
        &self,
        source: SourceInfo,
        mut other: impl FnMut(Inbound),
    ) -> Result<Work, WorkError> {
        self.out.control(ToParent::Opened { source });
        loop {
            match self.inbound.recv().map_err(|_| WorkError::Alone)? {
                Inbound::Control(ToWorker::Plan(work)) => return Ok(work),
                message => other(message),
            }
        }
    }
}

impl Pipeline {
    /// Starts the encoders of a plan.
    pub(crate) fn start(
        desk: &Desk,
        work: &Work,
        start: &Start,
        source: &SourceInfo,
        with_opus: bool,
    ) -> Result<Self, WorkError> {
        // The reader of the socket has done this already; where there is none, it is done here.
        desk.switchboard.apply(&ToWorker::Plan(work.clone()));
        let ladder = match &source.video {
            Some(video) => Some(Ladder::start(
                work,
                start,
                (video.width, video.height),
                video.frame_rate,
                Arc::clone(&desk.switchboard),
                &desk.out,
            )?),
            None => None,
        };
        let sound = match &source.audio {
            Some(_) => Some(Sound::start(
                &start.settings,
                with_opus,
                &desk.switchboard.sounds,
                &desk.out,
            )?),
            None => None,
        };
        desk.out.counts().started.store(true, Ordering::Relaxed);
        Ok(Self {
            ladder,
            sound,
            video_from_90k: work.video_from_90k.unwrap_or(i64::MIN),
            out: desk.out.clone(),
        })
    }

    /// Goes on with another plan for the same source, without a break: rungs that stay go on encoding. What comes in
    /// place of the source's own coding starts after `passed_90k`, the newest picture that was passed through.
    pub(crate) fn replan(
        &mut self,
        work: &Work,
        source: &SourceInfo,
        passed_90k: Option<i64>,
    ) -> Result<(), WorkError> {
        if let (Some(ladder), Some(video)) = (&mut self.ladder, &source.video) {
            let size = (video.width, video.height);
            ladder.replan(work, size, video.frame_rate, passed_90k)?;
        }
        Ok(())
    }

    /// Whether any rung would take the next frame.
    pub(crate) fn wants_frames(&self) -> bool {
        let now_90k = self.out.counts().media_90k.load(Ordering::Relaxed);
        // The time that the source has come to is one of decoding; pictures may be shown a little later.
        now_90k >= self.video_from_90k.saturating_sub(REORDER_MAX_90K)
            && self.ladder.as_ref().is_some_and(Ladder::wants_frames)
    }

    /// A picture for the ladder.
    pub(crate) fn frame(&mut self, frame: &Video, pts_90k: i64) {
        if let Some(ladder) = &mut self.ladder {
            if pts_90k < self.video_from_90k {
                ladder.skip(pts_90k);
            } else {
                ladder.frame(frame, pts_90k);
            }
        }
    }

    /// Whether anybody would get the next sound. If nobody, it need not be decoded, and the next one that comes starts
    /// anew.
    pub(crate) fn wants_sound(&mut self) -> bool {
        let Some(sound) = &mut self.sound else {
            return false;
        };
        let wanted = sound.is_wanted();
        if !wanted {
            sound.rest();
        }
        wanted
    }

    /// A picture that nobody wanted was not made; the grid goes on.
    pub(crate) fn skip(&mut self, pts_90k: i64) {
        if let Some(ladder) = &mut self.ladder {
            ladder.skip(pts_90k);
        }
    }

    /// The source has a keyframe here that is passed through. Whether segments are cut at it.
    pub(crate) fn source_keyframe(&mut self, pts_90k: i64) -> bool {
        let ladder = self.ladder.as_mut();
        ladder.is_some_and(|ladder| ladder.source_keyframe(pts_90k))
    }

    /// Whether the rungs cut where the source's own coding does.
    pub(crate) fn follow_source(&mut self, follows: bool) {
        if let Some(ladder) = &mut self.ladder {
            ladder.follow_source(follows);
        }
    }

    /// Decoded sound.
    pub(crate) fn audio(&mut self, frame: &Audio, pts_90k: i64) {
        if let Some(sound) = &mut self.sound {
            sound.frame(frame, pts_90k);
        }
    }

    /// The same samples, at 48 kHz, for both sides.
    pub(crate) fn samples(&mut self, samples: &[f32], pts_90k: i64) {
        if let Some(sound) = &mut self.sound {
            sound.samples(samples, samples, pts_90k);
        }
    }

    /// The next sound stands exactly where its time says.
    pub(crate) fn realign_audio(&mut self) {
        if let Some(sound) = &mut self.sound {
            sound.realign();
        }
    }

    /// Encodes what is left.
    pub(crate) fn finish(&mut self) {
        if let Some(sound) = &mut self.sound {
            sound.finish();
        }
        if let Some(ladder) = &mut self.ladder {
            ladder.finish();
        }
    }
}

/// How much later a picture may be shown than decoded: more than sixteen B-frames at any rate.
const REORDER_MAX_90K: i64 = 2 * 90_000;
