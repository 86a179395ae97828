//! Reading TOML with the lines it stands on.

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// What is wrong with a case file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct BadCases {
    /// From 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub what: String,
}

/// A value with where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    text: &'a str,
    value: &'a DeValue<'a>,
    at: usize,
}

/// A table with where it stands.
#[derive(Clone, Copy)]
pub(crate) struct Table<'a> {
    text: &'a str,
    table: &'a DeTable<'a>,
    at: usize,
}

pub(crate) fn line(text: &str, at: usize) -> usize {
    let before = text.as_bytes().get(..at).unwrap_or(text.as_bytes());
    before.iter().filter(|byte| **byte == b'\n').count() + 1
}

/// `did you mean …`, or all there are.
pub(crate) fn instead<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let known: Vec<&str> = known.collect();
    let near = known
        .iter()
        .map(|one| (strsim::jaro_winkler(name, one), *one))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, near)) => format!("did you mean {near:?}?"),
        None => format!("there are {}", known.join(", ")),
    }
}

impl<'a> Table<'a> {
    pub(crate) fn root(text: &'a str, table: &'a Spanned<DeTable<'a>>) -> Self {
        Self {
            text,
            table: table.get_ref(),
            at: 0,
        }
    }

    pub(crate) fn line(&self) -> usize {
        line(self.text, self.at)
    }

    pub(crate) fn fail<T>(&self, what: impl Into<String>) -> Result<T, BadCases> {
        Err(BadCases {
            line: self.line(),
            what: what.into(),
        })
    }

    pub(crate) fn get(&self, key: &str) -> Option<Node<'a>> {
        let value = self.table.get(key)?;
        Some(Node {
            text: self.text,
            value: value.get_ref(),
            at: value.span().start,
        })
    }

    /// Its keys, each with its value, in the order of the file.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Node<'a>)> {
        let mut all: Vec<(usize, &str, Node<'_>)> = self
            .table
            .iter()
            .map(|(key, value)| {
                let at = key.span().start;
                let node = Node {
                    text: self.text,
                    value: value.get_ref(),
                    at,
                };
                (at, key.get_ref().as_ref(), node)
            })
            .collect();
        all.sort_by_key(|(at, ..)| *at);
        all.into_iter().map(|(_, key, node)| (key, node)).collect()
    }

    /// Refuses keys that are not known here.
    pub(crate) fn only(&self, what: &str, known: &[&str]) -> Result<(), BadCases> {
        for (key, node) in self.entries() {
            if !known.contains(&key) {
                let instead = instead(key, known.iter().copied());
                return node.fail(format!("{what} has no key {key:?}; {instead}"));
            }
        }
        Ok(())
    }
}

impl<'a> Node<'a> {
    pub(crate) fn line(&self) -> usize {
        line(self.text, self.at)
    }

    pub(crate) fn fail<T>(&self, what: impl Into<String>) -> Result<T, BadCases> {
        Err(BadCases {
            line: self.line(),
            what: what.into(),
        })
    }

    pub(crate) fn text(&self) -> Option<&'a str> {
        self.value.as_str()
    }

    pub(crate) fn want_text(&self, key: &str) -> Result<&'a str, BadCases> {
        match self.text() {
            Some(text) => Ok(text),
            None => self.fail(format!("{key} is to be a text")),
        }
    }

    /// A number; true is 1, false 0, `nan` absent.
    pub(crate) fn number(&self) -> Option<f64> {
        match self.value {
            DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
                .ok()
                .and_then(|number| Number::from(number).as_f64()),
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Boolean(is) => Some(f64::from(u8::from(*is))),
            _ => None,
        }
    }

    pub(crate) fn want_number(&self, key: &str) -> Result<f64, BadCases> {
        match self.number() {
            Some(number) => Ok(number),
            None => self.fail(format!(
                "{key} is to be a number, or nan where it is absent"
            )),
        }
    }

    pub(crate) fn want_whole(&self, key: &str) -> Result<u64, BadCases> {
        let DeValue::Integer(integer) = self.value else {
            return self.fail(format!("{key} is to be a whole number from 0 on"));
        };
        u64::from_str_radix(integer.as_str(), integer.radix())
            .or_else(|_| self.fail(format!("{key} is to be a whole number from 0 on")))
    }

    pub(crate) fn list(&self) -> Option<Vec<Self>> {
        let nodes = self.value.as_array()?.iter().map(|value| Node {
            text: self.text,
            value: value.get_ref(),
            at: value.span().start,
        });
        Some(nodes.collect())
    }

    pub(crate) fn table(&self) -> Option<Table<'a>> {
        Some(Table {
            text: self.text,
            table: self.value.as_table()?,
            at: self.at,
        })
    }

    pub(crate) fn want_table(&self, key: &str) -> Result<Table<'a>, BadCases> {
        match self.table() {
            Some(table) => Ok(table),
            None => self.fail(format!("{key} is to be a table")),
        }
    }

    pub(crate) fn want_tables(&self, key: &str) -> Result<Vec<Table<'a>>, BadCases> {
        match self.list() {
            Some(list) => list.iter().map(|node| node.want_table(key)).collect(),
            None => self.fail(format!("{key} is to be a list of tables, [[{key}]]")),
        }
    }

    /// As JSON; a number that JSON cannot hold becomes null.
    pub(crate) fn json(&self) -> Value {
        json(self.value)
    }
}

fn json(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Integer(integer) => {
            let (digits, radix) = (integer.as_str(), integer.radix());
            i64::from_str_radix(digits, radix).map_or(Value::Null, Value::from)
        }
        DeValue::Float(float) => float
            .as_str()
            .parse()
            .ok()
            .and_then(Number::from_f64)
            .map_or(Value::Null, Value::Number),
        DeValue::Boolean(is) => Value::Bool(*is),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(list) => list.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => {
            let members = table
                .iter()
                .map(|(key, value)| (key.get_ref().clone().into_owned(), json(value.get_ref())));
            Value::Object(members.collect::<Map<_, _>>())
        }
    }
}
