//! Wrong tokens and passwords, counted by address: guessing gets slow, and costs us nothing.

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

    /// Counts a failure, and passes on what is to be said of it.
    pub(super) fn failed(&self, peer: Option<IpAddr>, refusal: Refusal) -> Refusal {
        if let (Some(budget), Some(peer)) = (&self.budget, peer)
            && refusal == Refusal::BadCredentials
        {
            let key = Key::address(peer);
            if let Err(spent) = budget.spend(key) {
                self.closed.insert(key, Instant::now() + spent.wait);
            }
        }
        refusal
    }
}

/// Addresses remembered as closed.
const CLOSED_MAX: u64 = 100_000;
