//! Threads with many sockets each, and a client behind each socket.
//!
//! A socket for each client: servers that have one port for all tell their peers apart by address.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    io::{self, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use mio::{Events, Interest, Poll, Token, Waker};
use quinn_udp::{RecvMeta, UdpSocketState};
use tokio::sync::oneshot;

use crate::{
    histogram::Histogram,
    media::mark::Clock,
    peer::{Out, Over},
    tally::Tally,
};

/// A client without its socket.
pub(crate) trait Machine: Send {
    /// Takes a datagram.
    fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
        out: &mut Out,
        sink: &mut Sink,
    );
    /// Does what is due.
    fn timeout(&mut self, now: Instant, out: &mut Out);
    /// When [`Machine::timeout`] is due.
    fn deadline(&self) -> Instant;
    /// Why it is over, if it is.
    fn over(&self) -> Option<&Over>;
    /// Adds what it counted.
    fn tally(&self, tally: &mut Tally);
}

/// What all clients of a thread write to.
pub(crate) struct Sink {
    pub(crate) clock: Clock,
    /// In µs.
    pub(crate) delay: Histogram,
    /// A fault of one client's, for the log of the run.
    unsent: u64,
}

enum Command {
    Add(Box<dyn Machine>, UdpSocket),
    Tally(oneshot::Sender<Tally>),
    Stop,
}

/// The threads. Dropping it ends them.
pub(crate) struct Engine {
    workers: Vec<Worker>,
    next: AtomicUsize,
}

struct Worker {
    commands: SyncSender<Command>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    pub(crate) fn start(threads: usize, clock: Clock) -> io::Result<Self> {
        let workers = (0..threads.max(1)).map(|_| Worker::start(clock));
        Ok(Self {
            workers: workers.collect::<io::Result<_>>()?,
            next: AtomicUsize::new(0),
        })
    }

    /// Gives a client to one of the threads in turn.
    pub(crate) async fn add(&self, machine: Box<dyn Machine>, socket: UdpSocket) {
        let at = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        if let Some(worker) = self.workers.get(at) {
            worker.tell(Command::Add(machine, socket)).await;
        }
    }

    /// What all clients counted so far.
    pub(crate) async fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for worker in &self.workers {
            let (give, take) = oneshot::channel();
            worker.tell(Command::Tally(give)).await;
            if let Ok(part) = take.await {
                tally.add(part);
            }
        }
        tally
    }
}

