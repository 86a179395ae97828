//! The guests of the corpus, loaded and asked.

use lockgate_policy::Fault;
pub(super) use lockgate_tests_hostile::{ANSWER, Guest, MODULE, manifest};
use serde_json::Value;

use super::*;

/// What the tests do with a guest.
pub(super) trait Try {
    fn load(&self) -> Result<WasmArtifact, String>;

    /// The fault of being made.
    fn refuses_to_start(&self) -> Fault;

    /// Its answers to three rows of which nothing is known: how many calls went well, and the first that did not.
    fn asked(&self, times: usize) -> (Vec<Answer>, Option<Fault>);

    /// Its answer to three rows of which nothing is known.
    fn answers(&self) -> Answer {
        let (mut answers, fault) = self.asked(1);
        assert_eq!(fault, None);
        answers.pop().unwrap()
    }
}

impl Try for Guest {
    fn load(&self) -> Result<WasmArtifact, String> {
        load(&self.build())
    }

    fn refuses_to_start(&self) -> Fault {
        let artifact = self.load().unwrap();
        artifact.instantiate(&Value::Null).err().unwrap()
    }

    fn asked(&self, times: usize) -> (Vec<Answer>, Option<Fault>) {
        let artifact = self.load().unwrap();
        let mut policy = artifact.instantiate(&Value::Null).unwrap();
        let batch = blank(Kind::Abr, artifact.manifest(), 2, 3);
        let mut answers = Vec::new();
        for _ in 0..times {
            let mut answer = Answer::default();
            if let Err(fault) = policy.decide(Kind::Abr, &batch, &mut answer) {
                // What has failed once does not answer again.
                let again = policy.decide(Kind::Abr, &batch, &mut answer);
                assert!(matches!(again, Err(Fault::Host(_))), "{again:?}");
                return (answers, Some(fault));
            }
            answers.push(answer);
        }
        (answers, None)
    }
}

pub(super) fn load(bytes: &[u8]) -> Result<WasmArtifact, String> {
    HOST.load("guest", bytes, Limits::default())
        .map_err(|error| error.to_string())
}

#[test]
fn the_guest_of_the_tests_is_a_good_policy() {
    let answer = Guest::default().answers();
    assert_eq!((answer.rows, answer.memo.len()), (vec![0.0; 18], 3));
}
