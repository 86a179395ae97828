use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    Artifact as _, Builtin,
    auth::{Action, Answered},
    conformance::vectors,
    engine,
    slot::Slot,
};

/// Any bits, and often the ones at the edges.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<f64>(),
        prop::sample::select(vec![
            0.0,
            -0.0,
            0.1,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            9_007_199_254_740_993.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ]),
    ]
}

fn numbers(count: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(number(), count)
}

fn bits(numbers: &[f64]) -> Vec<u64> {
    let canonical = |number: &f64| if number.is_nan() { f64::NAN } else { *number };
    numbers.iter().map(canonical).map(f64::to_bits).collect()
}

fn entry(kind: Kind, rungs: usize, row: Row) -> Entry {
    Entry {
        kind,
        row: "a viewer \"quoted\"\n".to_owned(),
        call: Arc::new(Call {
            unix_ms: 1_700_000_000_123,
            stream: "demo".into(),
            tick: Tick {
                now_ms: 12,
                seed: u64::MAX,
                mode: engine::Mode::LlHls,
                cause: engine::Cause::Stall,
            },
            ladder: Ladder {
                names: (0..rungs)
                    .map(|rung| format!("rung{rung}").into())
                    .collect(),
                columns: vec![1.0; rungs * column::width(column::RUNG)],
            },
            rows: 3,
            faults: vec![failure("trap")],
            late: true,
            took_us: 7,
        }),
        author: Arc::new(Author {
            mode: Mode::Shadow,
            level: Level::LastGood,
            name: "name".to_owned(),
            version: "1.2.3".to_owned(),
            digest: "abc".to_owned(),
            generation: 4,
            config: Settings::Known(Arc::new(serde_json::json!({ "x": 0.1, "y": [1, null] }))),
            reads: Reads {
                values: [("key", Some(vec![0.1, -0.0].into())), ("none", None)]
                    .map(|(key, value)| (key.to_owned(), value))
                    .into(),
                refused: vec![2],
            },
            steps: 99,
        }),
        about: About::Row(row),
        reason: "because".to_owned(),
        refused: Some(failure("bad_output")),
    }
}

fn failure(word: &str) -> Failure {
    Failure {
        generation: 5,
        digest: "def".to_owned(),
        fault: word.to_owned(),
        what: "it failed".to_owned(),
    }
}

fn back(entry: &Entry) -> Entry {
    Entry::parse(&serde_json::to_vec(entry).unwrap()).unwrap()
}

fn of(entry: &Entry) -> &Row {
    match &entry.about {
        About::Row(row) => row,
        About::Request(_) => panic!("this is no row"),
    }
}

proptest! {
    #[test]
    fn every_number_survives_a_line_to_the_bit(
        (kind, rungs, lists) in (0usize..4, 0usize..5).prop_flat_map(|(kind, rungs)| {
            let kind = Kind::ALL[kind];
            let output = kind.output_width(rungs);
            let lists = (
                numbers(column::width(kind.inputs())),
                numbers(3),
                numbers(output),
                numbers(3),
                prop::option::of(numbers(output)),
                numbers(rungs * column::width(column::RUNG)),
            );
            (Just(kind), Just(rungs), lists)
        })
    ) {
        let (input, memo, output, memo_after, active, columns) = lists;
        let row = Row { input, memo, output, memo_after, active };
        let mut written = entry(kind, rungs, row);
        Arc::make_mut(&mut written.call).ladder.columns = columns;
        let read = back(&written);
        let (was, is) = (of(&written), of(&read));
        prop_assert_eq!(bits(&was.input), bits(&is.input));
        prop_assert_eq!(bits(&was.memo), bits(&is.memo));
        prop_assert_eq!(bits(&was.output), bits(&is.output));
        prop_assert_eq!(bits(&was.memo_after), bits(&is.memo_after));
        prop_assert_eq!(was.active.as_deref().map(bits), is.active.as_deref().map(bits));
        prop_assert_eq!(bits(&written.call.ladder.columns), bits(&read.call.ladder.columns));
        prop_assert_eq!(&written.call.ladder.names, &read.call.ladder.names);
    }
}

#[test]
fn everything_besides_numbers_survives_too() {
    let row = Row {
        input: vec![1.0; column::width(column::VIEWER)],
        memo: vec![1.0],
        output: vec![0.0; column::width(column::PICK)],
        memo_after: vec![2.0],
        active: None,
    };
    let written = entry(Kind::Abr, 2, row);
    assert_eq!(back(&written), written);
}

