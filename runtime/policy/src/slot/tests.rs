use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::{
    Answer, Manifest, Policy, Services, Spent, auth::Verdict, conformance::vectors, manifest::Wants,
};

/// Answers rung 0 for everyone, until it is told to fail.
struct Test {
    manifest: Manifest,
    digest: String,
    fails: Arc<AtomicBool>,
    senseless: Arc<AtomicBool>,
    refuses: Arc<AtomicUsize>,
    /// Instances made so far.
    made: AtomicUsize,
}

struct TestInstance {
    /// Which one it is, counted from 0, and how often it was asked.
    number: usize,
    asked: u32,
    fails: Arc<AtomicBool>,
    senseless: Arc<AtomicBool>,
    /// So many rows, from the first on.
    refuses: Arc<AtomicUsize>,
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
            refuses: Arc::default(),
            made: AtomicUsize::default(),
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

    fn instantiate_with(&self, _: &Value, _: &Services) -> Result<Box<dyn Policy>, Fault> {
        Ok(Box::new(TestInstance {
            number: self.made.fetch_add(1, Ordering::SeqCst),
            asked: 0,
            fails: Arc::clone(&self.fails),
            senseless: Arc::clone(&self.senseless),
            refuses: Arc::clone(&self.refuses),
        }))
    }
}

impl Policy for TestInstance {
    fn decide(&mut self, _: Kind, batch: &Batch, answer: &mut Answer) -> Result<Spent, Fault> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(Fault::Trap("told to".to_owned()));
        }
        answer.clear();
        answer.refused = (0..batch.row_count.min(self.refuses.load(Ordering::SeqCst)))
            .map(|row| Refusal {
                row,
                fault: Fault::Trap("test.luau:7: told to".to_owned()),
            })
            .collect();
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

    /// Says who was asked, and how often before.
    fn authorize(&mut self, _: &Request) -> Result<(Verdict, Spent), Fault> {
        let verdict = Verdict::Allow {
            ttl_s: self.asked,
            role: self.number.to_string(),
            cap_kbps: None,
        };
        self.asked += 1;
        Ok((verdict, Spent::default()))
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
    assert_eq!(decided.refused.len(), 1);
    assert_eq!(decided.refusal(0).map(Fault::word), Some("bad_output"));
    let width = Kind::Abr.output_width(batch.rung_count);
    assert_eq!(decided.rows[0].to_bits(), builtin[0].to_bits());
    assert_eq!(decided.rows[width], 0.0);
    assert_eq!(slot.info(0).active.counters.rows_refused, 1);
}

#[test]
fn a_row_that_a_policy_refuses_is_answered_by_the_builtin_and_keeps_what_it_carried() {
    let (batch, keys) = question();
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    let policy = Test::new("test");
    slot.swap(Arc::clone(&policy) as Arc<dyn Artifact>, Value::Null, 0)
        .unwrap();
    let builtin = Slot::new(Kind::Abr, Value::Null)
        .decide(&batch, &keys, 0)
        .rows;
    slot.decide(&batch, &keys, 1);
    policy.refuses.store(1, Ordering::SeqCst);
    let decided = slot.decide(&batch, &keys, 2);
    let width = Kind::Abr.output_width(batch.rung_count);
    assert_eq!((decided.level, decided.refused.len()), (Level::Active, 1));
    assert_eq!(decided.refusal(0).map(Fault::word), Some("trap"));
    assert_eq!(decided.refusal(1), None);
    assert_eq!(decided.rows[0].to_bits(), builtin[0].to_bits());
    assert_eq!(decided.rows[width], 0.0);
    let counters = slot.info(2).active.counters;
    assert_eq!((counters.rows_refused, counters.refusals["trap"]), (1, 1));
    assert!(counters.faults.is_empty(), "{counters:?}");
    assert_eq!(
        counters.last_fault.as_deref(),
        Some("row 1: it failed: test.luau:7: told to")
    );
    // What it was asked with next: the refused row has counted one call, the others two.
    policy.refuses.store(0, Ordering::SeqCst);
    let said = slot.decide(&batch, &keys, 3).said;
    assert_eq!(said.memo_asked[..2], [1.0, 2.0]);
}

