//! Policies that mean ill, each with the outcome it must have. None of them hurts the next: a good one is asked after
//! each. Nothing here is judged by time.

use lockgate_policy::{Fault, auth};
use serde_json::Value;

use super::{guest::*, *};

const LOOP: &str = "(loop $again (br $again)) (unreachable)";

/// What a fault must be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Is {
    Budget,
    Memory,
    Trap(&'static str),
    BadOutput(&'static str),
}

impl Is {
    #[track_caller]
    fn check(self, fault: &Fault) {
        let fits = match (self, fault) {
            (Self::Budget, Fault::Budget(_)) | (Self::Memory, Fault::Memory(_)) => true,
            (Self::Trap(words), Fault::Trap(what))
            | (Self::BadOutput(words), Fault::BadOutput(what)) => what.contains(words),
            _ => false,
        };
        assert!(fits, "{self:?} was to be, but: {fault:?}");
        a_good_one_still_works();
    }
}

#[track_caller]
fn fails(body: &str, is: Is) {
    is.check(&Guest::recommending(body).fails().1);
}

#[test]
fn an_endless_loop_ends_at_its_steps() {
    fails(LOOP, Is::Budget);
}

#[test]
fn a_loop_that_does_much_ends_at_its_steps() {
    // Filling memory over and over: each byte counts.
    let body = "(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 65536)) (br $again)) (unreachable)";
    fails(body, Is::Budget);
}

#[test]
fn a_loop_in_configure_ends_at_its_steps() {
    let guest = Guest {
        configure: LOOP.to_owned(),
        ..Guest::default()
    };
    Is::Budget.check(&guest.refuses_to_start());
}

#[test]
fn a_loop_in_a_start_function_ends_at_its_steps() {
    let guest = Guest {
        module: format!("{MODULE} (func $start (loop $again (br $again))) (start $start)"),
        ..Guest::default()
    };
    Is::Budget.check(&guest.refuses_to_start());
}

#[test]
fn a_loop_in_the_allocator_ends_at_its_steps() {
    // The host asks the guest for room for the question: that is the guest's code as well.
    let guest = Guest {
        module: format!("{MODULE} (func $spin (loop $again (br $again)))"),
        configure: "(call $spin) (i32.const 0)".to_owned(),
        ..Guest::default()
    };
    Is::Budget.check(&guest.refuses_to_start());
}

#[test]
fn a_start_function_that_traps_is_a_trap() {
    let guest = Guest {
        module: format!("{MODULE} (func $start (unreachable)) (start $start)"),
        ..Guest::default()
    };
    Is::Trap("unreachable").check(&guest.refuses_to_start());
}

#[test]
fn a_configure_that_traps_is_a_trap() {
    let guest = Guest {
        configure: "(unreachable)".to_owned(),
        ..Guest::default()
    };
    Is::Trap("unreachable").check(&guest.refuses_to_start());
}

#[test]
fn a_configuration_is_refused_in_the_guests_words() {
    let guest = Guest {
        module: format!("{MODULE} (data (i32.const 128) \"luck is no number\")"),
        configure:
            "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 128))
            (i32.store (i32.const 72) (i32.const 17)) (i32.const 64)"
                .to_owned(),
        ..Guest::default()
    };
    let fault = guest.refuses_to_start();
    assert_eq!(fault, Fault::Configuration("luck is no number".to_owned()));
    a_good_one_still_works();
}

#[test]
fn a_refusal_of_a_megabyte_is_cut_off() {
    let guest = Guest {
        module: MODULE.replace("\"memory\") 1", "\"memory\") 32"),
        configure:
            "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 128))
            (i32.store (i32.const 72) (i32.const 1000000)) (i32.const 64)"
                .to_owned(),
        ..Guest::default()
    };
    Is::BadOutput("too much data").check(&guest.refuses_to_start());
}

#[test]
fn growing_for_ever_and_giving_up_is_a_matter_of_memory() {
    let body = "(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)";
    fails(body, Is::Memory);
}

#[test]
fn one_great_leap_in_memory_is_refused() {
    let body = "(if (i32.eq (memory.grow (i32.const 65000)) (i32.const -1)) (then (unreachable))) (unreachable)";
    fails(body, Is::Memory);
}

#[test]
fn who_is_refused_memory_and_answers_all_the_same_does_no_wrong() {
    let body = format!("(drop (memory.grow (i32.const 65000))) {ANSWER}");
    assert_eq!(Guest::recommending(&body).answers().rows, vec![0.0; 18]);
}

#[test]
fn touching_memory_that_is_not_there_is_a_trap() {
    fails(
        "(i32.load (i32.const 0x7fffffff))",
        Is::Trap("out of bounds"),
    );
}

#[test]
fn growing_a_table_for_ever_is_a_matter_of_memory() {
    let guest = Guest {
        module: format!("{MODULE} (table $t 1 funcref)"),
        recommend: "(loop $again (br_if $again (i32.ne
            (table.grow $t (ref.null func) (i32.const 4096)) (i32.const -1)))) (unreachable)"
            .to_owned(),
        ..Guest::default()
    };
    Is::Memory.check(&guest.fails().1);
}

