//! Keys that an issuer publishes at a URL, and changes from time to time.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lockgate_fetch::{FetchError, Fetcher};
use tokio::{sync::Mutex, time::Instant};

use super::keys::{KeySet, Rules};

/// A JSON Web Key Set at a URL (RFC 7517 §5).
///
/// What was fetched last is good until something else is: an issuer that is down keeps nobody out whom it let in before. A
/// token with an unknown key id has the set fetched at once, but never twice within the cooldown, so that whoever makes
/// up ids reaches the issuer once.
pub struct Jwks {
    url: String,
    fetcher: Fetcher,
    rules: Rules,
    refresh: Duration,
    cooldown: Duration,
    keys: RwLock<Arc<KeySet>>,
    /// Counts sets that came.
    changes: AtomicU64,
    /// When it was last asked for. Held while it is being fetched: others wait for the same answer.
    asked: Mutex<Option<Instant>>,
}

impl Jwks {
    /// The set at `url`, which the operator wrote: only its origin is asked.
    pub fn new(
        url: String,
        rules: Rules,
        refresh: Duration,
        cooldown: Duration,
    ) -> Result<Self, FetchError> {
        let fetcher = Fetcher::of_url(&url)?;
        Ok(Self {
            url,
            fetcher,
            rules,
            refresh,
            cooldown,
            keys: RwLock::default(),
            changes: AtomicU64::new(0),
            asked: Mutex::default(),
        })
    }

    /// Fetches the set now and then again and again; what an issuer takes out of it is no longer good after that.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            let fetched = {
                let mut asked = self.asked.lock().await;
                *asked = Some(Instant::now());
                self.fetch().await
            };
            let pause = if fetched { self.refresh } else { self.cooldown };
            tokio::time::sleep(pause).await;
        }
    }

    /// Changes with each set that comes: what was checked with one before may no longer be good.
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The keys, fetched anew if none of them has this id and the cooldown is over.
    pub(super) async fn keys_for(&self, kid: Option<&str>) -> Arc<KeySet> {
        let enough = |keys: &KeySet| match kid {
            Some(kid) => keys.has(kid),
            None => !keys.is_empty(),
        };
        let keys = self.current();
        if enough(&keys) {
            return keys;
        }
        let mut asked = self.asked.lock().await;
        let keys = self.current();
        if enough(&keys) || asked.is_some_and(|asked| asked.elapsed() < self.cooldown) {
            return keys;
        }
        *asked = Some(Instant::now());
        self.fetch().await;
        self.current()
    }

    fn current(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn fetch(&self) -> bool {
        let stays = "the keys of before stay good";
        let fetched = match self.fetcher.get(&self.url).await {
            Ok(fetched) => fetched,
            Err(error) => {
                tracing::warn!(url = %lockgate_fetch::shown(&self.url), %error, "the key set did not come; {stays}");
                return false;
            }
        };
        if fetched.status != 200 {
            tracing::warn!(url = %lockgate_fetch::shown(&self.url), status = fetched.status, "the key set did not come; {stays}");
            return false;
        }
        let Some(keys) = KeySet::of_json(&fetched.body, &self.rules) else {
            tracing::warn!(url = %lockgate_fetch::shown(&self.url), "what came is no key set; {stays}");
            return false;
        };
        tracing::debug!(url = %lockgate_fetch::shown(&self.url), keys = keys.len(), "the key set came");
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        self.changes.fetch_add(1, Ordering::AcqRel);
        true
    }
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jwks")
            .field("url", &lockgate_fetch::shown(&self.url))
            .finish_non_exhaustive()
    }
}
