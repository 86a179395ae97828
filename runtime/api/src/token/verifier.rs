//! Is a token good?

use std::sync::Arc;

use super::{Claims, Jwks, KeySet, TokenError, header};

/// Knows all keys.
#[derive(Debug)]
pub struct Verifier {
    keys: KeySet,
    published: Option<Arc<Jwks>>,
}

impl Verifier {
    /// Checks with these keys, and then with those that an issuer publishes.
    pub fn new(keys: KeySet, published: Option<Arc<Jwks>>) -> Self {
        Self { keys, published }
    }

    /// Checks a token's signature, times, issuer and audience, and returns what it says.
    pub async fn verify(&self, token: &str) -> Result<Claims, TokenError> {
        let named = header::read(token)?;
        let mut outcome = self.keys.check(&named, token);
        if !matches!(outcome, Some(Ok(_)))
            && let Some(published) = &self.published
            && named.kid.as_ref().is_none_or(|kid| !self.keys.has(kid))
        {
            let keys = published.keys_for(named.kid.as_deref()).await;
            outcome = keys.check(&named, token).or(outcome);
        }
        outcome.unwrap_or_else(|| {
            Err(TokenError::NoKey(match named.kid {
                Some(kid) => format!("the key id {kid:?}"),
                None => format!("{:?}", named.algorithm),
            }))
        })
    }
}
