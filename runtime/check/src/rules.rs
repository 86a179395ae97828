//! Rules as values, and how they are run.

use std::{future::Future, pin::Pin};

use serde::Serialize;

use crate::{
    Finding, Report, Target,
    probe::{Error, Probe},
    whep, whip,
};

/// Which protocol a URL is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// WHIP, RFC 9725.
    Whip,
    /// WHEP, draft-ietf-wish-whep-03.
    Whep,
}

/// What came of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The server keeps it.
    Pass,
    /// The server breaks it.
    Fail,
    /// It could not be looked at, or does not apply.
    Skip,
}

/// One rule of a protocol.
#[derive(Clone, Copy)]
pub struct Rule {
    /// Its name, such as `W06`.
    pub id: &'static str,
    /// Where it is written.
    pub clause: &'static str,
    /// What it says.
    pub says: &'static str,
    pub(crate) look: Look,
}

impl std::fmt::Debug for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rule({} {})", self.id, self.says)
    }
}

pub(crate) type Looking<'a> = Pin<Box<dyn Future<Output = Result<Seen, Error>> + Send + 'a>>;
pub(crate) type Look = for<'a> fn(&'a Probe) -> Looking<'a>;

/// What was seen: whether the rule is kept, and the evidence.
pub(crate) struct Seen {
    pub(crate) outcome: Outcome,
    pub(crate) what: String,
}

impl Seen {
    pub(crate) fn of(holds: bool, what: impl Into<String>) -> Self {
        let outcome = if holds { Outcome::Pass } else { Outcome::Fail };
        Self {
            outcome,
            what: what.into(),
        }
    }

    pub(crate) fn skip(why: impl Into<String>) -> Self {
        Self {
            outcome: Outcome::Skip,
            what: why.into(),
        }
    }
}

/// The rules of a protocol, in order.
pub fn rules(kind: Kind) -> &'static [Rule] {
    match kind {
        Kind::Whip => whip::RULES,
        Kind::Whep => whep::RULES,
    }
}

/// Looks at every rule for which `wanted` holds, one after the other: a WHIP endpoint takes one publisher at a time.
pub async fn run(kind: Kind, target: Target, wanted: impl Fn(&Rule) -> bool) -> Report {
    let url = target.url();
    let probe = Probe::new(kind, target);
    let mut findings = Vec::new();
    for rule in rules(kind).iter().filter(|rule| wanted(rule)) {
        let seen = (rule.look)(&probe)
            .await
            .unwrap_or_else(|error| match error {
                Error::NoSession(why) => Seen::skip(why),
                Error::Http(why) => Seen::of(false, why),
            });
        probe.clean_up().await;
        findings.push(Finding {
            rule: rule.id,
            clause: rule.clause,
            says: rule.says,
            outcome: seen.outcome,
            seen: seen.what,
        });
    }
    Report { url, findings }
}
