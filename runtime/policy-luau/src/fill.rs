//! Writes the Luau functions that lay out a row and read back its memo. Which columns cross is known when a policy is
//! instantiated, so these are straight lines without a loop or a name looked up: half the cost of a general one.

use std::fmt::Write as _;

use lockgate_policy::column::{Column, SAMPLE_WIDTH, width};

/// A function `(input, offset, viewer, memo)` that sets the fields of `viewer` and the numbers of `memo`. A number
/// that is not finite is absent. Behind the columns stands one number for each list: 0 if all of it is absent.
pub(crate) fn fill(columns: &[Column], memo: usize) -> String {
    let mut body = String::from("return function(b, o, v, m)\nlocal x, t\n");
    let mut at = 0;
    let mut lists = width(columns);
    for column in columns {
        if column.width == 1 {
            // Rungs are counted from 1 in Luau, so that `ladder[viewer.current]` is the rung.
            let shift = column.name == "current";
            place(&mut body, at, &format!("v.{}", column.name), shift);
            at += 1;
            continue;
        }
        let (name, flag) = (column.name, lists * 8);
        line(
            &mut body,
            format_args!(
                "if buffer.readf64(b, o + {flag}) == 0 then v.{name} = nil else \
                 t = v.{name} if t == nil then t = {{}} v.{name} = t end"
            ),
        );
        for within in 0..column.width {
            let shift = name == "samples" && within % SAMPLE_WIDTH == SAMPLE_WIDTH - 1;
            place(&mut body, at, &format!("t[{}]", within + 1), shift);
            at += 1;
        }
        body.push_str("end\n");
        lists += 1;
    }
    at = lists;
    for number in 1..=memo {
        place(&mut body, at, &format!("m[{number}]"), false);
        at += 1;
    }
    body.push_str("end\n");
    body
}

fn place(body: &mut String, at: usize, field: &str, is_rung: bool) {
    let value = if is_rung {
        "if x % 1 == 0 then x + 1 else x"
    } else {
        "x"
    };
    let at = at * 8;
    line(
        body,
        format_args!(
            "x = buffer.readf64(b, o + {at}) \
             if x - x == 0 then {field} = {value} elseif {field} ~= nil then {field} = nil end"
        ),
    );
}

/// A function `(output, offset, memo, refuse)` that writes what is to be carried.
pub(crate) fn store(memo: usize) -> String {
    let mut body = String::from("return function(b, o, m, refuse)\nlocal x\n");
    for number in 1..=memo {
        let at = (number - 1) * 8;
        line(
            &mut body,
            format_args!(
                "x = m[{number}] if x == nil then buffer.writef64(b, o + {at}, 0 / 0) \
                 elseif type(x) == \"number\" and x - x == 0 then buffer.writef64(b, o + {at}, x) \
                 else refuse(\"memo[{number}]\", x, \"a finite number or nil\") end"
            ),
        );
    }
    body.push_str("end\n");
    body
}

fn line(body: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(body, "{what}");
}
