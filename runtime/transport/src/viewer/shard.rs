//! A shard: the viewers of one core, and whose turn it is.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Instant,
};

use lockgate_broadcast::track::Track;
use lockgate_ports::{
    signaller::CloseReason,
    task::{Task, own},
};
use tokio::sync::{mpsc, watch};

use super::{
    bell::{Bell, Inbox, Key},
    life::{Arrival, Viewer},
    wire::Run,
};

/// All shards, one a core.
pub(crate) struct Shards(Vec<Entry>);

struct Entry {
    arrivals: mpsc::Sender<Arrival>,
    /// Its viewers.
    count: Arc<AtomicUsize>,
    _task: Task,
}

impl Shards {
    /// Starts them.
    pub(crate) fn start() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let start = |_| {
            let (arrivals, coming) = mpsc::channel(ARRIVALS_MAX);
            let count = Arc::<AtomicUsize>::default();
            let shard = Shard::new(Arc::clone(&count));
            Entry {
                arrivals,
                count,
                _task: own(shard.run(coming)),
            }
        };
        Self((0..cores).map(start).collect())
    }

    /// Hands a viewer to the shard that has the fewest. False if all is over.
    pub(crate) async fn take(&self, arrival: Arrival) -> bool {
        let least = self.0.iter().min_by_key(|entry| entry.count.load(Relaxed));
        let Some(entry) = least else {
            return false;
        };
        entry.count.fetch_add(1, Relaxed);
        entry.arrivals.send(arrival).await.is_ok()
    }
}

struct Shard {
    count: Arc<AtomicUsize>,
    inbox: Arc<Inbox>,
    seats: Vec<Option<Box<Seat>>>,
    free: Vec<u32>,
    sources: Sources,
    /// Whose bell has rung.
    rung: VecDeque<Key>,
    /// Who has a unit to send.
    pumped: VecDeque<u32>,
    alarms: BinaryHeap<Reverse<(Instant, u32)>>,
    run: Run,
}

/// A viewer and what the shard knows of it.
struct Seat {
    viewer: Viewer,
    /// The next of its alarms that counts.
    alarm: Option<Instant>,
    /// That of its tracks as they are registered.
    revision: u32,
    sources: Vec<u32>,
    /// It stands in `pumped`.
    pumped: bool,
}

/// What a turn is for.
#[derive(Debug, Clone, Copy)]
enum Turn {
    Look,
    Pump,
    Due,
}

impl Shard {
    fn new(count: Arc<AtomicUsize>) -> Self {
        let inbox = Arc::<Inbox>::default();
        Self {
            count,
            sources: Sources::new(Arc::clone(&inbox)),
            inbox,
            seats: Vec::new(),
            free: Vec::new(),
            rung: VecDeque::new(),
            pumped: VecDeque::new(),
            alarms: BinaryHeap::new(),
            run: Run::default(),
        }
    }

    async fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>) {
        loop {
            while let Ok(arrival) = arrivals.try_recv() {
                self.seat(arrival);
            }
            let busy = self.work();
            if self.run.is_late() {
                self.run.catch_up().await;
                continue;
            }
            if busy {
                // Others have their turn too: the socket is read, requests are answered.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = self.inbox.notify.notified() => {}
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => self.seat(arrival),
                    None => return,
                },
                () = sleep_until(self.alarms.peek().map(|Reverse((at, _))| *at)) => {}
            }
        }
    }

    /// Gives a number of turns, of each kind as many as of the others; true if more are wanted at once.
    fn work(&mut self) -> bool {
        self.inbox.empty_into(&mut self.rung);
        for _ in 0..ROUNDS_MAX {
            let now = Instant::now();
            let rung = self.rung.pop_front();
            match rung {
                Some(Key::Viewer(key)) => self.turn(key, now, Turn::Look),
                Some(Key::Source(source)) => self.written(source),
                None => {}
            }
            let due = self.due(now);
            if let Some(key) = due {
                self.turn(key, now, Turn::Due);
            }
            let pumped = self.pumped.pop_front();
            if let Some(key) = pumped {
                if let Some(Some(seat)) = self.seats.get_mut(key as usize) {
                    seat.pumped = false;
                }
                self.turn(key, now, Turn::Pump);
            }
            if rung.is_none() && due.is_none() && pumped.is_none() {
                return false;
            }
        }
        true
    }

    /// The next viewer whose time has come.
    fn due(&mut self, now: Instant) -> Option<u32> {
        while let Some(Reverse((at, key))) = self.alarms.peek().copied() {
            if at > now {
                return None;
            }
            self.alarms.pop();
            // Of several alarms of a viewer only the last that was set counts.
            if let Some(Some(seat)) = self.seats.get_mut(key as usize)
                && seat.alarm == Some(at)
            {
                seat.alarm = None;
                return Some(key);
            }
        }
        None
    }

    fn seat(&mut self, arrival: Arrival) {
        let key = self.free.pop().unwrap_or_else(|| {
            self.seats.push(None);
            (self.seats.len() - 1) as u32
        });
        let now = Instant::now();
        let bell = Bell::new(&self.inbox, Key::Viewer(key));
        let seat = Seat {
            viewer: Viewer::new(now, arrival, bell),
            alarm: None,
            revision: 0,
            sources: Vec::new(),
            pumped: false,
        };
        if let Some(place) = self.seats.get_mut(key as usize) {
            *place = Some(Box::new(seat));
        }
        self.turn(key, now, Turn::Look);
    }

    fn turn(&mut self, key: u32, now: Instant, turn: Turn) {
        let Some(Some(seat)) = self.seats.get_mut(key as usize) else {
            return; // it was over before its bell was answered
        };
        let run = &mut self.run;
        let viewer = &mut seat.viewer;
        // What the library makes of a peer's bytes ends that peer at worst.
        let over = catch_unwind(AssertUnwindSafe(|| match turn {
            Turn::Look => viewer.look(now, run),
            Turn::Pump => {
                viewer.pump(now, run);
                None
            }
            Turn::Due => viewer.due(now, run),
        }));
        match over {
            Ok(None) => self.settle(key),
            Ok(Some(reason)) => self.close(key, now, reason),
            Err(_) => {
                tracing::error!("the turn of a viewer failed; only that viewer is closed");
                self.run = Run::default();
                self.close(key, now, CloseReason::Gone);
            }
        }
    }

    /// Sets the alarm of a viewer, and registers it with the tracks that it reads.
    fn settle(&mut self, key: u32) {
        let Some(Some(seat)) = self.seats.get_mut(key as usize) else {
            return;
        };
        let deadline = seat.viewer.deadline();
        if seat.alarm.is_none_or(|alarm| deadline < alarm) {
            seat.alarm = Some(deadline);
            self.alarms.push(Reverse((deadline, key)));
        }
        let revision = seat.viewer.revision();
        if seat.revision != revision {
            seat.revision = revision;
            let tracks = seat.viewer.tracks();
            let before = std::mem::take(&mut seat.sources);
            seat.sources = self.sources.register(key, &tracks);
            for source in before {
                if !seat.sources.contains(&source) {
                    self.sources.leave(key, source);
                }
            }
            // Something may have been written before it was registered.
            if !std::mem::replace(&mut seat.pumped, true) {
                self.pumped.push_back(key);
            }
        }
    }

    /// A track has a unit, or is over.
    fn written(&mut self, source: u32) {
        for key in self.sources.poll(source) {
            if let Some(Some(seat)) = self.seats.get_mut(*key as usize)
                && !std::mem::replace(&mut seat.pumped, true)
            {
                self.pumped.push_back(*key);
            }
        }
    }

    fn close(&mut self, key: u32, now: Instant, reason: CloseReason) {
        let Some(seat) = self.seats.get_mut(key as usize).and_then(Option::take) else {
            return;
        };
        for source in &seat.sources {
            self.sources.leave(key, *source);
        }
        let run = &mut self.run;
        let goodbye = AssertUnwindSafe(|| seat.viewer.close(now, reason, run));
        if catch_unwind(goodbye).is_err() {
            tracing::error!("the end of a viewer failed");
            self.run = Run::default();
        }
        self.free.push(key);
        self.count.fetch_sub(1, Relaxed);
    }
}

