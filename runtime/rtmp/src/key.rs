//! Stream keys: `name?token=…`.

/// A stream key with the application it was sent to, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) token: Option<String>,
}

impl Key {
    /// Encoders have one field for the key and one for the address, so a token may stand behind either.
    pub(crate) fn parse(app: &str, key: &str) -> Self {
        let (name, query) = split(key);
        let (_, app_query) = split(app);
        let token = [query, app_query].into_iter().find_map(token);
        Self {
            name: name.trim_matches('/').to_owned(),
            token,
        }
    }
}

/// The application without what stands behind it.
pub(crate) fn app_name(app: &str) -> &str {
    split(app).0.trim_matches('/')
}

fn split(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

fn token(query: &str) -> Option<String> {
    query
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
        .filter(|token| !token.is_empty())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_behind_the_key_or_the_address() {
        for (app, key, name, token) in [
            ("live", "cam?token=a.b.c", "cam", Some("a.b.c")),
            ("live?token=x", "cam", "cam", Some("x")),
            ("live?token=x", "cam?token=y&z=1", "cam", Some("y")),
            ("live/", "cam", "cam", None),
            ("live", "/cam?token=", "cam", None),
        ] {
            let parsed = Key::parse(app, key);
            assert_eq!(
                (parsed.name.as_str(), parsed.token.as_deref()),
                (name, token)
            );
            assert_eq!(app_name(app), "live");
        }
    }
}
