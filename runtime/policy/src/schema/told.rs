//! The words of a schema's errors.

use serde_json::Value;

/// That a key is not known, and which was perhaps meant.
pub(super) fn unknown(key: &str, known: &[&str]) -> String {
    let key: String = key.chars().take(NAME_MAX).collect();
    let nearest = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(&key, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().max(3) / 2);
    match nearest {
        Some((_, near)) => format!("there is no {key:?}; did you mean {near:?}?"),
        None if known.is_empty() => format!("there is no {key:?}; nothing can be set here"),
        None => format!("there is no {key:?}; there are {}", known.join(", ")),
    }
}

/// What a part of a schema allows, in a few words.
pub(super) fn allowed(part: &Value) -> String {
    let mut words = Vec::new();
    for (key, before) in [
        ("type", ""),
        ("enum", "one of "),
        ("const", "only "),
        ("minimum", "from "),
        ("exclusiveMinimum", "more than "),
        ("maximum", "to "),
        ("exclusiveMaximum", "less than "),
        ("multipleOf", "a multiple of "),
        ("pattern", "like "),
        ("minLength", "characters from "),
        ("maxLength", "characters up to "),
        ("minItems", "items from "),
        ("maxItems", "items up to "),
        ("anyOf", "any of "),
        ("oneOf", "one only of "),
        ("not", "not "),
        ("default", "by default "),
    ] {
        match part.get(key) {
            None => {}
            Some(Value::String(text)) if key == "type" => words.push(text.clone()),
            Some(value) => words.push(format!("{before}{}", clip(value))),
        }
    }
    words.join(", ")
}

/// A value, or the beginning of a long one.
pub(super) fn clip(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(VALUE_MAX) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text,
    }
}

/// Characters of a value that are shown.
const VALUE_MAX: usize = 120;
/// Characters of a name that are shown.
const NAME_MAX: usize = 64;
