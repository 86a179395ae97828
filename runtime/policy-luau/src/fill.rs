//! Fills in the Luau functions of `sdk/luau/rows`, which walk the rows of a batch: how a row is laid out, its answer
//! taken and its memo read back. Which columns cross is known when a policy is loaded, so these are straight lines
//! without a call, a loop or a name looked up: a third of the cost of general ones.

use std::fmt::Write as _;

use lockgate_policy::{
    Kind, Manifest,
    column::{self, Column},
};

/// The functions as they stand in their files.
fn template(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Abr => Some(include_str!("../../../sdk/luau/rows/abr.luau")),
        Kind::Optimize => Some(include_str!("../../../sdk/luau/rows/optimize.luau")),
        Kind::Score => Some(include_str!("../../../sdk/luau/rows/score.luau")),
        Kind::Ladder => Some(include_str!("../../../sdk/luau/rows/ladder.luau")),
        Kind::Auth => None,
    }
}

/// A number of an answer: its field, its place, the least and the most it may be.
type Taken = (&'static str, usize, Option<(f64, f64)>);

/// The numbers of a kind's answer that are taken as they are.
fn taken(kind: Kind) -> &'static [Taken] {
    match kind {
        Kind::Abr => &[
            ("cap_kbps", 2, None),
            ("probe_kbps", 3, None),
            ("play_rate", 4, None),
            ("buffer_target_s", 5, None),
        ],
        Kind::Optimize => &[
            ("reduction_pct", 1, Some((0.0, 100.0))),
            ("cap_kbps", 2, None),
            ("fps", 3, None),
            ("opus_kbps", 4, None),
            ("opus_hz", 5, None),
            ("opus_channels", 6, None),
            ("buffer_s", 7, None),
        ],
        Kind::Score => &[
            ("bandwidth", 1, None),
            ("loss", 2, None),
            ("jitter", 3, None),
        ],
        Kind::Ladder | Kind::Auth => &[],
    }
}

/// Bytes of a row as it crosses: its columns, a number for each list that says whether any of it is there, its memo.
pub(crate) fn stride(manifest: &Manifest, kind: Kind) -> usize {
    let columns = manifest.columns(kind);
    let lists = columns.iter().filter(|column| column.width > 1).count();
    (column::width(&columns) + lists + manifest.memo(kind)) * NUMBER
}

/// The source of the function that walks the rows of a kind; `None` for `auth`, which has no rows.
pub(crate) fn rows(manifest: &Manifest, kind: Kind) -> Option<String> {
    let memo = manifest.memo(kind);
    let outputs = column::width(kind.outputs());
    // The answer to `ladder` grows with the ladder.
    let (width, memo_at) = match kind {
        Kind::Ladder => (
            "shared.width".to_owned(),
            format!("{} * #ladder + {}", NUMBER, outputs * NUMBER),
        ),
        _ => (
            ((outputs + memo) * NUMBER).to_string(),
            (outputs * NUMBER).to_string(),
        ),
    };
    let source = template(kind)?
        .replace("STRIDE", &stride(manifest, kind).to_string())
        .replace("WIDTH", &width)
        .replace("--FILL", &fill(&manifest.columns(kind), memo))
        .replace("--TAKE", &take(kind))
        .replace("--STORE", &store(memo, &memo_at));
    Some(source)
}

/// Sets the fields of `viewer` and the numbers of `memo`. What is absent crosses as NaN.
fn fill(columns: &[Column], memo: usize) -> String {
    let mut body = String::new();
    let mut at = 0;
    let mut lists = column::width(columns);
    for column in columns {
        let name = column.name;
        if column.width == 1 {
            place(&mut body, at, &format!("viewer.{name}"));
            at += 1;
            continue;
        }
        let flag = lists * NUMBER;
        line(
            &mut body,
            format_args!(
                "if buffer.readf64(b, o + {flag}) == 0 then viewer.{name} = nil else \
                 t = viewer.{name} if t == nil then t = {{}} viewer.{name} = t end"
            ),
        );
        for within in 1..=column.width {
            place(&mut body, at, &format!("t[{within}]"));
            at += 1;
        }
        body.push_str("end\n");
        lists += 1;
    }
    for number in 1..=memo {
        place(&mut body, lists, &format!("memo[{number}]"));
        lists += 1;
    }
    body
}

fn place(body: &mut String, at: usize, field: &str) {
    let at = at * NUMBER;
    line(
        body,
        format_args!(
            "x = buffer.readf64(b, o + {at}) \
             if x == x then {field} = x elseif {field} ~= nil then {field} = nil end"
        ),
    );
}

/// Writes the numbers of the table `answer`. What is absent is left as it is, which is NaN.
fn take(kind: Kind) -> String {
    let mut body = String::new();
    for (field, at, range) in taken(kind) {
        let at = at * NUMBER;
        let (range, wanted) = match range {
            Some((least, most)) => (
                format!("x >= {least} and x <= {most}"),
                format!("from {least} to {most}, or nil"),
            ),
            None => ("x - x == 0".to_owned(), "a finite number or nil".to_owned()),
        };
        line(
            &mut body,
            format_args!(
                "x = answer.{field} \
                 if type(x) == \"number\" and {range} then buffer.writef64(out, o + {at}, x) \
                 elseif x ~= nil then refuse(\"{field}\", x, \"{wanted}\") end"
            ),
        );
    }
    body
}

/// Writes what is to be carried.
fn store(memo: usize, from: &str) -> String {
    let mut body = String::new();
    for number in 1..=memo {
        let at = (number - 1) * NUMBER;
        // The compiler adds two numbers that it knows, not what stands after a variable.
        let at = match from.parse::<usize>() {
            Ok(from) => (from + at).to_string(),
            Err(_) => format!("{from} + {at}"),
        };
        line(
            &mut body,
            format_args!(
                "x = memo[{number}] \
                 if type(x) == \"number\" and x - x == 0 then buffer.writef64(out, o + {at}, x) \
                 elseif x ~= nil then refuse(\"memo[{number}]\", x, \"a finite number or nil\") end"
            ),
        );
    }
    body
}

fn line(body: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(body, "{what}");
}

const NUMBER: usize = size_of::<f64>();
