//! Many HLS and LL-HLS players (RFC 8216bis) in one process, without decoders.

mod buffer;
mod player;
mod playlist;
mod report;

use std::{
    future::Future,
    str::FromStr,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use self::player::{Player, Seen, Shared};
pub use self::report::Report;
use crate::{Error, Target, process::Usage};

/// Which variant a player takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The best that what it measured carries, from the lowest on.
    Auto,
    /// The highest.
    Highest,
    /// The lowest.
    Lowest,
}

impl FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "highest" => Ok(Self::Highest),
            "lowest" => Ok(Self::Lowest),
            _ => Err("write auto, highest or lowest".to_owned()),
        }
    }
}

/// How many players, and how they play.
#[derive(Debug, Clone)]
pub struct Config {
    /// How many; 1 to [`crate::CLIENTS_MAX`].
    pub clients: usize,
    /// How many begin each second; 0 for all at once.
    pub ramp_per_s: f64,
    /// Which variant they take.
    pub choice: Choice,
    /// Whether parts are played where the server has them.
    pub low_latency: bool,
}

/// Lets players begin, measures for a while or until `stop`, and says what was seen. An error if the first of them
/// finds nothing to play.
pub async fn run(
    config: &Config,
    target: Target,
    time: Duration,
    stop: impl Future<Output = ()>,
) -> Result<Report, Error> {
    let mut stop = std::pin::pin!(stop);
    let start = Usage::now();
    let mut players = JoinSet::new();
    let mut all: Vec<Shared> = Vec::new();
    let mut begin = |number: usize, all: &mut Vec<Shared>| {
        let seen = Shared::default();
        all.push(Arc::clone(&seen));
        let player = Player {
            target: target.clone(),
            number,
            choice: config.choice,
            low_latency: config.low_latency,
            seen,
        };
        players.spawn(player.play());
    };
    begin(0, &mut all);
    // Most mistakes show with the first.
    let first = async {
        loop {
            let seen = looked(&all);
            if seen.iter().all(|one| one.join_ms.is_some() || one.is_over) {
                return;
            }
            sleep(POLL).await;
        }
    };
    let is_stopped = tokio::select! {
        () = first => false,
        () = sleep(JOIN_WITHIN) => false,
        () = &mut stop => true,
    };
    if let [one] = &looked(&all)[..]
        && let Some(why) = &one.failure
    {
        return Err(Error::Answer {
            url: target.url().to_owned(),
            why: why.clone(),
        });
    }
    let mut is_stopped = is_stopped;
    if !is_stopped {
        let began = Instant::now();
        let ramp = async {
            for number in 1..config.clients {
                if config.ramp_per_s > 0.0 {
                    let due = began + Duration::from_secs_f64(number as f64 / config.ramp_per_s);
                    tokio::time::sleep_until(due.into()).await;
                }
                begin(number, &mut all);
            }
            let deadline = Instant::now() + JOIN_WITHIN;
            while Instant::now() < deadline {
                let mut seen = looked(&all).into_iter();
                if seen.all(|one| one.join_ms.is_some() || one.is_over) {
                    return;
                }
                sleep(POLL).await;
            }
        };
        is_stopped = tokio::select! {
            () = ramp => false,
            () = &mut stop => true,
        };
    }
    let (before, usage) = (looked(&all), Usage::now());
    if !is_stopped {
        tokio::select! {
            () = sleep(time) => {}
            () = &mut stop => {}
        }
    }
    let (after, now) = (looked(&all), Usage::now());
    Ok(Report::new(
        config.clients,
        &before,
        &after,
        (&start, &usage, &now),
    ))
}

fn looked(all: &[Shared]) -> Vec<Seen> {
    let look = |one: &Shared| one.lock().unwrap_or_else(PoisonError::into_inner).clone();
    all.iter().map(look).collect()
}

const POLL: Duration = Duration::from_millis(50);
/// A broadcast that nobody watched has to make its first segment.
const JOIN_WITHIN: Duration = Duration::from_secs(20);
