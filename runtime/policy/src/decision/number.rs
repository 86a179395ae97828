//! Numbers in JSON, to the bit.

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, SeqAccess, Visitor},
    ser::SerializeMap as _,
};

use crate::column::{self, Column};

/// One number.
#[derive(Clone, Copy)]
pub(super) struct Exact(pub(super) f64);

impl Serialize for Exact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number = self.0;
        if number.is_finite() {
            serializer.serialize_f64(number)
        } else if number.is_nan() {
            serializer.serialize_unit()
        } else {
            serializer.serialize_str(if number > 0.0 { "inf" } else { "-inf" })
        }
    }
}

impl<'de> Deserialize<'de> for Exact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_any(Numbers(true))? {
            Cell::One(number) => Ok(Self(number)),
            Cell::Many(_) => Err(de::Error::custom("a list where a number is due")),
        }
    }
}

/// A list of numbers.
pub(super) struct List<'a>(pub(super) &'a [f64]);

impl Serialize for List<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|number| Exact(*number)))
    }
}

/// A row by column; what is absent is left out.
pub(super) struct Named<'a>(pub(super) &'a [Column], pub(super) &'a [f64]);

impl Named<'_> {
    pub(super) fn write<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let mut at = 0;
        for column in self.0 {
            let numbers = self.1.get(at..at + column.width).unwrap_or_default();
            at += column.width;
            match numbers {
                [number] if !number.is_nan() => {
                    map.serialize_entry(column.name, &Exact(*number))?
                }
                [_] => {}
                many if many.iter().any(|number| !number.is_nan()) => {
                    map.serialize_entry(column.name, &List(many))?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.write(&mut map)?;
        map.end()
    }
}

/// What stands under a column's name.
#[derive(Clone)]
pub(super) enum Cell {
    One(f64),
    Many(Vec<f64>),
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Numbers(false))
    }
}

/// A row as it was read.
pub(super) type Cells = BTreeMap<String, Cell>;

/// Puts cells back into their columns. A name that is not among them is an error: it was asked, and would be lost.
pub(super) fn row(columns: &[Column], cells: &Cells) -> Result<Vec<f64>, String> {
    let mut row = vec![f64::NAN; column::width(columns)];
    for (name, cell) in cells {
        let known = columns.iter().find(|column| column.name == name);
        let (Some(column), Some(at)) = (known, column::place(columns, name)) else {
            return Err(format!("{name:?} is no column that this build knows"));
        };
        let numbers = match cell {
            Cell::One(number) => std::slice::from_ref(number),
            Cell::Many(numbers) => numbers,
        };
        match row.get_mut(at..at + column.width) {
            Some(place) if place.len() == numbers.len() => place.copy_from_slice(numbers),
            _ => {
                let (is, due) = (numbers.len(), column.width);
                return Err(format!("{name} has {is} numbers where {due} are due"));
            }
        }
    }
    Ok(row)
}

/// Reads a number, or a list of them unless only one will do.
struct Numbers(bool);

impl<'de> Visitor<'de> for Numbers {
    type Value = Cell;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, null, \"inf\" or \"-inf\"")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Cell, E> {
        Ok(Cell::One(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "the nearest number is meant")]
    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Cell, E> {
        Ok(Cell::One(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "the nearest number is meant")]
    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Cell, E> {
        Ok(Cell::One(number as f64))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Cell, E> {
        Ok(Cell::One(f64::NAN))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Cell, E> {
        match text {
            "inf" => Ok(Cell::One(f64::INFINITY)),
            "-inf" => Ok(Cell::One(f64::NEG_INFINITY)),
            _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Cell, A::Error> {
        if self.0 {
            return Err(de::Error::invalid_type(de::Unexpected::Seq, &self));
        }
        let mut numbers = Vec::new();
        while let Some(Exact(number)) = list.next_element()? {
            numbers.push(number);
        }
        Ok(Cell::Many(numbers))
    }
}
