//! What a script sees and may say, kind by kind.

use lockgate_policy::{
    Answer, Artifact, Batch, Fault, Kind, Limits, Policy, Tick,
    auth::{Action, Answered, Request, Verdict},
    column,
    engine::{Cause, Mode},
};
use lockgate_policy_luau::{Luau, LuauArtifact};
use serde_json::{Value, json};

fn load(source: &str) -> LuauArtifact {
    Luau::load("script.luau", source.as_bytes(), None, Limits::default()).unwrap()
}

fn batch(kind: Kind, fields: &[(&str, f64)]) -> Batch {
    let mut rows = vec![f64::NAN; column::width(kind.inputs())];
    for (name, value) in fields {
        rows[column::place(kind.inputs(), name).unwrap()] = *value;
    }
    let width = column::width(column::RUNG);
    let mut rungs = vec![f64::NAN; 2 * width];
    rungs[0] = 700.0;
    rungs[width] = 2500.0;
    Batch {
        tick: Tick {
            now_ms: 5000,
            seed: u64::MAX,
            mode: Mode::LlHls,
            cause: Cause::Stall,
        },
        rungs,
        rung_count: 2,
        rung_names: vec!["360p30".into(), "720p60".into()],
        rows,
        row_count: 1,
        memo: vec![f64::NAN; 8],
    }
}

fn decide(kind: Kind, source: &str, batch: &Batch) -> Result<Answer, Fault> {
    let mut answer = Answer::default();
    let mut policy = load(source).instantiate(&Value::Null)?;
    policy.decide(kind, batch, &mut answer)?;
    match answer.refused.first() {
        Some(refusal) => Err(refusal.fault.clone()),
        None => Ok(answer),
    }
}

