//! What a case gives: the file's tables laid over each other, as rows of the whole contract.

use std::sync::Arc;

use lockgate_policy::{
    Kind, Tick, auth,
    column::{self, Column, SAMPLE_WIDTH},
    engine::{Cause, Mode},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    BadCases, Row,
    node::{Node, Table, instead},
};

/// What is given so far: the file's defaults, then the case's, then each step's.
pub(crate) struct Given {
    kind: Kind,
    tick: Tick,
    pub(crate) names: Vec<Arc<str>>,
    rungs: Vec<f64>,
    row: Vec<f64>,
    is_current_given: bool,
    memo: Option<Vec<f64>>,
}

impl Given {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            tick: Tick {
                now_ms: 0,
                seed: 0,
                mode: Mode::Webrtc,
                cause: Cause::Tick,
            },
            names: Vec::new(),
            rungs: Vec::new(),
            row: vec![f64::NAN; column::width(kind.inputs())],
            is_current_given: false,
            memo: None,
        }
    }

    pub(crate) fn row(&self) -> Row {
        Row {
            tick: self.tick,
            names: self.names.clone(),
            rungs: self.rungs.clone(),
            row: self.row.clone(),
            is_current_given: self.is_current_given,
            memo: self.memo.clone(),
        }
    }

    /// Lets time go on to the next step, of which nothing is said yet.
    pub(crate) fn pass(&mut self, step: &Table<'_>, is_first: bool) -> Result<(), BadCases> {
        let after = step
            .get("after_ms")
            .map(|node| node.want_whole("after_ms"))
            .transpose()?
            .unwrap_or(if is_first { 0 } else { STEP_MS });
        self.tick.now_ms = self.tick.now_ms.saturating_add(after);
        if !is_first {
            self.is_current_given = false;
            self.memo = None;
        }
        Ok(())
    }

    /// Lays a table's tick, rungs, row and memo over what is given.
    pub(crate) fn take(&mut self, table: &Table<'_>) -> Result<(), BadCases> {
        if let Some(node) = table.get("tick") {
            self.take_tick(&node.want_table("tick")?)?;
        }
        if let Some(node) = table.get("rungs") {
            self.take_rungs(&node)?;
        }
        let asked_with = match self.kind {
            Kind::Abr | Kind::Optimize | Kind::Score => "viewer",
            Kind::Ladder => "source",
            Kind::Auth => "request",
        };
        for key in ["viewer", "source", "request"] {
            let Some(node) = table.get(key) else { continue };
            if key != asked_with {
                let kind = self.kind;
                return node.fail(format!("{kind} is asked with {asked_with}, not with {key}"));
            }
            if self.kind != Kind::Auth {
                self.take_row(key, &node.want_table(key)?)?;
            }
        }
        if let Some(node) = table.get("memo") {
            self.memo = Some(numbers("memo", &node)?);
        }
        Ok(())
    }

    fn take_tick(&mut self, table: &Table<'_>) -> Result<(), BadCases> {
        table.only("tick", &["now_ms", "seed", "mode", "cause"])?;
        if let Some(node) = table.get("now_ms") {
            self.tick.now_ms = node.want_whole("now_ms")?;
        }
        if let Some(node) = table.get("seed") {
            self.tick.seed = node.want_whole("seed")?;
        }
        if let Some(node) = table.get("mode") {
            self.tick.mode = word(&node)?;
        }
        if let Some(node) = table.get("cause") {
            self.tick.cause = word(&node)?;
        }
        Ok(())
    }

    fn take_rungs(&mut self, node: &Node<'_>) -> Result<(), BadCases> {
        (self.names, self.rungs) = (Vec::new(), Vec::new());
        for (at, table) in node.want_tables("rungs")?.iter().enumerate() {
            let mut row = vec![f64::NAN; column::width(column::RUNG)];
            let mut name = Arc::from(at.to_string());
            for (key, node) in table.entries() {
                if key == "name" {
                    name = node.want_text("name")?.into();
                } else {
                    write(
                        &mut row,
                        "a rung",
                        column::RUNG,
                        key,
                        node.want_number(key)?,
                        &node,
                    )?;
                }
            }
            let of = |name| column::place(column::RUNG, name).unwrap_or(usize::MAX);
            let get = |name| row.get(of(name)).copied().unwrap_or(f64::NAN);
            // As the host does: what a rung needs is the higher of what it declares and what it measures.
            let most = get("kbps").max(get("measured_kbps"));
            if let Some(need) = row.get_mut(of("need_kbps")).filter(|need| need.is_nan()) {
                *need = most;
            }
            self.names.push(name);
            self.rungs.extend(row);
        }
        Ok(())
    }

    fn take_row(&mut self, what: &str, table: &Table<'_>) -> Result<(), BadCases> {
        let columns = self.kind.inputs();
        for (key, node) in table.entries() {
            if key == "current" && self.kind != Kind::Ladder {
                self.is_current_given = true;
                let rung = self.rung(&node, key)?;
                write(&mut self.row, what, columns, key, rung, &node)?;
            } else if key == "samples" {
                self.take_samples(&node)?;
            } else {
                let known = columns.iter().any(|column| column.name == key);
                let number = if known {
                    node.want_number(key)?
                } else {
                    f64::NAN
                };
                write(&mut self.row, what, columns, key, number, &node)?;
            }
        }
        Ok(())
    }

    /// The last samples, oldest first: `[[start_ms, bytes, transfer_ms, ttfb_ms, rung], …]`.
    fn take_samples(&mut self, node: &Node<'_>) -> Result<(), BadCases> {
        let form = format!("samples are lists of {SAMPLE_WIDTH} numbers, 16 at most");
        let mut all = Vec::new();
        for sample in node.list().map_or_else(|| node.fail(form.clone()), Ok)? {
            let sample_numbers = numbers("a sample", &sample)?;
            if sample_numbers.len() != SAMPLE_WIDTH {
                return sample.fail(form);
            }
            all.extend(sample_numbers);
        }
        let from = column::place(self.kind.inputs(), "samples").unwrap_or(usize::MAX);
        let width = column::SAMPLES * SAMPLE_WIDTH;
        let place = from
            .checked_add(width)
            .and_then(|to| self.row.get_mut(from..to));
        let (Some(place), Some(free)) = (place, width.checked_sub(all.len())) else {
            return node.fail(form);
        };
        place.fill(f64::NAN);
        for (place, number) in place.iter_mut().skip(free).zip(all) {
            *place = number;
        }
        Ok(())
    }

    /// A rung by its name or its number from 0.
    pub(crate) fn rung(&self, node: &Node<'_>, key: &str) -> Result<f64, BadCases> {
        let Some(name) = node.text() else {
            return node.want_number(key);
        };
        let mut numbered = (0u32..).zip(&self.names);
        match numbered.find(|(_, known)| known.as_ref() == name) {
            Some((at, _)) => Ok(f64::from(at)),
            None => {
                let instead = instead(name, self.names.iter().map(AsRef::as_ref));
                node.fail(format!("there is no rung {name:?}; {instead}"))
            }
        }
    }
}

