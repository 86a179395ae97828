//! Scopes: what a token, or nobody in particular, may do.

use std::{fmt, str::FromStr};

use lockgate_media::BroadcastName;
use serde::{Deserialize, Serialize};

/// A permission: `publish:PATTERN`, `play:PATTERN`, `join:PATTERN` or `admin`.
///
/// A pattern is a broadcast's name, a beginning of it with `*` at its end, or `*` alone. Without a pattern `*` is
/// meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// May publish a broadcast.
    Publish(Pattern),
    /// May watch a broadcast.
    Play(Pattern),
    /// May join a room.
    Join(Pattern),
    /// May see and change everything in the API.
    Admin,
}

/// Which names a scope is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

/// A text that is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no scope; write publish:NAME, play:NAME, join:NAME (NAME may end in '*') or admin"
)]
pub struct ScopeError(String);

/// What someone may do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Scope>);

/// Something to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action<'a> {
    /// To publish this broadcast.
    Publish(&'a BroadcastName),
    /// To watch this broadcast.
    Play(&'a BroadcastName),
    /// To join this room.
    Join(&'a BroadcastName),
    /// To see or change what the API shows of everyone.
    Admin,
}

impl<'a> Action<'a> {
    /// The broadcast or room it is about.
    pub fn name(self) -> Option<&'a BroadcastName> {
        match self {
            Self::Publish(name) | Self::Play(name) | Self::Join(name) => Some(name),
            Self::Admin => None,
        }
    }

    /// The scope that allows exactly this.
    pub fn scope(self) -> String {
        match self.name() {
            Some(name) => format!("{}:{name}", self.word()),
            None => self.word().to_owned(),
        }
    }

    /// Its kind in one word, as scopes and policies have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Publish(_) => "publish",
            Self::Play(_) => "play",
            Self::Join(_) => "join",
            Self::Admin => "admin",
        }
    }
}

impl Pattern {
    fn matches(&self, name: &BroadcastName) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => name.as_str().starts_with(beginning),
            None => self.0 == name.as_str(),
        }
    }
}

impl Scopes {
    /// What these scopes allow together.
    pub fn new(scopes: Vec<Scope>) -> Self {
        Self(scopes)
    }

    /// Reads scopes separated by spaces, as the `scope` claim has them (RFC 8693 §4.2).
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        text.split_ascii_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The same of a token that others may have made: words that are no scopes of ours allow nothing.
    pub fn known(text: &str) -> Self {
        let words = text.split_ascii_whitespace();
        Self(words.filter_map(|word| word.parse().ok()).collect())
    }

    /// Whether anything at all may be played.
    pub(crate) fn has_play(&self) -> bool {
        let plays = |scope: &Scope| matches!(scope, Scope::Play(_) | Scope::Admin);
        self.0.iter().any(plays)
    }

    /// Whether an action is allowed.
    pub fn allow(&self, action: Action<'_>) -> bool {
        self.0.iter().any(|scope| match (scope, action) {
            (Scope::Publish(pattern), Action::Publish(name))
            | (Scope::Play(pattern), Action::Play(name))
            | (Scope::Join(pattern), Action::Join(name)) => pattern.matches(name),
            (Scope::Admin, _) => true,
            _ => false,
        })
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, scope) in self.0.iter().enumerate() {
            let space = if at > 0 { " " } else { "" };
            write!(f, "{space}{scope}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish(pattern) => write!(f, "publish:{}", pattern.0),
            Self::Play(pattern) => write!(f, "play:{}", pattern.0),
            Self::Join(pattern) => write!(f, "join:{}", pattern.0),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let error = || ScopeError(text.to_owned());
        let (kind, pattern) = text.split_once(':').unwrap_or((text, "*"));
        let beginning = pattern.strip_suffix('*').unwrap_or(pattern);
        if !(pattern == "*" || BroadcastName::new(beginning).is_ok()) {
            return Err(error());
        }
        let pattern = Pattern(pattern.to_owned());
        match kind {
            "publish" => Ok(Self::Publish(pattern)),
            "play" => Ok(Self::Play(pattern)),
            "join" => Ok(Self::Join(pattern)),
            "admin" if !text.contains(':') => Ok(Self::Admin),
            _ => Err(error()),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = ScopeError;

    fn try_from(text: String) -> Result<Self, ScopeError> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_allows_its_names_and_no_others() {
        let name = |text| BroadcastName::new(text).unwrap();
        let scopes = Scopes::parse("publish:cam-* play:demo").unwrap();
        assert!(scopes.allow(Action::Publish(&name("cam-1"))));
        assert!(!scopes.allow(Action::Publish(&name("demo"))));
        assert!(scopes.allow(Action::Play(&name("demo"))));
        assert!(!scopes.allow(Action::Play(&name("demo2"))));
        assert!(!scopes.allow(Action::Admin));
        assert!(!scopes.allow(Action::Join(&name("demo"))));
        let known = Scopes::known("openid join:demo profile play:../x");
        assert_eq!(known.to_string(), "join:demo");
        assert!(known.allow(Action::Join(&name("demo"))));
        assert!(
            Scopes::parse("admin")
                .unwrap()
                .allow(Action::Publish(&name("x")))
        );
        assert!(
            Scopes::parse("play")
                .unwrap()
                .allow(Action::Play(&name("x")))
        );
        assert_eq!(scopes.to_string(), "publish:cam-* play:demo");
    }

    #[test]
    fn what_is_no_scope_is_refused() {
        for bad in [
            "publish:",
            "publish:a*b",
            "admin:x",
            "root",
            "play:../x",
            ":",
            "play:**",
        ] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }
}
