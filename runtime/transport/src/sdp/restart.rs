//! The answer to an ICE restart: our half as an `application/trickle-ice-sdpfrag` (RFC 9725 §4.3.3, RFC 8840 §9).

use super::answer::{OPTIONS, write_candidates};
use crate::net::{Candidate, Credentials};

/// What a restart keeps of an answer: the section that carries the transport (RFC 9143 §7.1.2), and the bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Section {
    bundle: String,
    media: String,
    mid: String,
}

impl Section {
    /// Finds it in an answer of ours.
    pub(crate) fn of(answer: &str) -> Self {
        let first = |prefix: &str| {
            let line = answer.lines().find(|line| line.starts_with(prefix));
            line.unwrap_or_default().to_owned()
        };
        Self {
            bundle: first("a=group:BUNDLE"),
            media: first("m="),
            mid: first("a=mid:"),
        }
    }
}

/// Writes the fragment.
pub(crate) fn restarted(section: &Section, ours: &Credentials, candidates: &[Candidate]) -> String {
    let mut out = String::with_capacity(256 + candidates.len() * 80);
    let (ufrag, password) = (
        format!("a=ice-ufrag:{}", ours.ufrag),
        format!("a=ice-pwd:{}", ours.password),
    );
    for line in [
        "a=ice-lite",
        OPTIONS,
        &section.bundle,
        &section.media,
        &section.mid,
        &ufrag,
        &password,
    ] {
        if !line.is_empty() {
            out.push_str(line);
            out.push_str("\r\n");
        }
    }
    write_candidates(&mut out, candidates);
    out
}
