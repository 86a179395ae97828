//! URIs in playlists.

/// `?query` to append to a URI, or nothing. What RFC 3986 §3.4 does not allow in a query, and so everything that
/// could end a quoted attribute or a line, is percent-encoded.
pub(crate) fn suffix(query: Option<&str>) -> String {
    let Some(query) = query.filter(|query| !query.is_empty()) else {
        return String::new();
    };
    let mut out = String::with_capacity(query.len() + 1);
    out.push('?');
    for byte in query.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for digit in [byte >> 4, byte & 15] {
                out.push(
                    char::from_digit(u32::from(digit), 16)
                        .unwrap_or('0')
                        .to_ascii_uppercase(),
                );
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::suffix;

    #[test]
    fn a_query_cannot_leave_its_line_or_its_quotes() {
        assert_eq!(suffix(None), "");
        assert_eq!(suffix(Some("")), "");
        assert_eq!(suffix(Some("token=a.b-c_d&x=%20")), "?token=a.b-c_d&x=%20");
        assert_eq!(suffix(Some("a\"b\n#c\u{e9}")), "?a%22b%0A%23c%C3%A9");
    }
}
