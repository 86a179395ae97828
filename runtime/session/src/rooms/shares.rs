//! How the places of one connection share what it carries. A plain function.

/// What a place could use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Claim {
    /// What its least rendition takes, in kbit/s.
    pub(crate) least_kbps: f64,
    /// What its best rendition takes, in kbit/s.
    pub(crate) most_kbps: f64,
    /// How high it is, in pixels.
    pub(crate) height: u32,
    /// Its turn, 0 being first: who speaks before who does not.
    pub(crate) turn: usize,
}

/// What part of a connection that carries so much in kbit/s is each place's, 0 to 1; together they are 1.
///
/// First each place gets its least, in turn, as long as there is any. The rest is shared by what places show, the first one
/// counting twice, but none gets more than its best takes while others could use it.
pub(crate) fn shares(total_kbps: f64, claims: &[Claim]) -> Vec<f64> {
    if claims.is_empty() {
        return Vec::new();
    }
    let even = 1.0 / claims.len() as f64;
    if !(total_kbps > 0.0 && total_kbps.is_finite()) {
        return vec![even; claims.len()];
    }
    let room = |kbps: f64| {
        if kbps.is_finite() {
            kbps.max(0.0) * ROOM
        } else {
            0.0
        }
    };
    let most: Vec<f64> = claims.iter().map(|one| room(one.most_kbps)).collect();
    let weights: Vec<f64> = claims.iter().map(weight).collect();
    let mut given = vec![0.0; claims.len()];
    let mut left = total_kbps;
    let mut turns: Vec<usize> = (0..claims.len()).collect();
    turns.sort_by_key(|at| claims.get(*at).map_or(usize::MAX, |one| one.turn));
    for at in turns {
        let least = claims.get(at).map_or(0.0, |one| room(one.least_kbps));
        if let Some(given) = given.get_mut(at) {
            *given = least.min(left);
            left -= *given;
        }
    }
    // Each round fills at least one place, or ends.
    for _ in 0..claims.len() {
        let open = |at: usize, given: &[f64]| {
            let (given, most) = (given.get(at), most.get(at));
            given
                .zip(most)
                .is_some_and(|(given, most)| most - given > FULL_KBPS)
        };
        let weight_left: f64 = (weights.iter().enumerate())
            .filter(|(at, _)| open(*at, &given))
            .map(|(_, weight)| weight)
            .sum();
        if left <= total_kbps * 1e-9 || weight_left <= 0.0 {
            break;
        }
        let mut spent = 0.0;
        for (at, weight) in weights.iter().enumerate() {
            if !open(at, &given) {
                continue;
            }
            let most = most.get(at).copied().unwrap_or(0.0);
            if let Some(given) = given.get_mut(at) {
                let more = (left * weight / weight_left).min(most - *given);
                *given += more;
                spent += more;
            }
        }
        left -= spent;
    }
    // What nobody has a use for now belongs to all: what is of use may be more soon.
    let all: f64 = weights.iter().sum();
    for (given, weight) in given.iter_mut().zip(&weights) {
        *given += left.max(0.0) * weight / all;
    }
    given.iter().map(|given| given / total_kbps).collect()
}

/// Pictures take about as many bits as they have pixels.
fn weight(claim: &Claim) -> f64 {
    let height = f64::from(claim.height.clamp(90, 2160));
    let first = if claim.turn == 0 { 2.0 } else { 1.0 };
    height * height * first
}

/// What lacks less than this lacks nothing, in kbit/s.
const FULL_KBPS: f64 = 1e-6;
/// A rendition is only chosen where there is this many times what it takes.
const ROOM: f64 = 1.4;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(least_kbps: f64, most_kbps: f64, height: u32, turn: usize) -> Claim {
        Claim {
            least_kbps,
            most_kbps,
            height,
            turn,
        }
    }

    fn kbps(total: f64, claims: &[Claim]) -> Vec<f64> {
        let shares = shares(total, claims);
        shares.iter().map(|share| (share * total).round()).collect()
    }

    #[test]
    fn small_places_leave_the_rest_to_the_large_one() {
        let claims = [
            claim(150.0, 2500.0, 720, 0),
            claim(150.0, 150.0, 180, 1),
            claim(150.0, 150.0, 180, 2),
        ];
        // Of 2 Mbit/s the small ones need 210 each.
        assert_eq!(kbps(2000.0, &claims), [1580.0, 210.0, 210.0]);
        // Where there is not enough for all, who speaks comes first.
        assert_eq!(kbps(300.0, &claims), [210.0, 90.0, 0.0]);
        // Each has all it can use: the rest shows that there is more.
        let much = kbps(20_000.0, &claims);
        assert!(much[0] > 3500.0 && much[1] >= 210.0, "{much:?}");
    }

    #[test]
    fn equal_places_get_the_same_and_the_first_a_little_more() {
        let claims = [1, 2, 3].map(|turn| claim(100.0, 2500.0, 360, turn));
        assert_eq!(kbps(3000.0, &claims), [1000.0; 3]);
        let claims = [0, 1, 2].map(|turn| claim(100.0, 2500.0, 360, turn));
        let shares = kbps(3000.0, &claims);
        assert!(
            shares[0] > shares[1] && shares[1] == shares[2],
            "{shares:?}"
        );
        assert_eq!(shares_of_nothing(), [0.5, 0.5]);
    }

    fn shares_of_nothing() -> Vec<f64> {
        shares(0.0, &[claim(1.0, 1.0, 1, 0), claim(1.0, 1.0, 1, 1)])
    }

    prop_compose! {
        fn some_claim()(least in 50.0..500.0f64, more in 0.0..5000.0f64, height in 1u32..2000, turn in 0usize..20) -> Claim {
            claim(least, least + more, height, turn)
        }
    }

    proptest! {
        #[test]
        fn together_they_are_the_whole_and_more_never_makes_less(
            claims in prop::collection::vec(some_claim(), 1..20),
            total in 1.0..50_000.0f64,
            more in 1.0..10_000.0f64,
        ) {
            let before = shares(total, &claims);
            prop_assert!((before.iter().sum::<f64>() - 1.0).abs() < 1e-6);
            prop_assert!(before.iter().all(|share| (0.0..=1.0 + 1e-9).contains(share)));
            let after = shares(total + more, &claims);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(after * (total + more) >= before * total - 1e-3);
            }
        }

        #[test]
        fn nobody_gets_more_than_it_can_use_while_another_lacks(
            claims in prop::collection::vec(some_claim(), 1..20),
            total in 1.0..50_000.0f64,
        ) {
            let given: Vec<f64> = shares(total, &claims).iter().map(|share| share * total).collect();
            let lacks = claims.iter().zip(&given).any(|(claim, given)| *given < claim.most_kbps * ROOM - 1e-3);
            if lacks {
                for (claim, given) in claims.iter().zip(&given) {
                    prop_assert!(*given <= claim.most_kbps * ROOM + 1e-3, "{given} of {claim:?}");
                }
            }
        }
    }
}
