//! Is a token good?

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use super::{Claims, Jwks, KeySet, TokenError, header};

/// Knows all keys, and which tokens were good a moment ago.
#[derive(Debug)]
pub struct Verifier {
    keys: KeySet,
    published: Option<Arc<Jwks>>,
    good: Cache<[u8; 32], Good>,
}

/// A token whose signature, times, issuer and audience were found good.
#[derive(Debug, Clone)]
struct Good {
    claims: Arc<Claims>,
    until: Instant,
    /// Of which set of published keys that was found.
    set: u64,
}

impl Verifier {
    /// Checks with these keys, and then with those that an issuer publishes.
    pub fn new(keys: KeySet, published: Option<Arc<Jwks>>) -> Self {
        let good = Cache::builder()
            .weigher(|_, good: &Good| u32::try_from(good.claims.weight).unwrap_or(u32::MAX))
            .max_capacity(GOOD_BYTES_MAX)
            .time_to_live(GOOD_FOR)
            .build();
        Self {
            keys,
            published,
            good,
        }
    }

    /// Checks a token's signature, times, issuer and audience, and returns what it says. One that was good is good for a
    /// few seconds more, though never beyond its `exp`; what was revoked is for the caller to know.
    pub async fn verify(&self, token: &str) -> Result<Arc<Claims>, TokenError> {
        let set = self.published.as_ref().map_or(0, |keys| keys.changes());
        // The digest, not the token: nobody who reads our memory finds more tokens than are on their way.
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(good) = self.good.get(&digest)
            && good.set == set
            && Instant::now() < good.until
        {
            return Ok(good.claims);
        }
        let claims = Arc::new(self.check(token).await?);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(u64::MAX, |since| since.as_secs());
        // Within the leeway after `exp`, clocks decide, and so each time anew.
        let left = Duration::from_secs(claims.exp.saturating_sub(now)).min(GOOD_FOR);
        if !left.is_zero() {
            let good = Good {
                claims: Arc::clone(&claims),
                until: Instant::now() + left,
                set,
            };
            self.good.insert(digest, good);
        }
        Ok(claims)
    }

    async fn check(&self, token: &str) -> Result<Claims, TokenError> {
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

/// How long a token is not looked at again.
const GOOD_FOR: Duration = Duration::from_secs(10);
/// Most that the tokens remembered may take, by their length.
const GOOD_BYTES_MAX: u64 = 8 << 20;
