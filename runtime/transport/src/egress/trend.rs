//! Whether the queue before the narrowest place of a link is growing.
//!
//! The delay gradient of draft-ietf-rmcat-gcc-02 §5: packets that left together form a group; how much further apart
//! two groups arrive than they were sent is the growth of the queue between them. A straight line through the
//! smoothed sums says where it goes, and a threshold that follows the line's usual size says when that matters.

use std::{collections::VecDeque, time::Duration};

/// What the line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    /// The queue stays as it is.
    #[default]
    Normal,
    /// It grows: more is sent than the link carries.
    Over,
    /// It drains.
    Under,
}

/// Packets that left within [`GROUP`], or arrived in one burst.
#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: Duration,
    first_arrived: Duration,
    sent: Duration,
    arrived: Duration,
}

/// The detector; fed with the packets of a link in the order they were sent.
#[derive(Debug)]
pub(super) struct Trend {
    before: Option<Group>,
    group: Option<Group>,
    deltas: u32,
    sum_ms: f64,
    smoothed_ms: f64,
    zero: Option<Duration>,
    /// When a group arrived in ms, and the smoothed sum then.
    points: VecDeque<(f64, f64)>,
    threshold_ms: f64,
    over_since: Option<Duration>,
    last_ms: f64,
    usage: Usage,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            before: None,
            group: None,
            deltas: 0,
            sum_ms: 0.0,
            smoothed_ms: 0.0,
            zero: None,
            points: VecDeque::new(),
            threshold_ms: THRESHOLD_MS,
            over_since: None,
            last_ms: 0.0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// What was last found.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Takes a packet that arrived; both times count from any zero of their own clock.
    pub(super) fn push(&mut self, sent: Duration, arrived: Duration) {
        let Some(group) = &mut self.group else {
            self.group = Some(Group::of(sent, arrived));
            return;
        };
        if sent < group.first_sent {
            return; // overtaken by those after it
        }
        let apart = arrived.saturating_sub(group.arrived);
        let quicker = apart < sent.saturating_sub(group.sent);
        let burst =
            apart <= GROUP && quicker && arrived.saturating_sub(group.first_arrived) < BURST_MAX;
        if sent - group.first_sent <= GROUP || burst {
            group.sent = group.sent.max(sent);
            group.arrived = group.arrived.max(arrived);
            return;
        }
        let done = *group;
        self.group = Some(Group::of(sent, arrived));
        if let Some(before) = self.before.replace(done) {
            self.compare(before, done);
        }
    }

    fn compare(&mut self, before: Group, group: Group) {
        let apart_ms = signed_ms(group.arrived, before.arrived);
        if !(-GAP_MAX_MS..GAP_MAX_MS).contains(&apart_ms) {
            // The viewer slept, or its clock jumped.
            let threshold_ms = self.threshold_ms;
            *self = Self {
                threshold_ms,
                ..Self::default()
            };
            return;
        }
        self.deltas = (self.deltas + 1).min(DELTAS_MAX);
        self.sum_ms += apart_ms - signed_ms(group.sent, before.sent);
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.sum_ms;
        let zero = *self.zero.get_or_insert(group.arrived);
        if self.points.len() == POINTS {
            self.points.pop_front();
        }
        let at_ms = signed_ms(group.arrived, zero);
        self.points.push_back((at_ms, self.smoothed_ms));
        if self.points.len() == POINTS {
            let size_ms = slope(&self.points) * f64::from(self.deltas) * GAIN;
            self.judge(size_ms, group.arrived, apart_ms);
        }
    }

    fn judge(&mut self, size_ms: f64, at: Duration, apart_ms: f64) {
        if size_ms > self.threshold_ms {
            let since = *self.over_since.get_or_insert(at);
            if at.saturating_sub(since) > OVER_MIN && size_ms >= self.last_ms {
                self.usage = Usage::Over;
            }
        } else {
            self.over_since = None;
            self.usage = if size_ms < -self.threshold_ms {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.last_ms = size_ms;
        // A threshold that follows quickly down and slowly up (§5.4), but not after a single spike.
        let distance_ms = size_ms.abs() - self.threshold_ms;
        if distance_ms < SPIKE_MS {
            let rate = if distance_ms < 0.0 { 0.039 } else { 0.0087 };
            let moved = self.threshold_ms + rate * distance_ms * apart_ms.clamp(0.0, 100.0);
            self.threshold_ms = moved.clamp(6.0, 600.0);
        }
    }
}

impl Group {
    fn of(sent: Duration, arrived: Duration) -> Self {
        Self {
            first_sent: sent,
            first_arrived: arrived,
            sent,
            arrived,
        }
    }
}

fn signed_ms(later: Duration, earlier: Duration) -> f64 {
    (later.as_secs_f64() - earlier.as_secs_f64()) * 1000.0
}

/// The slope of the straight line with the least squares, in ms of delay for each ms.
fn slope(points: &VecDeque<(f64, f64)>) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "twenty")]
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let (mut up, mut down) = (0.0, 0.0);
    for (x, y) in points {
        up += (x - mean_x) * (y - mean_y);
        down += (x - mean_x) * (x - mean_x);
    }
    if down > 0.0 { up / down } else { 0.0 }
}

/// Packets that leave within this time are one group (§5.2).
const GROUP: Duration = Duration::from_millis(5);
/// A burst that goes on for longer is a link that sends in bursts, not a pause.
const BURST_MAX: Duration = Duration::from_millis(100);
/// Points the line is drawn through.
const POINTS: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
const DELTAS_MAX: u32 = 60;
/// Where the threshold starts (§5.4).
const THRESHOLD_MS: f64 = 12.5;
const SPIKE_MS: f64 = 15.0;
/// How long the line has to stay above the threshold (§5.3).
const OVER_MIN: Duration = Duration::from_millis(10);
/// Groups further apart than this have nothing to do with each other.
const GAP_MAX_MS: f64 = 3000.0;

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups every 10 ms whose delay grows by `growth_ms` each.
    fn run(trend: &mut Trend, at: &mut Duration, delay_ms: &mut f64, groups: u32, growth_ms: f64) {
        for _ in 0..groups {
            *at += Duration::from_millis(10);
            *delay_ms += growth_ms;
            let delay = Duration::from_secs_f64(*delay_ms / 1000.0);
            trend.push(*at, *at + Duration::from_secs(50) + delay);
        }
    }

    #[test]
    fn a_growing_queue_is_seen_and_so_is_its_end() {
        let (mut trend, mut at, mut delay_ms) = (Trend::default(), Duration::ZERO, 20.0);
        run(&mut trend, &mut at, &mut delay_ms, 100, 0.0);
        assert_eq!(trend.usage(), Usage::Normal);
        run(&mut trend, &mut at, &mut delay_ms, 25, 5.0);
        assert_eq!(trend.usage(), Usage::Over);
        run(&mut trend, &mut at, &mut delay_ms, 40, -3.0);
        assert_eq!(trend.usage(), Usage::Under);
        run(&mut trend, &mut at, &mut delay_ms, 100, 0.0);
        assert_eq!(trend.usage(), Usage::Normal);
    }

    #[test]
    fn a_clock_that_jumps_starts_it_over() {
        let (mut trend, mut at, mut delay_ms) = (Trend::default(), Duration::ZERO, 20.0);
        run(&mut trend, &mut at, &mut delay_ms, 50, 0.0);
        delay_ms += 60_000.0;
        run(&mut trend, &mut at, &mut delay_ms, 50, 0.0);
        assert_eq!(trend.usage(), Usage::Normal);
    }
}