impl Worker {
    fn start(clock: Clock) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let (commands, told) = sync_channel(COMMANDS_MAX);
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || Loop::new(poll, told, clock).run())?;
        Ok(Self {
            commands,
            waker,
            thread: Some(thread),
        })
    }

    async fn tell(&self, mut command: Command) {
        loop {
            match self.commands.try_send(command) {
                Ok(()) => break,
                Err(TrySendError::Full(back)) => command = back,
                Err(TrySendError::Disconnected(_)) => return, // it is over, and said why
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.waker.wake().ok();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // With no commands left to come, the thread ends by itself too.
        self.commands.try_send(Command::Stop).ok();
        self.commands = sync_channel(1).0;
        self.waker.wake().ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

struct Seat {
    machine: Box<dyn Machine>,
    socket: mio::net::UdpSocket,
    state: UdpSocketState,
    /// When it is in the heap for; what is there for another time is passed over.
    scheduled: Instant,
}

struct Loop {
    poll: Poll,
    told: Receiver<Command>,
    seats: Vec<Seat>,
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    sink: Sink,
    out: Out,
}

impl Loop {
    fn new(poll: Poll, told: Receiver<Command>, clock: Clock) -> Self {
        Self {
            poll,
            told,
            seats: Vec::new(),
            timers: BinaryHeap::new(),
            sink: Sink {
                clock,
                delay: Histogram::default(),
                unsent: 0,
            },
            out: Vec::new(),
        }
    }

    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffers = vec![vec![0; BUFFER_LEN]; BATCH];
        loop {
            let now = Instant::now();
            let first = self.timers.peek().map(|Reverse((at, _))| *at);
            let wait = first.map_or(IDLE, |at| at.saturating_duration_since(now).min(IDLE));
            match self.poll.poll(&mut events, Some(wait)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            }
            for event in &events {
                match event.token() {
                    WAKE => {
                        if self.obey() {
                            return;
                        }
                    }
                    Token(at) => self.read(at, &mut buffers),
                }
            }
            self.expire();
        }
    }

    /// True at the end.
    fn obey(&mut self) -> bool {
        loop {
            match self.told.try_recv() {
                Ok(Command::Add(machine, socket)) => self.seat(machine, socket),
                Ok(Command::Tally(to)) => {
                    let mut tally = Tally {
                        delay: self.sink.delay.clone(),
                        unsent: self.sink.unsent,
                        ..Tally::default()
                    };
                    for seat in &self.seats {
                        seat.machine.tally(&mut tally);
                    }
                    to.send(tally).ok();
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => return false,
                Ok(Command::Stop) | Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    return true;
                }
            }
        }
    }

    fn seat(&mut self, machine: Box<dyn Machine>, socket: UdpSocket) {
        let at = self.seats.len();
        let Ok(state) = UdpSocketState::new((&socket).into()) else {
            self.sink.unsent += 1;
            return;
        };
        let mut socket = mio::net::UdpSocket::from_std(socket);
        let registry = self.poll.registry();
        if registry
            .register(&mut socket, Token(at), Interest::READABLE)
            .is_err()
        {
            self.sink.unsent += 1;
            return;
        }
        let scheduled = machine.deadline();
        self.timers.push(Reverse((scheduled, at)));
        self.seats.push(Seat {
            machine,
            socket,
            state,
            scheduled,
        });
    }

    fn read(&mut self, at: usize, buffers: &mut [Vec<u8>]) {
        let Some(seat) = self.seats.get_mut(at) else {
            return;
        };
        let mut now = Instant::now();
        loop {
            let mut slices: [IoSliceMut<'_>; BATCH] = {
                let mut buffers = buffers.iter_mut();
                std::array::from_fn(|_| {
                    IoSliceMut::new(buffers.next().map_or(&mut [], Vec::as_mut_slice))
                })
            };
            let mut metas = [RecvMeta::default(); BATCH];
            let count = match seat
                .state
                .recv((&seat.socket).into(), &mut slices, &mut metas)
            {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Nothing more; or ICMP says that nobody is there, which the client finds out by silence.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(_) => break,
            };
            now = Instant::now();
            for (meta, slice) in metas.iter().zip(&slices).take(count) {
                let received = slice.get(..meta.len).unwrap_or_default();
                for datagram in received.chunks(meta.stride.max(1)) {
                    let (out, sink) = (&mut self.out, &mut self.sink);
                    seat.machine.handle(now, meta.addr, datagram, out, sink);
                }
            }
            // The kernel had no more to fill the batch with, and tells of what comes after.
            if count < BATCH {
                break;
            }
        }
        Self::settle(
            at,
            now,
            seat,
            &mut self.timers,
            &mut self.out,
            &mut self.sink,
        );
    }

    fn expire(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, at))) = self.timers.peek().copied()
            && due <= now
        {
            self.timers.pop();
            let Some(seat) = self.seats.get_mut(at) else {
                continue;
            };
            if seat.scheduled != due {
                continue;
            }
            if seat.machine.over().is_some() {
                continue; // it has said all that it will
            }
            seat.machine.timeout(now, &mut self.out);
            seat.scheduled = now + IDLE * 1000;
            Self::settle(
                at,
                now,
                seat,
                &mut self.timers,
                &mut self.out,
                &mut self.sink,
            );
        }
    }

    /// Sends what a client has to say, and wakes it when it next has to.
    fn settle(
        at: usize,
        now: Instant,
        seat: &mut Seat,
        timers: &mut BinaryHeap<Reverse<(Instant, usize)>>,
        out: &mut Out,
        sink: &mut Sink,
    ) {
        for (to, datagram) in out.drain(..) {
            if seat.socket.send_to(&datagram, to).is_err() {
                sink.unsent += 1;
            }
        }
        let deadline = seat.machine.deadline().max(now + GRAIN);
        if deadline < seat.scheduled {
            seat.scheduled = deadline;
            timers.push(Reverse((deadline, at)));
        }
    }
}

const WAKE: Token = Token(usize::MAX);
const EVENTS_MAX: usize = 1024;
/// Datagrams of one client taken at once.
const BATCH: usize = 8;
/// As much as the kernel joins to one (UDP GRO).
const BUFFER_LEN: usize = 64 << 10;
/// Nobody has to wait longer for the end.
const IDLE: Duration = Duration::from_millis(500);
/// No timer is finer.
const GRAIN: Duration = Duration::from_millis(1);
const COMMANDS_MAX: usize = 256;
