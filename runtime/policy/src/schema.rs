//! What a policy's configuration may be: the JSON Schema (draft 2020-12) of its manifest.
//!
//! A schema is a stranger's, so only what bounds it is read: the keywords of [`KEYWORDS`], references into itself that
//! come to an end, patterns that are matched in linear time. A keyword that is not known is an error, for it would be a
//! promise that nobody keeps. Small on purpose: the libraries for the whole of JSON Schema bring networks, dates and
//! tens of crates.

mod told;

use std::fmt;

use regex_lite::{Regex, RegexBuilder};
use serde_json::{Map, Value};

/// What is wrong with a configuration: each place as a JSON pointer (RFC 6901), with what is there and what may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    wrong: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told: Vec<&str> = self
            .wrong
            .iter()
            .take(TOLD_MAX)
            .map(String::as_str)
            .collect();
        f.write_str(&told.join("; "))?;
        match self.wrong.len().saturating_sub(TOLD_MAX) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Whether a schema can be used. An error says what is wrong with it, and where.
pub fn check(schema: &Value) -> Result<(), String> {
    let bytes = schema.to_string().len();
    if bytes > BYTES_MAX {
        return Err(format!("it has {bytes} bytes; {BYTES_MAX} is the most"));
    }
    let mut left = PARTS_MAX;
    good(schema, schema, "", DEPTH_MAX, &mut left)
}

/// Holds a configuration to a schema. No configuration is an empty one.
pub fn validate(schema: &Value, config: &Value) -> Result<(), ConfigError> {
    if let Err(what) = check(schema) {
        let wrong = vec![format!("its schema: {what}")];
        return Err(ConfigError { wrong });
    }
    let none = Value::Object(Map::new());
    let config = if config.is_null() { &none } else { config };
    let mut wrong = Vec::new();
    hold(schema, schema, config, "", &mut wrong);
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(ConfigError { wrong })
    }
}

/// Walks a schema with what it refers to in place of each reference: what a validator walks at worst.
fn good(
    root: &Value,
    part: &Value,
    at: &str,
    depth: usize,
    left: &mut usize,
) -> Result<(), String> {
    let (Some(depth), Some(fewer)) = (depth.checked_sub(1), left.checked_sub(1)) else {
        return Err(format!(
            "with its references put in it is deeper than {DEPTH_MAX} or has more than {PARTS_MAX} parts; a schema \
             that contains itself has no end"
        ));
    };
    *left = fewer;
    let place = if at.is_empty() { "/" } else { at };
    let keywords = match part {
        Value::Bool(_) => return Ok(()),
        Value::Object(keywords) => keywords,
        other => {
            return Err(format!(
                "{place} is {}; a schema is an object, true or false",
                told::clip(other)
            ));
        }
    };
    for (key, value) in keywords {
        let Some((_, form)) = KEYWORDS.iter().find(|(known, _)| known == key) else {
            let known: Vec<&str> = KEYWORDS.iter().map(|(known, _)| *known).collect();
            return Err(format!(
                "{place}: {}, of what this host reads of JSON Schema",
                told::unknown(key, &known)
            ));
        };
        let within = format!("{at}/{key}");
        let form_is_good = match (form, value) {
            (Form::Any, _) | (Form::Flag, Value::Bool(_)) | (Form::Number, Value::Number(_)) => {
                true
            }
            (Form::Type, value) => types(value).is_some(),
            (Form::List, Value::Array(list)) => !list.is_empty(),
            (Form::Words, Value::Array(list)) => list.iter().all(Value::is_string),
            (Form::Positive, value) => value.as_f64().is_some_and(|number| number > 0.0),
            (Form::Count, value) => value.as_u64().is_some(),
            (Form::Draft, Value::String(draft)) => draft.contains("2020-12"),
            (Form::Pattern, Value::String(pattern)) => {
                regex(pattern).map_err(|error| format!("{within} is {pattern:?}: {error}"))?;
                true
            }
            (Form::Reference, Value::String(target)) => {
                let target = referred(root, target)?;
                good(root, target, &within, depth, left)?;
                true
            }
            (Form::Part, part) => {
                good(root, part, &within, depth, left)?;
                true
            }
            (Form::Parts, Value::Array(parts)) => {
                for (number, part) in parts.iter().enumerate() {
                    good(root, part, &format!("{within}/{number}"), depth, left)?;
                }
                !parts.is_empty()
            }
            (Form::Named, Value::Object(parts)) => {
                for (name, part) in parts {
                    good(root, part, &format!("{within}/{name}"), depth, left)?;
                }
                true
            }
            _ => false,
        };
        if !form_is_good {
            return Err(format!("{within} is {}; {form}", told::clip(value)));
        }
    }
    Ok(())
}

