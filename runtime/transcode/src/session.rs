//! One worker's life, from its first message to its end.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use lockgate_broadcast::{
    Broadcast,
    track::{Demand, Start as From},
};
use lockgate_media::TrackId;
use lockgate_ports::transcoder::{Input, Job, Plan, Settings, SourceInfo, State, Status};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Notify, mpsc, watch},
    task::{AbortHandle, JoinSet},
    time::{Duration, Instant},
};

use crate::{
    demand,
    feed::{self, Sends},
    feeder::Feeder,
    flaws::Flaws,
    guard::{
        gate::{self, Refusals},
        reach::{Reach, is_local},
    },
    tracks::{Changed, Tracks},
    wire::{self, Frame, Frames, SOURCE, Start, Stats, ToParent, ToWorker, TrackNo, Work},
    worker_process::{self, Worker},
};

/// How a worker's life ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The source came to its end.
    Ended,
    /// Trying again cannot help.
    Hopeless(String),
    /// Something broke; another worker may do better.
    Broken(String),
    /// The source became another one, which deserves another plan.
    Replan,
}

/// What a session works for.
pub(crate) struct Session<'a> {
    pub(crate) job: &'a Job,
    pub(crate) broadcast: &'a Broadcast,
    pub(crate) tracks: &'a mut Tracks,
    pub(crate) status: &'a Arc<watch::Sender<Status>>,
    /// The rungs that are not to be encoded now.
    pub(crate) shed: watch::Receiver<Vec<TrackId>>,
    pub(crate) epoch: u32,
    /// CPU seconds of the workers before.
    pub(crate) cpu_before_s: f64,
    /// What earlier workers found out about the source.
    pub(crate) flaws: &'a mut Flaws,
    /// A trace's span of the start, which ends when the worker knows what its source is.
    pub(crate) starting: Option<tracing::Span>,
}

/// What a job's worker is fed with, if it does not fetch its source itself.
pub(crate) enum Fed<'a> {
    /// It opens a file or URL.
    Nothing,
    /// Tracks of the hub.
    Peer(Sends),
    /// A publisher's byte stream in this container.
    Stream(&'a mut Feeder, &'static str),
}

/// Runs a worker to its end.
pub(crate) async fn run(mut worker: Worker, session: Session<'_>, fed: Fed<'_>) -> End {
    let name = session.broadcast.name().clone();
    let stderr = worker.stderr.take();
    let refusals = match watch(&mut worker, &session.job.input, &session.job.settings) {
        Ok(refusals) => refusals,
        Err(error) => {
            return End::Broken(format!("the gate of the network cannot be put up: {error}"));
        }
    };
    let (to_worker, to_write) = mpsc::channel(TO_WORKER_LEN);
    let needs_keyframe = Notify::new();
    let (peer, container) = match &fed {
        Fed::Nothing => (None, None),
        Fed::Peer(sends) => (Some(*sends), None),
        Fed::Stream(_, container) => (None, Some((*container).to_owned())),
    };
    let start = wire::control(&ToWorker::Start(Start {
        input: session.job.input.clone(),
        settings: session.job.settings.clone(),
        peer_video: peer.and_then(|sends| sends.video),
        peer_audio: peer.is_some_and(|sends| sends.audio),
        container,
        paced: true,
        offline: false,
    }));
    match start {
        Ok(start) if to_worker.try_send(start.clone()).is_ok() => {}
        _ => return End::Hopeless("the job cannot be written down".to_owned()),
    }
    let (reader, writer) = worker.socket.split();
    let broadcast = session.broadcast.clone();
    // A later worker must not send what an earlier one has sent.
    let from = if session.tracks.newest_90k().is_none() {
        From::CachedKeyframe
    } else {
        From::NextKeyframe
    };
    let end = {
        let to_feed = to_worker.clone();
        let carry = async {
            match fed {
                Fed::Peer(sends) => {
                    feed::carry(&broadcast, sends, from, &needs_keyframe, &to_feed).await;
                }
                Fed::Stream(feeder, _) => feeder.carry(&to_feed).await,
                Fed::Nothing => std::future::pending().await,
            }
        };
        // All in one task, each going on while the others wait, so that neither side's full socket can stop both.
        tokio::select! {
            end = listen(reader, session, to_worker, &needs_keyframe) => end,
            () = write(writer, to_write) => End::Broken(String::new()),
            () = carry => End::Replan,
            () = log(stderr, name.as_str()) => End::Broken(String::new()),
        }
    };
    let how = worker.reap().await;
    match end {
        End::Broken(text) if text.is_empty() => {
            End::Broken(format!("the transcode worker died: {how}"))
        }
        End::Broken(text) => End::Broken(match refusals.last() {
            Some(refused) => format!("{text} ({refused})"),
            None => text,
        }),
        end => end,
    }
}

