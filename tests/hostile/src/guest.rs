//! Small Wasm guests written in WAT, for what no honest compiler would make.

use serde::Deserialize;
use serde_json::{Value, json};
use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::{AWAKE_BEFORE_MS, Ends};

/// A guest of `abr` in parts, each of which a test may replace.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its manifest; without one there is no section.
    pub manifest: Option<String>,
    /// The world it says it is of.
    pub world: &'static str,
    /// Whether the module says so at all.
    pub typed: bool,
    /// Declarations: memory, tables, globals, functions, a start function.
    pub module: String,
    /// Body of `configure`, which returns the place of its answer.
    pub configure: String,
    /// Body of `recommend`, likewise. It has the parameters `$now`, `$rows` (place), `$rows_len`, `$memo` and
    /// `$memo_len`, and a local `$i`.
    pub recommend: String,
}

/// A guest of the index and its outcome.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// What it does, in a few words: its name.
    pub does: String,
    /// How it ends when it is asked.
    pub ends: Ends,
    /// What the words of its end hold.
    #[serde(default)]
    pub says: String,
    #[serde(default = "one")]
    pages: u32,
    #[serde(default)]
    module: String,
    configure: Option<String>,
    recommend: Option<String>,
}

#[derive(Deserialize)]
struct Index {
    module: Vec<Module>,
}

/// The guests of the index.
pub fn modules() -> Vec<Module> {
    let index: Index = toml::from_str(include_str!("../modules.toml")).unwrap();
    index.module
}

impl Module {
    /// The guest.
    pub fn guest(&self) -> Guest {
        let memory = format!("\"memory\") {}", self.pages);
        let good = Guest::default();
        let or = |part: &Option<String>, good: String| match part {
            Some(part) => part.replace("NOTHING", NOTHING).replace("ANSWER", ANSWER),
            None => good,
        };
        Guest {
            module: format!(
                "{} {}",
                MODULE.replace("\"memory\") 1", &memory),
                self.module
            ),
            configure: or(&self.configure, good.configure),
            recommend: or(&self.recommend, good.recommend),
            ..Guest::default()
        }
    }
}

/// A manifest for guests: one column, one number in each row and rung.
pub fn manifest() -> Value {
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
pub const MODULE: &str = r#"
    (memory (export "memory") 1)
    (global $top (mut i32) (i32.const 4096))
    (global $calls (mut i32) (i32.const 0))
"#;

/// Answers each row with rung 0, and memo as it is: the lists lie where the question's lay, or at 32768.
pub const ANSWER: &str = r#"
    (i32.store (i32.const 64) (i32.const 32768))
    (i32.store (i32.const 68) (i32.mul (local.get $rows_len) (i32.const 6)))
    (i32.store (i32.const 72) (local.get $memo))
    (i32.store (i32.const 76) (local.get $memo_len))
    (i32.const 64)
"#;

/// Says nothing about any row, for the reason 0: an answer that keeps every rule.
const NOTHING: &str = "
    (block $done (loop $next
        (br_if $done (i32.ge_u (local.get $i) (i32.mul (local.get $rows_len) (i32.const 6))))
        (f64.store offset=32768 (i32.mul (local.get $i) (i32.const 8))
            (select (f64.const 0) (f64.const nan)
                (i32.eq (i32.rem_u (local.get $i) (i32.const 6)) (i32.const 1))))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $next)))
";

impl Guest {
    /// A guest with this body of `recommend`.
    pub fn recommending(body: &str) -> Self {
        Self {
            recommend: body.to_owned(),
            ..Self::default()
        }
    }

    /// The same guest behind a face: it answers well until it is asked in earnest.
    pub fn asleep(&self) -> Self {
        let recommend = format!(
            "(if (result i32) (i64.lt_u (local.get $now) (i64.const {AWAKE_BEFORE_MS}))
                (then {inner}) (else {NOTHING} {ANSWER}))",
            inner = self.recommend,
        );
        Self {
            recommend,
            ..self.clone()
        }
    }

    /// The guest as a core module, described or not.
    pub fn build(&self) -> Vec<u8> {
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
}

/// Says in the module which world it is of.
pub fn describe(module: &mut Vec<u8>, world: &str) {
    let mut resolve = Resolve::default();
    let text = include_str!("../../../sdk/wit/lockgate-policy.wit");
    let package = resolve.push_str("lockgate-policy.wit", text).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8).unwrap();
}

fn one() -> u32 {
    1
}
