//! Where values come from, so that whoever wonders about one finds it.

use std::{collections::BTreeMap, fmt};

use toml::de::{DeTable, DeValue};

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file, with the line and column of the key, counted from 1.
    File {
        /// The file as it was named.
        file: String,
        /// The line.
        line: usize,
        /// The column, in characters.
        column: usize,
    },
    /// An environment variable.
    Environment(String),
    /// A variable of the file `.env`.
    Dotenv(String),
    /// The command line.
    Set,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Dotenv(name) => write!(f, ".env: {name}"),
            Self::Set => f.write_str("--set"),
        }
    }
}

/// The origin of every key that somebody set, by its dotted path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Where the value of a key comes from: its own origin, or that of the table or list it stands in.
    pub fn of(&self, key: &str) -> Origin {
        let mut path = key;
        loop {
            if let Some(origin) = self.0.get(path) {
                return origin.clone();
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = &path[..at],
                None => return Origin::Default,
            }
        }
    }

    /// The same, or the origin of what stands in it: for errors, which may be about a whole section.
    pub(super) fn near(&self, key: &str) -> Origin {
        let inner = |(path, _): &(&String, &Origin)| {
            path.strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        };
        match self.of(key) {
            Origin::Default => self
                .0
                .iter()
                .find(inner)
                .map_or(Origin::Default, |(_, origin)| origin.clone()),
            origin => origin,
        }
    }

    /// Notes where a key comes from; what was known of keys in it is over.
    pub(super) fn note(&mut self, key: &str, origin: Origin) {
        self.0.retain(|path, _| {
            !path
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with(['.', '[']))
        });
        self.0.insert(key.to_owned(), origin);
    }

    /// Notes all keys of a file's text, which is known to be TOML.
    pub(super) fn read(&mut self, file: &str, text: &str) {
        if let Ok(table) = DeTable::parse(text) {
            self.table("", table.get_ref(), file, text);
        }
    }

    fn table(&mut self, path: &str, table: &DeTable<'_>, file: &str, text: &str) {
        for (key, value) in table {
            let dot = if path.is_empty() { "" } else { "." };
            let path = format!("{path}{dot}{}", key.get_ref());
            let (line, column) = place(text, key.span().start);
            let origin = Origin::File {
                file: file.to_owned(),
                line,
                column,
            };
            match value.get_ref() {
                DeValue::Table(inner) => self.table(&path, inner, file, text),
                _ => self.note(&path, origin),
            }
        }
    }
}

/// Line and column of a place in a text, both from 1, the column in characters.
pub(super) fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (
        before.matches('\n').count() + 1,
        before[line_start..].chars().count() + 1,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_where_they_stand() {
        let text = "[http]\nlisten = \"x\"\n[hls]\n  window = 4\n[[ingest.source]]\nname = \"a\"\n";
        let mut origins = Origins::default();
        origins.read("f.toml", text);
        let shown = |key: &str| origins.of(key).to_string();
        assert_eq!(shown("http.listen"), "f.toml:2:1");
        assert_eq!(shown("hls.window"), "f.toml:4:3");
        assert_eq!(shown("ingest.source[0].name"), "f.toml:5:10");
        assert_eq!(shown("hls.part_ms"), "default");
        assert_eq!(origins.near("hls").to_string(), "f.toml:4:3");
        origins.note("hls.window", Origin::Set);
        assert_eq!(origins.of("hls.window"), Origin::Set);
    }
}