/// Watches the connections of a worker whose source is on the network.
pub(crate) fn watch(
    worker: &mut Worker,
    input: &Input,
    settings: &Settings,
) -> std::io::Result<Refusals> {
    let refusals = Refusals::default();
    if let (Input::Url { url, .. }, Some(gate), Some(pid)) =
        (input, worker.gate.take(), worker.id())
        && !is_local(url)
    {
        let reach = Reach::new(&settings.hosts, url);
        gate::watch(gate, pid, reach, refusals.clone())?;
    }
    Ok(refusals)
}

/// Logs until the worker closes its standard error, which it does only by ending; the socket tells that better.
async fn log(stderr: Option<tokio::process::ChildStderr>, broadcast: &str) {
    worker_process::log(stderr, broadcast).await;
    std::future::pending().await
}

async fn write(mut writer: tokio::net::unix::WriteHalf<'_>, mut frames: mpsc::Receiver<Bytes>) {
    while let Some(frame) = frames.recv().await {
        if writer.write_all(&frame).await.is_err() {
            // What the worker said before it closed is read first.
            break;
        }
    }
    std::future::pending().await
}

async fn listen(
    mut reader: tokio::net::unix::ReadHalf<'_>,
    session: Session<'_>,
    to_worker: mpsc::Sender<Bytes>,
    needs_keyframe: &Notify,
) -> End {
    let mut frames = Frames::default();
    let mut listener = Listener {
        session,
        to_worker,
        demands: JoinSet::new(),
        forwards: HashMap::new(),
        planned: None,
        speeds: VecDeque::new(),
        kept: VecDeque::new(),
        told: None,
        reports: 0,
        moved: (Instant::now(), 0),
    };
    loop {
        loop {
            match frames.next::<ToParent>() {
                Ok(Some(Frame::Unit(unit))) => {
                    let epoch = listener.session.epoch;
                    listener.session.tracks.push(unit, epoch);
                }
                Ok(Some(Frame::Bytes(_))) => {}
                Ok(Some(Frame::Control(ToParent::NeedKeyframe))) => needs_keyframe.notify_one(),
                Ok(Some(Frame::Control(message))) => {
                    if let Some(end) = listener.take(message).await {
                        return end;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    return End::Broken(format!("the worker cannot be understood: {error}"));
                }
            }
        }
        frames.buffer.reserve(READ_LEN);
        let read = tokio::select! {
            read = reader.read_buf(&mut frames.buffer) => read,
            () = listener.shed_changes(), if listener.planned.is_some() => {
                if let Some(end) = listener.shed().await {
                    return end;
                }
                continue;
            }
        };
        match read {
            Ok(0) | Err(_) => return End::Broken(String::new()),
            Ok(_) => {}
        }
    }
}

struct Listener<'a> {
    session: Session<'a>,
    to_worker: mpsc::Sender<Bytes>,
    /// One forwarder of demand for each rung.
    demands: JoinSet<()>,
    forwards: HashMap<TrackNo, AbortHandle>,
    planned: Option<(SourceInfo, Plan)>,
    speeds: VecDeque<f64>,
    kept: VecDeque<f64>,
    /// Speed and rungs as last logged.
    told: Option<(f64, usize, u64)>,
    reports: u32,
    /// When the source last moved on, and how far it had come.
    moved: (Instant, i64),
}