/// The tracks that viewers of a shard read.
struct Sources {
    inbox: Arc<Inbox>,
    list: Vec<Option<Source>>,
    free: Vec<u32>,
    /// By the key of the track.
    places: HashMap<usize, u32>,
}

struct Source {
    track: Track,
    written: Pin<Box<dyn Future<Output = watch::Receiver<bool>> + Send>>,
    bell: Arc<Bell>,
    waker: Waker,
    viewers: Vec<u32>,
}

impl Sources {
    fn new(inbox: Arc<Inbox>) -> Self {
        Self {
            inbox,
            list: Vec::new(),
            free: Vec::new(),
            places: HashMap::new(),
        }
    }

    /// Registers a viewer with these tracks; the places of these.
    fn register(&mut self, viewer: u32, tracks: &[Track]) -> Vec<u32> {
        let mut places = Vec::with_capacity(tracks.len());
        for track in tracks {
            let place = match self.places.get(&track.key()) {
                Some(place) => *place,
                None => self.open(track),
            };
            if let Some(Some(source)) = self.list.get_mut(place as usize)
                && !source.viewers.contains(&viewer)
            {
                source.viewers.push(viewer);
            }
            places.push(place);
        }
        places
    }

    fn open(&mut self, track: &Track) -> u32 {
        let place = self.free.pop().unwrap_or_else(|| {
            self.list.push(None);
            (self.list.len() - 1) as u32
        });
        let bell = Bell::new(&self.inbox, Key::Source(place));
        let source = Source {
            written: Box::pin(written(track.units())),
            track: track.clone(),
            waker: Waker::from(Arc::clone(&bell)),
            bell,
            viewers: Vec::new(),
        };
        if let Some(at) = self.list.get_mut(place as usize) {
            *at = Some(source);
        }
        self.places.insert(track.key(), place);
        self.poll(place);
        place
    }

    /// A viewer does not read a track any more.
    fn leave(&mut self, viewer: u32, place: u32) {
        let Some(at) = self.list.get_mut(place as usize) else {
            return;
        };
        if let Some(source) = at {
            source.viewers.retain(|other| *other != viewer);
        }
        if let Some(source) = at.take_if(|source| source.viewers.is_empty()) {
            self.places.remove(&source.track.key());
            self.free.push(place);
        }
    }

    /// Who reads a track that has rung; it rings again at the next unit.
    fn poll(&mut self, place: u32) -> &[u32] {
        let Some(Some(source)) = self.list.get_mut(place as usize) else {
            return &[];
        };
        source.bell.answered();
        let mut cx = Context::from_waker(&source.waker);
        while let Poll::Ready(units) = source.written.as_mut().poll(&mut cx) {
            if *units.borrow() {
                // Its writer is gone: there is nothing more to wait for.
                source.written = Box::pin(std::future::pending());
                break;
            }
            source.written = Box::pin(written(units));
        }
        &source.viewers
    }
}

/// Waits for the next unit of a track.
async fn written(mut units: watch::Receiver<bool>) -> watch::Receiver<bool> {
    if units.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
    units
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Viewers on their way to a shard; more wait for their answer.
const ARRIVALS_MAX: usize = 64;
/// About half a millisecond: as long as others on this core may have to wait.
const ROUNDS_MAX: usize = 128;