/// The part of a schema that a reference names.
fn referred<'a>(root: &'a Value, target: &str) -> Result<&'a Value, String> {
    let Some(pointer) = target.strip_prefix('#') else {
        return Err(format!(
            "it refers to {target:?}, which is outside of it; put what is needed into its \"$defs\""
        ));
    };
    root.pointer(pointer)
        .ok_or_else(|| format!("it refers to {target:?}, which is not in it"))
}

/// Holds a value to a part of a schema that [`good`] has walked.
fn hold(root: &Value, part: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let place = if at.is_empty() { "/" } else { at };
    let keywords = match part {
        Value::Object(keywords) => keywords,
        Value::Bool(false) => {
            wrong.push(format!("{place}: nothing may stand here"));
            return;
        }
        _ => return,
    };
    let holds = |part: &Value| {
        let mut wrong = Vec::new();
        hold(root, part, value, at, &mut wrong);
        wrong.is_empty()
    };
    for (key, limit) in keywords {
        let is_good = match (key.as_str(), limit) {
            ("$ref", Value::String(target)) => {
                if let Ok(part) = referred(root, target) {
                    hold(root, part, value, at, wrong);
                }
                true
            }
            ("allOf", Value::Array(parts)) => {
                for part in parts {
                    hold(root, part, value, at, wrong);
                }
                true
            }
            ("anyOf", Value::Array(parts)) => parts.iter().any(holds),
            ("oneOf", Value::Array(parts)) => parts.iter().filter(|part| holds(part)).count() == 1,
            ("not", part) => !holds(part),
            _ => simple(key, limit, value),
        };
        if !is_good {
            wrong.push(format!(
                "{place}: {} does not fit {key} (allowed: {})",
                told::clip(value),
                told::allowed(part)
            ));
        }
    }
    if let Value::Array(items) = value
        && let Some(part) = keywords.get("items")
    {
        for (number, item) in items.iter().enumerate() {
            hold(root, part, item, &format!("{at}/{number}"), wrong);
        }
    }
    if let Value::Object(fields) = value {
        object(root, keywords, fields, at, wrong);
    }
}

fn object(
    root: &Value,
    keywords: &Map<String, Value>,
    fields: &Map<String, Value>,
    at: &str,
    wrong: &mut Vec<String>,
) {
    let place = if at.is_empty() { "/" } else { at };
    let properties = keywords.get("properties").and_then(Value::as_object);
    for (key, value) in fields {
        let within = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        let own = properties.and_then(|properties| properties.get(key));
        match own.or_else(|| keywords.get("additionalProperties")) {
            Some(Value::Bool(false)) if own.is_none() => {
                let known = properties
                    .map_or_else(Vec::new, |known| known.keys().map(String::as_str).collect());
                wrong.push(format!("{place}: {}", told::unknown(key, &known)));
            }
            Some(part) => hold(root, part, value, &within, wrong),
            None => {}
        }
    }
    let required = keywords.get("required").and_then(Value::as_array);
    for key in required.into_iter().flatten().filter_map(Value::as_str) {
        if !fields.contains_key(key) {
            wrong.push(format!("{place}: {key:?} is missing"));
        }
    }
}

/// Whether a value fits a keyword that speaks of this value alone.
fn simple(key: &str, limit: &Value, value: &Value) -> bool {
    let number = |holds: fn(f64, f64) -> bool| match (value.as_f64(), limit.as_f64()) {
        (Some(value), Some(limit)) => holds(value, limit),
        _ => true,
    };
    let count = |length: Option<usize>, holds: fn(u64, u64) -> bool| match (length, limit.as_u64())
    {
        (Some(length), Some(limit)) => holds(length as u64, limit),
        _ => true,
    };
    let characters = || value.as_str().map(|text| text.chars().count());
    let items = || value.as_array().map(Vec::len);
    let fields = || value.as_object().map(Map::len);
    match key {
        "type" => types(limit).is_none_or(|types| types.iter().any(|kind| is_of(kind, value))),
        "enum" => limit
            .as_array()
            .is_none_or(|all| all.iter().any(|one| same(one, value))),
        "const" => same(limit, value),
        "minimum" => number(|value, limit| value >= limit),
        "maximum" => number(|value, limit| value <= limit),
        "exclusiveMinimum" => number(|value, limit| value > limit),
        "exclusiveMaximum" => number(|value, limit| value < limit),
        "multipleOf" => number(|value, limit| (value / limit).fract() == 0.0),
        "minLength" => count(characters(), |length, limit| length >= limit),
        "maxLength" => count(characters(), |length, limit| length <= limit),
        "minItems" => count(items(), |length, limit| length >= limit),
        "maxItems" => count(items(), |length, limit| length <= limit),
        "minProperties" => count(fields(), |length, limit| length >= limit),
        "maxProperties" => count(fields(), |length, limit| length <= limit),
        "uniqueItems" => {
            let repeats = value.as_array().is_some_and(|all| {
                let is_again =
                    |(at, one): (usize, &Value)| all[..at].iter().any(|old| same(old, one));
                all.iter().enumerate().any(is_again)
            });
            !repeats || limit == &Value::Bool(false)
        }
        "pattern" => match (value, limit) {
            (Value::String(text), Value::String(pattern)) => {
                regex(pattern).is_ok_and(|regex| regex.is_match(text))
            }
            _ => true,
        },
        _ => true,
    }
}

