//! What can be known of a script before it is compiled: how deep it nests, and which texts stand in it.

/// Brackets that may be open at once. Luau's parser has limits of its own for everything else.
pub(crate) const DEPTH_MAX: usize = 100;
/// Texts that are taken as reasons from a script that names none in a manifest.
const TEXTS_MAX: usize = 256;
/// Bytes a reason may have.
const TEXT_MAX: usize = 80;

/// What a look over a source has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The line on which it nests too deep.
    pub(crate) too_deep_on: Option<usize>,
    /// The texts in quotation marks, each once, as they come.
    pub(crate) texts: Vec<String>,
}

/// Looks over a source. It may be wrong Luau: the compiler will say so.
pub(crate) fn scan(source: &str) -> Scan {
    let mut found = Scan::default();
    let bytes = source.as_bytes();
    let (mut at, mut line, mut depth) = (0, 1, 0usize);
    while let Some(byte) = bytes.get(at) {
        let rest = &source[at..];
        let length = match byte {
            b'-' if rest.starts_with("--") => match long_bracket(&rest[2..]) {
                Some(length) => 2 + length,
                None => rest.find('\n').unwrap_or(rest.len()),
            },
            b'"' | b'\'' | b'`' => {
                let length = quoted(rest.as_bytes());
                keep(
                    &mut found.texts,
                    rest.get(1..length.saturating_sub(1)),
                    *byte,
                );
                length
            }
            b'[' => match long_bracket(rest) {
                Some(length) => length,
                None => {
                    depth += 1;
                    1
                }
            },
            b'(' | b'{' => {
                depth += 1;
                1
            }
            b')' | b'}' | b']' => {
                depth = depth.saturating_sub(1);
                1
            }
            // A character of several bytes is passed over as a whole, so that every place is a boundary.
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        if depth > DEPTH_MAX && found.too_deep_on.is_none() {
            found.too_deep_on = Some(line);
        }
        let end = (at + length).min(bytes.len());
        line += bytes[at..end].iter().filter(|byte| **byte == b'\n').count();
        at = end;
    }
    found
}

/// The length of `[[…]]` or `[=[…]=]`, if the text begins with one.
fn long_bracket(text: &str) -> Option<usize> {
    let level = text
        .strip_prefix('[')?
        .bytes()
        .take_while(|byte| *byte == b'=')
        .count();
    let inside = level + 2;
    if text.as_bytes().get(level + 1) != Some(&b'[') {
        return None;
    }
    let close = format!("]{}]", "=".repeat(level));
    let end = text[inside..].find(&close);
    Some(end.map_or(text.len(), |at| inside + at + close.len()))
}

/// The length of a text in quotation marks, with both of them.
fn quoted(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'\n' if text[0] != b'`' => return at,
            byte if *byte == text[0] => return at + 1,
            _ => at += 1,
        }
    }
    // An escape may have led beyond the end, or into a character of several bytes.
    text.len()
}

fn keep(texts: &mut Vec<String>, text: Option<&str>, mark: u8) {
    let Some(text) = text else { return };
    let is_plain =
        mark != b'`' && !text.is_empty() && text.len() <= TEXT_MAX && !text.contains('\\');
    if is_plain && texts.len() < TEXTS_MAX && !texts.iter().any(|known| known == text) {
        texts.push(text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_and_comments_passed_over() {
        let source = "-- \"not this\"\nlocal a = 'one' --[[ 'nor \n this' ]] .. \"two\"\nlocal b = [==[ 'nor this' ]==] .. 'it\\'s' .. 'one'";
        assert_eq!(scan(source).texts, ["one", "two"]);
        for odd in ["'", "\"abc", "[[", "--[[", "`{", "'\\", "ä'ö", "'\\ä"] {
            scan(odd);
        }
    }

    #[test]
    fn depth_is_seen_with_its_line() {
        let deep = |count: usize| format!("\n\nreturn {}{}", "{".repeat(count), "}".repeat(count));
        assert_eq!(scan(&deep(DEPTH_MAX)).too_deep_on, None);
        assert_eq!(scan(&deep(DEPTH_MAX + 1)).too_deep_on, Some(3));
        assert_eq!(
            scan(&format!("return '{}'", "(".repeat(500))).too_deep_on,
            None
        );
    }
}
