//! Luau scripts.

use serde::Deserialize;

use crate::{AWAKE_BEFORE_MS, Ends};

/// A script and its outcome.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What it does, in a few words: its name.
    pub does: String,
    /// How it ends when it is asked.
    pub ends: Ends,
    /// What the words of its end hold.
    #[serde(default)]
    pub says: String,
    /// What they hold besides where the script alone, as `script.luau`, judges three viewers.
    #[serde(default)]
    pub at: String,
    /// The kind it judges.
    #[serde(default = "abr")]
    pub kind: String,
    /// The script.
    pub source: String,
}

#[derive(Deserialize)]
struct Index {
    script: Vec<Script>,
}

impl Script {
    /// The same script behind a face: it answers well until it is asked in earnest. What it does while it is loaded it
    /// does at once all the same.
    pub fn asleep(&self) -> String {
        format!(
            "local inner = (function()\n{source}\nend)()\n\
             local recommend, policy = inner.recommend, {{configure = inner.configure}}\n\
             function policy.recommend(viewer, ladder, tick)\n\
             \tif tick.now_ms < {AWAKE_BEFORE_MS} then return recommend(viewer, ladder, tick) end\n\
             \tif #ladder == 0 then return nil, \"asleep\" end\n\
             \treturn 1, \"asleep\"\n\
             end\n\
             return policy\n",
            source = self.source
        )
    }

    /// A script of `auth` that lets administrators in all the same, so that it can be taken away again.
    pub fn with_a_way_out(&self) -> String {
        format!(
            "local inner = (function()\n{source}\nend)()\n\
             return {{authorize = function(request)\n\
             \tif request.action == \"admin\" then return {{allow = true}} end\n\
             \treturn inner.authorize(request)\n\
             end}}\n",
            source = self.source
        )
    }
}

/// The scripts of `abr` that show themselves at once.
pub fn scripts() -> Vec<Script> {
    let mut all = read(include_str!("../greedy.toml"));
    all.append(&mut read(include_str!("../wrong.toml")));
    all
}

/// The scripts that keep every rule until they serve.
pub fn cunning() -> Vec<Script> {
    read(include_str!("../cunning.toml"))
}

/// The scripts of `auth`, each of which must mean no.
pub fn doors() -> Vec<Script> {
    read(include_str!("../auth.toml"))
}

fn read(text: &str) -> Vec<Script> {
    let index: Index = toml::from_str(text).unwrap();
    index.script
}

fn abr() -> String {
    "abr".to_owned()
}