fn types(value: &Value) -> Option<Vec<&str>> {
    let names: Vec<&str> = match value {
        Value::String(name) => vec![name],
        Value::Array(names) => names.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let is_known = names.iter().all(|name| TYPES.contains(name));
    (is_known && !names.is_empty()).then_some(names)
}

fn is_of(kind: &str, value: &Value) -> bool {
    match value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Number(number) => {
            let is_whole = || number.as_f64().is_some_and(|number| number.fract() == 0.0);
            kind == "number" || (kind == "integer" && is_whole())
        }
        Value::String(_) => kind == "string",
        Value::Array(_) => kind == "array",
        Value::Object(_) => kind == "object",
    }
}

/// Whether two values are the same to JSON Schema, to which 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            let is_there = |(key, a): (&String, &Value)| b.get(key).is_some_and(|b| same(a, b));
            a.len() == b.len() && a.iter().all(is_there)
        }
        _ => a == b,
    }
}

fn regex(pattern: &str) -> Result<Regex, regex_lite::Error> {
    RegexBuilder::new(pattern)
        .size_limit(PATTERN_BYTES_MAX)
        .nest_limit(20)
        .build()
}

/// What a keyword takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Any,
    Flag,
    Number,
    Positive,
    Count,
    Type,
    List,
    Words,
    Pattern,
    Draft,
    Reference,
    Part,
    Parts,
    Named,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "anything may stand here",
            Self::Flag => "true or false may stand here",
            Self::Number => "a number is wanted",
            Self::Positive => "a number above zero is wanted",
            Self::Count => "a whole number from 0 on is wanted",
            Self::Type => {
                "one or several of null, boolean, object, array, number, integer and string are wanted"
            }
            Self::List => "a list with something in it is wanted",
            Self::Words => "a list of names is wanted",
            Self::Pattern | Self::Reference => "a text is wanted",
            Self::Draft => "JSON Schema 2020-12 is what this host reads",
            Self::Part => "a schema is wanted",
            Self::Parts => "a list of schemas is wanted",
            Self::Named => "an object of schemas is wanted",
        })
    }
}

/// The keywords that are read, and what each takes.
const KEYWORDS: &[(&str, Form)] = &[
    ("$schema", Form::Draft),
    ("$comment", Form::Any),
    ("$defs", Form::Named),
    ("$ref", Form::Reference),
    ("title", Form::Any),
    ("description", Form::Any),
    ("default", Form::Any),
    ("examples", Form::Any),
    ("deprecated", Form::Flag),
    ("type", Form::Type),
    ("enum", Form::List),
    ("const", Form::Any),
    ("allOf", Form::Parts),
    ("anyOf", Form::Parts),
    ("oneOf", Form::Parts),
    ("not", Form::Part),
    ("minimum", Form::Number),
    ("maximum", Form::Number),
    ("exclusiveMinimum", Form::Number),
    ("exclusiveMaximum", Form::Number),
    ("multipleOf", Form::Positive),
    ("minLength", Form::Count),
    ("maxLength", Form::Count),
    ("pattern", Form::Pattern),
    ("items", Form::Part),
    ("minItems", Form::Count),
    ("maxItems", Form::Count),
    ("uniqueItems", Form::Flag),
    ("properties", Form::Named),
    ("required", Form::Words),
    ("additionalProperties", Form::Part),
    ("minProperties", Form::Count),
    ("maxProperties", Form::Count),
];
const TYPES: &[&str] = &[
    "null", "boolean", "object", "array", "number", "integer", "string",
];
/// Bytes a schema may have as JSON.
const BYTES_MAX: usize = 16 << 10;
/// How deep a schema may be, …
const DEPTH_MAX: usize = 32;
/// … and how many parts it may have, references put in.
const PARTS_MAX: usize = 4096;
/// Bytes that a pattern may take once compiled.
const PATTERN_BYTES_MAX: usize = 64 << 10;
/// Errors that are told; further ones are counted.
const TOLD_MAX: usize = 5;

#[cfg(test)]
mod tests;