#[test]
fn a_request_is_written_without_what_is_not_listed_and_says_so() {
    let claims = [
        ("sub", Value::from("me")),
        ("exp", 12.into()),
        ("email", "me@example.org".into()),
    ];
    let claims: BTreeMap<String, Value> =
        claims.map(|(name, value)| (name.to_owned(), value)).into();
    let request = Request {
        action: Action::Play,
        stream: "demo".to_owned(),
        peer: String::new(),
        claims,
        now_s: 5,
        answered: Some(Answered {
            status: 200,
            body: "secret".to_owned(),
        }),
    };
    let verdict = Verdict::Deny {
        status: 403,
        reason: "no".to_owned(),
    };
    let listed = ["sub".to_owned(), "exp".to_owned()];
    let asked = Asked::of(request, Some(verdict), &listed);
    let row = Row {
        input: vec![],
        memo: vec![],
        output: vec![],
        memo_after: vec![],
        active: None,
    };
    let mut written = entry(Kind::Auth, 0, row);
    written.about = About::Request(Box::new(asked));
    let config = Arc::new(serde_json::json!({ "password": "hidden" }));
    Arc::make_mut(&mut written.author).config = Settings::of(Kind::Auth, &config);
    let line = serde_json::to_string(&written).unwrap();
    for hidden in ["example.org", "secret", "hidden"] {
        assert!(!line.contains(hidden), "{line}");
    }
    assert!(
        line.contains(r#""withheld":["answered","email"]"#),
        "{line}"
    );
    assert_eq!(back(&written), written);
    assert!(written.author.config.is(&config) && !written.author.config.is(&Value::Null));
}

#[test]
fn of_a_url_only_what_names_the_place_is_written() {
    let of = |url: &str| {
        let request = Request {
            action: Action::Admin,
            stream: String::new(),
            peer: String::new(),
            claims: BTreeMap::new(),
            now_s: 0,
            answered: None,
        };
        let url = url.to_owned();
        let asked = Asked::of(request, Some(Verdict::Ask { url }), &[]);
        match asked.verdict {
            Some(Verdict::Ask { url }) => (url, asked.withheld.len()),
            other => panic!("{other:?}"),
        }
    };
    let plain = "http://example.org:80/a/b".to_owned();
    assert_eq!(of(&plain), (plain.clone(), 0));
    assert_eq!(of("http://example.org:80/a/b?key=x#y"), (plain.clone(), 1));
    assert_eq!(of("http://me:x@example.org:80/a/b"), (plain, 1));
}

#[test]
fn lines_that_cannot_be_asked_again_say_why() {
    let row = Row {
        input: vec![1.0; column::width(column::VIEWER)],
        memo: vec![],
        output: vec![0.0; column::width(column::PICK)],
        memo_after: vec![],
        active: None,
    };
    let line = serde_json::to_string(&entry(Kind::Abr, 1, row)).unwrap();
    for (from, to, word) in [
        ("\"v\":1", "\"v\":2", "form 2"),
        ("\"rtt_ms\":", "\"luck\":", "luck"),
        ("\"rtt_ms\":1.0", "\"rtt_ms\":\"high\"", "inf"),
        ("\"rtt_ms\":1.0", "\"rtt_ms\":[1.0,2.0]", "1 are due"),
        ("\"memo\":[]", "\"memo\":[1.0]", "one length"),
    ] {
        assert!(line.contains(from), "{line}");
        let error = Entry::parse(line.replacen(from, to, 1).as_bytes()).unwrap_err();
        assert!(error.to_string().contains(word), "{to}: {error}");
    }
    assert!(Entry::parse(&line.as_bytes()[..line.len() / 2]).is_err());
}

#[test]
fn what_the_builtin_decided_is_decided_again_to_the_bit() {
    let builtin = Builtin::default();
    for kind in [Kind::Abr, Kind::Optimize, Kind::Score, Kind::Ladder] {
        let mut slot = Slot::new(kind, serde_json::json!({}));
        let mut asked = 0;
        for batch in vectors(kind, 40, 3) {
            let keys: Vec<u64> = (0..batch.row_count as u64).collect();
            let said = slot.decide(&batch, &keys, batch.tick.now_ms).said;
            let (input, output) = (
                column::width(kind.inputs()),
                kind.output_width(batch.rung_count),
            );
            for at in 0..batch.row_count {
                let (memo, memo_after) = said.memo_of(at, batch.row_count);
                let row = Row {
                    // What is not finite is absent to every policy; a log is written of what was asked.
                    input: batch.rows[at * input..(at + 1) * input].to_vec(),
                    memo: memo.to_vec(),
                    output: said.rows[at * output..(at + 1) * output].to_vec(),
                    memo_after: memo_after.to_vec(),
                    active: None,
                };
                let mut written = entry(kind, batch.rung_count, row.clone());
                let call = Arc::make_mut(&mut written.call);
                call.tick = batch.tick;
                call.ladder = Ladder {
                    names: batch.rung_names.clone(),
                    columns: batch.rungs.clone(),
                };
                let config = serde_json::json!({});
                match redecide(&back(&written), &builtin, &config, memo) {
                    Redecided::Row { output, memo } => {
                        assert_eq!(bits(&output), bits(&row.output));
                        assert_eq!(bits(&memo), bits(&row.memo_after));
                    }
                    other => panic!("{other:?}"),
                }
                asked += 1;
            }
        }
        assert!(asked > 30, "{kind}: {asked} rows");
    }
    assert_eq!(builtin.digest(), "builtin");
}
