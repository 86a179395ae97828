use super::*;
use crate::Kind;

fn services() -> Services {
    let mut manifest = Manifest::plain("test", &[Kind::Abr]);
    manifest.imports = Import::ALL.to_vec();
    Services::of(&manifest)
}

fn got(services: &Services, key: &str) -> Option<Vec<f64>> {
    let numbers = services.get(key).unwrap();
    numbers.map(|numbers| numbers.to_vec())
}

#[test]
fn what_is_not_granted_is_named_with_the_line_to_write() {
    let mut manifest = Manifest::plain("test", &[Kind::Abr]);
    manifest.imports = vec![Import::Log, Import::Kv];
    let told = |grants: &[Import]| {
        let grants = grants.iter().copied().collect();
        granted(&manifest, Kind::Abr, &grants).map_err(|error| error.to_string())
    };
    let refused = told(&[Import::Log]).unwrap_err();
    assert!(
        refused.contains("test imports host-kv,")
            && refused.contains(r#"`abr = ["host-log", "host-kv"]` under [policies.grants]"#),
        "{refused}"
    );
    assert_eq!(told(&[Import::Log, Import::Kv, Import::Metrics]), Ok(()));
}

#[test]
fn a_read_sees_what_was_there_when_the_call_began() {
    let services = services();
    services.begin(1000);
    assert!(services.put("a", &[1.0, 2.0], 10));
    assert_eq!(got(&services, "a"), None);
    services.end(true);
    services.begin(2000);
    assert_eq!(got(&services, "a"), Some(vec![1.0, 2.0]));
    assert!(services.put("a", &[], 0) && services.put("b", &[3.0], 10));
    services.end(false);
    services.begin(3000);
    assert_eq!(
        (got(&services, "a"), got(&services, "b")),
        (Some(vec![1.0, 2.0]), None)
    );
    assert!(services.put("a", &[], 0));
    services.end(true);
    // Between calls there is nothing.
    assert!(got(&services, "a").is_none() && !services.put("c", &[1.0], 1));
}

#[test]
fn time_takes_away_what_was_put() {
    let services = services();
    services.begin(0);
    assert!(services.put("a", &[1.0], 2));
    services.end(true);
    for (now_ms, is_there) in [(1999, true), (2000, false), (2001, false)] {
        services.begin(now_ms);
        assert_eq!(got(&services, "a").is_some(), is_there, "{now_ms}");
        services.end(true);
    }
    assert_eq!(services.info().unwrap().kv, KvInfo::default());
}

#[test]
fn a_space_that_is_full_takes_no_more_and_says_so() {
    let services = services();
    let long = "k".repeat(KEY_BYTES_MAX + 1);
    services.begin(0);
    for (key, numbers) in [
        ("", &[1.0][..]),
        (&long, &[1.0]),
        ("many", &[0.0; NUMBERS_MAX + 1]),
        ("nan", &[f64::NAN]),
        ("endless", &[f64::INFINITY]),
    ] {
        assert!(!services.put(key, numbers, 60), "{key}");
    }
    services.end(true);
    // What can never be put is no sign of the space, so it is not recorded.
    assert!(services.reads().is_empty());
    let mut taken = 0;
    for call in 0..20 {
        services.begin(call);
        for key in 0..400 {
            taken += u32::from(services.put(&format!("{call}-{key}"), &[1.0; 8], 3600));
        }
        services.end(true);
    }
    let kv = services.info().unwrap().kv;
    assert!(kv.bytes <= 256 << 10 && kv.keys <= 4096, "{kv:?}");
    assert!(
        taken > 1000 && u64::from(taken) == kv.keys as u64 && kv.refused > 0,
        "{kv:?}"
    );
    // In place of what is there something of the same size may come.
    services.begin(100);
    assert!(services.put("0-0", &[2.0; 8], 3600));
    assert!(!services.put("new", &[2.0; 8], 3600));
    assert!(services.put("0-0", &[], 0) && services.put("new", &[2.0; 8], 3600));
    services.end(true);
}

#[test]
fn a_call_that_reads_without_end_is_ended() {
    let services = services();
    services.begin(0);
    let failed = (0..5000).find_map(|key| services.get(&key.to_string()).err());
    assert!(failed.is_some_and(|what| what.contains("1024 keys")));
}

#[test]
fn what_was_read_is_all_that_a_replay_needs() {
    let play = |services: &Services| {
        services.begin(5000);
        let read = got(services, "a");
        let took: Vec<bool> = (0..1024)
            .map(|key| services.put(&format!("x{key:0100}"), &[1.0; 64], 60))
            .collect();
        services.end(true);
        (read, took, services.reads())
    };
    let first = services();
    first.begin(0);
    assert!(first.put("a", &[7.0], 60));
    first.end(true);
    let seen = play(&first);
    assert!(seen.0.is_some() && seen.1.contains(&false) && seen.1.contains(&true));
    let written = serde_json::to_string(&seen.2).unwrap();
    let again = services();
    again.answer_with(serde_json::from_str(&written).unwrap());
    assert_eq!(play(&again), seen);
    // A replay keeps nothing.
    assert_eq!(again.info().unwrap().kv.keys, 0);
}

#[test]
fn lines_are_bounded_in_length_number_and_rate() {
    let services = services();
    services.begin(0);
    for at in 0..1000 {
        services.log(Level::Info, &format!("{at}: {}", "ä\n".repeat(1000)));
    }
    let info = services.info().unwrap();
    assert_eq!((info.log.len(), info.log_dropped), (20, 980));
    let text = &info.log[0].text;
    assert!(text.len() <= LINE_BYTES_MAX && text.starts_with("0: ä ä") && !text.contains('\n'));
    assert_eq!(services.take_lines().len(), 20);
    for second in 1..60 {
        services.begin(second * 1000);
        for _ in 0..50 {
            services.log(Level::from(3), "again");
        }
    }
    assert_eq!(services.info().unwrap().log.len(), 100);
    assert_eq!(services.take_lines().len(), 100);
    assert_eq!(services.take_lines(), []);
}

#[test]
fn metrics_are_few_and_finite() {
    let services = services();
    let counter = services.define("asked", MetricKind::Counter).unwrap();
    assert_eq!(services.define("asked", MetricKind::Counter), Some(counter));
    assert_eq!(services.define("asked", MetricKind::Gauge), None);
    for name in ["", "Asked", "a b", "1st", "ä", &"x".repeat(65)] {
        assert_eq!(services.define(name, MetricKind::Gauge), None, "{name}");
    }
    assert!(services.record(counter, 2.0) && services.record(counter, 0.5));
    for value in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(!services.record(counter, value), "{value}");
    }
    assert!(!services.record(99, 1.0));
    let gauge = services.define("level", MetricKind::Gauge).unwrap();
    assert!(services.record(gauge, -3.0));
    let defined = (0..100)
        .filter(|at| {
            services
                .define(&format!("m{at}"), MetricKind::Gauge)
                .is_some()
        })
        .count();
    assert_eq!(defined, METRICS_MAX - 2);
    let metrics = services.info().unwrap().metrics;
    assert_eq!((metrics[0].value, metrics[1].value), (2.5, -3.0));
}
