//! Many WHEP viewers (draft-ietf-wish-whep) in one process.

mod client;
mod report;

use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

pub use self::{client::Client, report::Report};
use crate::{
    Error, Signal,
    engine::Engine,
    media::mark::Clock,
    peer::{Credentials, Identity},
    process::{Usage, files_max},
    sdp::{Answer, Offer},
    tally::Tally,
};

/// How many viewers, and how they behave.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many; 1 to [`crate::CLIENTS_MAX`].
    pub clients: usize,
    /// How many join each second; 0 for as fast as the server answers.
    pub ramp_per_s: f64,
    /// Threads that the sockets are spread over.
    pub threads: usize,
    /// One viewer in so many decrypts all it gets, from 1 for everyone; the others trust what they have seen to be
    /// good and decrypt a sample.
    pub decrypt_one_in: usize,
    /// Whether audio is asked for, too.
    pub audio: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            clients: 1,
            ramp_per_s: 100.0,
            threads: 1,
            decrypt_one_in: 1,
            audio: true,
        }
    }
}

/// Viewers that are there.
pub struct Viewers {
    config: Config,
    signal: Arc<dyn Signal>,
    identity: Identity,
    engine: Engine,
    sessions: Vec<String>,
    /// How many were asked for.
    asked: usize,
    /// Why some were not answered, and how many.
    refused: BTreeMap<String, u64>,
    before: Usage,
}

/// One whose offer was answered.
struct Answered {
    client: Client,
    socket: UdpSocket,
    session: String,
}

impl Viewers {
    /// Nobody yet. `clock` is that of the publishers whose marks are to be read.
    pub fn new(config: &Config, signal: Arc<dyn Signal>, clock: Clock) -> Result<Self, Error> {
        let machine = |error: String| Error::Machine(error);
        let engine = Engine::start(config.threads, clock);
        Ok(Self {
            before: Usage::now(),
            config: config.clone(),
            signal,
            identity: Identity::new().map_err(machine)?,
            engine: engine.map_err(|error| machine(error.to_string()))?,
            sessions: Vec::new(),
            asked: 0,
            refused: BTreeMap::new(),
        })
    }

    /// Lets so many more join, and returns when each was answered, or `stop` came. An error if nobody was let in at
    /// all: then the first one's.
    pub async fn join(
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
            let due = if self.config.ramp_per_s > 0.0 {
                began + Duration::from_secs_f64(started as f64 / self.config.ramp_per_s)
            } else {
                began
            };
            tokio::select! {
                () = &mut stop => break,
                Some(joined) = joining.join_next() => match joined {
                    Ok(Ok(answered)) => self.seat(answered).await,
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
                        self.config.clone(),
                        Arc::clone(&self.signal),
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

    async fn seat(&mut self, answered: Answered) {
        self.sessions.push(answered.session);
        let client = Box::new(answered.client);
        self.engine.add(client, answered.socket).await;
    }

    /// Waits until everyone who was answered has a picture or is over, `within` at most, or until `stop`.
    pub async fn settle(&self, within: Duration, stop: impl Future<Output = ()>) {
        let everyone = async {
            loop {
                let tally = self.tally().await;
                let over: u64 = tally.failures.values().sum();
                if tally.viewers.join_ms.len() as u64 + over >= self.sessions.len() as u64 {
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
    pub async fn tally(&self) -> Tally {
        self.engine.tally().await
    }

    /// Watches for a while, or until `stop`, and says what was seen: rates, losses and CPU of this while, join times
    /// and failures since the start.
    pub async fn measure(&self, time: Duration, stop: impl Future<Output = ()>) -> Report {
        let (usage, before) = (Usage::now(), self.tally().await);
        tokio::select! {
            () = sleep(time) => {}
            () = stop => {}
        }
        let (after, now) = (self.tally().await, Usage::now());
        Report::new(self, &before, after, &usage, &now)
    }

    /// Ends all sessions at the server, as many as it takes in time.
    pub async fn leave(self) {
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

/// Makes an offer and has it answered.
async fn knock(
    number: usize,
    config: Config,
    signal: Arc<dyn Signal>,
    identity: Identity,
) -> Result<Answered, Error> {
    let ice = Credentials::random();
    let local = signal.local();
    let (mut socket, address) = bind(local)?;
    let offer = Offer {
        ice: &ice,
        fingerprint: &identity.fingerprint,
        address,
        sends: None,
        has_audio: config.audio,
    };
    let posted = Instant::now();
    let (sdp, session) = signal.offer(number, offer.text()).await?;
    let answer = Answer::read(&sdp).map_err(|why| Error::Answer {
        url: session.clone(),
        why,
    });
    let mut answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            signal.end(&session).await.ok();
            return Err(error);
        }
    };
    socket = face(socket, &mut answer)?;
    let decrypts = number % config.decrypt_one_in.max(1) == 0;
    let now = Instant::now();
    Ok(Answered {
        client: Client::new(now, &identity, ice, &answer, posted, decrypts),
        socket,
        session,
    })
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
pub(crate) const AT_ONCE: usize = 32;
/// Whatever else a process has open, connections to the server among it.
const FILES_ELSE: usize = 100;
const POLL: Duration = Duration::from_millis(50);
const LEAVE_WITHIN: Duration = Duration::from_secs(20);
