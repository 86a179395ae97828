//! Addresses whose connections had to be cut for a flood of HTTP/2 streams: their next ones wait.
//!
//! To cut a flood is cheap, but whoever comes back at once has everybody else pay for connections, handshakes and cuts
//! without end. To close such a connection right away would only make that faster; held without being read, it costs us
//! a descriptor, and the attacker the wait. HTTP/1 from the same address is not held: it knows no such flood.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use moka::sync::Cache;

use crate::limits::Key;

/// Who has to wait, and for how long.
pub(super) struct Penalties(Cache<Key, Penalty>);

#[derive(Debug, Clone, Copy)]
struct Penalty {
    /// How often it was cut in a row.
    offences: u32,
    /// Until when what comes from there is held.
    until: Instant,
}

impl Penalties {
    pub(super) fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(ADDRESSES_MAX)
                .time_to_live(FORGOTTEN_AFTER)
                .build(),
        )
    }

    /// A connection from there was cut.
    pub(super) fn add(&self, address: IpAddr) {
        let key = Key::address(address);
        let offences = self.0.get(&key).map_or(0, |penalty| penalty.offences) + 1;
        let doubled = FIRST.saturating_mul(1 << offences.saturating_sub(1).min(16));
        let penalty = Penalty {
            offences,
            until: Instant::now() + doubled.min(LONGEST),
        };
        self.0.insert(key, penalty);
    }

    /// How long a new connection from there is to be held; zero for nearly everybody.
    pub(super) fn left(&self, address: IpAddr) -> Duration {
        let penalty = self.0.get(&Key::address(address));
        penalty.map_or(Duration::ZERO, |penalty| {
            penalty.until.saturating_duration_since(Instant::now())
        })
    }
}

/// The first time. It doubles with each that follows.
const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);
/// An address is as good as new after so long without a cut.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(180);
/// Addresses remembered: at some 100 bytes each, 1 MB.
const ADDRESSES_MAX: u64 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_cut_again_waits_longer_and_others_not_at_all() {
        let penalties = Penalties::new();
        let (one, other) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        assert_eq!(penalties.left(one), Duration::ZERO);
        let mut before = Duration::ZERO;
        for _ in 0..5 {
            penalties.add(one);
            let left = penalties.left(one);
            assert!(left > before && left <= LONGEST, "{left:?}");
            before = left;
        }
        for _ in 0..100 {
            penalties.add(one);
        }
        assert!(penalties.left(one) <= LONGEST);
        assert_eq!(penalties.left(other), Duration::ZERO);
    }
}
