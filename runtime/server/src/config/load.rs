//! Where configuration comes from: the file, then `.env`, then the environment, then `--set`, the later winning.

use std::{fmt, fs, path::Path};

use serde::de::IntoDeserializer as _;
use toml::{Table, Value};

use super::{
    Config,
    origin::{Origin, Origins, place},
};

/// Collects configuration from its sources.
#[derive(Debug, Default)]
pub struct Loader {
    table: Table,
    origins: Origins,
}

/// A configuration that was found good, and where its values come from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Loaded {
    /// The whole configuration.
    pub config: Config,
    /// Where each value comes from.
    pub origins: Origins,
}

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    place: String,
    what: String,
}

impl Error {
    /// The same as it is said of something else than reading.
    pub(crate) fn new(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self {
            place: place.to_string(),
            what: what.to_string(),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for Error {}

impl Loader {
    /// Takes a file. It is checked by itself first, so that an error can show line and column.
    pub fn file(&mut self, path: &Path) -> Result<(), Error> {
        let place = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|error| {
            Error::new(
                &place,
                format!("the configuration file cannot be read: {error}"),
            )
        })?;
        self.text(&place, &text)
    }

    /// Takes the text of a file of this name.
    pub fn text(&mut self, name: &str, text: &str) -> Result<(), Error> {
        let wrong = |error: toml::de::Error| {
            let what = with_suggestion(error.message());
            match error.span() {
                Some(span) => {
                    let (line, column) = place(text, span.start);
                    Error::new(format!("{name}:{line}:{column}"), what)
                }
                None => Error::new(name, what),
            }
        };
        toml::from_str::<Config>(text).map_err(wrong)?;
        let table: Table = toml::from_str(text).map_err(wrong)?;
        merge(&mut self.table, table);
        self.origins.read(name, text);
        Ok(())
    }

    /// Takes environment variables: `LOCKGATE__SECTION__KEY`, and the names that operators already have: `PORT`,
    /// `DEFAULT_QUALITY`, `MAX_QUALITY`, `MAX_PARTICIPANTS`, `STREAM_TIMEOUT`. Others are passed over. `origin` says where they stand.
    pub fn environment(
        &mut self,
        variables: impl Iterator<Item = (String, String)>,
        origin: fn(String) -> Origin,
    ) -> Result<(), Error> {
        let mut variables: Vec<(String, String)> = variables.collect();
        variables.sort();
        for (name, value) in variables {
            let origin = origin(name.clone());
            match name.as_str() {
                "PORT" => {
                    let port: u16 = value.trim().parse().map_err(|_| {
                        Error::new(
                            &origin,
                            format!("{value:?} is no port number from 0 to 65535"),
                        )
                    })?;
                    self.port(port, origin);
                }
                "DEFAULT_QUALITY" => self.set(origin, "ladder.default_quality", &value)?,
                "MAX_QUALITY" => self.set(origin, "ladder.max_quality", &value)?,
                "MAX_PARTICIPANTS" => self.set(origin, "room.max_participants", &value)?,
                "STREAM_TIMEOUT" => self.set(origin, "room.stream_timeout_ms", &value)?,
                _ => {
                    if let Some(path) = name.strip_prefix("LOCKGATE__") {
                        let key = path.to_lowercase().replace("__", ".");
                        self.set(origin, &key, &value)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes `KEY=VALUE`, the key dotted, the value in TOML or, if it is none, as text.
    pub fn assignment(&mut self, assignment: &str) -> Result<(), Error> {
        let Some((key, value)) = assignment.split_once('=') else {
            // What was meant as a value is not repeated: it may be a secret.
            let key: String = assignment
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "._-".contains(*c))
                .collect();
            return Err(Error::new(
                format!("--set {key}"),
                "write it as KEY=VALUE, such as http.listen=127.0.0.1:3000",
            ));
        };
        self.set(Origin::Set, key.trim(), value.trim())
    }

    /// The configuration, checked as a whole.
    pub fn finish(self) -> Result<Loaded, Error> {
        let config = resolve(&self.table).map_err(|what| Error::new("configuration", what))?;
        config.check().map_err(|what| self.origins.blame(&what))?;
        Ok(Loaded {
            config,
            origins: self.origins,
        })
    }

    fn port(&mut self, port: u16, origin: Origin) {
        let listen = resolve(&self.table)
            .map(|config| config.http.listen)
            .unwrap_or(Config::default().http.listen);
        let listen = std::net::SocketAddr::new(listen.ip(), port);
        assign(
            &mut self.table,
            &["http", "listen"],
            Value::String(listen.to_string()),
        );
        self.origins.note("http.listen", origin);
    }

    fn set(&mut self, origin: Origin, key: &str, text: &str) -> Result<(), Error> {
        let path: Vec<&str> = key.split('.').collect();
        let with = |value: Value| {
            let mut candidate = self.table.clone();
            assign(&mut candidate, &path, value);
            resolve(&candidate).map(|_| candidate)
        };
        let value = parse_value(text);
        let is_text = value.is_str();
        let candidate = with(value).or_else(|what| {
            // A text may look like a number: a password, a name.
            if is_text {
                return Err(what);
            }
            with(Value::String(text.to_owned())).map_err(|_| what)
        });
        self.table = candidate.map_err(|what| {
            let place = match &origin {
                Origin::Set => format!("--set {key}"),
                origin => origin.to_string(),
            };
            Error::new(place, what)
        })?;
        self.origins.note(key, origin);
        Ok(())
    }
}

impl Origins {
    /// An error about a key, which begins with the key's name, at the place where the key was set.
    pub(crate) fn blame(&self, what: &str) -> Error {
        let end = what
            .find(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c)))
            .unwrap_or(what.len());
        match self.near(&what[..end]) {
            Origin::Default => Error::new("configuration", what),
            origin => Error::new(origin, what),
        }
    }
}

fn resolve(table: &Table) -> Result<Config, String> {
    let deserializer: Value = Value::Table(table.clone());
    <Config as serde::Deserialize>::deserialize(deserializer.into_deserializer())
        .map_err(|error: toml::de::Error| with_suggestion(error.to_string().trim_end()))
}

fn parse_value(text: &str) -> Value {
    toml::from_str::<Table>(&format!("v = {text}"))
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn merge(into: &mut Table, from: Table) {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            (_, value) => {
                into.insert(key, value);
            }
        }
    }
}

fn assign(table: &mut Table, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert((*key).to_owned(), value);
        }
        [section, rest @ ..] => {
            let entry = table
                .entry(*section)
                .or_insert_with(|| Value::Table(Table::new()));
            if !entry.is_table() {
                *entry = Value::Table(Table::new());
            }
            if let Value::Table(inner) = entry {
                assign(inner, rest, value);
            }
        }
    }
}

/// Adds "did you mean" to serde's `unknown field` and `unknown variant`.
fn with_suggestion(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = message.contains("unknown field") || message.contains("unknown variant");
    let Some(wrong) = quoted.next().filter(|_| unknown) else {
        return message.to_owned();
    };
    let nearest = quoted
        .map(|known| (strsim::damerau_levenshtein(wrong, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().max(3) / 2);
    match nearest {
        Some((_, known)) => format!("{message}; did you mean `{known}`?"),
        None => message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Error> {
        let mut loader = Loader::default();
        loader.text("lockgate.toml", text)?;
        Ok(loader.finish()?.config)
    }

    #[test]
    fn an_unknown_key_is_shown_with_its_place_and_a_suggestion() {
        let error = load("[http]\nlissten = \"0.0.0.0:1\"\n")
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("lockgate.toml:2:1: "), "{error}");
        assert!(error.contains("did you mean `listen`?"), "{error}");
        let error = load("[htp]\n").unwrap_err().to_string();
        assert!(error.contains("did you mean `http`?"), "{error}");
        let error = load("[hls]\ncontainer = \"fmp\"\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("did you mean `fmp4`?"), "{error}");
    }

    #[test]
    fn later_sources_win() {
        let mut loader = Loader::default();
        loader
            .text(
                "file",
                "[http]\nlisten = \"127.0.0.1:1000\"\n[hls]\nwindow = 4\n",
            )
            .unwrap();
        let env = [
            ("LOCKGATE__HLS__WINDOW", "5"),
            ("PORT", "2000"),
            ("HOME", "x"),
            ("MAX_QUALITY", "720p60"),
        ];
        loader
            .environment(
                env.into_iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned())),
                Origin::Environment,
            )
            .unwrap();
        loader.assignment("hls.container=ts").unwrap();
        let Loaded { config, origins } = loader.finish().unwrap();
        for (key, origin) in [
            ("hls.window", "environment variable LOCKGATE__HLS__WINDOW"),
            ("http.listen", "environment variable PORT"),
            ("hls.container", "--set"),
            ("hls.part_ms", "default"),
        ] {
            assert_eq!(origins.of(key).to_string(), origin, "{key}");
        }
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:2000");
        assert_eq!(
            (config.hls.window, config.hls.container),
            (5, super::super::Container::Ts)
        );
        assert_eq!(config.ladder.max_quality, "720p60");
    }

    #[test]
    fn a_bad_value_names_where_it_came_from() {
        let mut loader = Loader::default();
        let mut env = |name: &str, value: &str| {
            loader
                .environment(
                    [(name.to_owned(), value.to_owned())].into_iter(),
                    Origin::Environment,
                )
                .unwrap_err()
                .to_string()
        };
        assert!(env("PORT", "x").contains("environment variable PORT"));
        assert!(env("LOCKGATE__HLS__WINDOWS", "5").contains("did you mean `window`?"));
        assert!(
            loader
                .assignment("nonsense")
                .unwrap_err()
                .to_string()
                .contains("KEY=VALUE")
        );
    }

    #[test]
    fn what_does_not_fit_is_found_where_it_stands() {
        let error = load("[http]\n[hls]\nsegment_s = 2\n  window = 2\n").unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("lockgate.toml:4:3: hls.window: "),
            "{said}"
        );
        let mut loader = Loader::default();
        loader.assignment("hls.window=99").unwrap();
        let said = loader.finish().unwrap_err().to_string();
        assert!(said.starts_with("--set: hls.window: 99"), "{said}");
    }

    #[test]
    fn a_secret_in_the_wrong_place_is_not_repeated() {
        let number = "[ingest.srt]\npassphrase = 12345678901\n";
        let said = load(number).unwrap_err().to_string();
        assert!(
            said.starts_with("lockgate.toml:2:14: ") && !said.contains("12345678901"),
            "{said}"
        );
        let mut loader = Loader::default();
        for wrong in ["auth.secret:hunter2", "auth.secretly=hunter2"] {
            let said = loader.assignment(wrong).unwrap_err().to_string();
            assert!(!said.contains("hunter2"), "{said}");
        }
        // A text that looks like a number is one all the same.
        loader
            .assignment("ingest.srt.passphrase=12345678901")
            .unwrap();
        let config = loader.finish().unwrap().config;
        let passphrase = config.ingest.srt.passphrase.clone().unwrap();
        assert_eq!(passphrase.reveal(), "12345678901");
        assert!(!format!("{config:?}").contains("12345678901"));
    }

    #[test]
    fn limits_are_checked() {
        for (text, word) in [
            ("[hls]\nsegment_s = 0\n", "hls.segment_s"),
            ("[hls]\nwindow = 2\n", "hls.window"),
            ("[ladder]\nmax_quality = \"8k\"\n", "there is no rung"),
            ("[ladder]\nrungs = []\n", "at least one"),
            ("[auth]\nsecret = \"short\"\n", "32 bytes"),
            (
                "[policies.parameters.abr]\nup_after = 3\n",
                "did you mean \"up_after_s\"?",
            ),
            (
                "[policies.parameters.ladder]\nmegapixel_cost = \"low\"\n",
                "policies.parameters.ladder, of the built-in policy: at /megapixel_cost",
            ),
            ("[policies.grants]\nabr = [\"host-lok\"]\n", "host-log"),
            ("[auth]\nanonymous = [\"everything\"]\n", "no scope"),
            ("[auth]\nchain = [\"jwt\", \"jwt\"]\n", "twice"),
            ("[auth]\nchain = [\"jwtt\"]\n", "did you mean `jwt`?"),
            ("[auth]\nissuer = 7\n", "a text or a list"),
            (
                "[[auth.keys]]\nalgorithm = \"ES256\"\n",
                "either a file or a secret",
            ),
            (
                "[[auth.users]]\nname = \"a:b\"\npassword = \"x\"\n",
                "no colon",
            ),
            (
                "[rate_limit]\ntrusted_proxies = [\"proxy\"]\n",
                "no network",
            ),
            ("[http]\ntls = \"files\"\n", "http.files.certificate"),
            ("[http]\ntls = \"acme\"\n", "http.acme.domains"),
            ("[http]\ncors = [\"example.org\"]\n", "no origin"),
            ("[http.timeouts]\nheader_s = 0\n", "http.timeouts.header_s"),
            ("[ingest]\nhosts = [\"http://x/\"]\n", "ingest.hosts"),
            ("[auth]\nask = [\"https://id.example/path\"]\n", "no origin"),
            (
                "[[ingest.source]]\nname = \"a\"\nurl = \"x\"\n[[ingest.source]]\nname = \"a\"\nurl = \"y\"\n",
                "two sources",
            ),
            (
                "[[ingest.source]]\nname = \"a/b\"\nurl = \"x\"\n",
                "a name is made of",
            ),
        ] {
            let error = load(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn an_issuer_stands_alone_or_in_a_list() {
        let one = load("[auth]\nissuer = \"https://id.example\"\n").unwrap();
        let many = load("[auth]\nissuer = [\"https://id.example\"]\n").unwrap();
        assert_eq!(one, many);
    }

    #[test]
    fn the_example_shows_every_key_and_is_the_default() {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/config/lockgate.toml");
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(load(&text).unwrap(), Config::default());
        // Every key stands in it, active or as a commented example.
        let all = toml::to_string(&Config::default()).unwrap();
        for line in all.lines().filter_map(|line| line.split_once(" = ")) {
            assert!(
                text.contains(&format!("{} =", line.0)),
                "{} is not in the example",
                line.0
            );
        }
    }
}
