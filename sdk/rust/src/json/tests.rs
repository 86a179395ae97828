use serde::Deserialize;

use super::{Value, parse, read};

/// A value as the reader that everybody knows makes it; `None` where that refuses the text.
fn known(text: &str) -> Option<Value> {
    fn ours(value: serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(value),
            serde_json::Value::Number(number) => Value::Number(number.as_f64().unwrap()),
            serde_json::Value::String(text) => Value::String(text),
            serde_json::Value::Array(values) => {
                Value::Array(values.into_iter().map(ours).collect())
            }
            serde_json::Value::Object(members) => Value::Object(
                members
                    .into_iter()
                    .map(|(key, value)| (key, ours(value)))
                    .collect(),
            ),
        }
    }
    serde_json::from_str(text).ok().map(ours)
}

#[test]
fn texts_are_read_and_refused_as_another_reader_does() {
    let texts = [
        "null",
        "true",
        "false",
        "0",
        "-0",
        "-0.0",
        "12",
        "-12",
        "1.5",
        "1e3",
        "1E-3",
        "1e+3",
        "0.1",
        "123456789012345678901234567890",
        "-9223372036854775808",
        "18446744073709551616",
        "5e-324",
        "1.7976931348623157e308",
        "1e309",
        "2.2250738585072011e-308",
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "nul",
        "tru",
        "nulll",
        "\"\"",
        "\"a\"",
        "\"ä€😀\"",
        r#""\"\\\/\b\f\n\r\t""#,
        r#""\u00e4\u20ac""#,
        r#""\ud83d\ude00""#,
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83d\u0041""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\x""#,
        "\"a",
        "\"a\nb\"",
        "\"\u{7f}\"",
        "\"a\\",
        "[]",
        "[1]",
        "[1,2]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "[1",
        "]",
        "[[[]]]",
        "{}",
        r#"{"a":1}"#,
        r#"{"a":1,"b":[{"c":null}]}"#,
        r#"{"a":1,}"#,
        r#"{"a" 1}"#,
        "{1:2}",
        r#"{"a":1"#,
        r#"{"a":1 "b":2}"#,
        r#"{"a":1,"a":2}"#,
        " \t\r\n1 \t\r\n",
        "1 2",
        "",
        " ",
        "\u{a0}1",
        "[1]]",
        r#"{"scope":"play:demo publish:*","exp":1893456000,"ok":true,"n":[1,-2,3.5e2]}"#,
    ];
    for text in texts {
        assert_eq!(read::<Value>(text).ok(), known(text), "{text:?}");
        assert_eq!(parse(text).ok(), known(text), "{text:?}");
    }
}

#[test]
fn a_text_cut_anywhere_is_refused_and_never_panics() {
    let whole = r#"{"a":[1,-2.5e3,"ä\u00e4\ud83d\ude00\n"],"b":{"c":true,"d":null}}"#;
    assert!(read::<Value>(whole).is_ok());
    for (end, _) in whole.char_indices() {
        assert!(read::<Value>(&whole[..end]).is_err(), "{:?}", &whole[..end]);
    }
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    assert!(read::<Value>(&deep(64)).is_ok());
    assert!(read::<Value>(&deep(65)).unwrap_err().contains("too deep"));
    assert!(read::<Value>(&"[".repeat(1_000_000)).is_err());
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Plain,
    Capped(u32),
    Between { low: f64, high: f64 },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    mode: Mode,
    names: Vec<String>,
    cap_kbps: Option<f64>,
    #[serde(default)]
    pair: (u8, i8),
}

#[test]
fn a_configuration_is_read_into_its_type() {
    let config = |mode: &str, rest: &str| {
        read::<Config>(&format!("{{\"names\":[\"a\"],\"mode\":{mode}{rest}}}"))
    };
    let expect = |mode| Config {
        mode,
        names: vec!["a".to_owned()],
        cap_kbps: None,
        pair: (0, 0),
    };
    assert_eq!(config("\"plain\"", ""), Ok(expect(Mode::Plain)));
    assert_eq!(config("{\"plain\":null}", ""), Ok(expect(Mode::Plain)));
    assert_eq!(config("{\"capped\":7}", ""), Ok(expect(Mode::Capped(7))));
    let (low, high) = (1.0, 2.5);
    assert_eq!(
        config("{\"between\":{\"low\":1,\"high\":2.5}}", ""),
        Ok(expect(Mode::Between { low, high }))
    );
    let whole = config("\"plain\"", ",\"cap_kbps\":900,\"pair\":[1,-1]").unwrap();
    assert_eq!((whole.cap_kbps, whole.pair), (Some(900.0), (1, -1)));
}

#[test]
fn what_is_wrong_is_told_with_its_field() {
    let told = |text: &str| read::<Config>(text).unwrap_err();
    assert_eq!(
        told(r#"{"names":[1]}"#),
        "names: a string is wanted, not a number"
    );
    assert_eq!(
        told(r#"{"mode":{"between":{"low":"x"}}}"#),
        "mode: low: f64 is wanted, not a text"
    );
    assert_eq!(told(r#"{"pair":[1,-200]}"#), "pair: i8 is wanted");
    assert!(told(r#"{"nmes":[]}"#).starts_with("unknown field `nmes`, expected one of `mode`"));
    assert!(told(r#"{"mode":"fast"}"#).starts_with("mode: unknown variant `fast`"));
    assert_eq!(
        told(r#"{"mode":"plain" 1}"#),
        "a comma or } is wanted at byte 16"
    );
    let three = told(r#"{"pair":[1,2,3]}"#);
    assert_eq!(three, "pair: fewer items are wanted");
    assert_eq!(told("{}"), "missing field `mode`");
    assert_eq!(
        told("[]"),
        "invalid length 0, expected struct Config with 4 elements"
    );
}
