//! Many WHEP viewers (draft-ietf-wish-whep) in one process.

mod client;
mod report;
mod view;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::sleep;

pub(crate) use self::client::Watches;
pub use self::{
    client::Client,
    report::{Packets, Report},
    view::Gauge,
};
use crate::{
    Error, Signal,
    crowd::{Answered, Arrival, Crowd, Kind},
    engine::Machine,
    media::mark::Clock,
    peer::Identity,
    process::Usage,
    sdp::Media,
    tally::Tally,
};

/// How the viewers behave.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many join each second; 0 for as fast as the server answers.
    pub ramp_per_s: f64,
    /// Threads that the sockets are spread over.
    pub threads: usize,
    /// One viewer in so many decrypts all it gets, from 1 for everyone; the others trust what they have seen to be
    /// good and decrypt a sample.
    pub decrypt_one_in: usize,
    /// Whether audio is asked for, too.
    pub audio: bool,
    /// How many broadcasts `{n}` in the URL stands for; viewers take them in turn.
    pub broadcasts: usize,
    /// How long who is told that nothing is live asks again.
    pub patience: Duration,
    /// The server's process, where it runs on this machine: what it takes is told, too.
    pub server_pid: Option<u32>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ramp_per_s: 100.0,
            threads: 1,
            decrypt_one_in: 1,
            audio: true,
            broadcasts: crate::CLIENTS_MAX,
            patience: Duration::ZERO,
            server_pid: None,
        }
    }
}

impl Kind for Config {
    fn sections(&self, _number: usize) -> Vec<Media> {
        let audio = self.audio.then_some(Media::AUDIO);
        audio.into_iter().chain([Media::VIDEO]).collect()
    }

    fn make(&self, number: usize, identity: &Identity, answered: Answered) -> Box<dyn Machine> {
        let decrypts = number.is_multiple_of(self.decrypt_one_in.max(1));
        let watches = Watches::Broadcast;
        Box::new(Client::new(identity, answered, watches, decrypts))
    }
}

/// Viewers that are there. Dropping them leaves their sessions to the server's patience; see [`Viewers::leave`].
pub struct Viewers {
    crowd: Crowd,
    server_pid: Option<u32>,
    server_before: Option<Usage>,
}

/// What there is at one moment.
struct Moment {
    tally: Tally,
    own: Usage,
    server: Option<Usage>,
}

impl Viewers {
    /// Nobody yet. `clock` is that of the publishers whose marks are to be read.
    pub fn new(config: &Config, signal: Arc<dyn Signal>, clock: Clock) -> Result<Self, Error> {
        let arrival = Arrival {
            per_s: config.ramp_per_s,
            numbers: config.broadcasts,
            patience: config.patience,
        };
        let kind = Arc::new(config.clone());
        let crowd = Crowd::new(kind, signal, arrival, config.threads, clock)?;
        Ok(Self {
            crowd,
            server_pid: config.server_pid,
            server_before: config.server_pid.map(|pid| Usage::of(Some(pid))),
        })
    }

    /// Lets so many more join, and returns when each was answered, or `stop` came. An error if nobody was let in at
    /// all: then the first one's.
    pub async fn join(
        &mut self,
        count: usize,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        self.crowd.join(count, stop).await
    }

    /// Waits until everyone who was answered has a picture or is over, `within` at most, or until `stop`.
    pub async fn settle(&self, within: Duration, stop: impl Future<Output = ()>) {
        let joined = |tally: &Tally| tally.viewers.join_ms.len();
        self.crowd.settle(within, joined, stop).await;
    }

    /// Watches for a while, or until `stop`, and says what was seen: rates, losses and CPU of this while, join times
    /// and failures since the start.
    pub async fn measure(&self, time: Duration, stop: impl Future<Output = ()>) -> Report {
        let before = self.moment().await;
        tokio::select! {
            () = sleep(time) => {}
            () = stop => {}
        }
        let after = self.moment().await;
        Report::new(&self.crowd, self.server_before.as_ref(), &before, after)
    }

    async fn moment(&self) -> Moment {
        Moment {
            tally: self.crowd.tally().await,
            own: Usage::now(),
            server: self.server_pid.map(|pid| Usage::of(Some(pid))),
        }
    }

    /// Ends all sessions at the server, as many as it takes in time.
    pub async fn leave(self) {
        self.crowd.leave().await;
    }
}
