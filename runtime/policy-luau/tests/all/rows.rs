//! What fails for one viewer hurts that viewer alone; what would hurt everybody ends the batch.

use lockgate_policy::{
    Answer, Artifact, Batch, Fault, Kind, Limits, Policy, Spent, Tick, column,
    engine::{Cause, Mode},
};
use lockgate_policy_luau::Luau;
use serde_json::Value;

/// More than cross at once, and not a multiple.
const VIEWERS: usize = 150;

fn start(source: &str) -> Box<dyn Policy> {
    let limits = Limits {
        steps: 50_000,
        steps_per_row: 1_000,
        ..Limits::default()
    };
    Luau::load("script.luau", source.as_bytes(), None, limits)
        .unwrap()
        .instantiate(&Value::Null)
        .unwrap()
}

/// Viewers whose bandwidth is their row, each of whom carries 5, on a ladder of two.
fn batch() -> Batch {
    let (mut rows, mut rungs) = (Vec::new(), Vec::new());
    for row in 0..VIEWERS {
        let bandwidth = [("bandwidth_kbps", Some(row as f64))];
        column::append(&mut rows, column::VIEWER, &bandwidth);
    }
    for kbps in [700.0, 2500.0] {
        column::append(&mut rungs, column::RUNG, &[("need_kbps", Some(kbps))]);
    }
    let (mode, cause) = (Mode::Webrtc, Cause::Tick);
    Batch {
        tick: Tick {
            now_ms: 10_000,
            seed: 1,
            mode,
            cause,
        },
        rungs,
        rung_count: 2,
        rung_names: Vec::new(),
        rows,
        row_count: VIEWERS,
        memo: vec![5.0; 8 * VIEWERS],
    }
}

fn ask(policy: &mut dyn Policy) -> Result<(Answer, Spent), Fault> {
    let mut answer = Answer::default();
    let spent = policy.decide(Kind::Abr, &batch(), &mut answer)?;
    Ok((answer, spent))
}

#[test]
fn a_row_that_fails_is_refused_and_every_other_is_judged() {
    // The first, the last that crosses with it, the first that crosses after it, two in a row, and the last.
    let fail = [0, 63, 64, 100, 101, VIEWERS - 1];
    let source = |what: &str| {
        let is_one = fail
            .map(|row| format!("v.bandwidth_kbps == {row}"))
            .join(" or ");
        format!(
            "local policy = {{}}\nfunction policy.recommend(v)\nv.memo[1] += 1\nif {is_one} then\n{what}\nend\nreturn 2, 'well'\nend\nreturn policy"
        )
    };
    let cases = [
        (
            "error('not this one')",
            "trap",
            "script.luau:5: not this one",
        ),
        (
            "return (nil).x",
            "trap",
            "script.luau:5: attempt to index nil",
        ),
        ("return 3", "bad_output", "script.luau:2: the rung is 3"),
        (
            "return 1, 'x' .. 1",
            "bad_output",
            "script.luau:2: the reason is \"x1\"",
        ),
        (
            "return 1, nil, 7",
            "bad_output",
            "script.luau:2: the third result is 7",
        ),
        (
            "v.memo[1] = 0 / 0",
            "bad_output",
            "script.luau:2: memo[1] is nan",
        ),
        (
            "local function f() return f() + 1 end f()",
            "trap",
            "stack overflow",
        ),
        (
            "setmetatable(v, {__newindex = error}) setmetatable(v, nil) error({})",
            "trap",
            "no text",
        ),
    ];
    for (what, word, words) in cases {
        let mut policy = start(&source(what));
        let (answer, spent) = ask(&mut *policy).unwrap();
        let rows: Vec<usize> = answer.refused.iter().map(|refusal| refusal.row).collect();
        assert_eq!(rows, fail, "{what}");
        for refusal in &answer.refused {
            assert_eq!(refusal.fault.word(), word, "{}", refusal.fault);
            assert!(
                refusal.fault.to_string().contains(words),
                "{}",
                refusal.fault
            );
        }
        let width = Kind::Abr.output_width(2);
        for row in 0..VIEWERS {
            let (rung, carried) = (answer.rows[row * width], answer.memo[row * 8]);
            if fail.contains(&row) {
                let numbers = &answer.rows[row * width..(row + 1) * width];
                assert!(
                    numbers.iter().all(|number| number.is_nan()),
                    "{what}: {numbers:?}"
                );
                assert_eq!(carried, 5.0, "{what}: row {row} carries on what it had");
            } else {
                assert_eq!((rung, carried), (1.0, 6.0), "{what}: row {row}");
            }
        }
        // The instance goes on, and does the same to the step.
        assert_eq!(ask(&mut *policy).unwrap().1.steps, spent.steps, "{what}");
    }
}

#[test]
fn what_would_hurt_everybody_ends_the_batch_even_after_rows_that_failed() {
    let cases = [
        ("while true do end", "budget"),
        (
            "while true do pcall(function() while true do end end) end",
            "budget",
        ),
        (
            "pcall(function() while true do end end) error('as if it were one row')",
            "budget",
        ),
        (
            "local t = {} while true do table.insert(t, table.create(1000, 1)) end",
            "memory",
        ),
        (
            "pcall(function() table.create(1e6, 1) end) local t = {} for i = 1, 1e6 do t[i] = table.create(1000, 1) end",
            "memory",
        ),
        ("v.mine = 1", "bad_output"),
        ("v.memo = {}", "bad_output"),
        (
            "setmetatable(v, {__newindex = function() error('mine') end})",
            "bad_output",
        ),
        ("setmetatable(v.memo, {})", "bad_output"),
    ];
    for (what, word) in cases {
        let source = format!(
            "return {{recommend = function(v) if v.bandwidth_kbps == 70 then {what} elseif v.bandwidth_kbps % 2 == 1 then error('odd') end return 1 end}}"
        );
        let mut policy = start(&source);
        let fault = ask(&mut *policy).unwrap_err();
        assert_eq!(fault.word(), word, "{what}: {fault}");
        assert!(ask(&mut *policy).is_err(), "a broken instance answers");
        assert_eq!(ask(&mut *start(&source)).unwrap_err(), fault, "{what}");
    }
}

#[test]
fn rows_that_all_fail_are_all_refused_and_bounded_in_words_and_memory() {
    let source =
        "return {recommend = function() local s = 'x' for i = 1, 15 do s ..= s end error(s) end}";
    let (answer, spent) = ask(&mut *start(source)).unwrap();
    assert_eq!(answer.refused.len(), VIEWERS);
    assert!(
        answer
            .refused
            .iter()
            .all(|refusal| refusal.fault.to_string().len() < 400)
    );
    assert!(spent.memory_bytes < 4 << 20, "{spent:?}");
}
