use super::*;

/// A link in virtual time: bytes wait in a queue of bounded delay, and what overflows is lost.
struct Link {
    at: Duration,
    free: Duration,
    reported: Duration,
    arrivals: Vec<Arrival>,
    estimate: Estimate,
    count: u32,
    /// The longest a packet waited in the queue.
    queued: Duration,
    /// Bits that arrived.
    bits: f64,
}

const BYTES: u32 = 1200;
const TRIP: Duration = Duration::from_millis(20);

impl Link {
    fn new() -> Self {
        Self {
            at: Duration::ZERO,
            free: Duration::ZERO,
            reported: Duration::ZERO,
            arrivals: Vec::new(),
            estimate: Estimate::default(),
            count: 0,
            queued: Duration::ZERO,
            bits: 0.0,
        }
    }

    fn depart(&mut self, link_bps: f64, lose: &mut dyn FnMut(u32) -> bool) {
        self.count += 1;
        let serial = Duration::from_secs_f64(f64::from(BYTES) * 8.0 / link_bps);
        let done = self.free.max(self.at) + serial;
        let waits = done.saturating_sub(self.at);
        let dropped = waits > Duration::from_millis(400) || lose(self.count);
        if !dropped {
            self.free = done;
            self.queued = self.queued.max(waits);
            self.bits += f64::from(BYTES) * 8.0;
        }
        self.estimate.sent(BYTES as usize);
        self.arrivals.push(Arrival {
            sent: self.at,
            arrived: (!dropped).then(|| Duration::from_secs(77) + done + TRIP),
            bytes: BYTES as usize,
        });
    }

    /// Plays some seconds with a sender that sends what `rate` makes of the estimate, and fills probes.
    fn run(
        &mut self,
        seconds: f64,
        link_bps: f64,
        mut rate: impl FnMut(f64) -> f64,
        mut lose: impl FnMut(u32) -> bool,
    ) -> f64 {
        let end = self.at + Duration::from_secs_f64(seconds);
        let step = Duration::from_millis(5);
        let mut owed = 0.0;
        self.queued = Duration::ZERO;
        self.bits = 0.0;
        while self.at < end {
            self.at += step;
            owed += rate(self.estimate.bps()) * step.as_secs_f64();
            while owed >= f64::from(BYTES) * 8.0 {
                owed -= f64::from(BYTES) * 8.0;
                self.depart(link_bps, &mut lose);
            }
            let mut missing = self.estimate.fill(self.at);
            while missing > 0 {
                missing = missing.saturating_sub(BYTES as usize);
                self.depart(link_bps, &mut lose);
            }
            if self.at - self.reported >= Duration::from_millis(50) {
                self.reported = self.at;
                // What has not arrived by now is in the next report.
                let now = self.at;
                let here = |arrival: &Arrival| {
                    let arrived = arrival
                        .arrived
                        .unwrap_or(arrival.sent + TRIP + Duration::from_secs(77));
                    arrived + TRIP <= now + Duration::from_secs(77)
                };
                let split = self.arrivals.iter().position(|arrival| !here(arrival));
                let rest = self
                    .arrivals
                    .split_off(split.unwrap_or(self.arrivals.len()));
                if !self.arrivals.is_empty() {
                    self.estimate.report(now, &self.arrivals);
                }
                self.arrivals = rest;
            }
        }
        self.estimate.bps()
    }
}

fn never(_: u32) -> bool {
    false
}

#[test]
fn a_clean_link_is_not_held_back_and_little_traffic_is_no_objection() {
    let mut link = Link::new();
    link.estimate.set_can_probe(true);
    link.estimate.set_goal(8e6);
    let busy = link.run(5.0, 1e9, |_| 3e6, never);
    assert!(busy > 7.5e6, "{busy}");
    let idle = link.run(20.0, 1e9, |_| 100e3, never);
    assert!(idle >= busy, "{idle} < {busy}");
}

#[test]
fn a_sender_that_follows_it_uses_most_of_a_link_with_a_short_queue() {
    for link_bps in [500e3, 1e6, 3e6, 10e6] {
        let mut link = Link::new();
        link.estimate.set_can_probe(true);
        link.estimate.set_goal(20e6);
        link.run(20.0, link_bps, |bps| bps, never);
        let mut all = 0.0;
        for _ in 0..6 {
            let bps = link.run(5.0, link_bps, |bps| bps, never);
            assert!(
                (0.5 * link_bps..1.35 * link_bps).contains(&bps),
                "{bps} of {link_bps}"
            );
            assert!(
                link.queued < Duration::from_millis(350),
                "{:?}",
                link.queued
            );
            all += link.bits;
        }
        let used = all / 30.0 / link_bps;
        assert!((0.7..1.01).contains(&used), "{used} of {link_bps}");
    }
}

