//! The contract's files say what the runtime's tables say. `UPDATE=1` writes them.

use std::{env, fmt::Write, fs, path::Path};

use super::*;

const TABLES: &[(&str, &str, &[Column])] = &[
    (
        "VIEWER",
        "A viewer: the row of `abr`, `optimize` and `score`",
        column::VIEWER,
    ),
    ("SOURCE", "A source: the row of `ladder`", column::SOURCE),
    (
        "RUNG",
        "A rung: the row of `rungs`. A rung's number is its row, from 0",
        column::RUNG,
    ),
    ("PICK", "The answer of `abr`", column::PICK),
    ("SAVING", "The answer of `optimize`", column::SAVING),
    ("GRADE", "The answer of `score`", column::GRADE),
    (
        "PLAN",
        "The answer of `ladder`, followed by 1 or 0 for each rung: to encode it or not",
        column::PLAN,
    ),
];

#[test]
fn columns_md_is_the_runtimes_table() {
    let mut text = String::from(
        "# The columns\n\nThe numbers of the contract by name, for manifests. Made by a test from the runtime's own table; \
         do not edit.\n\nAbsent is NaN, never zero. Question rows have the columns a manifest names, in its order, or \
         all of these; answer rows\nhave all of these.\n",
    );
    for (name, what, columns) in TABLES {
        write!(
            text,
            "\n## {name}\n\n{what}.\n\n| column | numbers | |\n|---|---|---|\n"
        )
        .unwrap();
        for column in *columns {
            writeln!(
                text,
                "| `{}` | {} | {} |",
                column.name, column.width, column.doc
            )
            .unwrap();
        }
    }
    let width = column::SAMPLE_WIDTH;
    writeln!(
        text,
        "\n`samples` is {} times {width} numbers: start in ms, bytes, transfer in ms, time to first byte in ms, rung.",
        column::SAMPLES
    )
    .unwrap();
    check("COLUMNS.md", "wit/COLUMNS.md", |_| text.clone());
}

#[test]
fn the_sdks_columns_are_the_runtimes_table() {
    let structs = [
        (
            "What is known of a viewer.",
            "Viewer",
            "VIEWER",
            column::VIEWER,
        ),
        ("What is known of a rung.", "Rung", "RUNG", column::RUNG),
        (
            "What is known of a source.",
            "Source",
            "SOURCE",
            column::SOURCE,
        ),
    ];
    let mut tables = String::new();
    for (doc, name, constant, columns) in structs {
        write!(
            tables,
            "\nrows! {{\n    /// {doc}\n    {name}, {constant},\n"
        )
        .unwrap();
        for column in columns {
            let (first, rest) = column.doc.split_at(1);
            let (first, name, width) = (first.to_uppercase(), column.name, column.width);
            writeln!(tables, "    /// {first}{rest}.\n    {name}: {width},").unwrap();
        }
        tables.push_str("}\n");
    }
    check("the SDK's columns", "rust/src/columns.rs", |present| {
        let head = present.split("\nrows! {\n").next().unwrap();
        format!("{head}{tables}")
    });
}

#[test]
fn the_scripting_sdks_columns_are_the_runtimes_table() {
    const DOC: &str = "The columns of the contract: generated from the runtime's own table, by the test that also checks it.";
    let questions = [
        ("VIEWER", column::VIEWER),
        ("SOURCE", column::SOURCE),
        ("RUNG", column::RUNG),
    ];
    let answers = [
        ("abr", column::PICK),
        ("optimize", column::SAVING),
        ("score", column::GRADE),
        ("ladder", column::PLAN),
    ];
    let (mut js, mut python) = (format!("// {DOC}\n\n"), format!("\"\"\"{DOC}\"\"\"\n\n"));
    for (name, columns) in questions {
        let (mut for_js, mut for_python) = (String::new(), String::new());
        for column in columns {
            let (name, width) = (column.name, column.width);
            writeln!(for_js, "  [\"{name}\", {width}],").unwrap();
            writeln!(for_python, "    (\"{name}\", {width}),").unwrap();
        }
        write!(js, "export const {name} = [\n{for_js}];\n\n").unwrap();
        write!(python, "{name} = [\n{for_python}]\n\n").unwrap();
    }
    js.push_str("export const QUESTIONS = { abr: VIEWER, optimize: VIEWER, score: VIEWER, ladder: SOURCE };\n\n");
    python.push_str(
        "QUESTIONS = {\"abr\": VIEWER, \"optimize\": VIEWER, \"score\": VIEWER, \"ladder\": SOURCE}\n\n",
    );
    js.push_str("export const ANSWERS = {\n");
    python.push_str("ANSWERS = {\n");
    for (kind, columns) in answers {
        let names: Vec<String> = columns
            .iter()
            .map(|column| format!("{:?}", column.name))
            .collect();
        let names = names.join(", ");
        writeln!(js, "  {kind}: [{names}],").unwrap();
        writeln!(python, "    \"{kind}\": [{names}],").unwrap();
    }
    js.push_str("};\n");
    python.push_str("}\n");
    check(
        "the JavaScript SDK's columns",
        "js/policy/columns.js",
        |_| js.clone(),
    );
    check(
        "the Python SDK's columns",
        "python/lockgate_policy/columns.py",
        |_| python.clone(),
    );
}

fn check(what: &str, path: &str, wanted: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../sdk")
        .join(path);
    let present = fs::read_to_string(&path).unwrap_or_default();
    let wanted = wanted(&present);
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &wanted).unwrap();
        return;
    }
    assert!(
        present == wanted,
        "{what}: not the runtime's table; run this test with UPDATE=1"
    );
}

#[test]
fn answers_are_as_wide_in_the_sdk_as_in_the_runtime() {
    // The reference plugins answer through the SDK; a width that differs would be BadOutput.
    for kind in [Kind::Abr, Kind::Optimize, Kind::Score, Kind::Ladder] {
        let plugin = reference(kind);
        let mut policy = plugin.instantiate(&serde_json::Value::Null).unwrap();
        let batch = blank(kind, plugin.manifest(), 3, 2);
        policy.decide(kind, &batch, &mut Answer::default()).unwrap();
    }
}
