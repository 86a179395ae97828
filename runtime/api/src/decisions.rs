//! `/api/policies/{kind}/decisions`: the decision log as lines of JSON, up to now or as it grows.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{Query, State},
    http::{StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use lockgate_session::{Kind, desk::Entry};
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use crate::extract::Params;
use crate::openapi::{BadRequest, NotFound, Unavailable};
use crate::{
    App, Problem,
    caller::Caller,
    policies::{parse, refused},
    scope::Action,
};

/// What of the log is wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Wanted {
    follow: bool,
    /// The newest of what is remembered; all without it.
    limit: Option<usize>,
    stream: Option<String>,
    row: Option<String>,
}

/// The decision log as lines of JSON: what is remembered, oldest first, and with `follow=1` what comes until the caller goes. A
/// caller that reads too slowly loses lines, and a line `{"lost":N}` says how many decisions of this kind went by.
#[utoipa::path(
    get, path = "/api/policies/{kind}/decisions", tag = "policies", security(("token" = ["admin"])),
    params(("kind" = Kind, Path, description = "The kind of judgement.", example = "abr"), ("follow" = Option<String>, Query, description = "1 goes on with what comes."), ("limit" = Option<u64>, Query, description = "So many of the newest."), ("stream" = Option<String>, Query, description = "Of this broadcast only."), ("row" = Option<String>, Query, description = "Of this session only.")),
    responses(
        (status = 200, description = "A line for each decision.", body = String, content_type = "application/x-ndjson"),
        (status = 400, response = BadRequest),
        (status = 404, response = NotFound),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    Params(kind): Params<String>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let kind = parse(&kind)?;
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(&uri)
        .map_err(|rejection| bad_query(&rejection.body_text()))?;
    let wanted = Wanted::of(pairs.0).map_err(|what| bad_query(&what))?;
    let kept = |entries: Vec<Arc<Entry>>| -> VecDeque<Arc<Entry>> {
        let mut kept: VecDeque<_> = entries
            .into_iter()
            .filter(|entry| wanted.takes(entry))
            .collect();
        let skipped = kept
            .len()
            .saturating_sub(wanted.limit.unwrap_or(usize::MAX));
        kept.drain(..skipped);
        kept
    };
    let body = if wanted.follow {
        let (entries, coming) = app.desk.follow(kind).await.map_err(refused)?;
        follow(kept(entries), coming, wanted)
    } else {
        let entries = app.desk.decisions(kind).await.map_err(refused)?;
        Body::from_stream(stream::iter(
            kept(entries).into_iter().map(|entry| line(&entry)),
        ))
    };
    let headers = [
        (header::CONTENT_TYPE, "application/x-ndjson"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

/// Written only as fast as the caller reads; what waits is bounded by the desk.
fn follow(remembered: VecDeque<Arc<Entry>>, coming: Coming, wanted: Wanted) -> Body {
    let next = |(mut remembered, mut coming, wanted): (VecDeque<Arc<Entry>>, Coming, Wanted)| async move {
        if let Some(entry) = remembered.pop_front() {
            return Some((line(&entry), (remembered, coming, wanted)));
        }
        loop {
            match coming.recv().await {
                Ok(entry) if wanted.takes(&entry) => {
                    return Some((line(&entry), (remembered, coming, wanted)));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(lost)) => {
                    let told = Ok(Bytes::from(format!("{}\n", json!({ "lost": lost }))));
                    return Some((told, (remembered, coming, wanted)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    };
    Body::from_stream(stream::unfold((remembered, coming, wanted), next))
}

type Coming = tokio::sync::broadcast::Receiver<Arc<Entry>>;

fn line(entry: &Entry) -> Result<Bytes, Infallible> {
    // Every entry is an object of strings and numbers: it can always be written.
    let mut line = serde_json::to_vec(entry).unwrap_or_default();
    line.push(b'\n');
    Ok(line.into())
}

impl Wanted {
    fn of(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (key, value) in pairs {
            match key.as_str() {
                "follow" => {
                    wanted.follow = match value.as_str() {
                        "1" | "true" => true,
                        "0" | "false" => false,
                        _ => return Err(format!("follow is {value:?}; it is 0 or 1")),
                    }
                }
                "limit" => {
                    let limit = value.parse().map_err(|_| {
                        format!("limit is {value:?}; it is a number of lines from 0 on")
                    })?;
                    wanted.limit = Some(limit);
                }
                "stream" | "row" if value.is_empty() || value.len() > WORD_MAX => {
                    return Err(format!(
                        "{key} has {} bytes; it has 1 to {WORD_MAX}",
                        value.len()
                    ));
                }
                "stream" => wanted.stream = Some(value),
                "row" => wanted.row = Some(value),
                "token" => {}
                _ => {
                    return Err(format!(
                        "there is no {key:?}; there are follow, limit, stream and row"
                    ));
                }
            }
        }
        Ok(wanted)
    }

    fn takes(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, is: &str| wanted.as_deref().is_none_or(|one| one == is);
        is(&self.stream, &entry.call.stream) && is(&self.row, &entry.row)
    }
}

pub(crate) fn bad_query(what: &str) -> Problem {
    let title = "The query cannot be used";
    Problem::new(
        StatusCode::BAD_REQUEST,
        "/problems/bad-query",
        title,
        format!("in the query, {what}"),
    )
}

/// Names of broadcasts and sessions are shorter.
const WORD_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Wanted, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Wanted::of(pairs.iter().map(owned).collect())
    }

    #[test]
    fn a_query_is_taken_whole_or_refused_with_what_is_wrong() {
        let all = [
            ("follow", "1"),
            ("limit", "5"),
            ("stream", "demo"),
            ("row", "ab12"),
            ("token", "x"),
        ];
        let wanted = Wanted {
            follow: true,
            limit: Some(5),
            stream: Some("demo".to_owned()),
            row: Some("ab12".to_owned()),
        };
        assert_eq!(of(&all), Ok(wanted));
        for (pair, word) in [
            (("follow", "yes"), "0 or 1"),
            (("limit", "-1"), "a number of lines"),
            (("stream", ""), "stream has 0 bytes"),
            (("since", "5"), "\"since\""),
        ] {
            let error = of(&[pair]).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
