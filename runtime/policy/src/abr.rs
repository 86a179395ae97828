//! `abr`: which rendition a viewer gets. The built-in is the reference rule: effective bandwidth, a safety factor by
//! buffer, down at once, up one step after the higher one has fitted for a while.

use lockgate_media::{TrackId, stats::LinkStats};
use serde::{Deserialize, Serialize};

/// The parameters of the built-in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a higher rendition must have fitted without a break before it is taken, in s.
    pub up_after_s: f64,
    /// The bitrate up to which a viewer starts whose bandwidth nobody knows yet, in kbit/s.
    pub start_kbps: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            up_after_s: 5.0,
            start_kbps: 2500.0,
        }
    }
}

/// One rendition a viewer could get.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its track.
    pub id: TrackId,
    /// What it needs, in kbit/s: the higher of declared and measured.
    pub kbps: f64,
}

/// What is carried from one decision about a viewer to the next.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memo {
    /// Since when a higher rendition has fitted without a break, in ms.
    pub fits_since_ms: Option<u64>,
}

/// A decision about one viewer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Decision {
    /// The rendition to send.
    pub rung: TrackId,
    /// Why, in words for an operator.
    pub reason: String,
}

/// Recommends a rendition for a viewer. `choices` may be in any order; without any there is no decision.
///
/// Numbers that are not finite count as unknown. `current` is what the viewer gets now; a current rendition that is
/// no longer a choice counts as none.
pub fn recommend(
    config: &Config,
    choices: &[Choice],
    link: &LinkStats,
    current: Option<&TrackId>,
    memo: &mut Memo,
    now_ms: u64,
) -> Option<Decision> {
    let mut rungs: Vec<&Choice> = choices
        .iter()
        .filter(|choice| choice.kbps.is_finite())
        .collect();
    rungs.sort_by(|a, b| a.kbps.total_cmp(&b.kbps).then_with(|| a.id.cmp(&b.id)));
    let at = current.and_then(|id| rungs.iter().position(|rung| rung.id == *id));

    let Some(budget) = budget_kbps(link) else {
        memo.fits_since_ms = None;
        let start = at.unwrap_or_else(|| highest_within(&rungs, config.start_kbps));
        let rung = rungs.get(start)?;
        return Some(decision(rung, "bandwidth not known yet".to_owned()));
    };
    let fits = highest_within(&rungs, budget.kbps);
    let Some(at) = at else {
        memo.fits_since_ms = None;
        let rung = rungs.get(fits)?;
        return Some(decision(rung, format!("start: {} fits", budget)));
    };
    if fits < at {
        memo.fits_since_ms = None;
        return Some(decision(
            rungs[fits],
            format!("down: {} asks for less", budget),
        ));
    }
    if fits == at {
        memo.fits_since_ms = None;
        return Some(decision(rungs[at], format!("hold: {budget}")));
    }
    let since = *memo.fits_since_ms.get_or_insert(now_ms);
    let held_s = now_ms.saturating_sub(since) as f64 / 1000.0;
    if held_s < config.up_after_s {
        let reason = format!(
            "hold: {} has fitted for {held_s:.0} of {:.0} s",
            rungs[at + 1].id,
            config.up_after_s
        );
        return Some(decision(rungs[at], reason));
    }
    memo.fits_since_ms = Some(now_ms);
    Some(decision(
        rungs[at + 1],
        format!("up: {budget} has carried more for {held_s:.0} s"),
    ))
}

struct Budget {
    kbps: f64,
    effective_kbps: f64,
    factor: f64,
}

impl std::fmt::Display for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} kbit/s effective × {}",
            self.effective_kbps, self.factor
        )
    }
}

/// Rules 1 to 3: bandwidth less loss, less jitter over 50 ms, times a factor by buffer.
fn budget_kbps(link: &LinkStats) -> Option<Budget> {
    let known = |value: Option<f64>| value.filter(|value| value.is_finite());
    let bandwidth = known(link.bandwidth_kbps)?.max(0.0);
    let loss = known(link.loss_pct).unwrap_or(0.0).clamp(0.0, 100.0);
    let jitter = known(link.jitter_ms).unwrap_or(0.0);
    let mut effective = bandwidth * (1.0 - loss / 100.0);
    if jitter > 50.0 {
        effective *= (1.0 - (jitter - 50.0) / 1000.0).max(0.0);
    }
    let factor = match known(link.buffer_s) {
        Some(buffer) if buffer < 2.0 => 0.5,
        Some(buffer) if buffer < 5.0 => 0.7,
        Some(buffer) if buffer > 20.0 => 0.9,
        _ => 0.8,
    };
    Some(Budget {
        kbps: effective * factor,
        effective_kbps: effective,
        factor,
    })
}

/// The place of the highest rendition within a budget; the lowest if none fits. `rungs` rise by bitrate.
fn highest_within(rungs: &[&Choice], kbps: f64) -> usize {
    rungs
        .iter()
        .rposition(|rung| rung.kbps <= kbps)
        .unwrap_or(0)
}

