//! Many WHIP publishers (RFC 9725) in one process.

mod client;
mod report;
mod track;

use std::{future::Future, sync::Arc, time::Duration};

use tokio::time::sleep;

pub(crate) use self::client::Content;
pub use self::{client::Client, report::Report};
use crate::{
    Error, Signal,
    crowd::{Answered, Arrival, Crowd, Kind},
    engine::Machine,
    media::mark::Clock,
    peer::Identity,
    process::Usage,
    sdp::Media,
    synthetic,
    tally::Tally,
};

/// What the publishers send, and how they come.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many come each second; 0 for as fast as the server answers.
    pub ramp_per_s: f64,
    /// Threads that the sockets are spread over.
    pub threads: usize,
    /// Of video, without headers.
    pub video_bps: u64,
    /// Of audio; 0 for none.
    pub audio_bps: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ramp_per_s: 20.0,
            threads: 1,
            video_bps: 1_400_000,
            audio_bps: 64_000,
        }
    }
}

struct Sending {
    content: Arc<Content>,
    /// From which the SSRCs of all are counted.
    ssrc: u32,
}

impl Kind for Sending {
    fn sections(&self, number: usize) -> Vec<Media> {
        let first = self.ssrc.wrapping_add(2 * number as u32);
        let audio = self.content.audio.as_ref();
        let audio = audio.map(|_| Media::AUDIO.from(first));
        let video = Media::VIDEO.from(first.wrapping_add(1));
        audio.into_iter().chain([video]).collect()
    }

    fn make(&self, number: usize, identity: &Identity, answered: Answered) -> Box<dyn Machine> {
        let sections = self.sections(number);
        let content = Arc::clone(&self.content);
        Box::new(Client::new(identity, answered, content, &sections, None))
    }
}

/// Publishers that are there.
pub struct Publishers(Crowd);

impl Publishers {
    /// Nobody yet. With `clock`, viewers of this process measure the delay.
    pub fn new(config: &Config, signal: Arc<dyn Signal>, clock: Clock) -> Result<Self, Error> {
        let arrival = Arrival {
            per_s: config.ramp_per_s,
            numbers: crate::CLIENTS_MAX,
            patience: Duration::ZERO,
        };
        let sending = Sending {
            content: Arc::new(Content {
                video: synthetic::video(config.video_bps),
                audio: (config.audio_bps > 0).then(|| synthetic::audio(config.audio_bps)),
                clock,
                marks_all: true,
            }),
            ssrc: rand::random(),
        };
        let kind = Arc::new(sending);
        Crowd::new(kind, signal, arrival, config.threads, clock).map(Self)
    }

    /// Lets so many more begin, and returns when each was answered, or `stop` came. An error if nobody was let in at
    /// all: then the first one's.
    pub async fn join(
        &mut self,
        count: usize,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        self.0.join(count, stop).await
    }

    /// Waits until everyone who was answered is connected or over, `within` at most, or until `stop`.
    pub async fn settle(&self, within: Duration, stop: impl Future<Output = ()>) {
        let connected = |tally: &Tally| tally.publishers.connect_ms.len();
        self.0.settle(within, connected, stop).await;
    }

    /// Sends for a while, or until `stop`, and says what came of it.
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
