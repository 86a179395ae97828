//! When a policy has failed too often, it is not asked for a while, and then for a trial.

/// Decides whether a policy is asked. A value: `now_ms` is an argument.
#[derive(Debug, Clone, Default)]
pub struct Breaker {
    faults: Vec<u64>,
    /// Not asked before this moment, and after how long a pause.
    open: Option<(u64, u64)>,
    /// The next call is a trial: a fault opens it again for twice as long.
    on_trial: bool,
}

/// What a breaker stands at, for people and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// The policy is asked.
    Closed,
    /// It is not asked.
    Open,
    /// The next call is a trial.
    HalfOpen,
}

impl Breaker {
    /// Whether the policy may be asked now.
    pub fn lets_through(&mut self, now_ms: u64) -> bool {
        match self.open {
            Some((until, _)) if now_ms < until => false,
            Some(_) => {
                self.on_trial = true;
                true
            }
            None => true,
        }
    }

    /// The call went well.
    pub fn succeeded(&mut self) {
        if self.on_trial {
            *self = Self::default();
        }
    }

    /// The call failed. Returns whether this opened the breaker.
    pub fn failed(&mut self, now_ms: u64) -> bool {
        if self.on_trial {
            let pause = self
                .open
                .map_or(PAUSE_FIRST_MS, |(_, pause)| (pause * 2).min(PAUSE_MAX_MS));
            self.open = Some((now_ms + pause, pause));
            self.on_trial = false;
            return true;
        }
        self.faults
            .retain(|at| now_ms.saturating_sub(*at) < WINDOW_MS);
        self.faults.push(now_ms);
        if self.faults.len() < FAULTS_MAX {
            return false;
        }
        self.faults.clear();
        self.open = Some((now_ms + PAUSE_FIRST_MS, PAUSE_FIRST_MS));
        true
    }

    /// What it stands at.
    pub fn state(&self, now_ms: u64) -> BreakerState {
        match self.open {
            None => BreakerState::Closed,
            Some((until, _)) if now_ms < until => BreakerState::Open,
            Some(_) => BreakerState::HalfOpen,
        }
    }
}

/// So many faults …
const FAULTS_MAX: usize = 3;
/// … within this time open it.
const WINDOW_MS: u64 = 60_000;
const PAUSE_FIRST_MS: u64 = 1_000;
const PAUSE_MAX_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_faults_in_a_minute_open_it_and_trials_back_off() {
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(0) && !breaker.failed(50_000));
        // The first is forgotten by now.
        assert!(!breaker.failed(60_001));
        assert!(breaker.failed(60_002));
        assert!(!breaker.lets_through(61_001));
        assert_eq!(breaker.state(61_001), BreakerState::Open);
        assert!(breaker.lets_through(61_002));
        assert!(breaker.failed(61_002));
        assert!(!breaker.lets_through(63_001));
        assert!(breaker.lets_through(63_002));
        breaker.succeeded();
        assert_eq!(breaker.state(63_002), BreakerState::Closed);
        assert!(!breaker.failed(63_003));
    }
}
