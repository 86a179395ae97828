//! From the text of a case file to questions and expectations.

use std::collections::HashSet;

use lockgate_policy::Kind;
use toml::de::DeTable;

use crate::{
    BadCases, Case, Cases, Question, Step, expect,
    given::{Given, request},
    node::{Node, Table, line},
};

/// Keys of a file.
const FILE: &[&str] = &["kind", "config", "tick", "rungs", "case"];
/// Keys of a case.
const CASE: &[&str] = &[
    "name", "kind", "config", "tick", "rungs", "viewer", "source", "request", "memo", "expect",
    "step",
];
/// Keys of a step.
const STEP: &[&str] = &[
    "after_ms", "tick", "rungs", "viewer", "source", "request", "memo", "expect",
];

impl Cases {
    /// Reads a case file.
    ///
    /// # Errors
    /// What is wrong, with its line: TOML that is none, a key or column that does not exist, a case that expects nothing.
    pub fn parse(text: &str) -> Result<Self, BadCases> {
        let root = DeTable::parse(text).map_err(|error| BadCases {
            line: line(text, error.span().map_or(0, |span| span.start)),
            what: error.message().to_owned(),
        })?;
        let file = Table::root(text, &root);
        file.only("a case file", FILE)?;
        let cases = file.get("case").map(|node| node.want_tables("case"));
        let mut names = HashSet::new();
        let mut all = Vec::new();
        for table in cases.transpose()?.unwrap_or_default() {
            let case = case(&file, &table)?;
            if !names.insert(case.name.clone()) {
                return table.fail(format!(
                    "another case is called {:?} too; give each its own name",
                    case.name
                ));
            }
            all.push(case);
        }
        if all.is_empty() {
            return file.fail("there is no [[case]]; write at least one");
        }
        Ok(Self { cases: all })
    }
}

fn case(file: &Table<'_>, table: &Table<'_>) -> Result<Case, BadCases> {
    table.only("a case", CASE)?;
    let name = match table.get("name") {
        Some(node) => node.want_text("name")?.to_owned(),
        None => return table.fail("the case has no name; a sentence that says what is to hold"),
    };
    let either = |key: &str| table.get(key).or_else(|| file.get(key));
    let kind = match either("kind") {
        Some(node) => match node.want_text("kind")?.parse() {
            Ok(kind) => kind,
            Err(what) => return node.fail::<Case>(what),
        },
        None => return table.fail("no kind is named, neither here nor at the top: kind = \"abr\""),
    };
    let config = either("config")
        .map(|node| node.want_table("config").map(|_| node.json()))
        .transpose()?;
    let steps = match table.get("step") {
        None => vec![*table],
        Some(node) => {
            if let Some(expect) = table.get("expect") {
                return expect.fail("a case with steps expects in its steps: move expect there");
            }
            node.want_tables("step")?
        }
    };
    let is_sequence = table.get("step").is_some();
    let mut given = Given::new(kind);
    given.take(file)?;
    let mut taken = Vec::new();
    let mut asked = None;
    for (at, step) in steps.iter().enumerate() {
        if is_sequence {
            step.only("a step", STEP)?;
        }
        if at == 0 {
            given.take(table)?;
        }
        if is_sequence {
            given.pass(step, at == 0)?;
            given.take(step)?;
        }
        if kind == Kind::Auth {
            asked = step
                .get("request")
                .or_else(|| table.get("request"))
                .or(asked);
        }
        taken.push(Step {
            line: step.line(),
            question: question(&given, kind, asked, step)?,
            expect: match step.get("expect") {
                None => Vec::new(),
                Some(node) => expect::parse(kind, &given, &node.want_table("expect")?)?,
            },
        });
    }
    if taken.iter().all(|step| step.expect.is_empty()) {
        return table.fail(format!(
            "the case {name:?} expects nothing; add expect = {{ … }}"
        ));
    }
    Ok(Case {
        name,
        line: table.line(),
        kind,
        config,
        steps: taken,
    })
}

fn question(
    given: &Given,
    kind: Kind,
    asked: Option<Node<'_>>,
    step: &Table<'_>,
) -> Result<Question, BadCases> {
    if kind != Kind::Auth {
        return Ok(Question::Row(Box::new(given.row())));
    }
    match asked {
        Some(node) => Ok(Question::Request(Box::new(request(&node)?))),
        None => step.fail("auth is asked with request = { action = \"play\", … }"),
    }
}
