//! Policies that mean ill, each with the outcome it must have. None of them hurts the next: a good one is asked after
//! each. Nothing here is judged by time.

use lockgate_policy::{Fault, auth, conformance};
use lockgate_tests_hostile::{Ends, Module, modules};
use serde_json::Value;

use super::{guest::*, *};

const LOOP: &str = "(loop $again (br $again)) (unreachable)";

/// How a guest ends that is asked three times, and its words.
fn outcome(module: &Module) -> (Ends, String) {
    let artifact = match module.guest().load() {
        Ok(artifact) => artifact,
        Err(what) => return (Ends::Load, what),
    };
    if let Err(fault) = artifact.instantiate(&Value::Null) {
        return (Ends::Start(fault.word().to_owned()), fault.to_string());
    }
    let (answers, fault) = module.guest().asked(3);
    if let Some(fault) = fault {
        return (Ends::Fault(fault.word().to_owned()), fault.to_string());
    }
    let asked = blank(Kind::Abr, artifact.manifest(), 2, 3);
    let said = answers
        .iter()
        .find_map(|answer| conformance::form(Kind::Abr, &asked, answer, 1).err());
    said.map_or((Ends::Fine, String::new()), |said| {
        (Ends::Row("bad_output".to_owned()), said)
    })
}

#[test]
fn each_ends_as_it_must() {
    let mut wrong = Vec::new();
    for module in modules() {
        let (end, said) = outcome(&module);
        if end != module.ends || !said.contains(&module.says) {
            wrong.push(format!(
                "{}: {end:?}, not {:?}: {said}",
                module.does, module.ends
            ));
        }
        a_good_one_still_works();
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn nan_comes_out_as_the_one_nan() {
    // A signalling NaN with a message in its bits, negative: the caller sees that it is absent and no more.
    let body = format!(
        "(i64.store (i32.const 32768) (i64.const 0xfff4dead00c0ffee))
         (i64.store (local.get $memo) (i64.const 0x7ff00000deadbeef)) {ANSWER}"
    );
    let answer = Guest::recommending(&body).answers();
    assert_eq!(answer.rows[0].to_bits(), f64::NAN.to_bits());
    assert_eq!(answer.memo[0].to_bits(), f64::NAN.to_bits());
    assert_eq!(answer.rows[1..], [0.0; 17]);
}

#[test]
fn who_is_refused_memory_and_answers_all_the_same_does_no_wrong() {
    let body = format!("(drop (memory.grow (i32.const 65000))) {ANSWER}");
    assert_eq!(Guest::recommending(&body).answers().rows, vec![0.0; 18]);
}

#[test]
fn room_for_the_question_outside_of_memory_is_a_fault() {
    let guest = Guest {
        module: MODULE.replace("i32.const 4096", "i32.const 0x7ffffff0"),
        ..Guest::default()
    };
    let fault = guest.refuses_to_start();
    assert!(
        matches!(&fault, Fault::Trap(what) if what.contains("realloc return: beyond end of memory")),
        "{fault}"
    );
    a_good_one_still_works();
}

#[test]
fn a_question_too_big_for_its_memory_is_its_own_fault() {
    let artifact = Guest::default().load().unwrap();
    let mut policy = artifact.instantiate(&Value::Null).unwrap();
    let batch = blank(Kind::Abr, artifact.manifest(), 2, 100_000);
    let fault = policy
        .decide(Kind::Abr, &batch, &mut Answer::default())
        .unwrap_err();
    assert!(
        matches!(&fault, Fault::Trap(what) if what.contains("beyond end of memory")),
        "{fault}"
    );
    a_good_one_still_works();
}

#[test]
fn without_steps_the_backstop_ends_it() {
    let host = Host::new(HostConfig {
        backstop: Duration::from_millis(20),
        ..HostConfig::default()
    })
    .unwrap();
    let limits = Limits {
        steps: u64::MAX / 2,
        steps_per_row: 0,
        ..Limits::default()
    };
    let artifact = host
        .load("guest", &Guest::recommending(LOOP).build(), limits)
        .unwrap();
    let mut policy = artifact.instantiate(&Value::Null).unwrap();
    let batch = blank(Kind::Abr, artifact.manifest(), 2, 3);
    let fault = policy
        .decide(Kind::Abr, &batch, &mut Answer::default())
        .unwrap_err();
    assert_eq!(fault, Fault::Late(20));
    a_good_one_still_works();
}

#[test]
fn who_is_asked_what_it_does_not_answer_says_so() {
    let artifact = Guest::default().load().unwrap();
    let mut policy = artifact.instantiate(&Value::Null).unwrap();
    let batch = blank(Kind::Abr, artifact.manifest(), 2, 3);
    let mut answer = Answer::default();
    assert_eq!(
        policy.decide(Kind::Score, &batch, &mut answer),
        Err(Fault::NotAnswered(Kind::Score))
    );
    let request = auth::Request {
        action: auth::Action::Play,
        stream: String::new(),
        peer: String::new(),
        claims: Default::default(),
        now_s: 0,
        answered: None,
    };
    assert_eq!(
        policy.authorize(&request),
        Err(Fault::NotAnswered(Kind::Auth))
    );
    // Neither was a failure of its own.
    policy.decide(Kind::Abr, &batch, &mut answer).unwrap();
}

#[test]
fn no_place_left_in_the_pool_is_said_and_passes() {
    let host = Host::new(HostConfig {
        instances: 2,
        ..patient()
    })
    .unwrap();
    let artifact = host
        .load("guest", &Guest::default().build(), Limits::default())
        .unwrap();
    let held: Vec<_> = (0..2)
        .map(|_| artifact.instantiate(&Value::Null).unwrap())
        .collect();
    let fault = artifact.instantiate(&Value::Null).err().unwrap();
    assert!(
        matches!(&fault, Fault::Host(what) if what.contains("concurrent")),
        "{fault}"
    );
    drop(held);
    artifact.instantiate(&Value::Null).unwrap();
}
