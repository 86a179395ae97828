//! The models and the anchors against a second, independent implementation in Python: the numbers in
//! tests/vectors/traces/expected.json. And against themselves: the same session twice is the same to the bit.

use std::path::PathBuf;

use lockgate_simulate::{Chooser, Observation, Outcome, Trace, anchors, hls, optimum, rtc, traces};
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/traces")
}

fn expected() -> Value {
    let text = std::fs::read_to_string(folder().join("expected.json")).expect("it is shipped");
    serde_json::from_str(&text).expect("it is JSON")
}

fn all_traces() -> Vec<(String, Trace)> {
    let sets = traces::load(&folder(), 16).expect("they are shipped");
    let all = sets.into_iter().flat_map(|set| set.traces);
    let all: Vec<_> = all.map(|named| (named.name, named.trace)).collect();
    assert_eq!(all.len(), 12);
    all
}

fn check(what: &str, got: &[f64], expected: &Value) {
    let expected: Vec<f64> = serde_json::from_value(expected.clone())
        .unwrap_or_else(|error| panic!("{what} in expected.json: {error}"));
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(&expected) {
        // The Python writes 12 digits.
        let tolerance = 1e-6_f64.max(expected.abs() * 1e-9);
        assert!(
            (got - expected).abs() <= tolerance,
            "{what}: {got} instead of {expected}"
        );
    }
}

/// Plays `policies` with every preset over every `stride`th trace.
fn check_hls(policies: &[&str], stride: usize) {
    let expected = expected();
    for (name, config) in hls::Config::presets() {
        for (trace_name, trace) in all_traces().iter().step_by(stride) {
            for policy in policies {
                let mut chooser = anchors::hls(policy, &config).expect("a name from the list");
                let out = hls::run(&config, trace, chooser.as_mut());
                let switches = f64::from(out.switches);
                check(
                    &format!("{name}, {trace_name}, {policy}"),
                    &[out.qoe, out.stalled_pct, out.kbps, switches, out.startup_s],
                    &expected["hls"][name][trace_name][policy],
                );
            }
        }
    }
}

/// Plays `policies` with and without loss over every `stride`th trace.
fn check_rtc(policies: &[&str], stride: usize) {
    let expected = expected();
    for (name, loss) in [("0.0", 0.0), ("0.02", 0.02)] {
        let config = rtc::Config {
            loss,
            ..rtc::Config::default()
        };
        for (trace_name, trace) in all_traces().iter().step_by(stride) {
            for policy in policies {
                let mut chooser =
                    anchors::rtc(policy, &config, trace).expect("a name from the list");
                let out = rtc::run(&config, trace, chooser.as_mut());
                let p95_ms = out.p95_ms.expect("every trace shows something");
                let switches = f64::from(out.switches);
                check(
                    &format!("rtc, {trace_name}, loss {loss}, {policy}"),
                    &[out.qoe, out.stalled_pct, out.kbps, p95_ms, switches],
                    &expected["rtc"][name][trace_name][policy],
                );
            }
        }
    }
}

#[test]
fn baseline_agrees() {
    check_hls(&["baseline", "baseline+hyst"], 1);
}

#[test]
fn bola_agrees() {
    check_hls(&["BOLA-E", "DYNAMIC", "BOLA-basic"], 1);
}

#[test]
fn the_simple_anchors_agree() {
    check_hls(&["lowest", "BBA", "hls.js-like"], 1);
}

#[test]
fn the_planners_agree() {
    check_hls(&["MPC", "RobustMPC"], 4);
}

/// Compares the optimum of one preset, and looks that no anchor is above it.
fn check_optimum(name: &str, stride: usize) {
    let expected = expected();
    let (_, config) = hls::Config::presets()
        .into_iter()
        .find(|(preset, _)| *preset == name)
        .expect("a preset's name");
    for (trace_name, trace) in all_traces().iter().step_by(stride) {
        let best = optimum::hls(&config, trace);
        let expected = &expected["hls"][name][trace_name];
        let what = format!("{name}, {trace_name}");
        check(&what, &[best], &expected["offline-opt"]);
        for policy in anchors::HLS {
            let qoe = expected[policy][0].as_f64().expect("a number");
            assert!(qoe <= best + 1e-9, "{what}, {policy}");
        }
    }
}

