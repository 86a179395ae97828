//! Many clients of one kind: each has an offer answered, gets a socket, and is seated in the engine.

use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use crate::{
    Error, Signal,
    engine::{Engine, Machine},
    media::mark::Clock,
    peer::{Credentials, Identity},
    process::{Usage, files_max},
    sdp::{Answer, Media, Offer},
    tally::Tally,
};

/// What the clients are.
pub(crate) trait Kind: Send + Sync + 'static {
    /// The sections that client `number` offers.
    fn sections(&self, number: usize) -> Vec<Media>;
    /// A client whose offer was answered.
    fn make(&self, number: usize, identity: &Identity, answered: Answered) -> Box<dyn Machine>;
}

/// An offer that was answered.
pub(crate) struct Answered {
    pub(crate) ice: Credentials,
    pub(crate) answer: Answer,
    /// When the offer was sent.
    pub(crate) posted: Instant,
}

/// How they come.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    /// How many each second; 0 for as fast as they are answered.
    pub(crate) per_s: f64,
    /// Client `number` uses the URL of `number % numbers`.
    pub(crate) numbers: usize,
    /// How long who is told that nothing is live asks again.
    pub(crate) patience: Duration,
}

/// The clients.
pub(crate) struct Crowd {
    kind: Arc<dyn Kind>,
    signal: Arc<dyn Signal>,
    arrival: Arrival,
    identity: Identity,
    engine: Engine,
    pub(crate) sessions: Vec<String>,
    /// How many were asked for.
    pub(crate) asked: usize,
    /// Why some were not answered, and how many.
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) before: Usage,
}

impl Crowd {
    pub(crate) fn new(
        kind: Arc<dyn Kind>,
        signal: Arc<dyn Signal>,
        arrival: Arrival,
        threads: usize,
        clock: Clock,
    ) -> Result<Self, Error> {
        let before = Usage::now();
        let engine = Engine::start(threads, clock);
        Ok(Self {
            kind,
            signal,
            arrival,
            identity: Identity::new("lockgate-load")
                .map_err(|error| Error::Machine(error.to_string()))?,
            engine: engine.map_err(|error| Error::Machine(error.to_string()))?,
            sessions: Vec::new(),
            asked: 0,
            refused: BTreeMap::new(),
            before,
        })
    }

