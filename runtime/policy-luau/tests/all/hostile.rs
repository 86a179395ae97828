//! Scripts that mean harm, or are merely wrong: each ends as it must, within its steps, and hurts nobody else.

use crate::common::{project, read_policy};
use lockgate_policy::{
    Answer, Artifact, Batch, Fault, Kind, Limits, Policy, Refusal, Tick, column, conformance,
    engine::{Cause, Mode},
};
use lockgate_policy_luau::{Luau, LuauArtifact};
use lockgate_tests_hostile::{Ends, bombs, cunning, scripts};
use serde_json::Value;

const VIEWERS: usize = 3;

fn limits() -> Limits {
    Limits {
        steps: 50_000,
        steps_per_row: 10_000,
        steps_configure: 100_000,
        ..Limits::default()
    }
}

/// Three viewers without a current rung on a ladder of two.
fn batch(memo: usize) -> Batch {
    let width = column::width(column::VIEWER);
    let mut rows = vec![f64::NAN; width * VIEWERS];
    for row in rows.chunks_exact_mut(width) {
        row[column::place(column::VIEWER, "bandwidth_kbps").unwrap()] = 3000.0;
    }
    let rung_width = column::width(column::RUNG);
    let mut rungs = vec![f64::NAN; rung_width * 2];
    rungs[0] = 700.0;
    rungs[rung_width] = 2500.0;
    Batch {
        tick: Tick {
            now_ms: 10_000,
            seed: 1,
            mode: Mode::Webrtc,
            cause: Cause::Tick,
        },
        rungs,
        rung_count: 2,
        rung_names: vec!["360p30".into(), "720p60".into()],
        rows,
        row_count: VIEWERS,
        memo: vec![f64::NAN; memo * VIEWERS],
    }
}

fn load(source: &str) -> Result<LuauArtifact, String> {
    Luau::load("script.luau", source.as_bytes(), None, limits()).map_err(|error| error.to_string())
}

/// The instance, or how far a script got, with the words.
fn start(source: &str) -> Result<(LuauArtifact, Box<dyn Policy>), (Ends, String)> {
    let artifact = load(source).map_err(|what| (Ends::Load, what))?;
    let policy = artifact
        .instantiate(&Value::Null)
        .map_err(|fault| (Ends::Start(fault.word().to_owned()), fault.to_string()))?;
    Ok((artifact, policy))
}

/// What becomes of a script that is asked five times.
fn outcome(source: &str) -> (Ends, String) {
    let (artifact, mut policy) = match start(source) {
        Ok(started) => started,
        Err(end) => return end,
    };
    let batch = batch(artifact.manifest().memo(Kind::Abr));
    let mut answer = Answer::default();
    let most = limits().steps + limits().steps_per_row * VIEWERS as u64;
    for _ in 0..5 {
        match policy.decide(Kind::Abr, &batch, &mut answer) {
            Ok(spent) => {
                assert!(spent.steps < most, "{spent:?}");
                assert!(
                    spent.memory_bytes <= limits().memory_bytes as u64,
                    "{spent:?}"
                );
                assert_eq!(answer.rows.len(), VIEWERS * Kind::Abr.output_width(2));
                assert_eq!(answer.memo.len(), batch.memo.len());
                if let Some(Refusal { row, fault }) = answer.refused.first().cloned() {
                    let width = Kind::Abr.output_width(2);
                    assert!(answer.rows[row * width].is_nan());
                    // The instance lives on.
                    assert!(policy.decide(Kind::Abr, &batch, &mut answer).is_ok());
                    return (
                        Ends::Row(fault.word().to_owned()),
                        format!("row {}: {fault}", row + 1),
                    );
                }
            }
            Err(fault) => {
                if let Fault::Budget(steps) = fault {
                    assert_eq!(steps, most);
                }
                let again = policy.decide(Kind::Abr, &batch, &mut answer);
                assert!(again.is_err(), "a broken instance answers");
                return (Ends::Fault(fault.word().to_owned()), fault.to_string());
            }
        }
    }
    (Ends::Fine, format!("{:?}", answer.rows))
}

/// The reference still works on this thread.
fn healthy() {
    let (source, manifest) = read_policy(Kind::Abr);
    let artifact = Luau::load(
        "reference.luau",
        source.as_bytes(),
        Some(&manifest),
        limits(),
    )
    .unwrap();
    let mut policy = artifact.instantiate(&Value::Null).unwrap();
    let mut answer = Answer::default();
    let asked = project(&batch(1), Kind::Abr, artifact.manifest());
    policy.decide(Kind::Abr, &asked, &mut answer).unwrap();
    assert_eq!(answer.rows[..2], [0.0, 4.0]);
}

