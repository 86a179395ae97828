//! The JSON Schema (2020-12) of the configuration, for editors and for whoever makes one by machine.

use serde_json::{Map, Value, json};
use utoipa::{
    PartialSchema as _, ToSchema as _,
    openapi::{
        RefOr,
        schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type},
    },
};

use super::{Config, ranges::RANGES};

/// The schema: every key with its meaning, type, default and range.
pub fn schema() -> Value {
    let mut named: Vec<(String, RefOr<Schema>)> = Vec::new();
    Config::schemas(&mut named);
    let mut whole = plain(&Config::schema());
    let mut defs: Map<String, Value> = named
        .iter()
        .map(|(name, schema)| (name.clone(), plain(schema)))
        .collect();
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    complete(&mut whole, &mut defs, &defaults, "");
    if let Value::Object(whole) = &mut whole {
        whole.insert(
            "$schema".to_owned(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        whole.insert("title".to_owned(), json!("lockgate.toml"));
        whole.insert("$defs".to_owned(), Value::Object(defs));
    }
    whole
}

/// A text or a list of them, with what it is for.
pub(super) fn texts(says: &str) -> Schema {
    let text = || ObjectBuilder::new().schema_type(Type::String).build();
    OneOfBuilder::new()
        .item(text())
        .item(ArrayBuilder::new().items(text()))
        .description(Some(says))
        .build()
        .into()
}

/// A schema whose references are those of JSON Schema, not those of OpenAPI.
fn plain(schema: &RefOr<Schema>) -> Value {
    let mut value = serde_json::to_value(schema).unwrap_or_default();
    relate(&mut value);
    value
}

fn relate(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get_mut("$ref") {
                *target = target.replace("#/components/schemas/", "#/$defs/");
            }
            map.values_mut().for_each(relate);
        }
        Value::Array(items) => items.iter_mut().for_each(relate),
        _ => {}
    }
}

/// Adds defaults and ranges to the properties of a section, and of those in it.
fn complete(schema: &mut Value, defs: &mut Map<String, Value>, defaults: &Value, path: &str) {
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (key, property) in properties {
        let dot = if path.is_empty() { "" } else { "." };
        let path = format!("{path}{dot}{key}");
        let section = property
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|target| target.strip_prefix("#/$defs/"))
            .map(str::to_owned);
        match (defaults.get(key), section) {
            (Some(Value::Object(inner)), Some(name)) if defs.contains_key(&name) => {
                let mut section = defs.get(&name).cloned().unwrap_or_default();
                complete(&mut section, defs, &Value::Object(inner.clone()), &path);
                defs.insert(name, section);
            }
            (Some(default), _) if !default.is_null() => {
                if let Value::Object(property) = property {
                    property.insert("default".to_owned(), default.clone());
                }
            }
            _ => {}
        }
        let range = RANGES.iter().find(|(key, ..)| *key == path);
        if let (Some((_, low, high)), Value::Object(property)) = (range, property) {
            property.insert("minimum".to_owned(), number(*low));
            property.insert("maximum".to_owned(), number(*high));
        }
    }
}

/// Whole numbers without a fraction, as people write them.
#[expect(clippy::cast_possible_truncation, reason = "whole numbers below 2^53")]
fn number(value: f64) -> Value {
    if value.fract() == 0.0 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_the_reviewed_one() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../examples/config/lockgate.schema.json"
        );
        let now = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("LOCKGATE_RENEW").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let reviewed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            reviewed == now,
            "examples/config/lockgate.schema.json is not what the code says; after a wanted change run this test with \
             LOCKGATE_RENEW=1 and review the difference"
        );
    }

    /// Of two types of one name only one would be in the schema.
    #[test]
    fn no_two_types_have_one_name() {
        let mut named: Vec<(String, RefOr<Schema>)> = Vec::new();
        Config::schemas(&mut named);
        for (name, schema) in &named {
            let others = named.iter().filter(|(other, _)| other == name);
            for (_, other) in others {
                assert_eq!(plain(other), plain(schema), "{name}");
            }
        }
    }

    #[test]
    fn each_key_says_what_it_is() {
        let schema = schema();
        let mut silent = Vec::new();
        let defs = schema["$defs"].as_object().unwrap();
        for (name, one) in defs.iter().chain([(&"Config".to_owned(), &schema)]) {
            for (key, property) in one["properties"].as_object().into_iter().flatten() {
                let says = |value: &Value| value.get("description").is_some();
                let by_reference = property["$ref"].as_str().is_some();
                if !says(property) && !by_reference {
                    silent.push(format!("{name}.{key}"));
                }
            }
        }
        assert_eq!(silent, [""; 0]);
        assert_eq!(schema["additionalProperties"], false);
    }
}
