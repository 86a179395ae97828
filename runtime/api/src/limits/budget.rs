//! A budget of requests for each key, in bounded memory.
//!
//! The arithmetic is `governor`'s (GCRA): as many requests at once as the quota, and then one whenever a part of the window is
//! over. What it knows of a key is one number, kept in a cache of bounded size that drops keys which are seldom seen first:
//! a flood of addresses that come once each does not drive out those that come often.

use std::{
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    num::NonZero,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::StateStore,
};
use moka::sync::Cache;

/// Whose budget it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u128);

/// A budget.
pub struct Budget {
    name: &'static str,
    most: u32,
    window: Duration,
    limiter: RateLimiter<Key, Store, DefaultClock, StateInformationMiddleware>,
}

/// Nothing is left of a budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spent {
    /// Which one.
    pub name: &'static str,
    /// How long until there is something again.
    pub wait: Duration,
}

/// What is left of a budget, and until when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    requests: u32,
    seconds: Option<u64>,
}

impl Key {
    /// An address. Whoever has one of IPv6 has all of its /64.
    pub fn address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(u128::from(u32::from(address))),
            IpAddr::V6(address) => Self((u128::from(address) >> 64 << 64) | (1 << 32)),
        }
    }

    /// The subject of a token.
    pub fn subject(subject: &str) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self((u128::from(KEY.hash_one(subject)) << 64) | (1 << 33))
    }
}

impl Budget {
    /// So many requests in a window; `None` where there is no limit.
    pub fn new(name: &'static str, most: u32, window: Duration) -> Option<Self> {
        Self::remembering(KEYS_MAX, name, most, window)
    }

    fn remembering(keys: u64, name: &'static str, most: u32, window: Duration) -> Option<Self> {
        let quota = Quota::with_period(window.checked_div(most)?)?;
        let quota = quota.allow_burst(NonZero::new(most)?);
        let limiter = RateLimiter::new(quota, Store::new(keys, window), DefaultClock::default());
        Some(Self {
            name,
            most,
            window,
            limiter,
        })
    }

    /// Takes one request from a key's budget.
    pub fn spend(&self, key: Key) -> Result<Left, Spent> {
        match self.limiter.check_key(&key) {
            Ok(state) => Ok(Left {
                requests: state.remaining_burst_capacity(),
                seconds: None,
            }),
            Err(until) => Err(Spent {
                name: self.name,
                wait: until.wait_time_from(self.limiter.clock().now()),
            }),
        }
    }

    /// `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers-10 §3).
    pub(super) fn policy(&self) -> String {
        let (name, most, window) = (self.name, self.most, self.window.as_secs());
        format!("\"{name}\";q={most};w={window}")
    }
}

impl Spent {
    /// The whole seconds to wait.
    pub fn seconds(&self) -> u64 {
        (self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)).max(1)
    }

    pub(super) fn left(&self) -> Left {
        Left {
            requests: 0,
            seconds: Some(self.seconds()),
        }
    }
}

impl Left {
    /// `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10 §4): what is left, and in how many seconds all of it is back
    /// or, where nothing is, the next request may be made.
    pub(super) fn header(self, budget: &Budget) -> String {
        let missing = u64::from(budget.most.saturating_sub(self.requests));
        let all = (missing * budget.window.as_secs()).div_ceil(u64::from(budget.most));
        let seconds = self.seconds.unwrap_or(all);
        format!("\"{}\";r={};t={seconds}", budget.name, self.requests)
    }
}

/// What is known of each key: when its budget would be whole again, in ns, 0 for never used.
struct Store(Cache<Key, Arc<AtomicU64>>);

impl Store {
    fn new(keys: u64, window: Duration) -> Self {
        Self(
            Cache::builder()
                .max_capacity(keys)
                .time_to_idle(window)
                .build(),
        )
    }
}

impl StateStore for Store {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let state = self.0.get_with(*key, Arc::default);
        let mut before = state.load(Ordering::Acquire);
        loop {
            let known = (before > 0).then(|| Nanos::from(Duration::from_nanos(before)));
            let (outcome, after) = decide(known)?;
            match state.compare_exchange_weak(
                before,
                after.as_u64(),
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(outcome),
                Err(now) => before = now,
            }
        }
    }
}

/// Keys that are remembered in each budget: at some 150 bytes each, 15 MB.
const KEYS_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_budget_is_spent_and_says_what_is_left() {
        let budget = Budget::new("api", 3, Duration::from_secs(900)).unwrap();
        let key = Key::address("192.0.2.1".parse().unwrap());
        assert_eq!(budget.policy(), "\"api\";q=3;w=900");
        assert_eq!(
            budget.spend(key).unwrap().header(&budget),
            "\"api\";r=2;t=300"
        );
        assert!(budget.spend(key).is_ok() && budget.spend(key).is_ok());
        let spent = budget.spend(key).unwrap_err();
        assert!((290..=300).contains(&spent.seconds()), "{spent:?}");
        assert!(spent.left().header(&budget).starts_with("\"api\";r=0;t="));
        let other = Key::address("192.0.2.2".parse().unwrap());
        assert!(budget.spend(other).is_ok());
        assert!(budget.spend(Key::subject("ann")).is_ok());
        assert!(Budget::new("api", 0, Duration::from_secs(900)).is_none());
    }

    #[test]
    fn a_network_of_ipv6_is_one_caller_and_an_address_of_ipv4_in_ipv6_another() {
        let key = |text: &str| Key::address(text.parse().unwrap());
        assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
        assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("0.0.0.0"), key("::"));
    }

    #[test]
    fn a_flood_of_addresses_takes_bounded_memory_and_harms_nobody_who_comes_often() {
        // So long a window that nothing comes back while this runs.
        let (keys, window) = (1000, Duration::from_secs(1_000_000));
        let budget = Budget::remembering(keys, "api", 100, window).unwrap();
        let often = Key::address("192.0.2.1".parse().unwrap());
        while budget.spend(often).is_ok() {}
        for count in 0..30 * u128::from(keys) {
            let address = Ipv6Addr::from((0x2001_0db8 << 96) | (count << 64));
            assert!(budget.spend(Key::address(address.into())).is_ok());
            if count % 10 == 0 {
                assert!(budget.spend(often).is_err(), "after {count} addresses");
            }
        }
        // The store takes its keys away in turns of its own.
        let store = budget.limiter.into_state_store();
        store.0.run_pending_tasks();
        assert!(store.0.entry_count() <= keys);
    }
}