#[test]
fn each_ends_as_it_must() {
    let mut wrong = Vec::new();
    for script in scripts() {
        let name = &script.does;
        let (end, said) = outcome(&script.source);
        if end != script.ends || !said.contains(&script.says) || !said.contains(&script.at) {
            wrong.push(format!(
                "{name}: {end:?}, not {:?}: {said}\n    which is to hold {:?} and {:?}",
                script.ends, script.at, script.says
            ));
        }
        // How it ends is the same each time, and to the step.
        assert_eq!(outcome(&script.source), (end, said), "{name}");
        healthy();
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn bombs_for_the_compiler_are_refused_or_bounded() {
    for bomb in bombs() {
        let name = bomb.of;
        match (load(&bomb.source), bomb.says) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => panic!("{name} is loaded"),
            (Err(error), says) => {
                let says = says.unwrap_or("script.luau");
                assert!(error.contains(says), "{name}: {error}");
                assert!(error.len() < 600, "{name}: {error}");
            }
        }
    }
    healthy();
}

#[test]
fn what_is_no_script_is_refused_with_words() {
    let cases: [(&[u8], Option<&str>, &str); 14] = [
        (b"", None, "empty"),
        (b" \n\t", None, "empty"),
        (b"\x1bLua\x00", None, "never bytecode"),
        (b"return \xff", None, "UTF-8"),
        (b"local x =\nreturn {", None, "script.luau:2:"),
        (b"return 7", None, "a table with its functions"),
        (b"local policy = {}", None, "return policy"),
        (
            b"return {}",
            None,
            "recommend, optimize, score, plan, authorize",
        ),
        (b"return {recommend = 7}", None, "policy.recommend is a"),
        (b"\n\nerror('no')", None, "script.luau:3: no"),
        (b"while true do end", None, "100000 steps"),
        (
            b"return {score = function() end}",
            Some("name='x'\nversion='1.0.0'\napi='0.1'\n[kinds.abr]"),
            "no function recommend",
        ),
        (
            b"return {score = function() end}",
            Some("name='x'\nversion='1.0.0'\napi='0.2'\n[kinds.score]"),
            "speaks 0.1",
        ),
        (
            b"return {score = function() end}",
            Some("name='x"),
            "cannot be read",
        ),
    ];
    for (source, manifest, words) in cases {
        let error = Luau::load("script.luau", source, manifest, limits()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn a_batch_of_another_width_is_refused() {
    let (_, mut policy) = start("return {recommend = function() return 1 end}").unwrap();
    let mut wrong = batch(8);
    wrong.rows.pop();
    let mut answer = Answer::default();
    let fault = policy.decide(Kind::Abr, &wrong, &mut answer).unwrap_err();
    assert!(fault.to_string().contains("rows"), "{fault}");
    // That was the host's mistake: the instance goes on.
    policy.decide(Kind::Abr, &batch(8), &mut answer).unwrap();
    assert_eq!(
        policy.decide(Kind::Score, &batch(8), &mut answer),
        Err(Fault::NotAnswered(Kind::Score))
    );
}

#[test]
fn the_cunning_keep_every_rule_while_they_are_tried_and_no_longer() {
    let mut wrong = Vec::new();
    for script in cunning() {
        let name = &script.does;
        let artifact = Luau::load(
            "script.luau",
            script.source.as_bytes(),
            None,
            Limits::default(),
        )
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Err(broken) = conformance::check(&artifact, &Value::Null, 60) {
            wrong.push(format!("{name} is found out: {broken}"));
            continue;
        }
        let mut policy = artifact.instantiate(&Value::Null).unwrap();
        let mut asked = batch(artifact.manifest().memo(Kind::Abr));
        let memo = asked.memo.len() / VIEWERS;
        let end = (0..5).find_map(|_| {
            let mut answer = Answer::default();
            if let Err(fault) = policy.decide(Kind::Abr, &asked, &mut answer) {
                return Some((Ends::Fault(fault.word().to_owned()), fault.to_string()));
            }
            asked.memo.clone_from(&answer.memo);
            if let Some(Refusal { fault, .. }) = answer.refused.first() {
                return Some((Ends::Row(fault.word().to_owned()), fault.to_string()));
            }
            let said = conformance::form(Kind::Abr, &asked, &answer, memo).err();
            said.map(|said| (Ends::Row("bad_output".to_owned()), said))
        });
        let (end, said) = end.unwrap_or((Ends::Fine, String::new()));
        if end != script.ends || !said.contains(&script.says) {
            wrong.push(format!("{name}: {end:?}, not {:?}: {said}", script.ends));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
