//! Conformance of a live HLS stream (RFC 8216, draft-pantos-hls-rfc8216bis-22), seen from outside: it is followed for a
//! while as players follow it, some questions are asked that players do not ask, and each rule is judged by what came.

mod boxes;
mod fetch;
mod follow;
mod low_latency;
mod m3u8;
mod plain;
mod probes;

use std::time::{Duration, Instant};

use hyper::Uri;

use crate::{Finding, Outcome, Report, Target, rules::Seen};
use fetch::{Fetch, resolve};
use follow::{Followed, Rendition, follow};
use probes::Probed;

/// What was seen of a stream.
struct Watched {
    renditions: Vec<Followed>,
    /// Of the first rendition that speaks low latency.
    probed: Option<Probed>,
}

impl Watched {
    /// The renditions that have parts.
    fn low_latency(&self) -> impl Iterator<Item = &Followed> {
        self.renditions.iter().filter(|one| one.has_parts())
    }
}

/// A rule of HLS: its name, its clause, what it says, how it is judged.
pub(crate) struct HlsRule {
    id: &'static str,
    clause: &'static str,
    says: &'static str,
    judge: fn(&Watched) -> Seen,
}

/// Watches a live stream, by its multivariant playlist or by one media playlist, and judges every rule.
pub async fn watch(target: &Target, lasts: Duration) -> Report {
    let fetch = Fetch::new(target.http(), target.token());
    let watched = look(&fetch, target.uri(), lasts).await;
    let rules = low_latency::RULES.iter().chain(plain::RULES);
    let findings = rules.map(|rule| {
        let seen = match &watched {
            Ok(watched) => (rule.judge)(watched),
            Err(why) => Seen::of(false, why.clone()),
        };
        Finding {
            rule: rule.id,
            clause: rule.clause,
            says: rule.says,
            outcome: seen.outcome,
            seen: seen.what,
        }
    });
    Report {
        url: target.url(),
        findings: findings.collect(),
    }
}

async fn look(fetch: &Fetch, url: &Uri, lasts: Duration) -> Result<Watched, String> {
    let renditions = renditions(fetch, url).await?;
    let started = Instant::now();
    let end = started + lasts;
    let following = renditions
        .into_iter()
        .map(|rendition| follow(fetch, rendition, started, end));
    let renditions = futures_util::future::join_all(following).await;
    let mut watched = Watched {
        renditions,
        probed: None,
    };
    if watched.renditions.iter().all(|one| one.snaps.is_empty()) {
        let mut trouble = watched.renditions.iter().flat_map(|one| &one.trouble);
        let why = trouble.next().cloned();
        return Err(why.unwrap_or_else(|| "no playlist came".to_owned()));
    }
    let probed = match watched.low_latency().next() {
        Some(one) => Some(probes::ask(fetch, one, &watched.renditions).await),
        None => None,
    };
    watched.probed = probed;
    Ok(watched)
}

/// The renditions behind a URL: all of a multivariant playlist, up to a number, or the one. Media is fetched of the
/// first variant and the first audio rendition.
async fn renditions(fetch: &Fetch, url: &Uri) -> Result<Vec<Rendition>, String> {
    let got = fetch.get(url).await?;
    if got.status != 200 {
        return Err(format!("GET {url}: {}", got.status));
    }
    let text = got.text();
    let Some(variants) = m3u8::variants(&text) else {
        m3u8::Media::read(&text).map_err(|why| format!("{url}: {why}"))?;
        return Ok(vec![Rendition {
            url: url.clone(),
            name: "the playlist".to_owned(),
            media: true,
            bandwidth_bps: None,
            codecs: None,
        }]);
    };
    let mut seen = [false; 2];
    let renditions = variants.iter().filter_map(|variant| {
        let first = !std::mem::replace(&mut seen[usize::from(variant.is_audio)], true);
        Some(Rendition {
            url: resolve(url, &variant.uri)?,
            name: variant.uri.clone(),
            media: first,
            bandwidth_bps: variant.attributes.number("BANDWIDTH"),
            codecs: variant.attributes.text("CODECS").map(str::to_owned),
        })
    });
    let mut renditions: Vec<Rendition> = renditions.take(RENDITIONS_MAX).collect();
    renditions.dedup_by(|one, other| one.url == other.url);
    Ok(renditions)
}

/// A verdict over several things: every complaint, or what was fine.
fn verdict(complaints: &[String], fine: impl Into<String>) -> Seen {
    match complaints {
        [] => Seen::of(true, fine),
        [first] => Seen::of(false, first.clone()),
        [first, rest @ ..] => Seen::of(false, format!("{first}; and {} more", rest.len())),
    }
}

impl Seen {
    /// Skips unless something was there to be judged.
    fn unless(self, nothing: bool, why: &str) -> Self {
        if nothing && self.outcome == Outcome::Pass {
            Self::skip(why)
        } else {
            self
        }
    }
}

const RENDITIONS_MAX: usize = 8;
