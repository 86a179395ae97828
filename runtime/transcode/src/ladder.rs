//! The video ladder inside the worker: decides which rung gets which frame, scales, and feeds one encoder thread each.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use ffmpeg_next::{format::Pixel, frame::Video};
use lockgate_media::{FrameRate, Rung};
use lockgate_ports::transcoder::Settings;

use crate::{
    captions::Captions,
    cascade::{Scaler, normalised, square_size},
    encoder::{Colours, Encoder, EncoderError, Spec, pixels_for},
    grid::{Grid, Thinner},
    out::Out,
    pipeline::Switchboard,
    wire::{Start, TrackNo, Work},
};

/// What is asked of one rung, and what it did; shared with the thread that reads the socket.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Somebody reads it.
    pub(crate) wanted: AtomicBool,
    /// Not encoded, whoever wants it.
    pub(crate) shed: AtomicBool,
    /// A keyframe is to come at once.
    pub(crate) keyframe: AtomicBool,
    /// Frames it was given or should have been given.
    pub(crate) offered: AtomicU64,
    /// Of those, the ones that were dropped because its encoder was too slow.
    pub(crate) dropped: AtomicU64,
    /// Whether its last frame was encoded on purpose: it is wanted, or in its first GOP.
    pub(crate) active: AtomicBool,
}

/// The ladder.
pub(crate) struct Ladder {
    rungs: Vec<Lane>,
    grid: Grid,
    /// Cuts come from the source's keyframes; frames at or past this time are cut.
    pending_cut_90k: Option<i64>,
    follows_source: bool,
    on_demand: bool,
    /// Paced sources drop frames that encoders are too slow for; others wait.
    drops: bool,
    /// For later: encoders may take their time.
    offline: bool,
    pixels: Pixel,
    source_shape: (u32, u32),
    /// No cut at or before this time: what stands in for the source's own coding starts after it, and all cut with it.
    cuts_after_90k: i64,
    settings: Settings,
    switchboard: Arc<Switchboard>,
    out: Out,
}

/// One rung on the side of the scaling thread.
struct Lane {
    track: TrackNo,
    rung: Rung,
    /// Pictures up to this time are not its.
    after_90k: i64,
    asked: Arc<Asked>,
    scaler: Scaler,
    thinner: Thinner,
    captions: Captions,
    /// Cuts seen; a rung is encoded at least until the second.
    cuts: u32,
    /// Frames were left out, so the next one must be an IDR.
    broken: bool,
    queue: Option<SyncSender<Job>>,
    /// Frames in the queue.
    waiting: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

struct Job {
    frame: Video,
    pts_90k: i64,
    is_idr: bool,
}

/// What a frame is to become in one rung.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Leave,
    Encode { is_idr: bool, is_cut: bool },
}

impl Ladder {
    /// Starts the encoder threads. `source` is the source's size with square pixels.
    pub(crate) fn start(
        work: &Work,
        start: &Start,
        source: (u32, u32),
        source_rate: Option<FrameRate>,
        switchboard: Arc<Switchboard>,
        out: &Out,
    ) -> Result<Self, EncoderError> {
        let mut ladder = Self {
            rungs: Vec::new(),
            grid: Grid::new(start.settings.gop_s),
            pending_cut_90k: None,
            follows_source: false,
            on_demand: start.settings.on_demand,
            drops: start.paced,
            offline: start.offline,
            pixels: pixels_for(&start.settings.encoder)?,
            source_shape: source,
            cuts_after_90k: i64::MIN,
            settings: start.settings.clone(),
            switchboard,
            out: out.clone(),
        };
        ladder.replan(work, source, source_rate, None)?;
        Ok(ladder)
    }

    /// Goes on with another plan. Rungs that are the same in it go on encoding; what takes the place of the source's own
    /// coding takes pictures after `passed_90k` only.
    pub(crate) fn replan(
        &mut self,
        work: &Work,
        source: (u32, u32),
        source_rate: Option<FrameRate>,
        passed_90k: Option<i64>,
    ) -> Result<(), EncoderError> {
        let mut before = std::mem::take(&mut self.rungs);
        for (rung, track) in work.plan.rungs.iter().zip(&work.tracks) {
            let size = rung.size_for(source.0, source.1);
            let at = before.iter().position(|lane| lane.track == *track);
            let known = at.map(|at| before.swap_remove(at));
            let lane = match known {
                Some(lane) if lane.rung == *rung && lane.scaler.size() == size => lane,
                known => {
                    // What it still encodes comes before what its successor does.
                    let was_there = known.is_some();
                    drop(known);
                    let mut lane = self.lane(rung, *track, size, source_rate)?;
                    if let Some(passed_90k) = passed_90k.filter(|_| !was_there) {
                        lane.after_90k = passed_90k;
                        self.cuts_after_90k = passed_90k;
                    }
                    lane
                }
            };
            self.rungs.push(lane);
        }
        for gone in before {
            gone.asked.active.store(false, Ordering::Relaxed);
        }
        self.follow_source(work.plan.passthrough);
        self.source_shape = source;
        Ok(())
    }

