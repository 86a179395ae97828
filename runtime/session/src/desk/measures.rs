//! What the desk has done, in numbers for whoever collects them.

use std::time::Duration;

use lockgate_policy::slot::{Level, SlotInfo, Total};

/// The numbers of a kind. What counts never goes back while the process lives.
#[derive(Debug, Clone)]
pub struct Measures {
    /// Who decides, who did before, and the shadow.
    pub info: SlotInfo,
    /// What each policy has done, those that are gone included.
    pub totals: Vec<Total>,
    /// Which link of the chain answered last.
    pub level: Level,
    /// Rows on which shadows have differed.
    pub disagreements: u64,
    /// How long batches took, whoever answered.
    pub took: Durations,
}

/// How often something took how long.
#[derive(Debug, Clone, Default)]
pub struct Durations {
    counts: [u64; BOUNDS_S.len() + 1],
    sum: Duration,
}

impl Durations {
    /// Notes one.
    pub(super) fn note(&mut self, took: Duration) {
        let at = BOUNDS_S.partition_point(|bound| *bound < took.as_secs_f64());
        if let Some(count) = self.counts.get_mut(at) {
            *count += 1;
        }
        self.sum += took;
    }

    /// How many were within each bound in s and beyond the one before it; the last bound is infinite.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS_S.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.counts)
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// How long they took together.
    pub fn sum(&self) -> Duration {
        self.sum
    }
}

/// From a batch of a few viewers by the built-in to the deadline and far beyond it.
const BOUNDS_S: [f64; 12] = [
    5e-6, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 2e-2, 0.1, 1.0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_it_fits() {
        let mut durations = Durations::default();
        for took in [1, 20, 21, 5_000_000] {
            durations.note(Duration::from_micros(took));
        }
        let some: Vec<(f64, u64)> = durations
            .buckets()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(some, [(5e-6, 1), (2e-5, 1), (5e-5, 1), (f64::INFINITY, 1)]);
        assert_eq!(
            (durations.count(), durations.sum()),
            (4, Duration::from_micros(5_000_042))
        );
    }
}
