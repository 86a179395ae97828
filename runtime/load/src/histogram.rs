//! Samples without end in a few kilobytes.

use serde::Serialize;

/// Counts by size: exact below 32, above that within 3 %.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u32>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; 64 * STEPS as usize],
            count: 0,
            max: 0,
        }
    }
}

impl Histogram {
    pub(crate) fn push(&mut self, value: u64) {
        if let Some(count) = self.counts.get_mut(slot(value)) {
            *count = count.saturating_add(1);
        }
        self.count += 1;
        self.max = self.max.max(value);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *ours = ours.saturating_add(*theirs);
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    /// What came since it was like this; its largest value with the step it lies in as error.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let pairs = self.counts.iter().zip(&before.counts);
        let counts: Vec<u32> = pairs.map(|(now, then)| now.saturating_sub(*then)).collect();
        let largest = counts.iter().rposition(|count| *count > 0);
        Self {
            max: largest.map_or(0, |at| floor(at).min(self.max)),
            count: self.count - before.count,
            counts,
        }
    }

    /// The value that this share of the samples does not exceed, with the step it lies in as error.
    pub(crate) fn quantile(&self, share: f64) -> u64 {
        let rank = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (at, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return floor(at).min(self.max);
            }
        }
        self.max
    }

    /// As milliseconds, where microseconds were pushed; `None` of nothing.
    pub(crate) fn spread_ms(&self) -> Option<Spread> {
        let ms = |micros: u64| micros as f64 / 1000.0;
        (self.count > 0).then(|| Spread {
            n: self.count,
            p50: ms(self.quantile(0.5)),
            p99: ms(self.quantile(0.99)),
            max: ms(self.max),
        })
    }
}

fn slot(value: u64) -> usize {
    if value < STEPS {
        return value as usize;
    }
    let shift = u64::from(value.ilog2() - STEPS.ilog2());
    (((shift + 1) * STEPS) + ((value >> shift) - STEPS)) as usize
}

fn floor(slot: usize) -> u64 {
    let (shift, step) = (slot as u64 / STEPS, slot as u64 % STEPS);
    match shift {
        0 => step,
        _ => (STEPS + step) << (shift - 1),
    }
}

/// A distribution in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// How many samples.
    pub n: u64,
    /// What half of them do not exceed.
    pub p50: f64,
    /// What all but a hundredth do not exceed.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of a few values.
    pub(crate) fn of(values: &mut [f64]) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            let rank = (share * values.len() as f64).ceil().max(1.0) as usize - 1;
            values.get(rank).copied()
        };
        Some(Self {
            n: values.len() as u64,
            p50: quantile(0.5)?,
            p99: quantile(0.99)?,
            max: quantile(1.0)?,
        })
    }
}

const STEPS: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_a_step() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.spread_ms(), None);
        for value in 1..=100_000 {
            histogram.push(value);
        }
        for (share, exact) in [(0.5, 50_000.0), (0.99, 99_000.0)] {
            let found = histogram.quantile(share) as f64;
            assert!((found - exact).abs() / exact < 0.04, "{found}");
        }
        let mut both = histogram.clone();
        both.add(&histogram);
        assert_eq!(both.spread_ms().unwrap().n, 200_000);
        both.push(7_000_000);
        both.push(50);
        let new = both.since(&histogram);
        assert_eq!((new.count, new.quantile(0.5)), (100_002, 49_152));
        assert_eq!(new.max, floor(slot(7_000_000)));
        assert_eq!(both.since(&both).spread_ms(), None);
        histogram.push(u64::MAX);
        assert_eq!(histogram.quantile(1.0), floor(slot(u64::MAX)));
    }

    #[test]
    fn slots_are_in_order_and_begin_where_they_say() {
        for value in [0, 1, 31, 32, 33, 63, 64, 65, 1000, 123_456_789, u64::MAX] {
            assert!(floor(slot(value)) <= value);
            assert_eq!(slot(floor(slot(value))), slot(value));
        }
    }
}