    /// A rung with its encoder's thread.
    fn lane(
        &self,
        rung: &Rung,
        track: TrackNo,
        (width, height): (u32, u32),
        source_rate: Option<FrameRate>,
    ) -> Result<Lane, EncoderError> {
        let pixels = self.pixels;
        let spec = Spec {
            track,
            name: rung.name.to_string(),
            encoder: self.settings.encoder.clone(),
            preset: self.settings.preset.clone(),
            bitrate_bps: u64::from(rung.kbps) * 1000,
            frame_rate: rung_rate(source_rate, rung.fps),
            offline: self.offline,
        };
        // Opened here once, so that what cannot work is said at the start and not by a thread.
        let blank = Video::empty();
        Encoder::open(&spec, pixels, (width, height), Colours::of(&blank))?;
        // One place more is for the frame that all rungs cut at.
        let (queue, jobs) = sync_channel(QUEUE_LEN + 1);
        let waiting = Arc::new(AtomicUsize::new(0));
        let at_encoder = Arc::clone(&waiting);
        let out = self.out.clone();
        let thread = std::thread::Builder::new()
            .name(format!("encode-{}", spec.name))
            .spawn(move || encode(&spec, pixels, &jobs, &at_encoder, &out))
            .map_err(|_| EncoderError::Threads)?;
        Ok(Lane {
            track,
            rung: rung.clone(),
            after_90k: i64::MIN,
            asked: self.switchboard.get(track).unwrap_or_default(),
            scaler: Scaler::new(pixels, width, height),
            thinner: Thinner::new(rung.fps),
            captions: Captions::default(),
            cuts: 0,
            broken: true,
            queue: Some(queue),
            waiting,
            thread: Some(thread),
        })
    }

    /// Whether rungs cut at the source's keyframes, or by themselves.
    pub(crate) fn follow_source(&mut self, follows: bool) {
        self.follows_source = follows;
        if !follows {
            self.pending_cut_90k = None;
        }
    }

    /// Whether any rung would take the next frame.
    pub(crate) fn wants_frames(&self) -> bool {
        self.rungs.iter().any(|lane| lane.is_active(self.on_demand))
    }

    /// Passthrough: the source has a keyframe here. Whether it is a cut; the rungs then cut at the same time.
    pub(crate) fn source_keyframe(&mut self, pts_90k: i64) -> bool {
        let is_cut = self.grid.cut(pts_90k);
        if is_cut {
            self.pending_cut_90k = Some(pts_90k);
        }
        is_cut
    }

    /// Gives a decoded or drawn frame to all rungs that take it.
    pub(crate) fn frame(&mut self, frame: &Video, pts_90k: i64) {
        let is_cut = if self.follows_source {
            let due = self.pending_cut_90k.is_some_and(|cut| pts_90k >= cut);
            if due {
                self.pending_cut_90k = None;
            }
            due
        } else {
            pts_90k > self.cuts_after_90k && self.grid.cut(pts_90k)
        };
        let verdicts: Vec<Verdict> = self
            .rungs
            .iter_mut()
            .map(|lane| lane.judge(pts_90k, is_cut, self.on_demand))
            .collect();
        for (lane, verdict) in self.rungs.iter_mut().zip(&verdicts) {
            if lane.broken {
                lane.captions.forget();
            } else if *verdict == Verdict::Leave {
                lane.captions.keep(frame);
            }
        }
        if verdicts.iter().all(|verdict| *verdict == Verdict::Leave) {
            return;
        }
        let Some(source) = normalised(frame) else {
            return;
        };
        self.adapt(&source);
        let colours = Colours::of(&source);
        let mut made: Vec<Video> = Vec::with_capacity(self.rungs.len() + 1);
        made.push(source);
        for (lane, verdict) in self.rungs.iter_mut().zip(verdicts) {
            let Verdict::Encode { is_idr, is_cut } = verdict else {
                continue;
            };
            // The newest picture is the smallest; one that would have to be enlarged is passed over.
            let (width, height) = lane.scaler.size();
            let from = made
                .iter()
                .rev()
                .find(|made| made.width() >= width && made.height() >= height)
                .or(made.first());
            let Some(Ok(Some(mut scaled))) = from.map(|from| lane.scaler.scale(from)) else {
                lane.lose();
                continue;
            };
            if let Some(kept) = crate::buffers::share(&scaled) {
                made.push(kept);
            }
            colours.mark(&mut scaled);
            lane.captions.put(frame, &mut scaled);
            let job = Job {
                frame: scaled,
                pts_90k,
                is_idr,
            };
            lane.give(job, self.drops, is_cut);
        }
    }

    /// A frame that nobody wanted was not made. The grid goes on, so that a rung that is wanted again cuts with it.
    pub(crate) fn skip(&mut self, pts_90k: i64) {
        if !self.follows_source {
            self.grid.cut(pts_90k);
        }
        for lane in &mut self.rungs {
            lane.broken = true;
            lane.asked.active.store(false, Ordering::Relaxed);
        }
    }

    /// Ends all encoders after what they still have.
    pub(crate) fn finish(&mut self) {
        for lane in &mut self.rungs {
            lane.queue = None;
        }
        self.rungs.iter_mut().for_each(Lane::finish);
    }