fn decision(rung: &Choice, reason: String) -> Decision {
    Decision {
        rung: rung.id.clone(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ladder() -> Vec<Choice> {
        lockgate_media::ladder::default_rungs()
            .into_iter()
            .map(|rung| Choice {
                id: rung.name,
                kbps: f64::from(rung.kbps),
            })
            .collect()
    }

    fn link(bandwidth_kbps: f64) -> LinkStats {
        LinkStats {
            bandwidth_kbps: Some(bandwidth_kbps),
            ..LinkStats::default()
        }
    }

    fn first(link: &LinkStats) -> String {
        recommend(
            &Config::default(),
            &ladder(),
            link,
            None,
            &mut Memo::default(),
            0,
        )
        .unwrap()
        .rung
        .to_string()
    }

    #[test]
    fn the_tables_of_the_reference_rule() {
        assert_eq!(first(&link(0.0)), "360p30");
        assert_eq!(first(&link(1250.0)), "480p30");
        assert_eq!(first(&link(3125.0)), "720p60");
        assert_eq!(first(&link(3124.0)), "480p30");
        assert_eq!(first(&link(6250.0)), "1080p60");
        assert_eq!(first(&link(25_000.0)), "4k60");
        // 20 % loss: 6250 × 0.8 × 0.8 = 4000.
        assert_eq!(
            first(&LinkStats {
                loss_pct: Some(20.0),
                ..link(6250.0)
            }),
            "720p60"
        );
        // 250 ms of jitter: 6250 × 0.8 × 0.8 = 4000; 2 s of jitter leaves nothing, never less than nothing.
        assert_eq!(
            first(&LinkStats {
                jitter_ms: Some(250.0),
                ..link(6250.0)
            }),
            "720p60"
        );
        assert_eq!(
            first(&LinkStats {
                jitter_ms: Some(2000.0),
                ..link(6250.0)
            }),
            "360p30"
        );
        // Buffer: 5000 × 0.5 = 2500, × 0.7 = 3500, × 0.8 = 4000, × 0.9 = 4500.
        assert_eq!(
            first(&LinkStats {
                buffer_s: Some(1.0),
                ..link(2000.0)
            }),
            "480p30"
        );
        assert_eq!(
            first(&LinkStats {
                buffer_s: Some(4.0),
                ..link(1428.0)
            }),
            "360p30"
        );
        assert_eq!(
            first(&LinkStats {
                buffer_s: Some(30.0),
                ..link(5556.0)
            }),
            "1080p60"
        );
        assert_eq!(first(&LinkStats::default()), "720p60");
        assert_eq!(first(&link(f64::NAN)), "720p60");
    }

    #[test]
    fn down_at_once_up_one_step_after_five_seconds_in_a_row() {
        let (config, ladder) = (Config::default(), ladder());
        let mut memo = Memo::default();
        let mut current = TrackId::new("360p30").unwrap();
        let mut course = Vec::new();
        for second in 0u64..30 {
            let kbps = if second == 3 || second >= 26 {
                900.0
            } else {
                50_000.0
            };
            let decision = recommend(
                &config,
                &ladder,
                &link(kbps),
                Some(&current),
                &mut memo,
                second * 1000,
            )
            .unwrap();
            if decision.rung != current {
                course.push((second, decision.rung.to_string()));
            }
            current = decision.rung;
        }
        let expected = [
            (9, "480p30"),
            (14, "720p60"),
            (19, "1080p60"),
            (24, "4k60"),
            (26, "360p30"),
        ];
        assert_eq!(
            course,
            expected.map(|(second, rung)| (second, rung.to_owned()))
        );
    }

    #[test]
    fn without_choices_there_is_no_decision() {
        assert_eq!(
            recommend(
                &Config::default(),
                &[],
                &link(1.0),
                None,
                &mut Memo::default(),
                0
            ),
            None
        );
    }

    proptest! {
        #[test]
        fn the_answer_is_always_one_of_the_choices_and_the_same_twice(
            kbps in any::<f64>(), loss in any::<f64>(), jitter in any::<f64>(), buffer in any::<f64>(),
            rungs in proptest::collection::vec(any::<f64>(), 1..6), current in 0usize..8, now in any::<u64>(),
        ) {
            let choices: Vec<Choice> = rungs.iter().enumerate()
                .map(|(at, kbps)| Choice { id: TrackId::new(&format!("r{at}")).unwrap(), kbps: *kbps }).collect();
            let link = LinkStats {
                bandwidth_kbps: Some(kbps), loss_pct: Some(loss), jitter_ms: Some(jitter), buffer_s: Some(buffer),
                ..LinkStats::default()
            };
            let current = TrackId::new(&format!("r{current}")).unwrap();
            let decide = || recommend(&Config::default(), &choices, &link, Some(&current), &mut Memo::default(), now);
            let first = decide();
            prop_assert_eq!(&first, &decide());
            match first {
                Some(decision) => prop_assert!(choices.iter().any(|choice| choice.id == decision.rung)),
                None => prop_assert!(choices.iter().all(|choice| !choice.kbps.is_finite())),
            }
        }
    }
}
