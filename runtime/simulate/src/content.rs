//! What is sent: the ladder and how many bits each piece of content needs.

/// The rungs that can be chosen, by bitrate. Never empty; every bitrate is finite and higher than the one before.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder(Vec<f64>);

impl Ladder {
    /// A ladder of these bitrates in kbit/s, lowest first; `None` if they are none, not finite, or do not rise from
    /// above zero.
    pub fn new(kbps: Vec<f64>) -> Option<Self> {
        let rises = kbps.is_sorted_by(|a, b| a < b);
        let sound = kbps.iter().all(|rung| rung.is_finite() && *rung > 0.0);
        (rises && sound && !kbps.is_empty()).then_some(Self(kbps))
    }

    /// 360p30 to 1080p60.
    pub fn hd() -> Self {
        Self(UHD_KBPS[..5].to_vec())
    }

    /// 360p30 to 4k60.
    pub fn uhd() -> Self {
        Self(UHD_KBPS.to_vec())
    }

    /// The bitrates in kbit/s, lowest first.
    pub fn kbps(&self) -> &[f64] {
        &self.0
    }

    /// How many rungs there are.
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The highest rung.
    pub(crate) fn top(&self) -> usize {
        self.0.len() - 1
    }

    /// Each rung's quality by the logarithm of its bitrate: 1 at the lowest.
    pub(crate) fn log_quality(&self) -> Vec<f64> {
        self.0
            .iter()
            .map(|kbps| 1.0 + (kbps / self.0[0]).ln())
            .collect()
    }
}

/// The highest rung that needs no more than `budget_kbps`; the lowest if none does.
pub(crate) fn highest_within(ladder_kbps: &[f64], budget_kbps: f64) -> usize {
    ladder_kbps
        .iter()
        .rposition(|kbps| *kbps <= budget_kbps)
        .unwrap_or(0)
}

/// How much harder than average the content of piece `index` is to encode, from 0.8 to 1.2, the same for all rungs.
pub(crate) fn complexity(seed: u64, index: u64) -> f64 {
    0.8 + 0.4 * unit(splitmix64(seed.wrapping_add(index)))
}

/// A number in [0, 1) from the upper 53 bits of a hash.
pub(crate) fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1_u64 << 53) as f64
}

/// Steele, Lea and Flood's mixer.
pub(crate) fn splitmix64(state: u64) -> u64 {
    let mut x = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The seed of the content in all presets.
pub(crate) const SEED: u64 = 20_240_607;

/// 360p30, 480p30, 720p30, 720p60, 1080p60, 4k60.
const UHD_KBPS: [f64; 6] = [800.0, 1200.0, 2500.0, 3500.0, 5500.0, 20_000.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_rises() {
        assert!(Ladder::new(vec![]).is_none());
        assert!(Ladder::new(vec![800.0, 800.0]).is_none());
        assert!(Ladder::new(vec![0.0, 800.0]).is_none());
        assert!(Ladder::new(vec![800.0, f64::NAN]).is_none());
        assert!(Ladder::new(vec![800.0, f64::INFINITY]).is_none());
        assert_eq!(Ladder::new(vec![800.0, 1200.0]).unwrap().top(), 1);
    }

    #[test]
    fn the_hash_is_the_published_one() {
        // The first outputs of the published generator for seed 0.
        assert_eq!(splitmix64(0), 0xE220_A839_7B1D_CDAF);
        assert_eq!(splitmix64(0x9E37_79B9_7F4A_7C15), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn a_budget_between_two_rungs_takes_the_lower() {
        let ladder = Ladder::hd();
        assert_eq!(highest_within(ladder.kbps(), 0.0), 0);
        assert_eq!(highest_within(ladder.kbps(), 2500.0), 2);
        assert_eq!(highest_within(ladder.kbps(), 3499.0), 2);
        assert_eq!(highest_within(ladder.kbps(), f64::INFINITY), 4);
        assert_eq!(highest_within(ladder.kbps(), f64::NAN), 0);
    }
}
