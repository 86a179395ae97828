//! Access tokens: JSON Web Tokens (RFC 7519), signed with keys that the operator named, each for one algorithm.
//!
//! [`Verifier`] takes a token apart and says what it allows; [`mint`] makes one. A token chooses nothing: its header only
//! picks among keys, and a key is good for its own algorithm alone (RFC 8725 §3.1).

mod header;
mod jwks;
mod keys;
mod revoked;
mod verifier;

use std::{collections::BTreeMap, time::Duration};

use rand::Rng as _;
use serde_json::{Map, Value};

use crate::scope::Scopes;

pub use jsonwebtoken::Algorithm;
pub use jwks::Jwks;
pub use keys::{Key, KeyError, KeySet, Rules, Signer, public_key};
pub use revoked::{Entry, RevokeError, Revoked, Whom};
pub use verifier::Verifier;

/// What a token says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Claims {
    /// Who was given it.
    pub sub: Option<String>,
    /// Its own id, by which it can be revoked.
    pub jti: Option<String>,
    /// What it allows: scopes separated by spaces (RFC 8693 §4.2).
    pub scope: String,
    /// When it was made, in s since 1970-01-01 UTC; 0 where it does not say.
    pub iat: u64,
    /// When it expires, in s since 1970-01-01 UTC.
    pub exp: u64,
    /// Everything it says, for policies.
    pub all: BTreeMap<String, Value>,
    /// About what remembering it takes, in bytes.
    pub(crate) weight: usize,
}

/// Why a token is not good. What is said to the caller is less than this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read, or its signature, times, issuer or audience are wrong.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// No key is known that could have signed it.
    #[error("the token is not valid: no key is known for {0}")]
    NoKey(String),
    /// It was revoked.
    #[error("the token is not valid: it was revoked")]
    Revoked,
    /// It could not be signed.
    #[error("the token could not be made: {0}")]
    Sign(String),
}

/// What a new token is to say.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Who is given it.
    pub subject: Option<String>,
    /// What it allows.
    pub scopes: Scopes,
    /// How long it is good.
    pub ttl: Duration,
    /// From when on, in s after now.
    pub not_before: Option<Duration>,
    /// Who makes it.
    pub issuer: Option<String>,
    /// Whom it is for.
    pub audience: Option<String>,
}

/// Makes a token that is good from `now_unix_s` on. Each has an id of its own, so that it alone can be revoked.
pub fn mint(signer: &Signer, wish: &Wish, now_unix_s: u64) -> Result<String, TokenError> {
    let id: u128 = rand::rng().random();
    let mut claims = Map::new();
    let mut say = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            claims.insert(name.to_owned(), value);
        }
    };
    let start = wish
        .not_before
        .map(|after| now_unix_s.saturating_add(after.as_secs()));
    say("sub", wish.subject.clone().map(Value::from));
    say("iss", wish.issuer.clone().map(Value::from));
    say("aud", wish.audience.clone().map(Value::from));
    say("scope", Some(wish.scopes.to_string().into()));
    say("jti", Some(format!("{id:032x}").into()));
    say("iat", Some(now_unix_s.into()));
    say("nbf", start.map(Value::from));
    let end = start
        .unwrap_or(now_unix_s)
        .saturating_add(wish.ttl.as_secs());
    say("exp", Some(end.into()));
    signer.sign(&claims)
}

impl Claims {
    /// Reads what the signature was found good for.
    fn read(all: BTreeMap<String, Value>, weight: usize) -> Result<Self, TokenError> {
        let wrong = |name: &str| TokenError::Invalid(format!("the claim {name} cannot be read"));
        let text = |name: &str| match all.get(name) {
            None => Ok(None),
            // Ids are keys of records and stand in the log.
            Some(Value::String(text)) if text.len() <= ID_LEN_MAX => Ok(Some(text.clone())),
            Some(_) => Err(wrong(name)),
        };
        let time = |name: &str| match all.get(name) {
            None => Ok(0),
            Some(value) => seconds(value).ok_or_else(|| wrong(name)),
        };
        let scope = match all.get("scope") {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(_) => return Err(wrong("scope")),
        };
        Ok(Self {
            sub: text("sub")?,
            jti: text("jti")?,
            scope,
            iat: time("iat")?,
            exp: time("exp")?,
            all,
            weight,
        })
    }
}

/// A `NumericDate` (RFC 7519 §2), which may have a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is not within the range is refused before"
)]
fn seconds(value: &Value) -> Option<u64> {
    let whole = || value.as_u64();
    let fraction = || {
        value
            .as_f64()
            .filter(|seconds| (0.0..=9e15).contains(seconds))
            .map(|seconds| seconds as u64)
    };
    whole().or_else(fraction)
}

/// Longer texts are not worth looking at.
pub const TOKEN_LEN_MAX: usize = 4096;
/// Longest `sub` and `jti`, in bytes.
const ID_LEN_MAX: usize = 200;

#[cfg(test)]
mod tests;
