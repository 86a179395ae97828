//! `ladder`: which rungs to encode for a source, within a CPU budget.

use lockgate_media::Rung;

/// What the decision is made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Frames a second; 30 where unknown.
    pub fps: f64,
    /// Bitrate in kbit/s, where known.
    pub kbps: Option<f64>,
    /// It is H.264 without B-frames, with keyframes at least once a segment: fit to be passed through.
    pub passable: bool,
}

/// The operator's limits.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// The rungs to choose from.
    pub rungs: Vec<Rung>,
    /// The best rung allowed; `None` for all.
    pub max_quality: Option<String>,
    /// May the source's own coding stand in for a rung?
    pub passthrough: bool,
    /// CPU seconds a second that encoding may take.
    pub cpu_budget: f64,
    /// x264 preset, for the cost.
    pub preset: String,
}

/// The rungs to encode, best first, and whether the source stands in for those above them.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// To be encoded, best first.
    pub rungs: Vec<Rung>,
    /// Publish the source's own coding too.
    pub passthrough: bool,
    /// Why, in words for an operator.
    pub reason: String,
}

/// Chooses the rungs: none that enlarges, none above the limit, the source itself in place of the rung it fits, and
/// as many from below as the CPU budget carries. At least one is always encoded unless the source is passed through.
pub fn plan(source: &Source, limits: &Limits) -> Decision {
    let mut allowed = limits.rungs.clone();
    allowed.sort_by_key(|rung| {
        std::cmp::Reverse((u64::from(rung.width) * u64::from(rung.height), rung.kbps))
    });
    if let Some(at) = limits
        .max_quality
        .as_ref()
        .and_then(|max| allowed.iter().position(|rung| rung.name.as_str() == max))
    {
        allowed.drain(..at);
    }
    let smallest = allowed.last().cloned();
    allowed.retain(|rung| !rung.enlarges(source.width, source.height));
    if allowed.is_empty() {
        allowed.extend(smallest);
    }
    let mut reason = format!(
        "{} of {} rungs do not enlarge",
        allowed.len(),
        limits.rungs.len()
    );

    let fits_top = |top: &Rung| {
        source.width <= top.width
            && source.height <= top.height
            && source.fps <= f64::from(top.fps) + 0.5
            && source.kbps.is_some_and(|kbps| kbps <= f64::from(top.kbps))
    };
    let passthrough =
        limits.passthrough && source.passable && allowed.first().is_some_and(fits_top);
    if passthrough {
        allowed.remove(0);
        reason.push_str(", the source stands in for the top rung");
    }

    let before = allowed.len();
    while allowed.len() > usize::from(!passthrough)
        && allowed
            .iter()
            .map(|rung| cost(rung, source, &limits.preset))
            .sum::<f64>()
            > limits.cpu_budget
    {
        allowed.remove(0);
    }
    if allowed.len() < before {
        let shed = before - allowed.len();
        reason.push_str(&format!(
            ", {shed} shed from the top for the CPU budget of {:.2}",
            limits.cpu_budget
        ));
    }
    Decision {
        rungs: allowed,
        passthrough,
        reason,
    }
}

/// CPU seconds a second that a rung costs. Measured with libx264, zerolatency, one thread, per pixel.
fn cost(rung: &Rung, source: &Source, preset: &str) -> f64 {
    let (width, height) = rung.size_for(source.width, source.height);
    let pixels_s = f64::from(width) * f64::from(height) * source.fps.min(f64::from(rung.fps));
    let per_megapixel = match preset {
        "ultrafast" => 0.0037,
        "superfast" => 0.0065,
        "veryfast" => 0.0087,
        "faster" => 0.013,
        "fast" => 0.018,
        "medium" => 0.022,
        _ => 0.03,
    };
    pixels_s / 1e6 * per_megapixel
}

#[cfg(test)]
mod tests {
    use lockgate_media::ladder::default_rungs;

    use super::*;

    fn limits() -> Limits {
        Limits {
            rungs: default_rungs(),
            max_quality: Some("1080p60".to_owned()),
            passthrough: true,
            cpu_budget: 100.0,
            preset: "superfast".to_owned(),
        }
    }

    fn source(width: u32, height: u32) -> Source {
        Source {
            width,
            height,
            fps: 30.0,
            kbps: Some(1500.0),
            passable: false,
        }
    }

    fn names(decision: &Decision) -> Vec<&str> {
        decision
            .rungs
            .iter()
            .map(|rung| rung.name.as_str())
            .collect()
    }

    #[test]
    fn no_rung_enlarges_and_one_is_always_left() {
        assert_eq!(
            names(&plan(&source(3840, 2160), &limits())),
            ["1080p60", "720p60", "480p30", "360p30"]
        );
        assert_eq!(
            names(&plan(&source(1280, 720), &limits())),
            ["720p60", "480p30", "360p30"]
        );
        assert_eq!(
            names(&plan(&source(640, 480), &limits())),
            ["480p30", "360p30"]
        );
        assert_eq!(names(&plan(&source(160, 90), &limits())), ["360p30"]);
        let all = Limits {
            max_quality: None,
            ..limits()
        };
        assert_eq!(plan(&source(3840, 2160), &all).rungs.len(), 5);
    }

    #[test]
    fn a_source_that_fits_the_top_rung_stands_in_for_it() {
        let passable = Source {
            passable: true,
            ..source(1280, 720)
        };
        let decision = plan(&passable, &limits());
        assert!(decision.passthrough);
        assert_eq!(names(&decision), ["480p30", "360p30"]);
        assert!(
            !plan(
                &Source {
                    kbps: Some(9000.0),
                    ..passable.clone()
                },
                &limits()
            )
            .passthrough
        );
        assert!(
            !plan(
                &Source {
                    kbps: None,
                    ..passable.clone()
                },
                &limits()
            )
            .passthrough
        );
        assert!(
            !plan(
                &passable,
                &Limits {
                    passthrough: false,
                    ..limits()
                }
            )
            .passthrough
        );
    }

    #[test]
    fn rungs_are_shed_from_the_top_for_the_budget() {
        let tight = Limits {
            cpu_budget: 0.2,
            ..limits()
        };
        let decision = plan(&source(1920, 1080), &tight);
        assert_eq!(names(&decision), ["480p30", "360p30"]);
        assert!(decision.reason.contains("2 shed"), "{}", decision.reason);
        let nothing = Limits {
            cpu_budget: 0.0,
            ..limits()
        };
        assert_eq!(names(&plan(&source(1920, 1080), &nothing)), ["360p30"]);
    }
}
