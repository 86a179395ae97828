//! Those who are connected without having asked for anything yet: it is known who they are, or that they are nobody in
//! particular.

use super::{Door, Refusal, Who};
use crate::{Caller, limits::Key};
use std::sync::atomic::Ordering;

/// Somebody whose credentials were looked at.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    pub(crate) caller: Caller,
    pub(super) who: Who,
}

impl Known {
    /// Whose budget their wishes are paid from.
    pub(crate) fn key(&self) -> Option<Key> {
        match self.who.subject() {
            Some(subject) => Some(Key::subject(&subject)),
            None => self.caller.peer.map(Key::address),
        }
    }
}

impl Door {
    /// Finds out who connects. Bad credentials are refused, none are not; while the server goes down, everybody is.
    pub(crate) async fn know(&self, caller: Caller) -> Result<Known, Refusal> {
        if self.closing.load(Ordering::Acquire) {
            return Err(Refusal::Closing);
        }
        let who = self.who(&caller).await?;
        Ok(Known { caller, who })
    }

    /// Whether somebody's token was not revoked since.
    pub(crate) fn still_knows(&self, known: &Known) -> bool {
        let claims = known.who.claims.as_ref();
        claims.is_none_or(|claims| !self.revoked.has(claims))
    }

    /// Differs from what it was when verdicts of before must not be relied on.
    pub(crate) fn changes(&self) -> (u64, u64) {
        self.epoch()
    }

    /// How long a verdict holds at most.
    pub(crate) fn recheck(&self) -> std::time::Duration {
        self.recheck
    }
}
