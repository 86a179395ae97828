//! Access tokens: JSON Web Tokens (RFC 7519) signed with the server's secret by HMAC-SHA-256.

use std::{collections::BTreeMap, time::Duration};

use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::scope::Scopes;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Who was given it, if it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// What it allows: scopes separated by spaces (RFC 8693 §4.2).
    pub scope: String,
    /// When it was made, in s since 1970-01-01 UTC.
    pub iat: u64,
    /// When it expires, in s since 1970-01-01 UTC.
    pub exp: u64,
    /// What else it says, for the `auth` policy.
    #[serde(flatten)]
    pub more: BTreeMap<String, serde_json::Value>,
}

/// Why a token is not good. What is said to the caller is less than this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read, or its signature or times are wrong.
    #[error("the token is not valid: {0}")]
    Invalid(String),
    /// It could not be signed.
    #[error("the token could not be made: {0}")]
    Sign(String),
}

/// Makes a token that is good for `ttl` from `now_unix_s`.
pub fn mint(
    secret: &[u8],
    scopes: &Scopes,
    ttl: Duration,
    now_unix_s: u64,
) -> Result<String, TokenError> {
    let claims = Claims {
        sub: None,
        scope: scopes.to_string(),
        iat: now_unix_s,
        exp: now_unix_s.saturating_add(ttl.as_secs()),
        more: BTreeMap::new(),
    };
    jsonwebtoken::encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(secret),
    )
    .map_err(|error| TokenError::Sign(error.to_string()))
}

/// Checks a token's signature and times and returns what it says.
///
/// The algorithm is fixed to HS256, whatever the token's header names (RFC 8725 §3.1).
pub fn verify(secret: &[u8], token: &str) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_LEN_MAX {
        return Err(TokenError::Invalid(format!(
            "it is longer than {TOKEN_LEN_MAX} bytes"
        )));
    }
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_nbf = true;
    validation.validate_aud = false;
    validation.leeway = 5;
    jsonwebtoken::decode::<Claims>(token, &DecodingKey::from_secret(secret), &validation)
        .map(|data| data.claims)
        .map_err(|error| TokenError::Invalid(error.to_string()))
}

/// Longer texts are not worth looking at.
const TOKEN_LEN_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    fn now() -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs()
    }

    #[test]
    fn a_token_reads_back_and_a_foreign_or_old_one_does_not() {
        let scopes = Scopes::parse("publish:demo admin").unwrap();
        let token = mint(b"secret", &scopes, Duration::from_secs(60), now()).unwrap();
        assert_eq!(
            verify(b"secret", &token).unwrap().scope,
            "publish:demo admin"
        );
        assert!(verify(b"other", &token).is_err());
        let old = mint(b"secret", &scopes, Duration::from_secs(60), now() - 120).unwrap();
        assert!(verify(b"secret", &old).is_err());
        // {"alg":"none","typ":"JWT"} over the same claims.
        let claims = token.split('.').nth(1).unwrap();
        assert!(
            verify(
                b"secret",
                &format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
            )
            .is_err()
        );
        assert!(verify(b"secret", &"x".repeat(5000)).is_err());
        assert!(verify(b"secret", "").is_err());
    }
}
