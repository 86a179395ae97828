//! Follows one rendition as a player does: playlist after playlist, each part by its hint, each segment once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use hyper::Uri;

use super::{
    boxes::Init,
    fetch::{Fetch, Got, resolve, with},
    m3u8::Media,
};

/// A rendition to follow.
#[derive(Debug, Clone)]
pub(super) struct Rendition {
    pub(super) url: Uri,
    pub(super) name: String,
    /// Fetch its media, too.
    pub(super) media: bool,
    /// `BANDWIDTH` in bit/s and `CODECS`, if it is a variant.
    pub(super) bandwidth_bps: Option<f64>,
    pub(super) codecs: Option<String>,
}

/// What was seen of it.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) of: Rendition,
    pub(super) snaps: Vec<Snap>,
    /// Blocking reloads that were asked for.
    pub(super) blocked: usize,
    pub(super) hints: Vec<Hinted>,
    /// Whole segments by number.
    pub(super) segments: HashMap<u64, Got>,
    /// Parts by their names.
    pub(super) parts: HashMap<String, Got>,
    pub(super) inits: HashMap<String, Init>,
    /// What went wrong on the way.
    pub(super) trouble: Vec<String>,
}

/// A playlist as it was at one moment.
#[derive(Debug)]
pub(super) struct Snap {
    pub(super) at: Duration,
    pub(super) list: Media,
    /// What it waited for, if it did.
    pub(super) awaited: Option<(u64, Option<usize>)>,
}

/// A part that was asked for before it was there.
#[derive(Debug)]
pub(super) struct Hinted {
    pub(super) uri: String,
    pub(super) status: u16,
    /// From its first byte to its last.
    pub(super) transfer: Duration,
    pub(super) took: Duration,
}

impl Followed {
    pub(super) fn last(&self) -> Option<&Media> {
        self.snaps.last().map(|snap| &snap.list)
    }

    /// Whether it speaks low latency.
    pub(super) fn has_parts(&self) -> bool {
        self.last().is_some_and(|list| list.part_target_s.is_some())
    }
}

/// Follows a rendition until `end`.
pub(super) async fn follow(
    fetch: &Fetch,
    of: Rendition,
    started: Instant,
    end: Instant,
) -> Followed {
    let mut seen = Followed {
        of,
        snaps: Vec::new(),
        blocked: 0,
        hints: Vec::new(),
        segments: HashMap::new(),
        parts: HashMap::new(),
        inits: HashMap::new(),
        trouble: Vec::new(),
    };
    while Instant::now() < end {
        let awaited = seen.last().and_then(next);
        let url = match awaited {
            Some((number, Some(part))) => {
                with(&seen.of.url, &format!("_HLS_msn={number}&_HLS_part={part}"))
            }
            Some((number, None)) => with(&seen.of.url, &format!("_HLS_msn={number}")),
            None => Some(seen.of.url.clone()),
        };
        let Some(url) = url else { break };
        let got = match fetch.get(&url).await {
            Ok(got) => got,
            Err(why) => {
                seen.trouble.push(why);
                break;
            }
        };
        if got.status != 200 {
            seen.trouble.push(format!("GET {url}: {}", got.status));
            tokio::time::sleep(PAUSE).await;
            if seen.trouble.len() > TROUBLE_MAX {
                break;
            }
            continue;
        }
        let list = match Media::read(&got.text()) {
            Ok(list) => list,
            Err(why) => {
                seen.trouble.push(format!("{url}: {why}"));
                break;
            }
        };
        seen.blocked += usize::from(awaited.is_some());
        let (ended, waits) = (list.ended, next(&list).is_some());
        let pause = Duration::from_secs_f64(list.target_s.unwrap_or(2) as f64 / 2.0);
        seen.snaps.push(Snap {
            at: started.elapsed(),
            list,
            awaited,
        });
        if seen.of.media {
            media(fetch, &mut seen).await;
        }
        if ended {
            break;
        }
        if !waits {
            tokio::time::sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        }
    }
    seen
}

/// What a player waits for next, if the server lets it.
fn next(list: &Media) -> Option<(u64, Option<usize>)> {
    let control = list.control.as_ref()?;
    if list.ended || control.text("CAN-BLOCK-RELOAD") != Some("YES") {
        return None;
    }
    Some((list.next(), list.part_target_s.map(|_| list.open.len())))
}

/// Fetches what the newest playlist names and has not been fetched: maps, the hinted part, the last segment.
async fn media(fetch: &Fetch, seen: &mut Followed) {
    let Some(list) = seen.last().cloned() else {
        return;
    };
    let base = seen.of.url.clone();
    let maps = list
        .segments
        .iter()
        .filter_map(|segment| segment.map.clone());
    let maps: Vec<String> = maps.filter(|map| !seen.inits.contains_key(map)).collect();
    for map in maps {
        let got = get(fetch, &base, &map, &mut seen.trouble).await;
        if let Some(init) = got.and_then(|got| Init::read(&got.bytes)) {
            seen.inits.insert(map, init);
        }
    }
    let first = seen.snaps.len() == 1;
    if let Some(last) = list.segments.last().filter(|last| !last.gap)
        && !seen.segments.contains_key(&last.number)
        && let Some(got) = get(fetch, &base, &last.uri, &mut seen.trouble).await
    {
        // The parts of a segment that was watched from its start are compared with it.
        if first {
            for part in &last.parts {
                if let Some(got) = get(fetch, &base, &part.uri, &mut seen.trouble).await {
                    seen.parts.insert(part.uri.clone(), got);
                }
            }
        }
        seen.segments.insert(last.number, got);
    }
    let missing = list.open.iter().map(|part| part.uri.clone());
    let missing: Vec<String> = missing
        .filter(|uri| !seen.parts.contains_key(uri))
        .collect();
    for uri in missing {
        if let Some(got) = get(fetch, &base, &uri, &mut seen.trouble).await {
            seen.parts.insert(uri, got);
        }
    }
    let of_part = |hint: &&super::m3u8::Attributes| hint.text("TYPE") == Some("PART");
    if let Some(uri) = list
        .hints
        .iter()
        .find(of_part)
        .and_then(|hint| hint.text("URI"))
        && let Some(url) = resolve(&base, uri)
        && !seen.parts.contains_key(uri)
    {
        match fetch.get(&url).await {
            Ok(got) => {
                seen.hints.push(Hinted {
                    uri: uri.to_owned(),
                    status: got.status,
                    transfer: got.transfer,
                    took: got.took,
                });
                if got.status == 200 {
                    seen.parts.insert(uri.to_owned(), got);
                }
            }
            Err(why) => seen.trouble.push(why),
        }
    }
}

async fn get(fetch: &Fetch, base: &Uri, reference: &str, trouble: &mut Vec<String>) -> Option<Got> {
    let url = resolve(base, reference)?;
    match fetch.get(&url).await {
        Ok(got) if got.status == 200 => Some(got),
        Ok(got) => {
            trouble.push(format!("GET {url}, which is listed: {}", got.status));
            None
        }
        Err(why) => {
            trouble.push(why);
            None
        }
    }
}

const PAUSE: Duration = Duration::from_millis(250);
const TROUBLE_MAX: usize = 20;