impl Listener<'_> {
    async fn take(&mut self, message: ToParent) -> Option<End> {
        match message {
            ToParent::Opened { source } => self.opened(source).await,
            ToParent::Format { track, format } => match self.session.tracks.audio(track, format) {
                Ok(()) => {
                    if let Some(demand) = self.session.tracks.sound_demand(track) {
                        self.forward(track, demand, false);
                    }
                    None
                }
                Err(error) => Some(End::Hopeless(error.to_string())),
            },
            ToParent::Stats(stats) => {
                self.stats(stats);
                self.watch(stats.media_90k)
            }
            ToParent::Problem { text } => {
                tracing::warn!(broadcast = %self.session.broadcast.name(), "{text}");
                self.session
                    .status
                    .send_modify(|status| status.error = Some(text));
                None
            }
            ToParent::Error { text, hopeless } => Some(if hopeless {
                End::Hopeless(text)
            } else {
                End::Broken(text)
            }),
            ToParent::Replan { text } => {
                tracing::info!(broadcast = %self.session.broadcast.name(), "{text}");
                Some(End::Replan)
            }
            ToParent::Ended => Some(End::Ended),
            ToParent::NeedKeyframe | ToParent::Length { .. } => None,
        }
    }

    /// Tells the worker from now on what readers want of a track.
    fn forward(&mut self, track: TrackNo, demand: watch::Receiver<Demand>, was_wanted: bool) {
        let to_worker = self.to_worker.clone();
        let forward = demand::forward(track, demand, was_wanted, to_worker);
        let handle = self.demands.spawn(forward);
        if let Some(before) = self.forwards.insert(track, handle) {
            before.abort();
        }
    }

    async fn shed_changes(&mut self) {
        if self.session.shed.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Takes rungs out that are shed, and brings back those that no longer are.
    async fn shed(&mut self) -> Option<End> {
        let shed = self.session.shed.borrow_and_update().clone();
        let changed = match self.session.tracks.shed(&shed) {
            Ok(changed) => changed,
            Err(error) => return Some(End::Hopeless(error.to_string())),
        };
        for (track, demand) in changed {
            let on = demand.is_none();
            let frame = wire::control(&ToWorker::Shed { track, on }).ok()?;
            if self.to_worker.send(frame).await.is_err() {
                return Some(End::Broken(String::new()));
            }
            match demand {
                Some(demand) => self.forward(track, demand, false),
                None => {
                    if let Some(forward) = self.forwards.remove(&track) {
                        forward.abort();
                    }
                }
            }
        }
        None
    }

    async fn opened(&mut self, mut source: SourceInfo) -> Option<End> {
        self.session.flaws.learn(&mut source);
        let goes_on = self.planned.is_some();
        let mut plan = (self.session.job.planner)(&source);
        // A worker that encodes all of it has not kept what passing it through would begin with.
        plan.passthrough &= (self.planned.as_ref()).is_none_or(|(_, before)| before.passthrough);
        let asked = plan.clone();
        if let Some(rung) = self.session.tracks.stand_in(&plan, &source) {
            plan.rungs.insert(0, rung);
        }
        if let Err(error) = self.session.tracks.plan(&plan, &source, goes_on) {
            return Some(End::Hopeless(error.to_string()));
        }
        if source.audio.is_none() {
            self.session.tracks.silence();
        }
        if self.answer(&plan).await.is_none() {
            return Some(End::Broken(String::new()));
        }
        let on_demand = self.session.job.settings.on_demand;
        tracing::info!(
            broadcast = %self.session.broadcast.name(),
            rungs = plan.rungs.len(),
            passthrough = plan.passthrough,
            on_demand,
            "source {}: {}",
            if goes_on { "planned again" } else { "opened" },
            describe(&source),
        );
        self.planned = Some((source.clone(), asked.clone()));
        self.session.starting = None;
        self.session.status.send_modify(|status| {
            status.state = State::Running;
            status.source = Some(source);
            status.plan = Some(asked);
        });
        None
    }

    /// Tells the worker what to encode, and from then on what readers want of it. `None` if it is gone.
    async fn answer(&mut self, plan: &Plan) -> Option<()> {
        let demands = self.session.tracks.demands();
        let is_wanted = |(_, demand): &Changed| {
            let readers = demand.as_ref().map(|demand| demand.borrow().readers);
            readers.is_some_and(|readers| readers > 0)
        };
        let wanted: Vec<bool> = demands.iter().map(is_wanted).collect();
        let origin = self.session.broadcast.origin();
        let after = self.session.tracks.newest_90k().map_or(0, |last| last + 1);
        let work = wire::control(&ToWorker::Plan(Work {
            plan: plan.clone(),
            tracks: demands.iter().map(|(track, _)| *track).collect(),
            start_pts_90k: origin.pts_now().max(after),
            not_before_90k: after,
            zero_unix_us: origin.unix_us_of(0),
            wanted: wanted.clone(),
            video_from_90k: None,
        }));
        self.to_worker.send(work.ok()?).await.ok()?;
        // What is planned no longer is forwarded no longer.
        let source = self.session.tracks.source_demand();
        let is_planned = |track: &TrackNo| {
            demands.iter().any(|(number, _)| number == track)
                || (*track == SOURCE && source.is_some())
        };
        self.forwards.retain(|track, forward| {
            let stays = *track > SOURCE || is_planned(track);
            if !stays {
                forward.abort();
            }
            stays
        });
        for ((track, demand), is_wanted) in demands.into_iter().zip(wanted) {
            match demand {
                Some(_) if self.forwards.contains_key(&track) => {}
                Some(demand) => self.forward(track, demand, is_wanted),
                // Shed while an earlier plan was at work.
                None => {
                    let frame = wire::control(&ToWorker::Shed { track, on: true }).ok()?;
                    self.to_worker.send(frame).await.ok()?;
                }
            }
        }
        if let Some(demand) = source.filter(|_| !self.forwards.contains_key(&SOURCE)) {
            self.forward(SOURCE, demand, false);
        }
        Some(())
    }

    /// A source that stands still cannot be asked why: FFmpeg is waiting for a device or a pipe. Peers may be silent.
    fn watch(&mut self, media_90k: i64) -> Option<End> {
        let now = Instant::now();
        if media_90k != self.moved.1 {
            self.moved = (now, media_90k);
        }
        let still = now.duration_since(self.moved.0);
        match &self.session.job.input {
            Input::Url { url, .. } if still > STILL_MAX => {
                let what = if self.planned.is_some() {
                    "reading"
                } else {
                    "cannot open"
                };
                let text = format!(
                    "{what} {}: nothing came for {} s",
                    crate::open::shown(url),
                    still.as_secs()
                );
                Some(End::Broken(text))
            }
            _ => None,
        }
    }

    fn stats(&mut self, stats: Stats) {
        // A source that stands still says nothing of the encoders; one whose frames are all dropped does.
        if self.planned.is_some() && (stats.speed > 0.0 || stats.kept < 1.0) {
            self.speeds.push_back(stats.speed);
            self.kept.push_back(stats.kept);
            self.reports += 1;
        }
        let mean = |values: &mut VecDeque<f64>| {
            while values.len() > SPEEDS_LEN {
                values.pop_front();
            }
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        let (speed, kept) = (mean(&mut self.speeds), mean(&mut self.kept));
        self.session.status.send_modify(|status| {
            status.speed = speed;
            status.frames_kept = kept;
            status.rungs_active = stats.rungs_active;
            status.cpu_s = self.session.cpu_before_s + stats.cpu_s;
        });
        if self.reports < TELL_AFTER {
            return;
        }
        let is_news = self.told.is_none_or(|(told, rungs, dropped)| {
            (told - speed).abs() > 0.05
                || rungs != stats.rungs_active
                || stats.frames_dropped > dropped + DROPS_TOLD
        });
        if is_news {
            self.told = Some((speed, stats.rungs_active, stats.frames_dropped));
            tracing::info!(
                "broadcast {}: encoding {speed:.2}× real time, {} rungs, {} frames dropped, {} packets not decodable",
                self.session.broadcast.name(),
                stats.rungs_active,
                stats.frames_dropped,
                stats.decode_errors,
            );
        }
    }
}

/// A source in a few words.
fn describe(source: &SourceInfo) -> String {
    let mut text = source.container.clone();
    if let Some(video) = &source.video {
        let rate = video
            .frame_rate
            .map_or_else(String::new, |rate| format!(" at {:.2} fps", rate.fps()));
        text += &format!(" {} {}x{}{rate}", video.codec, video.width, video.height);
    }
    if let Some(audio) = &source.audio {
        text += &format!(
            " {} {} Hz, {} channels",
            audio.codec, audio.sample_rate, audio.channels
        );
    }
    text.trim_start().to_owned()
}

/// A source that gives nothing for so long is given up and opened anew; longer than the worker's own limits.
const STILL_MAX: Duration = Duration::from_secs(30);
/// Frames on their way to the worker.
const TO_WORKER_LEN: usize = 64;
const READ_LEN: usize = 64 << 10;
/// Reports, a second apart, that the speed is averaged over.
const SPEEDS_LEN: usize = 4;
/// Reports before the speed is told for the first time.
const TELL_AFTER: u32 = 3;
/// Dropped frames that are worth another line.
const DROPS_TOLD: u64 = 100;
