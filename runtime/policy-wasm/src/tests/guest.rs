//! Small guests written in WAT, for what no honest compiler would make.

use lockgate_policy::Fault;
use serde_json::{Value, json};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use super::*;

/// A guest of `abr` in parts, each of which a test may replace.
#[derive(Clone)]
pub(super) struct Guest {
    /// Its manifest; without one there is no section.
    pub(super) manifest: Option<String>,
    /// The world it says it is of.
    pub(super) world: &'static str,
    /// Whether the module says so at all.
    pub(super) typed: bool,
    /// Declarations: memory, tables, globals, functions, a start function.
    pub(super) module: String,
    /// Body of `configure`, which returns the place of its answer.
    pub(super) configure: String,
    /// Body of `recommend`, likewise. It has the parameters `$rows` (place) and `$rows_len`, and a local `$i`.
    pub(super) recommend: String,
}

/// A manifest for guests: one column, one number in each row and rung.
pub(super) fn manifest() -> Value {
    let abr = json!({ "columns": ["bandwidth_kbps"], "rung_columns": ["need_kbps"], "memo": 1 });
    json!({ "name": "guest", "version": "0.0.1", "api": "0.1", "kinds": { "abr": abr } })
}

impl Default for Guest {
    fn default() -> Self {
        Self {
            manifest: Some(manifest().to_string()),
            world: "abr-policy",
            typed: true,
            module: MODULE.to_owned(),
            configure: "(i32.const 0)".to_owned(),
            recommend: ANSWER.to_owned(),
        }
    }
}

/// One page of memory; what it is given goes to 4096 and on, and is forgotten at each call.
pub(super) const MODULE: &str = r#"
    (memory (export "memory") 1)
    (global $top (mut i32) (i32.const 4096))
    (global $calls (mut i32) (i32.const 0))
"#;

/// Answers each row with rung 0, and memo as it is: the lists lie where the question's lay, or at 32768.
pub(super) const ANSWER: &str = r#"
    (i32.store (i32.const 64) (i32.const 32768))
    (i32.store (i32.const 68) (i32.mul (local.get $rows_len) (i32.const 6)))
    (i32.store (i32.const 72) (local.get $memo))
    (i32.store (i32.const 76) (local.get $memo_len))
    (i32.const 64)
"#;

impl Guest {
    pub(super) fn recommending(body: &str) -> Self {
        Self {
            recommend: body.to_owned(),
            ..Self::default()
        }
    }

    /// The guest as a core module, described or not.
    pub(super) fn build(&self) -> Vec<u8> {
        let section = self.manifest.as_ref().map_or_else(String::new, |json| {
            format!("(@custom \"lockgate:manifest\" {json:?})")
        });
        let text = format!(
            r#"(module {section} {module}
                (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                    (local $at i32)
                    (local.set $at (i32.and (i32.add (global.get $top) (i32.const 7)) (i32.const -8)))
                    (global.set $top (i32.add (local.get $at) (local.get 3)))
                    (local.get $at))
                (func $configure (export "lockgate:policy/lifecycle@0.1.0#configure")
                    (param $json i32) (param $json_len i32) (result i32)
                    {configure})
                (func $recommend (export "lockgate:policy/abr@0.1.0#recommend")
                    (param $now i64) (param $seed i64) (param $mode i32) (param $cause i32)
                    (param $rungs i32) (param $rungs_len i32) (param $rows i32) (param $rows_len i32)
                    (param $memo i32) (param $memo_len i32) (result i32) (local $i i32)
                    (global.set $top (i32.const 4096))
                    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
                    {recommend}))"#,
            module = self.module,
            configure = self.configure,
            recommend = self.recommend,
        );
        let mut bytes = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        if self.typed {
            describe(&mut bytes, self.world);
        }
        bytes
    }

    pub(super) fn load(&self) -> Result<WasmArtifact, String> {
        load(&self.build())
    }

    /// The fault of being made.
    pub(super) fn refuses_to_start(&self) -> Fault {
        let artifact = self.load().unwrap();
        artifact.instantiate(&Value::Null).err().unwrap()
    }

    /// The fault of the first call that fails, and how many went well before.
    pub(super) fn fails(&self) -> (usize, Fault) {
        let artifact = self.load().unwrap();
        let mut policy = artifact.instantiate(&Value::Null).unwrap();
        let batch = blank(Kind::Abr, artifact.manifest(), 2, 3);
        for call in 0..100 {
            if let Err(fault) = policy.decide(Kind::Abr, &batch, &mut Answer::default()) {
                // What has failed once does not answer again.
                let again = policy.decide(Kind::Abr, &batch, &mut Answer::default());
                assert!(matches!(again, Err(Fault::Host(_))), "{again:?}");
                return (call, fault);
            }
        }
        panic!("it never failed");
    }

    /// Its answer to three rows of which nothing is known.
    pub(super) fn answers(&self) -> Answer {
        let artifact = self.load().unwrap();
        let mut policy = artifact.instantiate(&Value::Null).unwrap();
        let mut answer = Answer::default();
        let batch = blank(Kind::Abr, artifact.manifest(), 2, 3);
        policy.decide(Kind::Abr, &batch, &mut answer).unwrap();
        answer
    }
}

/// Says in the module which world it is of.
pub(super) fn describe(module: &mut Vec<u8>, world: &str) {
    let mut resolve = Resolve::default();
    let text = include_str!("../../../../sdk/wit/lockgate-policy.wit");
    let package = resolve.push_str("lockgate-policy.wit", text).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).unwrap();
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