#[test]
fn a_squeeze_is_seen_within_a_second_and_left_behind_within_five() {
    let mut link = Link::new();
    link.estimate.set_can_probe(true);
    link.estimate.set_goal(5e6);
    // Media is in three rungs, as viewers have it: what fits 80 % of the estimate.
    let rung = |bps: f64| {
        [3.2e6, 1.5e6, 0.6e6]
            .into_iter()
            .find(|rung| *rung <= 0.8 * bps)
            .unwrap_or(0.6e6)
    };
    link.run(20.0, 5e6, rung, never);
    assert!(link.estimate.bps() > 4e6, "{}", link.estimate.bps());
    let narrow = link.run(1.0, 1e6, rung, never);
    assert!(narrow < 1.3e6, "{narrow}");
    let narrow = link.run(20.0, 1e6, rung, never);
    assert!((0.7e6..1.3e6).contains(&narrow), "{narrow}");
    assert!(
        link.queued < Duration::from_millis(450),
        "{:?}",
        link.queued
    );
    let wide = link.run(5.0, 5e6, rung, never);
    assert!(wide > 4e6, "{wide}");
}

#[test]
fn without_probes_it_still_grows_past_what_is_sent() {
    let mut link = Link::new();
    link.run(5.0, 1e6, |_| 2e6, never);
    assert!(link.estimate.bps() < 1.1e6, "{}", link.estimate.bps());
    let wide = link.run(30.0, 20e6, |_| 700e3, never);
    assert!(wide > 2.5e6, "{wide}");
}

#[test]
fn loss_that_is_always_there_is_no_objection_and_more_of_it_is() {
    for every in [100, 20, 10, 8] {
        let mut link = Link::new();
        let bps = link.run(30.0, 1e9, |_| 2e6, |count| count % every == 0);
        assert!(bps > 3e6, "1 in {every}: {bps}");
    }
    let mut link = Link::new();
    link.run(5.0, 1e9, |_| 3e6, never);
    // A policer: no queue, whatever is above its rate is lost.
    let bps = link.run(3.0, 1e9, |_| 3e6, |count| count % 3 != 0);
    assert!(bps < 1.5e6, "{bps}");
}

#[test]
fn a_link_that_stutters_is_not_taken_for_a_full_one() {
    let mut link = Link::new();
    link.estimate.set_can_probe(true);
    link.estimate.set_goal(5e6);
    link.run(5.0, 20e6, |_| 2e6, never);
    for _ in 0..20 {
        // The machine of the viewer stops for 30 ms now and then.
        link.free = link.at + Duration::from_millis(30);
        link.run(0.7, 20e6, |_| 2e6, never);
    }
    assert!(link.estimate.bps() > 3e6, "{}", link.estimate.bps());
}

/// Measured links that go up and down all the time: most of what they carry is used, and none of it is lost for long.
#[test]
fn measured_links_are_followed() {
    let traces =
        std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/traces");
    for (trace, least) in [
        ("fcc/fcc_010.csv", 0.75),
        ("fcc_step_hd/fcc_step_hd_007.csv", 0.75),
        ("fcc_step_hd/fcc_step_hd_022.csv", 0.75),
        ("ghent4g/ghent4g_005.csv", 0.7),
        ("norway3g/norway3g_085.csv", 0.7),
    ] {
        let text = std::fs::read_to_string(traces.join(trace)).unwrap();
        let rows: Vec<(f64, f64)> = text
            .lines()
            .skip(1)
            .filter_map(|row| {
                let (at, kbps) = row.split_once(',')?;
                Some((at.parse().ok()?, kbps.parse().ok()?))
            })
            .collect();
        let mut link = Link::new();
        link.estimate.set_can_probe(true);
        link.estimate.set_goal(8e6);
        let (mut carried, mut capacity) = (0.0, 0.0);
        for pair in rows.windows(2).take_while(|pair| pair[1].0 < 120.0) {
            let seconds = pair[1].0 - pair[0].0;
            let bps = (pair[0].1 * 1000.0).max(50e3);
            link.run(seconds, bps, |bps| bps.min(6e6), never);
            carried += link.bits;
            capacity += bps.min(6e6) * seconds;
        }
        let used = carried / capacity;
        println!("{trace}: {used:.2}");
        assert!(used >= least, "{trace}: {used}");
    }
}
