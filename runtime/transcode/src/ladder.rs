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
    cascade::{Scaler, normalised, square_size},
    encoder::{Colours, Encoder, EncoderError, Spec, pixels_for},
    grid::{Grid, Thinner},
    out::Out,
    wire::{TrackNo, Work},
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
    pixels: Pixel,
    source_shape: (u32, u32),
}

/// One rung on the side of the scaling thread.
struct Lane {
    rung: Rung,
    asked: Arc<Asked>,
    scaler: Scaler,
    thinner: Thinner,
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
        settings: &Settings,
        source: (u32, u32),
        source_rate: Option<FrameRate>,
        paced: bool,
        asked: &[Arc<Asked>],
        out: &Out,
    ) -> Result<Self, EncoderError> {
        let pixels = pixels_for(&settings.encoder)?;
        let mut rungs = Vec::new();
        for (at, (rung, asked)) in work.plan.rungs.iter().zip(asked).enumerate() {
            let (width, height) = rung.size_for(source.0, source.1);
            let spec = Spec {
                track: TrackNo::try_from(at).unwrap_or(TrackNo::MAX),
                name: rung.name.to_string(),
                encoder: settings.encoder.clone(),
                preset: settings.preset.clone(),
                bitrate_bps: u64::from(rung.kbps) * 1000,
                frame_rate: rung_rate(source_rate, rung.fps),
            };
            // Opened here once, so that what cannot work is said at the start and not by a thread.
            let blank = Video::empty();
            Encoder::open(&spec, pixels, (width, height), Colours::of(&blank))?;
            // One place more is for the frame that all rungs cut at.
            let (queue, jobs) = sync_channel(QUEUE_LEN + 1);
            let waiting = Arc::new(AtomicUsize::new(0));
            let at_encoder = Arc::clone(&waiting);
            let out = out.clone();
            let thread = std::thread::Builder::new()
                .name(format!("encode-{}", spec.name))
                .spawn(move || encode(&spec, pixels, &jobs, &at_encoder, &out))
                .map_err(|_| EncoderError::Threads)?;
            rungs.push(Lane {
                thinner: Thinner::new(rung.fps),
                rung: rung.clone(),
                asked: Arc::clone(asked),
                scaler: Scaler::new(pixels, width, height),
                cuts: 0,
                broken: true,
                queue: Some(queue),
                waiting,
                thread: Some(thread),
            });
        }
        Ok(Self {
            rungs,
            grid: Grid::new(settings.gop_s),
            pending_cut_90k: None,
            follows_source: work.plan.passthrough,
            on_demand: settings.on_demand,
            drops: paced,
            pixels,
            source_shape: source,
        })
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
            self.grid.cut(pts_90k)
        };
        let verdicts: Vec<Verdict> = self
            .rungs
            .iter_mut()
            .map(|lane| lane.judge(pts_90k, is_cut, self.on_demand))
            .collect();
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
        for lane in &mut self.rungs {
            if let Some(thread) = lane.thread.take() {
                thread.join().ok();
            }
        }
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

    fn lose(&mut self) {
        self.asked.offered.fetch_add(1, Ordering::Relaxed);
        self.asked.dropped.fetch_add(1, Ordering::Relaxed);
        self.broken = true;
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
