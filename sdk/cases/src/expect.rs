//! What is expected of an answer.

use lockgate_policy::Kind;

use crate::{
    BadCases,
    given::{Given, numbers},
    node::{Node, Table, instead},
};

/// One thing expected of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// A column of the answer, `memo`, `encode`, `fault`, or a word of a verdict.
    pub name: String,
    /// Where it stands in the file, from 1.
    pub line: usize,
    /// What it is to be.
    pub wanted: Wanted,
}

/// What something is to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// This number, to the bit; NaN for absent.
    Number(f64),
    /// A number this near.
    Near {
        /// Around this.
        approx: f64,
        /// No farther away than this.
        within: f64,
    },
    /// A number within these bounds.
    Within {
        /// No less than this.
        at_least: f64,
        /// No more than this.
        at_most: f64,
    },
    /// These numbers, as many, to the bit.
    Numbers(Vec<f64>),
    /// This text.
    Text(String),
}

impl Wanted {
    /// Whether a number is what is wanted.
    pub fn is(&self, number: f64) -> bool {
        match self {
            Self::Number(wanted) => same(*wanted, number),
            Self::Near { approx, within } => (number - approx).abs() <= *within,
            Self::Within { at_least, at_most } => (*at_least..=*at_most).contains(&number),
            Self::Numbers(_) | Self::Text(_) => false,
        }
    }
}

/// Equal to the bit, one NaN being as good as another, and -0 as good as 0.
pub(crate) fn same(a: f64, b: f64) -> bool {
    #[expect(clippy::float_cmp, reason = "answers are exact")]
    let is_equal = a == b;
    is_equal || (a.is_nan() && b.is_nan())
}

/// Reads a table of expectations.
pub(crate) fn parse(
    kind: Kind,
    given: &Given,
    table: &Table<'_>,
) -> Result<Vec<Expectation>, BadCases> {
    let known = known(kind);
    let mut all = Vec::new();
    for (key, node) in table.entries() {
        if !known.contains(&key) {
            let instead = instead(key, known.iter().copied());
            return node.fail(format!("the answer of {kind} has no {key:?}; {instead}"));
        }
        all.push(Expectation {
            name: key.to_owned(),
            line: node.line(),
            wanted: wanted(kind, given, key, &node)?,
        });
    }
    Ok(all)
}

/// What can be expected of an answer.
fn known(kind: Kind) -> Vec<&'static str> {
    let mut known: Vec<&str> = kind.outputs().iter().map(|column| column.name).collect();
    match kind {
        Kind::Auth => known.extend(VERDICT),
        Kind::Ladder => known.extend(["encode", "memo"]),
        Kind::Abr | Kind::Optimize | Kind::Score => known.push("memo"),
    }
    known.push("fault");
    known
}

fn wanted(kind: Kind, given: &Given, key: &str, node: &Node<'_>) -> Result<Wanted, BadCases> {
    if key == "memo" {
        return Ok(Wanted::Numbers(numbers(key, node)?));
    }
    if key == "encode" {
        return encode(given, node);
    }
    if let Some(table) = node.table() {
        return near(&table);
    }
    let is_word = key == "fault" || key == "reason" || kind == Kind::Auth;
    match node.text() {
        Some(text) if is_word => Ok(Wanted::Text(text.to_owned())),
        _ if key == "fault" => {
            node.fail("fault is to be a word: \"trap\", \"budget\", \"configuration\", …")
        }
        _ if key == "rung" => Ok(Wanted::Number(given.rung(node, key)?)),
        _ => Ok(Wanted::Number(node.want_number(key)?)),
    }
}

/// Which rungs are to be encoded: a list of their names.
fn encode(given: &Given, node: &Node<'_>) -> Result<Wanted, BadCases> {
    let Some(list) = node.list() else {
        return node.fail("encode is to be a list of names of rungs");
    };
    let mut kept = vec![0.0; given.names.len()];
    for node in list {
        let name = node.want_text("encode")?;
        let at = given.rung(&node, name)?;
        for (place, number) in kept.iter_mut().zip(0u32..) {
            if same(f64::from(number), at) {
                *place = 1.0;
            }
        }
    }
    Ok(Wanted::Numbers(kept))
}

fn near(table: &Table<'_>) -> Result<Wanted, BadCases> {
    table.only(
        "an expectation",
        &["approx", "within", "at_least", "at_most"],
    )?;
    let number = |key: &str, default: f64| {
        let node = table.get(key);
        node.map_or(Ok(default), |node| node.want_number(key))
    };
    if let Some(approx) = table.get("approx") {
        let (approx, within) = (approx.want_number("approx")?, number("within", 1e-6)?);
        return Ok(Wanted::Near { approx, within });
    }
    let at_least = number("at_least", f64::NEG_INFINITY)?;
    let at_most = number("at_most", f64::INFINITY)?;
    Ok(Wanted::Within { at_least, at_most })
}

/// The words of a verdict.
const VERDICT: [&str; 7] = [
    "verdict", "ttl_s", "role", "cap_kbps", "status", "reason", "url",
];