#[test]
fn three_rows_refused_without_a_good_one_between_are_a_fault() {
    let (whole, keys) = question();
    let mut one = whole.clone();
    one.rows.truncate(whole.rows.len() / whole.row_count);
    one.row_count = 1;
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    let policy = Test::new("test");
    slot.swap(Arc::clone(&policy) as Arc<dyn Artifact>, Value::Null, 0)
        .unwrap();
    policy.refuses.store(1, Ordering::SeqCst);
    // A single viewer whom it cannot judge, among others whom it can, is no fault however long it lasts.
    for now in 0..20 {
        assert_eq!(slot.decide(&one, &keys, now).refused.len(), 1);
        assert_eq!(slot.decide(&whole, &keys, now).refused.len(), 1);
    }
    let words = |slot: &Slot| slot.info(20).active.counters.faults;
    assert!(words(&slot).is_empty());
    // Alone, it is one at the third time.
    let levels: Vec<Level> = (20..23)
        .map(|now| slot.decide(&one, &keys, now).level)
        .collect();
    assert_eq!(levels, [Level::Active, Level::Active, Level::Builtin]);
    assert_eq!(words(&slot)["trap"], 1);
    // All of a larger batch are one at once, and three of them open the breaker.
    policy.refuses.store(usize::MAX, Ordering::SeqCst);
    for now in 23..25 {
        assert_eq!(slot.decide(&whole, &keys, now).level, Level::Builtin);
    }
    assert_eq!(slot.info(25).active.breaker, BreakerState::Open);
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
    let said = slot.decide(&batch, &keys, 4).said;
    let all = |memo: &[f64], calls: f64| !memo.is_empty() && memo.iter().all(|n| *n == calls);
    assert!(
        all(&said.memo_asked, 3.0) && all(&said.memo, 4.0),
        "{said:?}"
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
fn totals_never_go_back_whatever_is_swapped() {
    let (batch, keys) = question();
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    let mut last = 0;
    for turn in 0..12 {
        match turn % 3 {
            2 => slot.rollback().unwrap(),
            _ => assert!(slot.swap(Test::new("test"), Value::Null, turn).is_ok()),
        }
        slot.decide(&batch, &keys, turn);
        let total = slot.totals().into_iter().find(|total| total.name == "test");
        let calls = total.map_or(0, |total| total.counters.calls);
        assert_eq!(calls, last + 1, "turn {turn}");
        last = calls;
    }
}

#[test]
fn what_a_policy_wrote_that_is_rolled_back_goes_with_it() {
    let (batch, keys) = question();
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    slot.swap(Test::new("first"), Value::Null, 0).unwrap();
    for now in 0..3 {
        slot.decide(&batch, &keys, now);
    }
    let second = Test::new("second");
    slot.swap(Arc::clone(&second) as Arc<dyn Artifact>, Value::Null, 3)
        .unwrap();
    for now in 4..9 {
        slot.decide(&batch, &keys, now);
    }
    slot.rollback().unwrap();
    let said = slot.decide(&batch, &keys, 10).said;
    assert!(
        said.memo_asked.iter().all(|calls| *calls == 3.0),
        "{said:?}"
    );
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

#[test]
fn a_policy_is_admitted_with_a_grant_and_a_good_configuration_only() {
    let test = |change: fn(&mut Manifest)| {
        let mut test = Arc::into_inner(Test::new("1")).unwrap();
        change(&mut test.manifest);
        Arc::new(test)
    };
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    let refused = |slot: &mut Slot, test: Arc<Test>, config: Value| {
        let refused = slot.swap(test.clone(), config.clone(), 0).unwrap_err();
        assert_eq!(slot.set_shadow(test, config, 0).unwrap_err(), refused);
        assert_eq!(slot.info(0).active.generation, 0);
        refused.to_string()
    };
    let wants = |manifest: &mut Manifest| manifest.imports = vec![crate::host::Import::Kv];
    let told = refused(&mut slot, test(wants), Value::Null);
    assert!(
        told.contains(r#"`abr = ["host-kv"]` under [policies.grants]"#),
        "{told}"
    );
    slot.grant([crate::host::Import::Kv].into());
    assert_eq!(slot.swap(test(wants), Value::Null, 0), Ok(1));
    let mut slot = Slot::new(Kind::Abr, Value::Null);
    let strict = |manifest: &mut Manifest| {
        let schema = serde_json::json!({
            "additionalProperties": false,
            "properties": { "patience_s": { "type": "number" } },
        });
        manifest.config_schema = Some(schema);
    };
    let config = serde_json::json!({ "patience": 1 });
    let told = refused(&mut slot, test(strict), config);
    assert!(
        told.contains("did you mean \"patience_s\"?") && told.contains("[policies.parameters.abr]"),
        "{told}"
    );
    let config = serde_json::json!({ "patience_s": 1 });
    assert_eq!(slot.swap(test(strict), config, 0), Ok(1));
}

#[test]
fn requests_are_answered_by_instances_made_before_and_each_answers_one() {
    let policy = |digest: &str| {
        let mut test = Arc::into_inner(Test::new(digest)).unwrap();
        test.manifest.kinds.clear();
        test.manifest.kinds.insert(Kind::Auth, Wants::default());
        Arc::new(test)
    };
    let request = Request {
        action: crate::auth::Action::Play,
        stream: "demo".to_owned(),
        peer: "192.0.2.1".to_owned(),
        claims: [].into(),
        now_s: 0,
        answered: None,
    };
    let ask = |slot: &mut Slot| match slot.authorize(&request, 0).verdict {
        Ok(Verdict::Allow { ttl_s, role, .. }) => (ttl_s, role.parse::<usize>().unwrap()),
        other => panic!("{other:?}"),
    };
    let mut slot = Slot::new(Kind::Auth, Value::Null);
    assert!(!slot.prepare(), "the built-in needs no instance");
    let first = policy("1");
    slot.swap(first.clone(), Value::Null, 0).unwrap();
    let tried = first.made.load(Ordering::SeqCst);
    while slot.prepare() {}
    let made = first.made.load(Ordering::SeqCst);
    assert!((tried + 2..100).contains(&made), "{made}");
    // More requests than there are instances: each has one of its own, those made before first.
    let mut seen = std::collections::BTreeSet::new();
    for request in 0..made {
        let (asked, number) = ask(&mut slot);
        assert_eq!(asked, 0);
        assert!(number >= tried && seen.insert(number), "{number}");
        assert_eq!(number < made, request < made - tried, "{number}");
    }
    while slot.prepare() {}
    // After a swap the new one answers, whatever was ready of the old one; and so after going back.
    let second = policy("2");
    slot.swap(second.clone(), Value::Null, 0).unwrap();
    assert_eq!(ask(&mut slot), (0, second.made.load(Ordering::SeqCst) - 1));
    slot.rollback().unwrap();
    let before = first.made.load(Ordering::SeqCst);
    assert_eq!(ask(&mut slot), (0, before));
}