    /// Lets so many more join, and returns when each was answered, or `stop` came. An error if nobody was let in at
    /// all: then the first one's.
    pub(crate) async fn join(
        &mut self,
        count: usize,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        self.fits(count)?;
        let mut stop = std::pin::pin!(stop);
        let began = Instant::now();
        let mut joining = JoinSet::new();
        let (mut first_error, mut started) = (None, 0);
        while started < count || !joining.is_empty() {
            // Until the first is in, no second knocks: most mistakes show at once.
            let at_once = if self.sessions.is_empty() { 1 } else { AT_ONCE };
            let due = if self.arrival.per_s > 0.0 {
                began + Duration::from_secs_f64(started as f64 / self.arrival.per_s)
            } else {
                began
            };
            tokio::select! {
                () = &mut stop => break,
                Some(joined) = joining.join_next() => match joined {
                    Ok(Ok(seated)) => self.seat(seated).await,
                    Ok(Err(error)) => {
                        if self.sessions.is_empty() {
                            return Err(error);
                        }
                        let error: Error = error;
                        *self.refused.entry(error.to_string()).or_default() += 1;
                        first_error.get_or_insert(error);
                    }
                    Err(error) => {
                        *self.refused.entry(error.to_string()).or_default() += 1;
                    }
                },
                () = tokio::time::sleep_until(due.into()), if started < count && joining.len() < at_once => {
                    let number = self.asked;
                    self.asked += 1;
                    started += 1;
                    joining.spawn(knock(
                        number,
                        Arc::clone(&self.kind),
                        Arc::clone(&self.signal),
                        self.arrival.clone(),
                        self.identity.clone(),
                    ));
                }
            }
        }
        match first_error {
            Some(error) if self.sessions.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    fn fits(&self, count: usize) -> Result<(), Error> {
        let wanted = self.asked + count;
        if count == 0 || wanted > crate::CLIENTS_MAX {
            let most = crate::CLIENTS_MAX;
            return Err(Error::Usage(format!(
                "--clients is {wanted}; 1 to {most} are possible"
            )));
        }
        match files_max() {
            Some(most) if wanted + FILES_ELSE > most => Err(Error::Machine(format!(
                "{wanted} clients need {} open files and {most} are allowed; raise it with `ulimit -n {}`",
                wanted + FILES_ELSE,
                (wanted + FILES_ELSE).next_power_of_two()
            ))),
            _ => Ok(()),
        }
    }

    async fn seat(&mut self, seated: Seated) {
        self.sessions.push(seated.session);
        self.engine.add(seated.machine, seated.socket).await;
    }

    /// Waits until everyone who was answered is ready, as `count` counts them, or over; `within` at most, or until
    /// `stop`.
    pub(crate) async fn settle(
        &self,
        within: Duration,
        count: impl Fn(&Tally) -> usize,
        stop: impl Future<Output = ()>,
    ) {
        let everyone = async {
            loop {
                let tally = self.tally().await;
                let over: u64 = tally.failures.values().sum();
                if count(&tally) as u64 + over >= self.sessions.len() as u64 {
                    return;
                }
                sleep(POLL).await;
            }
        };
        tokio::select! {
            () = everyone => {}
            () = sleep(within) => {}
            () = stop => {}
        }
    }

    /// Everything counted so far.
    pub(crate) async fn tally(&self) -> Tally {
        self.engine.tally().await
    }

    /// Ends all sessions at the server, as many as it takes in time.
    pub(crate) async fn leave(self) {
        let mut leaving = JoinSet::new();
        let all = async {
            for session in self.sessions {
                if leaving.len() >= AT_ONCE {
                    leaving.join_next().await;
                }
                let signal = Arc::clone(&self.signal);
                // Whoever does not let us go loses us by silence.
                leaving.spawn(async move { signal.end(&session).await.is_ok() });
            }
            while leaving.join_next().await.is_some() {}
        };
        tokio::time::timeout(LEAVE_WITHIN, all).await.ok();
    }
}

struct Seated {
    machine: Box<dyn Machine>,
    socket: UdpSocket,
    session: String,
}

/// Makes an offer and has it answered.
async fn knock(
    number: usize,
    kind: Arc<dyn Kind>,
    signal: Arc<dyn Signal>,
    arrival: Arrival,
    identity: Identity,
) -> Result<Seated, Error> {
    let ice = Credentials::random();
    let (socket, address) = bind(signal.local())?;
    let offer = Offer {
        ice: &ice,
        fingerprint: identity.fingerprint(),
        address,
        sections: &kind.sections(number),
    };
    let text = offer.text();
    let began = Instant::now();
    let (posted, sdp, session) = loop {
        let posted = Instant::now();
        let offered = signal.offer(number % arrival.numbers.max(1), text.clone());
        match offered.await {
            Ok((sdp, session)) => break (posted, sdp, session),
            Err(Error::Refused { status, .. })
                if NOT_YET.contains(&status) && began.elapsed() < arrival.patience =>
            {
                sleep(AGAIN).await;
            }
            Err(error) => return Err(error),
        }
    };
    let read = Answer::read(&sdp).map_err(|why| Error::Answer {
        url: session.clone(),
        why,
    });
    let faced = read.and_then(|mut answer| {
        let socket = face(socket, &mut answer)?;
        Ok((answer, socket))
    });
    match faced {
        Ok((answer, socket)) => {
            let answered = Answered {
                ice,
                answer,
                posted,
            };
            Ok(Seated {
                machine: kind.make(number, &identity, answered),
                socket,
                session,
            })
        }
        Err(error) => {
            signal.end(&session).await.ok();
            Err(error)
        }
    }
}

/// A socket of the family of our own address, and what to call it.
pub(crate) fn bind(local: Option<IpAddr>) -> Result<(UdpSocket, Option<SocketAddr>), Error> {
    let any = match local {
        Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let socket = open(any)?;
    let port = socket
        .local_addr()
        .map_err(|error| no_socket(&error))?
        .port();
    Ok((socket, local.map(|local| SocketAddr::new(local, port))))
}

/// Keeps the candidates that the socket can reach, or takes another socket for those that there are.
pub(crate) fn face(socket: UdpSocket, answer: &mut Answer) -> Result<UdpSocket, Error> {
    let is_v4 = socket
        .local_addr()
        .map_err(|error| no_socket(&error))?
        .is_ipv4();
    let candidates = &mut answer.remote.candidates;
    if candidates.iter().any(|one| one.is_ipv4() == is_v4) {
        candidates.retain(|one| one.is_ipv4() == is_v4);
        return Ok(socket);
    }
    open(if is_v4 {
        Ipv6Addr::UNSPECIFIED.into()
    } else {
        Ipv4Addr::UNSPECIFIED.into()
    })
}

fn open(any: IpAddr) -> Result<UdpSocket, Error> {
    let socket = UdpSocket::bind((any, 0)).map_err(|error| no_socket(&error))?;
    socket
        .set_nonblocking(true)
        .map_err(|error| no_socket(&error))?;
    Ok(socket)
}

fn no_socket(error: &std::io::Error) -> Error {
    Error::Machine(format!("no UDP socket: {error}; see `ulimit -n`"))
}

/// Offers on their way at once.
const AT_ONCE: usize = 32;
/// Whatever else a process has open, connections to the server among it.
const FILES_ELSE: usize = 100;
const POLL: Duration = Duration::from_millis(50);
/// What a server answers that nothing is live at yet.
const NOT_YET: [u16; 3] = [404, 409, 503];
const AGAIN: Duration = Duration::from_millis(250);
const LEAVE_WITHIN: Duration = Duration::from_secs(20);
