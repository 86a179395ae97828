use serde_json::json;

use super::*;

fn wrong(config: &Value) -> String {
    let schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "up_after_s": { "type": "number", "minimum": 0, "default": 5 },
            "mode": { "enum": ["fast", "slow"] },
            "name": { "$ref": "#/$defs/name" },
            "list": { "type": "array", "items": { "type": "integer" }, "maxItems": 2 },
        },
        "$defs": { "name": { "type": "string", "pattern": "^[a-z]+$" } },
    });
    assert_eq!(check(&schema), Ok(()));
    match validate(&schema, config) {
        Ok(()) => String::new(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_error_says_where_why_and_what_is_allowed() {
    for good in [
        json!({}),
        Value::Null,
        json!({ "up_after_s": 2.5, "list": [1, 2] }),
    ] {
        assert_eq!(wrong(&good), "");
    }
    for (config, words) in [
        (
            json!({ "up_after_s": "soon" }),
            &["/up_after_s: ", "\"soon\"", "number, from 0, by default 5"][..],
        ),
        (
            json!({ "up_after_s": -1 }),
            &["/up_after_s: ", "-1", "from 0"],
        ),
        (
            json!({ "up_after": 1 }),
            &[
                "/: ",
                "there is no \"up_after\"",
                "did you mean \"up_after_s\"?",
            ],
        ),
        (
            json!({ "colour": 1 }),
            &["there is no \"colour\"", "list, mode, name, up_after_s"],
        ),
        (
            json!({ "mode": "idle" }),
            &["/mode: ", "one of [\"fast\",\"slow\"]"],
        ),
        (json!({ "name": "A" }), &["/name: ", "like \"^[a-z]+$\""]),
        (json!({ "list": [1, "x"] }), &["/list/1: ", "integer"]),
        (json!([1]), &["/: ", "object"]),
    ] {
        let told = wrong(&config);
        for word in words {
            assert!(told.contains(word), "{config}: {told}");
        }
    }
}

#[test]
fn a_schema_that_is_no_good_is_refused() {
    let deep = (0..40).fold(json!({}), |inner, _| json!({ "not": inner }));
    let bomb: Map<String, Value> = (0..16)
        .map(|at| {
            let next = json!({ "$ref": format!("#/$defs/{}", at + 1) });
            (at.to_string(), json!({ "allOf": [next, next] }))
        })
        .chain([("16".to_owned(), json!({}))])
        .collect();
    for (schema, word) in [
        (json!({ "type": "nmuber" }), "nmuber"),
        (json!(7), "7"),
        (
            json!({ "$ref": "https://example.com/schema" }),
            "outside of it",
        ),
        (json!({ "$ref": "file:///etc/passwd" }), "outside of it"),
        (json!({ "$ref": "#/$defs/none" }), "not in it"),
        (json!({ "$ref": "#" }), "no end"),
        (json!({ "$dynamicRef": "#x" }), "$dynamicRef"),
        (json!({ "minmum": 1 }), "did you mean \"minimum\"?"),
        (
            json!({ "properties": { "a": { "multipleOf": 0 } } }),
            "/properties/a/multipleOf is 0",
        ),
        (
            json!({ "$schema": "http://json-schema.org/draft-07/schema#" }),
            "2020-12",
        ),
        (deep, "deeper than"),
        (json!({ "$ref": "#/$defs/0", "$defs": bomb }), "parts"),
        (json!({ "pattern": "(a" }), "(a"),
        (json!({ "pattern": "((a{1000}){1000}){1000}" }), "{1000}"),
        // Only an engine that tries back and forth could match this.
        (json!({ "pattern": "^(?=a)b" }), "/pattern is"),
        (json!({ "description": "x".repeat(BYTES_MAX) }), "bytes"),
    ] {
        let told = check(&schema).unwrap_err();
        assert!(told.contains(word), "{word}: {told}");
    }
}

#[test]
fn a_pattern_is_matched_in_linear_time() {
    let schema = json!({ "properties": { "name": { "pattern": "^(a+)+$" } } });
    let config = json!({ "name": format!("{}b", "a".repeat(20_000)) });
    assert!(validate(&schema, &config).is_err());
}
