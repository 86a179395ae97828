//! Questions that players do not ask, to one rendition.

use std::time::Duration;

use super::{
    fetch::{Fetch, Got, resolve, with},
    follow::Followed,
    m3u8::Media,
};

/// What came of the questions.
pub(super) struct Probed {
    /// The playlist that the questions start from.
    pub(super) now: Media,
    /// `_HLS_part` without `_HLS_msn`.
    pub(super) part_alone: Answer,
    /// `_HLS_msn` far ahead.
    pub(super) far_segment: Answer,
    /// `_HLS_part` just beyond the Advance Part Limit.
    pub(super) far_part: Answer,
    /// `_HLS_msn=0`.
    pub(super) old: Answer,
    /// A part after the last of a closed segment.
    pub(super) after_last: Answer,
    /// The segment after the last, with its number, while nothing else is waited for.
    pub(super) awaited: (u64, Answer),
    /// `_HLS_skip=YES` and `v2`.
    pub(super) deltas: [Answer; 2],
    /// A part that nobody hinted at.
    pub(super) unhinted: Option<Answer>,
    /// A part that has left the playlist a moment ago.
    pub(super) unlisted: Option<Answer>,
    /// What was reported of each other rendition.
    pub(super) reported: Vec<Reported>,
}

/// What a report said, and the playlist it spoke of, fetched after it.
pub(super) struct Reported {
    pub(super) name: String,
    /// `LAST-MSN` and `LAST-PART`.
    pub(super) said: Option<(f64, Option<f64>)>,
    pub(super) list: Option<Media>,
}

/// An answer with its question.
pub(super) struct Answer {
    pub(super) question: String,
    pub(super) got: Result<Got, String>,
}

impl Answer {
    pub(super) fn status(&self) -> u16 {
        self.got.as_ref().map_or(0, |got| got.status)
    }

    pub(super) fn list(&self) -> Option<Media> {
        let got = self.got.as_ref().ok().filter(|got| got.status == 200)?;
        Media::read(&got.text()).ok()
    }

    pub(super) fn took(&self) -> Duration {
        self.got.as_ref().map_or(Duration::MAX, |got| got.took)
    }

    pub(super) fn words(&self) -> String {
        match &self.got {
            Ok(got) => format!(
                "{}: {} after {:.2} s",
                self.question,
                got.status,
                got.took.as_secs_f64()
            ),
            Err(why) => why.clone(),
        }
    }
}

/// Asks them all.
pub(super) async fn ask(fetch: &Fetch, one: &Followed, all: &[Followed]) -> Probed {
    let url = &one.of.url;
    let asked = async |query: String| {
        let got = match with(url, &query) {
            Some(url) => fetch.get(&url).await,
            None => Err(format!("{query} makes no URL")),
        };
        Answer {
            question: query,
            got,
        }
    };
    let fresh = async || {
        let got = fetch.get(url).await.ok()?;
        Media::read(&got.text()).ok()
    };
    let now = fresh().await.or_else(|| one.last().cloned());
    let now = now.unwrap_or_default();
    let next = now.next();
    let limit = match now.part_target_s {
        Some(target) if target < 1.0 => (3.0 / target).ceil() as usize,
        _ => 3,
    };
    let last_part = now.segments.last().map_or(0, |last| last.parts.len());
    let old = asked("_HLS_msn=0".to_owned()).await;
    let part_alone = asked("_HLS_part=0".to_owned()).await;
    let far_segment = asked(format!("_HLS_msn={}", next + 8)).await;
    let far = now.open.len() + 2 * limit + 2;
    // Of the segment after the next, which cannot be closed by now.
    let far_part = asked(format!("_HLS_msn={}&_HLS_part={far}", next + 1)).await;
    let after_last = asked(format!(
        "_HLS_msn={}&_HLS_part={}",
        next.saturating_sub(1),
        last_part.max(1)
    ))
    .await;
    let later = fresh().await.map_or(next, |list| list.next());
    let awaited = (later, asked(format!("_HLS_msn={later}")).await);
    let deltas = [
        asked("_HLS_skip=YES".to_owned()).await,
        asked("_HLS_skip=v2".to_owned()).await,
    ];
    let unhinted = match now.parts().last() {
        Some((_, _, part)) => {
            named(fetch, one, &part.uri.replacen("part", "no-such-part", 1)).await
        }
        None => None,
    };
    // The oldest part of the first playlist that the present one no longer lists.
    let gone = one.snaps.iter().rev().find_map(|snap| {
        let mut parts = snap.list.parts();
        parts.find(|(number, _, _)| {
            now.parts()
                .next()
                .is_some_and(|(first, ..)| *number < first)
        })
    });
    let unlisted = match gone {
        Some((_, _, part)) => named(fetch, one, &part.uri).await,
        None => None,
    };
    let mut reported = Vec::new();
    let told = fresh().await.unwrap_or_default();
    for other in all.iter().filter(|other| other.of.url != one.of.url) {
        let report = told.reports.iter().find(|report| {
            let uri = report.text("URI").and_then(|uri| resolve(url, uri));
            uri.is_some_and(|uri| uri.path() == other.of.url.path())
        });
        let said = report
            .and_then(|report| Some((report.number("LAST-MSN")?, report.number("LAST-PART"))));
        let got = fetch.get(&other.of.url).await.ok();
        let list = got.and_then(|got| Media::read(&got.text()).ok());
        reported.push(Reported {
            name: other.of.name.clone(),
            said,
            list,
        });
    }
    Probed {
        now,
        part_alone,
        far_segment,
        far_part,
        old,
        after_last,
        awaited,
        deltas,
        unhinted,
        unlisted,
        reported,
    }
}

async fn named(fetch: &Fetch, one: &Followed, uri: &str) -> Option<Answer> {
    let url = resolve(&one.of.url, uri)?;
    Some(Answer {
        question: uri.to_owned(),
        got: fetch.get(&url).await,
    })
}
