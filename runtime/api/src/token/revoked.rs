//! Tokens that are no longer good although their signature is.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use lockgate_ports::{Change, RecordError, Records, Table, records::Range};
use serde::{Deserialize, Serialize};

use super::Claims;

/// The list of what was revoked: in the store, and in memory to be looked at.
pub struct Revoked {
    records: Arc<dyn Records>,
    listed: RwLock<HashMap<Whom, Entry>>,
    /// Counts changes, so that whoever remembers a verdict knows that it is old.
    changes: AtomicU64,
}

/// Which tokens are meant.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Whom {
    /// The one with this `jti`.
    Jti(String),
    /// All of this `sub` that were made before the revocation.
    Sub(String),
}

/// A revocation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Revocation)]
pub struct Entry {
    /// Which tokens.
    #[serde(flatten)]
    pub whom: Whom,
    /// When, in s since 1970-01-01 UTC. Tokens of a subject that were made later are good.
    pub at: u64,
    /// When the token expires by itself, in s since 1970-01-01 UTC, if that is known: then it is forgotten.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exp: Option<u64>,
}

/// Why nothing was revoked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RevokeError {
    /// The store did not take it.
    #[error("{0}")]
    Record(#[from] RecordError),
    /// The list is as long as it may be.
    #[error("{REVOKED_MAX} revocations are listed already; take out some that are over")]
    Full,
    /// The id cannot be kept.
    #[error("an id has 1 to {} bytes", super::ID_LEN_MAX)]
    Id,
}

impl Revoked {
    /// Reads the list from the store. What cannot be read is an error: else a revoked token would be good again.
    pub fn load(records: Arc<dyn Records>, now_unix_s: u64) -> Result<Self, RecordError> {
        let mut listed = HashMap::new();
        let mut beyond: Option<String> = None;
        loop {
            let range = Range {
                beyond: beyond.as_deref(),
                ..Range::default()
            };
            let page = match records.list(Table::Revoked, range, PAGE) {
                // With no room there are no records to be had; whoever is live goes on.
                Err(RecordError::Full) => Vec::new(),
                page => page?,
            };
            for (key, value) in &page {
                match serde_json::from_slice::<Entry>(value) {
                    Ok(entry) if entry.is_over(now_unix_s) => {}
                    Ok(entry) => {
                        listed.insert(entry.whom.clone(), entry);
                    }
                    Err(error) => {
                        tracing::error!(key, %error, "a revocation cannot be read and is passed over");
                    }
                }
            }
            if page.len() < PAGE {
                break;
            }
            beyond = page.last().map(|(key, _)| key.clone());
        }
        Ok(Self {
            records,
            listed: RwLock::new(listed),
            changes: AtomicU64::new(0),
        })
    }

    /// Whether a token with these claims was revoked.
    pub fn has(&self, claims: &Claims) -> bool {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        if listed.is_empty() {
            return false;
        }
        let jti = claims.jti.clone().map(Whom::Jti);
        let sub = claims.sub.clone().map(Whom::Sub);
        jti.is_some_and(|whom| listed.contains_key(&whom))
            || sub
                .and_then(|whom| listed.get(&whom))
                .is_some_and(|entry| claims.iat <= entry.at)
    }

    /// Counts up with each change.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Counts as a change, so that every verdict of before is asked for again.
    pub fn touch(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// What is listed, in the order of ids.
    pub fn list(&self) -> Vec<Entry> {
        let listed = self.listed.read().unwrap_or_else(PoisonError::into_inner);
        let mut entries: Vec<Entry> = listed.values().cloned().collect();
        drop(listed);
        entries.sort_by(|a, b| a.whom.cmp(&b.whom));
        entries
    }

    /// Revokes; holds at once, and is on the disk when this returns.
    pub async fn add(&self, entry: Entry, now_unix_s: u64) -> Result<(), RevokeError> {
        let key = entry.whom.key()?;
        let value = serde_json::to_vec(&entry)
            .map_err(|error| RecordError::Unavailable(error.to_string()))?;
        {
            let mut listed = self.listed.write().unwrap_or_else(PoisonError::into_inner);
            if listed.len() >= REVOKED_MAX {
                listed.retain(|_, entry| !entry.is_over(now_unix_s));
            }
            if listed.len() >= REVOKED_MAX && !listed.contains_key(&entry.whom) {
                return Err(RevokeError::Full);
            }
            listed.insert(entry.whom.clone(), entry);
        }
        self.changes.fetch_add(1, Ordering::AcqRel);
        let table = Table::Revoked;
        let put = Change::Put { table, key, value };
        Ok(self.records.write(vec![put]).await?)
    }

    /// Takes a revocation back; whether there was one.
    pub async fn remove(&self, whom: &Whom) -> Result<bool, RevokeError> {
        let key = whom.key()?;
        let table = Table::Revoked;
        self.records
            .write(vec![Change::Remove { table, key }])
            .await?;
        let mut listed = self.listed.write().unwrap_or_else(PoisonError::into_inner);
        Ok(listed.remove(whom).is_some())
    }
}

impl Whom {
    fn key(&self) -> Result<String, RevokeError> {
        let (kind, id) = match self {
            Self::Jti(id) => ("jti", id),
            Self::Sub(id) => ("sub", id),
        };
        if id.is_empty() || id.len() > super::ID_LEN_MAX {
            return Err(RevokeError::Id);
        }
        Ok(format!("{kind}:{id}"))
    }
}

impl Entry {
    fn is_over(&self, now_unix_s: u64) -> bool {
        // Clocks may differ a little.
        self.exp
            .is_some_and(|exp| exp.saturating_add(3600) < now_unix_s)
    }
}

impl std::fmt::Debug for Revoked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Revoked").finish_non_exhaustive()
    }
}

/// Most revocations: at some 200 bytes each, 20 MB.
const REVOKED_MAX: usize = 100_000;
/// Records read at a time.
const PAGE: usize = 1000;
