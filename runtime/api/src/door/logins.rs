//! Wrong tokens and passwords, counted by address: guessing gets slow.
//!
//! A signature is looked at all the same, for it cannot be guessed and costs little: behind one address with somebody who
//! guesses, a good token stays good. A password, or a token that only the operator's service knows, is not.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use moka::sync::Cache;

use crate::limits::{Budget, Key};

use super::Refusal;

/// Counts failures.
pub(super) struct Logins {
    budget: Option<Budget>,
    /// Addresses from which nothing is looked at until then.
    closed: Cache<Key, Instant>,
}

impl Logins {
    /// So many failures in such a time; `None` counts none.
    pub(super) fn new(failures: Option<(u32, Duration)>) -> Self {
        let window = failures.map_or(Duration::ZERO, |(_, window)| window);
        Self {
            budget: failures.and_then(|(most, window)| Budget::new("logins", most, window)),
            closed: Cache::builder()
                .max_capacity(CLOSED_MAX)
                .time_to_live(window)
                .build(),
        }
    }

    /// Refuses whoever was wrong too often, without looking at what they show now.
    pub(super) fn look(&self, peer: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(key) = peer.map(Key::address).filter(|_| self.budget.is_some()) else {
            return Ok(());
        };
        match self.closed.get(&key) {
            Some(until) if until > Instant::now() => Err(Refusal::TooMany(
                until.saturating_duration_since(Instant::now()),
            )),
            _ => Ok(()),
        }
    }

    /// Counts a failure, and returns what is to be said of it.
    pub(super) fn failed(&self, peer: Option<IpAddr>, refusal: Refusal) -> Refusal {
        let (Some(budget), Some(peer), Refusal::BadCredentials) = (&self.budget, peer, &refusal)
        else {
            return refusal;
        };
        let key = Key::address(peer);
        match budget.spend(key) {
            Ok(_) => refusal,
            Err(spent) => {
                self.closed.insert(key, Instant::now() + spent.wait);
                Refusal::TooMany(spent.wait)
            }
        }
    }
}

/// Addresses remembered as closed.
const CLOSED_MAX: u64 = 100_000;