#[test]
fn the_optimum_on_demand_agrees_and_nothing_beats_it() {
    check_optimum("vod-hd-lin", 6);
}

#[test]
fn the_optimum_of_the_large_ladder_agrees_and_nothing_beats_it() {
    check_optimum("vod-uhd-log", 12);
}

#[test]
fn the_optimum_live_agrees_and_nothing_beats_it() {
    check_optimum("live-hd-lin", 4);
}

#[test]
fn webrtc_by_the_formula_agrees() {
    check_rtc(&["lowest", "document"], 1);
}

#[test]
fn webrtc_by_the_other_anchors_agrees() {
    check_rtc(&anchors::RTC[2..], 3);
}

#[test]
fn the_same_session_is_the_same_to_the_bit() {
    // Debug writes every number so that it can be told from its neighbours.
    let text = |outcome: &Outcome| format!("{outcome:?}");
    let (_, trace) = &all_traces()[3];
    for (_, config) in hls::Config::presets() {
        for policy in ["baseline", "BOLA-E", "RobustMPC"] {
            let play = || {
                let mut chooser = anchors::hls(policy, &config).unwrap();
                text(&hls::run(&config, trace, chooser.as_mut()))
            };
            assert_eq!(play(), play());
        }
    }
    let config = rtc::Config {
        loss: 0.02,
        ..rtc::Config::default()
    };
    for policy in ["document", "LiveKit-like", "clairvoyant"] {
        let play = || {
            let mut chooser = anchors::rtc(policy, &config, trace).unwrap();
            text(&rtc::run(&config, trace, chooser.as_mut()))
        };
        assert_eq!(play(), play());
    }
}

#[test]
fn no_answer_breaks_a_session() {
    struct Wild(u64);
    impl Chooser for Wild {
        fn choose(&mut self, seen: &Observation<'_>) -> usize {
            assert!(seen.buffer_s.is_finite() && seen.now_s.is_finite());
            assert!(seen.history.len() <= 16);
            assert!(seen.next_bits.len().is_multiple_of(seen.ladder_kbps.len()));
            self.0 = self
                .0
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (self.0 >> 60) as usize
        }
        fn wants_probe(&mut self) -> bool {
            self.0.is_multiple_of(3)
        }
    }
    let hardly_anything = Trace::parse("t_s,kbps\n0,0\n300,0.001\n301,0\n302,0\n").unwrap();
    let mut all = all_traces();
    all.push(("hardly anything".to_owned(), hardly_anything));
    for (name, trace) in &all {
        for (_, config) in hls::Config::presets() {
            let out = hls::run(&config, trace, &mut Wild(7));
            assert!(out.qoe.is_finite() && out.course.len() == 150, "{name}");
            let sum: f64 = out.course.iter().map(|step| step.qoe).sum();
            assert!(
                (sum - out.qoe_sum).abs() < 1e-6 * sum.abs().max(1.0),
                "{name}"
            );
            assert!(
                out.course.iter().all(|step| step.end_s >= step.at_s),
                "{name}"
            );
        }
        let out = rtc::run(&rtc::Config::default(), trace, &mut Wild(7));
        assert!(out.qoe.is_finite() && out.course.len() == 300, "{name}");
    }
}

#[test]
fn an_answer_beyond_the_ladder_is_its_top() {
    let (_, trace) = &all_traces()[0];
    let config = hls::Config::vod_hd_lin();
    let out = hls::run(&config, trace, &mut |_: &Observation<'_>| usize::MAX);
    assert!(out.course.iter().all(|step| step.rung == 4));
    let out = rtc::run(&rtc::Config::default(), trace, &mut |_: &Observation<
        '_,
    >| 99);
    assert!(out.course[2..].iter().all(|step| step.rung == 5));
}
