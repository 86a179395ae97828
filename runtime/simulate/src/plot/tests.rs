use super::*;
use crate::{anchors, hls, rtc};

fn trace() -> Trace {
    Trace::parse("t_s,kbps\n0,4000\n60,600\n90,30000\n150,0\n158,2500\n200,900\n").unwrap()
}

/// Whether every element is closed by its own end, attributes are quoted, and nothing stands in text that may not.
fn check_well_formed(svg: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = svg;
    while let Some(at) = rest.find('<') {
        check_text(&rest[..at]);
        let end = rest.find('>').expect("a tag ends");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name));
            continue;
        }
        let (inner, closed) = tag
            .strip_suffix('/')
            .map_or((tag, false), |tag| (tag, true));
        let name = inner.split(' ').next().unwrap();
        assert!(
            name.chars().all(|letter| letter.is_ascii_alphabetic()),
            "<{tag}>"
        );
        check_attributes(&inner[name.len()..]);
        if !closed {
            open.push(name.to_owned());
        }
    }
    check_text(rest);
    assert_eq!(rest.trim(), "");
    assert!(open.is_empty(), "{open:?} stay open");
}

fn check_attributes(mut rest: &str) {
    let mut names = Vec::new();
    while !rest.trim().is_empty() {
        let (name, after) = rest.trim_start().split_once("=\"").expect("name=\"value\"");
        let (value, after) = after.split_once('"').expect("a value ends");
        assert!(!names.contains(&name), "{name} twice");
        assert!(
            !value.contains("NaN") && !value.contains("inf"),
            "{name}={value}"
        );
        names.push(name);
        check_text(value);
        rest = after;
    }
}

fn check_text(text: &str) {
    assert!(!text.contains('>'));
    assert!(
        text.chars()
            .all(|letter| !letter.is_control() || letter == '\n')
    );
    for entity in text.split('&').skip(1) {
        let known = ["amp;", "lt;", "gt;", "quot;"];
        assert!(
            known.iter().any(|known| entity.starts_with(known)),
            "&{entity}"
        );
    }
}

#[test]
fn every_kind_of_session_is_a_well_formed_picture() {
    let title = "<b>\"R&D\"</b> \u{0} 4k ✓".repeat(9);
    for (name, config) in hls::Config::presets() {
        for policy in anchors::HLS {
            let mut chooser = anchors::hls(policy, &config).unwrap();
            let outcome = hls::run(&config, &trace(), chooser.as_mut());
            let svg = svg(&title, &config.ladder, &trace(), &outcome);
            check_well_formed(&svg);
            assert!(svg.len() <= 60_000, "{name}, {policy}: {} bytes", svg.len());
            assert!(svg.contains("class=\"stall\""));
        }
    }
    let config = rtc::Config::default();
    let mut chooser = anchors::rtc("LiveKit-like", &config, &trace()).unwrap();
    let outcome = rtc::run(&config, &trace(), chooser.as_mut());
    let svg = svg("", &config.ladder, &trace(), &outcome);
    check_well_formed(&svg);
    assert!(svg.len() <= 60_000, "{} bytes", svg.len());
    assert!(svg.contains("delay p95") && svg.contains("queue, ms"));
}

#[test]
fn a_long_or_empty_session_fits_too() {
    for segments in [0, 1, 20_000] {
        let config = hls::Config {
            segments,
            ..hls::Config::vod_hd_lin()
        };
        let mut sawing = |seen: &crate::Observation<'_>| (seen.step % 2) * 4;
        let outcome = hls::run(&config, &trace(), &mut sawing);
        let svg = svg("long", &config.ladder, &trace(), &outcome);
        check_well_formed(&svg);
        assert!(svg.len() <= 60_000, "{segments}: {} bytes", svg.len());
    }
}