#[test]
fn recursion_without_end_is_a_trap() {
    // Or the end of its steps: whichever comes first, by the size of a frame.
    let guest = Guest {
        module: format!(
            "{MODULE} (func $deep (param i64) (result i64)
            (i64.add (call $deep (i64.add (local.get 0) (i64.const 1))) (local.get 0)))"
        ),
        recommend: "(drop (call $deep (i64.const 0))) (unreachable)".to_owned(),
        ..Guest::default()
    };
    Is::Trap("stack").check(&guest.fails().1);
}

#[test]
fn a_trap_on_the_third_call_is_a_trap_on_the_third_call() {
    let body =
        format!("(if (i32.eq (global.get $calls) (i32.const 3)) (then (unreachable))) {ANSWER}");
    let (before, fault) = Guest::recommending(&body).fails();
    assert_eq!(before, 2);
    Is::Trap("unreachable").check(&fault);
}

#[test]
fn dividing_by_nothing_is_a_trap() {
    fails(
        "(i32.div_u (i32.const 1) (i32.const 0))",
        Is::Trap("divide by zero"),
    );
}

#[test]
fn calling_through_an_empty_place_is_a_trap() {
    let guest = Guest {
        module: format!("{MODULE} (type $f (func (result i32))) (table $t 4 funcref)"),
        recommend: "(call_indirect $t (type $f) (i32.const 2))".to_owned(),
        ..Guest::default()
    };
    Is::Trap("uninitialized element").check(&guest.fails().1);
}

#[test]
fn too_few_and_too_many_rows_are_bad_output() {
    for factor in ["5", "7", "0"] {
        let body = ANSWER.replace("(i32.const 6)", &format!("(i32.const {factor})"));
        fails(&body, Is::BadOutput("18 are wanted"));
    }
}

#[test]
fn a_memo_of_another_length_is_bad_output() {
    let body = ANSWER.replace("(local.get $memo_len)", "(i32.const 2)");
    fails(&body, Is::BadOutput("2 numbers in memo; 3 are wanted"));
}

#[test]
fn a_giant_answer_is_refused_before_it_is_copied() {
    let guest = Guest {
        module: MODULE.replace("\"memory\") 1", "\"memory\") 60"),
        recommend: ANSWER.replace(
            "(i32.mul (local.get $rows_len) (i32.const 6))",
            "(i32.const 450000)",
        ),
        ..Guest::default()
    };
    Is::BadOutput("too much data").check(&guest.fails().1);
}

#[test]
fn an_answer_beyond_memory_is_bad_output() {
    let body = ANSWER.replace("(i32.const 32768)", "(i32.const 0x10000000)");
    fails(&body, Is::BadOutput("out of bounds"));
}

#[test]
fn an_answer_whose_length_wraps_around_is_bad_output() {
    let body = ANSWER.replace(
        "(i32.mul (local.get $rows_len) (i32.const 6))",
        "(i32.const 0xffffffff)",
    );
    fails(&body, Is::BadOutput(""));
}

#[test]
fn an_answer_at_a_crooked_place_is_bad_output() {
    let body = ANSWER.replace("(i32.const 32768)", "(i32.const 32769)");
    fails(&body, Is::BadOutput("not aligned"));
    fails(
        &body.replace("(i32.const 64)\n", "(i32.const 63)\n"),
        Is::BadOutput(""),
    );
}

#[test]
fn a_discriminant_that_does_not_exist_is_bad_output() {
    let guest = Guest {
        configure: "(i32.store8 (i32.const 64) (i32.const 7)) (i32.const 64)".to_owned(),
        ..Guest::default()
    };
    Is::BadOutput("discriminant").check(&guest.refuses_to_start());
}

#[test]
fn words_that_are_no_text_are_bad_output() {
    let guest = Guest {
        module: format!("{MODULE} (data (i32.const 128) \"\\ff\\fe\\fd\")"),
        configure:
            "(i32.store8 (i32.const 64) (i32.const 1)) (i32.store (i32.const 68) (i32.const 128))
            (i32.store (i32.const 72) (i32.const 3)) (i32.const 64)"
                .to_owned(),
        ..Guest::default()
    };
    Is::BadOutput("utf-8").check(&guest.refuses_to_start());
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
fn room_for_the_question_outside_of_memory_is_a_fault() {
    let guest = Guest {
        module: MODULE.replace("i32.const 4096", "i32.const 0x7ffffff0"),
        ..Guest::default()
    };
    Is::Trap("realloc return: beyond end of memory").check(&guest.refuses_to_start());
}

#[test]
fn a_question_too_big_for_its_memory_is_its_own_fault() {
    let artifact = Guest::default().load().unwrap();
    let mut policy = artifact.instantiate(&Value::Null).unwrap();
    let batch = blank(Kind::Abr, artifact.manifest(), 2, 100_000);
    let fault = policy
        .decide(Kind::Abr, &batch, &mut Answer::default())
        .unwrap_err();
    Is::Trap("beyond end of memory").check(&fault);
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