fn write(
    row: &mut [f64],
    what: &str,
    columns: &[Column],
    key: &str,
    number: f64,
    node: &Node<'_>,
) -> Result<(), BadCases> {
    match column::place(columns, key).and_then(|at| row.get_mut(at)) {
        Some(place) => {
            *place = number;
            Ok(())
        }
        None => {
            let instead = instead(key, columns.iter().map(|column| column.name));
            node.fail(format!("{what} has no column {key:?}; {instead}"))
        }
    }
}

pub(crate) fn numbers(what: &str, node: &Node<'_>) -> Result<Vec<f64>, BadCases> {
    match node.list() {
        Some(list) => list.iter().map(|node| node.want_number(what)).collect(),
        None => node.fail(format!(
            "{what} is to be a list of numbers, nan where one is absent"
        )),
    }
}

fn word<T: DeserializeOwned>(node: &Node<'_>) -> Result<T, BadCases> {
    serde_json::from_value(node.json()).or_else(|error| node.fail(error.to_string()))
}

/// A request, with what it leaves out as of somebody without a token.
pub(crate) fn request(node: &Node<'_>) -> Result<auth::Request, BadCases> {
    let table = node.want_table("request")?;
    let mut whole = json!({
        "stream": "", "peer": "192.0.2.1", "claims": {}, "now_s": 0, "answered": null,
    });
    let known = ["action", "stream", "peer", "claims", "now_s", "answered"];
    table.only("a request", &known)?;
    for (key, node) in table.entries() {
        if let Value::Object(members) = &mut whole {
            members.insert(key.to_owned(), node.json());
        }
    }
    serde_json::from_value(whole).or_else(|error| node.fail(format!("the request: {error}")))
}

/// Time from one step to the next where the file does not say.
const STEP_MS: u64 = 1000;
