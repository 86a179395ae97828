//! A configuration as people and machines are shown it: without secrets, each value with its origin.

use serde_json::{Value, json};

use super::{Loaded, Origin};

impl Loaded {
    /// TOML, each value with a comment that says where it comes from. It can be read again, but for the secrets.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let plain = toml::to_string(&self.config)?;
        let mut shown = String::with_capacity(plain.len() * 2);
        let mut section = String::new();
        for line in plain.lines() {
            shown.push_str(line);
            let header = line
                .strip_prefix('[')
                .map(|rest| rest.trim_matches(['[', ']']).to_owned());
            if let Some(header) = header {
                section = header;
                if line.starts_with("[[") {
                    self.comment(&mut shown, &section);
                }
            } else if let Some((key, _)) = line.split_once(" = ") {
                let dot = if section.is_empty() { "" } else { "." };
                self.comment(&mut shown, &format!("{section}{dot}{key}"));
            }
            shown.push('\n');
        }
        Ok(shown)
    }

    fn comment(&self, shown: &mut String, key: &str) {
        shown.push_str("  # ");
        shown.push_str(&self.origins.of(key).to_string());
    }

    /// JSON: `config`, and `origins` of what is not the default.
    pub fn to_json(&self) -> Value {
        let config = serde_json::to_value(&self.config).unwrap_or_default();
        let mut keys = Vec::new();
        leaves("", &config, &mut keys);
        let origins: serde_json::Map<String, Value> = keys
            .into_iter()
            .filter_map(|(key, _)| match self.origins.of(&key) {
                Origin::Default => None,
                origin => Some((key, json!(origin.to_string()))),
            })
            .collect();
        json!({ "config": config, "origins": origins })
    }
}

/// Every key with a value, by its dotted path; lists are values.
pub(crate) fn leaves<'a>(path: &str, value: &'a Value, found: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(&format!("{path}{dot}{key}"), value, found);
            }
        }
        value => found.push((path.to_owned(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Loader};

    #[test]
    fn what_is_shown_can_be_read_again() {
        let mut loader = Loader::default();
        loader
            .text(
                "f.toml",
                "[hls]\nwindow = 4\n[[ingest.source]]\nname = \"a\"\nurl = \"rtsp://u:p@cam/\"\n",
            )
            .unwrap();
        loader
            .assignment("http.cors=[\"https://a.example\"]")
            .unwrap();
        let loaded = loader.finish().unwrap();
        let shown = loaded.to_toml().unwrap();
        assert!(shown.contains("window = 4  # f.toml:2:1\n"), "{shown}");
        assert!(shown.contains("segment_s = 2  # default\n"), "{shown}");
        assert!(
            shown.contains("cors = [\"https://a.example\"]  # --set\n"),
            "{shown}"
        );
        assert!(
            shown.contains("rtsp://…@cam/") && !shown.contains("u:p@"),
            "{shown}"
        );
        let again: Config = toml::from_str(&shown).unwrap();
        assert_eq!(again.hls, loaded.config.hls);
        let json = loaded.to_json();
        assert_eq!(json["origins"]["hls.window"], "f.toml:2:1");
        assert_eq!(json["origins"]["hls.part_ms"], serde_json::Value::Null);
    }
}