    /// A source that changes only its resolution is scaled into the sizes there are; one that changes its shape, such
    /// as a phone that is turned, gets new sizes, and each encoder starts anew at its next frame.
    fn adapt(&mut self, source: &Video) {
        let aspect = source.aspect_ratio();
        let size = square_size(
            source.width(),
            source.height(),
            (aspect.numerator(), aspect.denominator()),
        );
        let shape = |(width, height): (u32, u32)| f64::from(width) / f64::from(height.max(1));
        let ratio = shape(size) / shape(self.source_shape).max(f64::MIN_POSITIVE);
        if (0.98..=1.02).contains(&ratio) {
            return;
        }
        self.source_shape = size;
        for lane in &mut self.rungs {
            let (width, height) = lane.rung.size_for(size.0, size.1);
            lane.scaler = Scaler::new(self.pixels, width, height);
        }
    }
}

impl Lane {
    fn is_active(&self, on_demand: bool) -> bool {
        let is_shed = self.asked.shed.load(Ordering::Relaxed);
        let wanted = !on_demand || self.cuts < 2 || self.asked.wanted.load(Ordering::Relaxed);
        wanted && !is_shed
    }

    fn judge(&mut self, pts_90k: i64, is_cut: bool, on_demand: bool) -> Verdict {
        if pts_90k <= self.after_90k {
            return Verdict::Leave;
        }
        self.cuts = self.cuts.saturating_add(u32::from(is_cut));
        let active = self.is_active(on_demand);
        self.asked.active.store(active, Ordering::Relaxed);
        if !active {
            self.broken = true;
            return Verdict::Leave;
        }
        if !self.thinner.keep(pts_90k, is_cut) {
            return Verdict::Leave;
        }
        let asked = self.asked.keyframe.swap(false, Ordering::Relaxed);
        let was_broken = std::mem::take(&mut self.broken);
        Verdict::Encode {
            is_idr: is_cut || asked || was_broken,
            is_cut,
        }
    }

    /// Queues a frame. Where it may drop, a full queue costs the frame, and nobody waits: a place is kept for the frame
    /// that everybody cuts at, and an encoder that is a whole GOP behind cuts at a later one.
    fn give(&mut self, job: Job, may_drop: bool, is_cut: bool) {
        self.asked.offered.fetch_add(1, Ordering::Relaxed);
        let Some(queue) = &self.queue else { return };
        // Counted before it is there, so that the encoder never counts below zero.
        let waiting = self.waiting.fetch_add(1, Ordering::AcqRel);
        let is_idr = job.is_idr;
        let taken = if !may_drop {
            queue.send(job).is_ok()
        } else if waiting >= QUEUE_LEN && !is_cut {
            false
        } else {
            !matches!(queue.try_send(job), Err(TrySendError::Full(_)))
        };
        if !taken {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.asked.dropped.fetch_add(1, Ordering::Relaxed);
            // Frames before the encoder can be left out freely; only a promised IDR has to come later.
            self.broken |= is_idr;
        }
    }

    /// Ends the encoder after what it still has.
    fn finish(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }

    fn lose(&mut self) {
        self.asked.offered.fetch_add(1, Ordering::Relaxed);
        self.asked.dropped.fetch_add(1, Ordering::Relaxed);
        self.broken = true;
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Drop for Ladder {
    fn drop(&mut self) {
        self.finish();
    }
}

/// What rate control of a rung counts with.
pub(crate) fn rung_rate(source: Option<FrameRate>, fps_max: u32) -> FrameRate {
    let limit = FrameRate {
        num: fps_max.max(1),
        den: 1,
    };
    let source = source.unwrap_or(FrameRate { num: 30, den: 1 });
    if source.fps() <= limit.fps() + 0.01 {
        source
    } else {
        limit
    }
}

fn encode(spec: &Spec, pixels: Pixel, jobs: &Receiver<Job>, waiting: &AtomicUsize, out: &Out) {
    let mut encoder: Option<Encoder> = None;
    while let Ok(mut job) = jobs.recv() {
        waiting.fetch_sub(1, Ordering::AcqRel);
        let size = (job.frame.width(), job.frame.height());
        let open = match encoder.take() {
            Some(open) if open.size() == size => Ok(open),
            other => {
                if let Some(old) = other {
                    old.finish(&mut |unit| out.unit(unit));
                }
                job.is_idr = true;
                Encoder::open(spec, pixels, size, Colours::of(&job.frame))
            }
        };
        let mut open = match open {
            Ok(open) => open,
            Err(error) => return out.fail(error.to_string(), true),
        };
        let encoded = open.encode(&mut job.frame, job.pts_90k, job.is_idr, &mut |unit| {
            out.unit(unit);
        });
        if let Err(error) = encoded {
            return out.fail(format!("encoding {} failed: {error}", spec.name), false);
        }
        encoder = Some(open);
    }
    if let Some(encoder) = encoder {
        encoder.finish(&mut |unit| out.unit(unit));
    }
}

/// Frames waiting for an encoder: 130 ms at 30 frames a second. More would only be latency.
const QUEUE_LEN: usize = 4;
