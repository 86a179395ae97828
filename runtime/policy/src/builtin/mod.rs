//! The built-in policies: the reference rules in Rust. They decide when no script does, and they are what the Luau and
//! Wasm editions of the reference are held to, number for number. So each is written in plain steps of `f64`.

mod abr;
mod ladder;
mod optimize;
mod score;

use serde_json::{Value, json};

use crate::{
    Kind, Manifest, Services,
    auth::{self, Request, Verdict},
    column::{self, Column},
    engine::{Answer, Artifact, Batch, Fault, Policy, Spent},
    manifest::Wants,
};

/// The reference rules as one policy that answers every kind.
#[derive(Debug)]
pub struct Builtin {
    manifest: Manifest,
}

/// An instance with its configuration.
#[derive(Debug, Clone, Copy, Default)]
struct Instance {
    abr: abr::Config,
    ladder: ladder::Config,
    optimize: optimize::Config,
}

impl Default for Builtin {
    fn default() -> Self {
        let wants = |kind: Kind| {
            let (memo, reasons) = match kind {
                Kind::Abr => (abr::MEMO, abr::REASONS),
                Kind::Optimize => (0, optimize::REASONS),
                Kind::Score => (0, score::REASONS),
                Kind::Ladder => (0, ladder::REASONS),
                Kind::Auth => (0, &[][..]),
            };
            Wants {
                memo,
                reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
                ..Wants::default()
            }
        };
        let kinds = Kind::ALL
            .into_iter()
            .map(|kind| (kind, wants(kind)))
            .collect();
        let mut manifest = Manifest::plain("builtin", &[]);
        manifest.kinds = kinds;
        manifest.config_schema = Some(schema(&Kind::ALL));
        env!("CARGO_PKG_VERSION").clone_into(&mut manifest.version);
        Self { manifest }
    }
}

impl Artifact for Builtin {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn digest(&self) -> &'static str {
        "builtin"
    }

    fn instantiate_with(&self, config: &Value, _: &Services) -> Result<Box<dyn Policy>, Fault> {
        let number = |parameter: &Parameter| match config.get(parameter.name) {
            None => Ok(parameter.default),
            Some(value) => value
                .as_f64()
                .filter(|number| number.is_finite() && *number >= 0.0)
                .ok_or_else(|| {
                    let key = parameter.name;
                    Fault::Configuration(format!("{key} must be a number from 0 on, not {value}"))
                }),
        };
        Ok(Box::new(Instance {
            abr: abr::Config {
                up_after_ms: number(&UP_AFTER_S)? * 1000.0,
                start_kbps: number(&START_KBPS)?,
            },
            ladder: ladder::Config {
                megapixel_cost: number(&MEGAPIXEL_COST)?,
            },
            optimize: optimize::Config {
                fec_loss_pct: number(&FEC_LOSS_PCT)?,
            },
        }))
    }
}

impl Policy for Instance {
    fn decide(&mut self, kind: Kind, batch: &Batch, answer: &mut Answer) -> Result<Spent, Fault> {
        let columns = Columns {
            rows: kind.inputs(),
            rungs: column::RUNG,
        };
        let width = column::width(columns.rows);
        if batch.rows.len() != width * batch.row_count
            || batch.rungs.len() != column::width(columns.rungs) * batch.rung_count
        {
            return Err(Fault::Host(
                "the batch does not have the columns of the contract".to_owned(),
            ));
        }
        answer.clear();
        answer.memo.extend_from_slice(&batch.memo);
        match kind {
            Kind::Abr => abr::decide(&self.abr, batch, answer),
            Kind::Optimize => optimize::decide(&self.optimize, batch, answer),
            Kind::Score => score::decide(batch, answer),
            Kind::Ladder => ladder::decide(&self.ladder, batch, answer),
            Kind::Auth => return Err(Fault::NotAnswered(kind)),
        }
        Ok(Spent::default())
    }

    fn authorize(&mut self, request: &Request) -> Result<(Verdict, Spent), Fault> {
        auth::reference(request).map(|verdict| (verdict, Spent::default()))
    }
}

/// The schema of the configuration of the built-ins of some kinds.
pub fn schema(kinds: &[Kind]) -> Value {
    let properties: serde_json::Map<String, Value> = PARAMETERS
        .iter()
        .filter(|parameter| kinds.contains(&parameter.kind))
        .map(|parameter| {
            let schema = json!({
                "type": "number",
                "minimum": 0,
                "default": parameter.default,
                "description": parameter.description,
            });
            (parameter.name.to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "additionalProperties": false, "properties": properties })
}

struct Parameter {
    kind: Kind,
    name: &'static str,
    default: f64,
    description: &'static str,
}

const UP_AFTER_S: Parameter = Parameter {
    kind: Kind::Abr,
    name: "up_after_s",
    default: 5.0,
    description: "How long a higher rung must have fitted without a break before it is taken.",
};
const START_KBPS: Parameter = Parameter {
    kind: Kind::Abr,
    name: "start_kbps",
    default: 2500.0,
    description: "The bitrate up to which a viewer starts whose bandwidth nobody knows yet.",
};
const MEGAPIXEL_COST: Parameter = Parameter {
    kind: Kind::Ladder,
    name: "megapixel_cost",
    default: 0.0065,
    description: "CPU seconds that a million pixels cost to encode.",
};
const FEC_LOSS_PCT: Parameter = Parameter {
    kind: Kind::Optimize,
    name: "fec_loss_pct",
    default: 2.0,
    description: "Loss from which on forward error correction is added, in percent.",
};
const PARAMETERS: [&Parameter; 4] = [&UP_AFTER_S, &START_KBPS, &MEGAPIXEL_COST, &FEC_LOSS_PCT];

struct Columns {
    rows: &'static [Column],
    rungs: &'static [Column],
}

/// Reads one column of rows of the whole contract: `None` where it is absent.
#[derive(Clone, Copy)]
struct Reader<'a> {
    numbers: &'a [f64],
    width: usize,
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(numbers: &'a [f64], columns: &[Column], name: &str) -> Self {
        // Only names of the contract are asked for; a wrong one would read beyond the row and be absent.
        Self {
            numbers,
            width: column::width(columns),
            at: column::place(columns, name).unwrap_or(usize::MAX),
        }
    }

    fn get(self, row: usize) -> Option<f64> {
        let at = (row * self.width).checked_add(self.at)?;
        self.numbers
            .get(at)
            .copied()
            .filter(|number| number.is_finite())
    }
}

#[cfg(test)]
mod tests;
