//! What policies have done over all their stays: counters that never go back, whatever is swapped.

use std::collections::BTreeMap;

use super::seat::{Counters, Seat};

/// What a policy has done since the slot was made, in all its stays together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Total {
    /// Its name; `other` stands for those that are gone for long.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it has done.
    pub counters: Counters,
}

/// What those have done that are gone.
#[derive(Debug, Default)]
pub(super) struct Totals(BTreeMap<(String, String), Counters>);

impl Totals {
    /// Keeps what a policy has done that is going.
    pub(super) fn keep(&mut self, seat: &Seat) {
        let key = key(seat);
        let is_known = self.0.contains_key(&key) || self.0.len() < NAMES_MAX;
        let other = ("other".to_owned(), String::new());
        let kept = self
            .0
            .entry(if is_known { key } else { other })
            .or_default();
        kept.add(&seat.counters);
    }

    /// The same together with those that are here.
    pub(super) fn with<'a>(&self, here: impl Iterator<Item = &'a Seat>) -> Vec<Total> {
        let mut all = self.0.clone();
        for seat in here {
            all.entry(key(seat)).or_default().add(&seat.counters);
        }
        let total = |((name, version), counters)| Total {
            name,
            version,
            counters,
        };
        all.into_iter().map(total).collect()
    }
}

fn key(seat: &Seat) -> (String, String) {
    let manifest = seat.artifact.manifest();
    (manifest.name.clone(), manifest.version.clone())
}

/// Names and versions that are told apart: each is a time series for whoever collects them.
const NAMES_MAX: usize = 32;
