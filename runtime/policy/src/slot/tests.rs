use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::{Answer, Manifest, Policy, Spent, conformance::vectors, manifest::Wants};

/// Answers rung 0 for everyone, until it is told to fail.
struct Test {
    manifest: Manifest,
    digest: String,
    fails: Arc<AtomicBool>,
    senseless: Arc<AtomicBool>,
}

struct TestInstance {
    fails: Arc<AtomicBool>,
    senseless: Arc<AtomicBool>,
}

impl Test {
    fn new(digest: &str) -> Arc<Self> {
        let mut manifest = Manifest::plain("test", &[]);
        let wants = Wants {
            memo: 1,
            reasons: vec!["because".to_owned()],
            ..Wants::default()
        };
        manifest.kinds.insert(Kind::Abr, wants);
        Arc::new(Self {
            manifest,
            digest: digest.to_owned(),
            fails: Arc::default(),
            senseless: Arc::default(),
        })
    }
}

impl Artifact for Test {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn digest(&self) -> &str {
        &self.digest
    }

    fn instantiate(&self, _: &Value) -> Result<Box<dyn Policy>, Fault> {
        Ok(Box::new(TestInstance {
            fails: Arc::clone(&self.fails),
            senseless: Arc::clone(&self.senseless),
        }))
    }
}

impl Policy for TestInstance {
    fn decide(&mut self, _: Kind, batch: &Batch, answer: &mut Answer) -> Result<Spent, Fault> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Fault::Trap("told to".to_owned()));
        }
        answer.rows.clear();
        for row in 0..batch.row_count {
            let rung = if batch.rung_count == 0 { f64::NAN } else { 0.0 };
            let rung = if row == 0 && self.senseless.load(Ordering::SeqCst) {
                99.0
            } else {
                rung
            };
            answer
                .rows
                .extend([rung, 0.0, f64::NAN, f64::NAN, f64::NAN, f64::NAN]);
        }
        // Counts its own calls for each row: what is carried is seen to be carried.
        answer.memo = batch
            .memo
            .iter()
            .map(|calls| if calls.is_nan() { 1.0 } else { calls + 1.0 })
            .collect();
        Ok(Spent {
            steps: 10,
            memory_bytes: 1,
        })
    }

    fn authorize(&mut self, _: &Request) -> Result<(Verdict, Spent), Fault> {
        Err(Fault::NotAnswered(Kind::Auth))
    }
}

fn question() -> (Batch, Vec<u64>) {
    let batch = vectors(Kind::Abr, 50, 7)
        .into_iter()
        .find(|batch| batch.row_count >= 3 && batch.rung_count >= 3)
        .unwrap();
    let keys = (0..batch.row_count as u64).collect();
    (batch, keys)
}

#[test]
fn the_chain_holds_when_a_policy_fails_and_it_is_rolled_back() {
    let (batch, keys) = question();
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    assert_eq!(slot.decide(&batch, &keys, 0).level, Level::Builtin);
    let (first, second) = (Test::new("first"), Test::new("second"));
    assert_eq!(slot.swap(first, Value::Null, 0), Ok(1));
    assert_eq!(
        slot.swap(Arc::clone(&second) as Arc<dyn Artifact>, Value::Null, 1000),
        Ok(2)
    );
    assert_eq!(slot.decide(&batch, &keys, 1000).digest, "second");
    second.fails.store(true, Ordering::SeqCst);
    for fault in 0..3 {
        let decided = slot.decide(&batch, &keys, 2000 + fault);
        assert_eq!(
            (decided.level, decided.digest.as_str()),
            (
                if fault == 2 {
                    Level::Active
                } else {
                    Level::LastGood
                },
                "first"
            )
        );
        assert_eq!(decided.faults.len(), 1);
        assert_eq!(decided.rolled_back, (fault == 2).then_some(2));
    }
    let info = slot.info(3000);
    assert_eq!((info.active.generation, info.rollbacks), (1, 1));
}

#[test]
fn a_row_without_sense_is_answered_by_the_builtin_and_the_others_stand() {
    let (batch, keys) = question();
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    let policy = Test::new("test");
    slot.swap(Arc::clone(&policy) as Arc<dyn Artifact>, Value::Null, 0)
        .unwrap();
    let builtin = Slot::new(Kind::Abr, Value::Null)
        .decide(&batch, &keys, 0)
        .rows;
    policy.senseless.store(true, Ordering::SeqCst);
    let decided = slot.decide(&batch, &keys, 0);
    assert_eq!(decided.refused, [0]);
    let width = Kind::Abr.output_width(batch.rung_count);
    assert_eq!(decided.rows[0].to_bits(), builtin[0].to_bits());
    assert_eq!(decided.rows[width], 0.0);
    assert_eq!(slot.info(0).active.counters.rows_refused, 1);
}

#[test]
fn what_is_carried_survives_a_swap_of_the_same_policy_and_a_shadow_changes_nothing() {
    let (batch, keys) = question();
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    slot.swap(Test::new("first"), Value::Null, 0).unwrap();
    for now in 0..3 {
        slot.decide(&batch, &keys, now);
    }
    slot.swap(Test::new("second"), Value::Null, 3).unwrap();
    slot.decide(&batch, &keys, 4);
    assert!(
        slot.memo_asked().iter().all(|calls| *calls == 3.0),
        "{:?}",
        slot.memo_asked()
    );
    slot.set_shadow(Arc::new(Builtin::default()), Value::Null, 5)
        .unwrap();
    let decided = slot.decide(&batch, &keys, 6);
    assert_eq!(decided.digest, "second");
    assert!(slot.info(6).shadow.is_some());
    slot.drop_shadow();
    assert!(slot.info(6).shadow.is_none());
}

#[test]
fn what_breaks_a_rule_or_answers_another_kind_never_takes_effect() {
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    let broken = Test::new("broken");
    broken.senseless.store(true, Ordering::SeqCst);
    assert!(matches!(
        slot.swap(broken, Value::Null, 0),
        Err(SwapError::Broken(_))
    ));
    let mut score = Slot::new(Kind::Score, Value::Null);
    let other = score
        .swap(Test::new("test"), Value::Null, 0)
        .unwrap_err()
        .to_string();
    assert!(
        other.contains("does not answer score; it answers abr"),
        "{other}"
    );
    assert_eq!(slot.info(0).active.generation, 0);
    assert_eq!(slot.rollback(), Err(SwapError::NothingBefore));
}
