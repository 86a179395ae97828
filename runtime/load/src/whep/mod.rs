//! Many WHEP viewers (draft-ietf-wish-whep) in one process.

mod client;
mod report;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::sleep;

pub use self::{client::Client, report::Report};
use crate::{
    Error, Signal,
    crowd::{Answered, Arrival, Crowd, Kind},
    engine::Machine,
    media::mark::Clock,
    peer::Identity,
    process::Usage,
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
        }
    }
}

impl Kind for Config {
    fn sends(&self, _number: usize) -> Option<(u32, u32)> {
        None
    }

    fn has_audio(&self) -> bool {
        self.audio
    }

    fn make(&self, number: usize, identity: &Identity, answered: Answered) -> Box<dyn Machine> {
        let decrypts = number % self.decrypt_one_in.max(1) == 0;
        Box::new(Client::new(identity, answered, decrypts))
    }
}

/// Viewers that are there. Dropping them leaves their sessions to the server's patience; see [`Viewers::leave`].
pub struct Viewers(Crowd);

impl Viewers {
    /// Nobody yet. `clock` is that of the publishers whose marks are to be read.
    pub fn new(config: &Config, signal: Arc<dyn Signal>, clock: Clock) -> Result<Self, Error> {
        let arrival = Arrival {
            per_s: config.ramp_per_s,
            numbers: config.broadcasts,
            patience: config.patience,
        };
        let kind = Arc::new(config.clone());
        Crowd::new(kind, signal, arrival, config.threads, clock).map(Self)
    }

    /// Lets so many more join, and returns when each was answered, or `stop` came. An error if nobody was let in at
    /// all: then the first one's.
    pub async fn join(
        &mut self,
        count: usize,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        self.0.join(count, stop).await
    }

    /// Waits until everyone who was answered has a picture or is over, `within` at most, or until `stop`.
    pub async fn settle(&self, within: Duration, stop: impl Future<Output = ()>) {
        let joined = |tally: &Tally| tally.viewers.join_ms.len();
        self.0.settle(within, joined, stop).await;
    }

    /// Watches for a while, or until `stop`, and says what was seen: rates, losses and CPU of this while, join times
    /// and failures since the start.
    pub async fn measure(&self, time: Duration, stop: impl Future<Output = ()>) -> Report {
        let (usage, before) = (Usage::now(), self.0.tally().await);
        tokio::select! {
            () = sleep(time) => {}
            () = stop => {}
        }
        let (after, now) = (self.0.tally().await, Usage::now());
        Report::new(&self.0, &before, after, &usage, &now)
    }

    /// Ends all sessions at the server, as many as it takes in time.
    pub async fn leave(self) {
        self.0.leave().await;
    }
}