#[test]
fn a_viewer_a_ladder_and_a_tick_look_as_they_should() {
    let source = r#"
        local policy = {}
        function policy.recommend(viewer, ladder, tick)
            assert(viewer.bandwidth_kbps == 3000 and viewer.loss_pct == nil and viewer.jitter_ms == nil)
            assert(viewer.current == 2 and ladder[viewer.current].name == "720p60")
            assert(#ladder == 2 and ladder[1].id == 1 and ladder[1].need_kbps == 700 and ladder[1].kbps == nil)
            assert(viewer.samples[1] == 40 and viewer.samples[5] == 1 and viewer.samples[6] == nil)
            assert(tick.now_ms == 5000 and tick.seed == 2 ^ 53 - 1)
            assert(tick.mode == "ll_hls" and tick.cause == "stall")
            assert(viewer.memo[1] == nil and viewer.memo[2] == 7)
            viewer.memo[1], viewer.memo[2], viewer.memo[8] = 3, nil, 9
            return 2, "as it stands", { cap_kbps = 900, play_rate = 1.05 }
        end
        return policy"#;
    let mut asked = batch(
        Kind::Abr,
        &[
            ("bandwidth_kbps", 3000.0),
            ("jitter_ms", f64::INFINITY),
            ("current", 1.0),
        ],
    );
    let samples = column::place(column::VIEWER, "samples").unwrap();
    asked.rows[samples] = 40.0;
    asked.rows[samples + 4] = 0.0;
    asked.memo[1] = 7.0;
    let answer = decide(Kind::Abr, source, &asked).unwrap();
    assert_eq!(answer.rows[0], 1.0);
    assert_eq!(
        load(source).manifest().reason(Kind::Abr, answer.rows[1]),
        "as it stands"
    );
    assert_eq!((answer.rows[2], answer.rows[4]), (900.0, 1.05));
    assert!(answer.rows[3].is_nan() && answer.rows[5].is_nan());
    assert_eq!((answer.memo[0], answer.memo[7]), (3.0, 9.0));
    assert!(answer.memo[1..7].iter().all(|number| number.is_nan()));
}

#[test]
fn answers_of_the_other_kinds_are_held_to_their_form() {
    let cases = [
        (
            Kind::Optimize,
            "optimize",
            "{level = 'medium', fec = true}",
            "",
        ),
        (Kind::Optimize, "optimize", "{}", ""),
        (Kind::Optimize, "optimize", "7", "the result is 7"),
        (
            Kind::Optimize,
            "optimize",
            "{level = 'most'}",
            "level is \"most\"",
        ),
        (
            Kind::Optimize,
            "optimize",
            "{reduction_pct = 101}",
            "from 0 to 100",
        ),
        (
            Kind::Optimize,
            "optimize",
            "{fec = 'yes'}",
            "fec is \"yes\"",
        ),
        (
            Kind::Optimize,
            "optimize",
            "{buffer_s = -math.huge}",
            "buffer_s is -inf",
        ),
        (Kind::Score, "score", "88, {loss = 12}, 'so'", ""),
        (Kind::Score, "score", "nil", "the score is nil"),
        (Kind::Score, "score", "101", "from 0 to 100"),
        (Kind::Score, "score", "0 / 0", "the score is nan"),
        (
            Kind::Score,
            "score",
            "1, {jitter = {}}",
            "jitter is a table",
        ),
        (
            Kind::Ladder,
            "plan",
            "{passthrough = false, preset = 3, keep = {true, false}}",
            "",
        ),
        (
            Kind::Ladder,
            "plan",
            "{keep = {true}}",
            "each of the 2 rungs",
        ),
        (
            Kind::Ladder,
            "plan",
            "{keep = {true, 'no'}}",
            "keep is \"no\"",
        ),
        (Kind::Ladder, "plan", "{}", "keep is nil"),
        (
            Kind::Ladder,
            "plan",
            "{keep = {true, true}, preset = 1.5}",
            "whole number",
        ),
        (
            Kind::Ladder,
            "plan",
            "{keep = {true, true}, preset = 9}",
            "from 0 to 8",
        ),
    ];
    for (kind, function, result, words) in cases {
        let source = format!("return {{{function} = function() return {result} end}}");
        match decide(kind, &source, &batch(kind, &[])) {
            Ok(answer) => {
                assert_eq!(words, "", "{result}");
                assert_eq!(answer.rows.len(), kind.output_width(2));
            }
            Err(fault) => {
                assert_eq!(fault.word(), "bad_output", "{fault}");
                assert!(
                    !words.is_empty() && fault.to_string().contains(words),
                    "{fault}"
                );
            }
        }
    }
}

fn request() -> Request {
    Request {
        action: Action::Play,
        stream: "live/Demo".to_owned(),
        peer: "192.0.2.1".to_owned(),
        claims: [
            ("sub".to_owned(), json!("me")),
            ("none".to_owned(), Value::Null),
        ]
        .into(),
        now_s: 1_800_000_000,
        answered: Some(Answered {
            status: 200,
            body: "yes".to_owned(),
        }),
    }
}

fn authorize(body: &str) -> Result<Verdict, Fault> {
    let source = format!("return {{authorize = function(request) {body} end}}");
    let mut policy = load(&source).instantiate(&Value::Null)?;
    policy.authorize(&request()).map(|(verdict, spent)| {
        assert!(spent.memory_bytes > 0);
        verdict
    })
}

#[test]
fn a_request_is_answered_by_one_clear_verdict() {
    let deny = |reason: &str| Verdict::Deny {
        status: 403,
        reason: reason.to_owned(),
    };
    assert_eq!(
        authorize(
            "assert(request.claims.none == null and request.answered.status == 200) assert(glob(request.stream, 'live/*') and lower(sub(request.stream, 6)) == 'demo') return {allow = true, role = 'guest', cap_kbps = 800}"
        ),
        Ok(Verdict::Allow {
            ttl_s: 0,
            role: "guest".to_owned(),
            cap_kbps: Some(800)
        })
    );
    assert_eq!(
        authorize("return {deny = true, reason = 'no'}"),
        Ok(deny("no"))
    );
    let ask = Verdict::Ask {
        url: "https://a.example/".to_owned(),
    };
    assert_eq!(authorize("return {ask = 'https://a.example/'}"), Ok(ask));
    for (body, words) in [
        ("", "returned a nil"),
        ("return true", "returned a boolean"),
        ("return {}", "none or several"),
        ("return {allow = true, deny = true}", "none or several"),
        ("return {allow = 1}", "none or several"),
        (
            "return setmetatable({}, {__index = {allow = true}})",
            "none or several",
        ),
        ("return {allow = true, ttl_s = -1}", "ttl_s"),
        ("return {allow = true, ttl_s = 0 / 0}", "ttl_s"),
        ("return {allow = true, cap_kbps = 1e300}", "cap_kbps"),
        ("return {allow = true, role = {}}", "role"),
        ("return {deny = true, status = 200}", "401 or 403"),
        ("return {ask = 'file:///etc/passwd'}", "http"),
    ] {
        let fault = authorize(body).unwrap_err();
        assert_eq!(fault.word(), "bad_output", "{body}: {fault}");
        assert!(fault.to_string().contains(words), "{body}: {fault}");
    }
    assert_eq!(authorize("while true do end").unwrap_err().word(), "budget");
    assert!(
        authorize("error('x')")
            .unwrap_err()
            .to_string()
            .contains("script.luau:1: x")
    );
}

#[test]
fn configuration_arrives_and_is_missed_where_there_is_no_place_for_it() {
    let artifact = load(
        "local list = {} return {configure = function(c) assert(c.a.b == 1 and c.list[2] == 'y' and c.none == null) list = c.list end, recommend = function() return #list end}",
    );
    let config = json!({"a": {"b": 1}, "list": ["x", "y"], "none": null});
    let mut answer = Answer::default();
    let mut policy = artifact.instantiate(&config).unwrap();
    policy
        .decide(Kind::Abr, &batch(Kind::Abr, &[]), &mut answer)
        .unwrap();
    assert_eq!(answer.rows[0], 1.0);
    let without = load("return {recommend = function() end}");
    assert!(without.instantiate(&json!({})).is_ok());
    let fault = without.instantiate(&json!({"a": 1})).err().unwrap();
    assert_eq!(fault.word(), "configuration");
}

#[test]
fn a_ladder_that_changes_is_seen() {
    let mut policy = load("return {recommend = function(v, ladder) return #ladder, nil, {cap_kbps = ladder[#ladder].need_kbps} end}")
        .instantiate(&Value::Null)
        .unwrap();
    let (mut asked, mut answer) = (batch(Kind::Abr, &[]), Answer::default());
    for (count, kbps) in [(2, 2500.0), (1, 700.0), (2, 2500.0), (2, 2600.0)] {
        let width = column::width(column::RUNG);
        asked.rungs.resize(count * width, f64::NAN);
        asked.rungs[(count - 1) * width] = kbps;
        asked.rung_count = count;
        policy.decide(Kind::Abr, &asked, &mut answer).unwrap();
        assert_eq!((answer.rows[0], answer.rows[2]), (count as f64 - 1.0, kbps));
    }
}

#[test]
fn a_manifest_bounds_the_budget_and_the_digest_names_the_source() {
    let manifest = "name='x'\nversion='1.0.0'\napi='0.1'\n[kinds.abr]\ncolumns=['rtt_ms']\nrung_columns=['kbps']\nbudget=100\nbudget_per_row=10";
    let source = b"return {recommend = function() while true do end end}";
    let artifact = Luau::load("script.luau", source, Some(manifest), Limits::default()).unwrap();
    assert_eq!(artifact.digest().len(), 64);
    let mut asked = batch(Kind::Abr, &[]);
    asked.rows.truncate(1);
    asked.rungs.truncate(2);
    asked.memo.clear();
    let mut policy = artifact.instantiate(&Value::Null).unwrap();
    let fault = policy.decide(Kind::Abr, &asked, &mut Answer::default());
    assert_eq!(fault, Err(Fault::Budget(110)));
}

#[test]
fn the_types_name_every_column() {
    let types = include_str!("../../../../sdk/luau/lockgate.d.luau");
    for columns in [column::VIEWER, column::RUNG, column::SOURCE] {
        for column in columns {
            assert!(
                types.contains(&format!("\tread {}: ", column.name)),
                "{}",
                column.name
            );
        }
    }
    for column in column::SAVING {
        assert!(
            types.contains(&format!("\t{}: ", column.name)),
            "{}",
            column.name
        );
    }
}

/// An artifact is loaded on one thread and made into instances on others.
#[test]
fn instances_are_made_on_any_thread() {
    let artifact = load("return {recommend = function() return 1 end}");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut policy: Box<dyn Policy> = artifact.instantiate(&Value::Null).unwrap();
                let mut answer = Answer::default();
                policy
                    .decide(Kind::Abr, &batch(Kind::Abr, &[]), &mut answer)
                    .unwrap();
                assert_eq!(answer.rows[0], 0.0);
            });
        }
    });
}
