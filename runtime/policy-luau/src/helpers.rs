//! What scripts have in place of the `string` library, whose functions can run for ever: a few helpers whose work is
//! bounded and paid for in steps. Texts are bytes; `lower` knows ASCII only.

use mlua::{Error, Lua, LuaString, Table};

use crate::steps::charge;

/// Bytes that are handled for one step.
const BYTES_A_STEP: usize = 64;

/// Puts the helpers into the globals.
pub(crate) fn install(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let starts_with = lua.create_function(|_, (text, beginning): (LuaString, LuaString)| {
        pay(beginning.as_bytes().len())?;
        Ok(text.as_bytes().starts_with(&beginning.as_bytes()))
    })?;
    let ends_with = lua.create_function(|_, (text, end): (LuaString, LuaString)| {
        pay(end.as_bytes().len())?;
        Ok(text.as_bytes().ends_with(&end.as_bytes()))
    })?;
    let lower = lua.create_function(|lua, text: LuaString| {
        pay(text.as_bytes().len())?;
        lua.create_string(text.as_bytes().to_ascii_lowercase())
    })?;
    let sub = lua.create_function(|lua, (text, first, last): (LuaString, f64, Option<f64>)| {
        pay(text.as_bytes().len())?;
        lua.create_string(part(&text.as_bytes(), first, last.unwrap_or(-1.0)))
    })?;
    let split = lua.create_function(
        |lua, (text, separator, most): (LuaString, LuaString, Option<f64>)| {
            split(lua, &text.as_bytes(), &separator.as_bytes(), most)
        },
    )?;
    let glob = lua.create_function(|_, (text, pattern): (LuaString, LuaString)| {
        matches(&text.as_bytes(), &pattern.as_bytes())
    })?;
    globals.raw_set("starts_with", starts_with)?;
    globals.raw_set("ends_with", ends_with)?;
    globals.raw_set("lower", lower)?;
    globals.raw_set("sub", sub)?;
    globals.raw_set("split", split)?;
    globals.raw_set("glob", glob)
}

fn pay(bytes: usize) -> mlua::Result<()> {
    charge(u64::try_from(bytes / BYTES_A_STEP).unwrap_or(u64::MAX))
}

/// The bytes from `first` to `last`, counted from 1, or from the end where below zero.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "clamped to the length, which is below 2⁵³; a number that is none becomes 0"
)]
fn part(text: &[u8], first: f64, last: f64) -> &[u8] {
    let length = text.len() as f64;
    let place = |at: f64| if at < 0.0 { length + at + 1.0 } else { at };
    let from = place(first).clamp(1.0, length + 1.0) as usize;
    let to = place(last).clamp(0.0, length) as usize;
    text.get(from.saturating_sub(1)..to).unwrap_or_default()
}

/// The pieces between separators; the last of `most` pieces holds the rest.
fn split(lua: &Lua, text: &[u8], separator: &[u8], most: Option<f64>) -> mlua::Result<Table> {
    let most = most.unwrap_or(f64::INFINITY);
    if separator.is_empty() || separator.len() > 16 || most.is_nan() || most < 1.0 {
        let what = "split(text, separator, most?) takes a separator of 1 to 16 bytes and at least one piece";
        return Err(Error::runtime(what));
    }
    pay(text.len() * separator.len())?;
    let pieces = lua.create_table()?;
    let (mut rest, mut count) = (text, 1.0);
    while count < most {
        let found = rest
            .windows(separator.len())
            .position(|window| window == separator);
        let Some(at) = found else { break };
        charge(1)?;
        pieces.raw_push(lua.create_string(&rest[..at])?)?;
        rest = &rest[at + separator.len()..];
        count += 1.0;
    }
    pieces.raw_push(lua.create_string(rest)?)?;
    Ok(pieces)
}

/// Does a pattern with `*` for any bytes and `?` for one match the whole text?
fn matches(text: &[u8], pattern: &[u8]) -> mlua::Result<bool> {
    let (mut at, mut in_pattern) = (0, 0);
    // Where to go on after a mismatch: one byte further behind the last star.
    let mut retry: Option<(usize, usize)> = None;
    let mut work = 0;
    let is_match = loop {
        work += 1;
        if pattern.get(in_pattern) == Some(&b'*') {
            retry = Some((at, in_pattern + 1));
            in_pattern += 1;
        } else if at == text.len() {
            break in_pattern == pattern.len();
        } else if pattern
            .get(in_pattern)
            .is_some_and(|want| *want == b'?' || *want == text[at])
        {
            at += 1;
            in_pattern += 1;
        } else if let Some((from, after_star)) = retry {
            retry = Some((from + 1, after_star));
            at = from + 1;
            in_pattern = after_star;
        } else {
            break false;
        }
        // The work can be the product of both lengths: such a pattern is no match, and costs what it took.
        if work > MATCH_WORK_MAX {
            break false;
        }
    };
    pay(work)?;
    Ok(is_match)
}

const MATCH_WORK_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_texts() {
        let yes = [
            ("", ""),
            ("", "*"),
            ("abc", "a*c"),
            ("abc", "a?c"),
            ("aXbXc", "*X*c"),
            ("live/a", "live/*"),
        ];
        let no = [("abc", "ab"), ("", "?"), ("abc", "b*"), ("abc", "*b")];
        for (text, pattern) in yes {
            assert!(
                matches(text.as_bytes(), pattern.as_bytes()).unwrap(),
                "{text} {pattern}"
            );
        }
        for (text, pattern) in no {
            assert!(
                !matches(text.as_bytes(), pattern.as_bytes()).unwrap(),
                "{text} {pattern}"
            );
        }
        let evil = "*a".repeat(500) + "b";
        assert!(!matches("a".repeat(60_000).as_bytes(), evil.as_bytes()).unwrap());
    }

    #[test]
    fn parts_are_counted_from_one_or_from_the_end() {
        assert_eq!(part(b"abc", 1.0, -1.0), b"abc");
        assert_eq!(part(b"abc", 2.0, 2.0), b"b");
        assert_eq!(part(b"abc", -2.0, -1.0), b"bc");
        assert_eq!(part(b"abc", 1.0, -2.0), b"ab");
        for (first, last) in [
            (3.0, 1.0),
            (9.0, 9.0),
            (1.0, -9.0),
            (f64::INFINITY, f64::INFINITY),
        ] {
            assert_eq!(part(b"abc", first, last), b"");
        }
        assert_eq!(part(b"abc", f64::NEG_INFINITY, f64::INFINITY), b"abc");
        assert_eq!(part(b"abc", f64::NAN, 9.0), b"abc");
    }
}
