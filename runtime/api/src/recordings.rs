//! `/api/recordings`: the files of what was recorded, for an administrator.

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use lockgate_media::BroadcastName;
use lockgate_session::{Error, Recording};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::extract::Params;
use crate::openapi::{NoRange, NotFound};
use crate::{App, Caller, Problem, scope::Action};

/// The answer to `GET /api/recordings`.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Recordings)]
pub(crate) struct Listing {
    recordings: Vec<Recording>,
}

/// The files, oldest first.
#[utoipa::path(
    get, path = "/api/recordings", tag = "recordings", security(("token" = ["admin"])),
    responses(
        (status = 200, description = "They.", body = Listing),
    ),
)]
pub(crate) async fn list(State(app): State<App>, caller: Caller) -> Result<Json<Listing>, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let recordings = app.streams.recordings().await?;
    Ok(Json(Listing { recordings }))
}

/// A file, or the part of it that is asked for (RFC 9110 §14.2). One that is still written is given up to where it has come.
#[utoipa::path(
    get, path = "/api/recordings/{stream}/{file}", tag = "recordings", security(("token" = ["admin"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("file" = String, Path, description = "The file, as the list names it.")),
    responses(
        (status = 200, description = "The file.", body = Vec<u8>, content_type = "video/mp4"),
        (status = 206, description = "The range.", body = Vec<u8>, content_type = "video/mp4"),
        (status = 404, response = NotFound),
        (status = 416, response = NoRange),
    ),
)]
pub(crate) async fn get(
    State(app): State<App>,
    Params((stream, file)): Params<(String, String)>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Admin).await?;
    let name = BroadcastName::new(&stream).map_err(|error| Problem::bad_name(&error))?;
    let missing = || {
        Problem::from(Error::NoFile {
            broadcast: name.clone(),
            file: file.chars().take(64).collect(),
        })
    };
    let path = app.streams.recording(&name, &file).ok_or_else(missing)?;
    let mut open = tokio::fs::File::open(&path).await.map_err(|_| missing())?;
    let len = open.metadata().await.map_err(|_| missing())?.len();
    let asked = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    let (from, to) = match asked.map(|asked| range(asked, len)) {
        Some(Some(range)) => range,
        Some(None) => {
            let whole = [(header::CONTENT_RANGE, format!("bytes */{len}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, whole).into_response());
        }
        None => (0, len),
    };
    open.seek(std::io::SeekFrom::Start(from))
        .await
        .map_err(|_| missing())?;
    let body = Body::from_stream(stream::try_unfold(
        (open, to - from),
        |(mut open, left)| async move {
            let want = usize::try_from(left).unwrap_or(CHUNK_LEN).min(CHUNK_LEN);
            if want == 0 {
                return Ok::<_, std::io::Error>(None);
            }
            let mut chunk = vec![0; want];
            let len = open.read(&mut chunk).await?;
            chunk.truncate(len);
            let left = if len == 0 { 0 } else { left - len as u64 };
            Ok((len > 0).then(|| (Bytes::from(chunk), (open, left))))
        },
    ));
    let mut answer = body.into_response();
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(to - from));
    if asked.is_some() {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        let last = to.saturating_sub(1);
        let range = HeaderValue::try_from(format!("bytes {from}-{last}/{len}"));
        if let Ok(range) = range {
            answer.headers_mut().insert(header::CONTENT_RANGE, range);
        }
    }
    Ok(answer)
}

/// The first and the end of one range of bytes; `None` if there is none of it in the file.
fn range(asked: &str, len: u64) -> Option<(u64, u64)> {
    let (first, last) = asked.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = if first.is_empty() {
        (len.saturating_sub(last.parse().ok()?), len)
    } else {
        let last = match last {
            "" => len,
            last => last.parse::<u64>().ok()?.saturating_add(1).min(len),
        };
        (first.parse().ok()?, last)
    };
    (from < to).then_some((from, to))
}

const CHUNK_LEN: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_within_the_file() {
        assert_eq!(range("bytes=0-9", 100), Some((0, 10)));
        assert_eq!(range("bytes=90-", 100), Some((90, 100)));
        assert_eq!(range("bytes=-10", 100), Some((90, 100)));
        assert_eq!(range("bytes=95-200", 100), Some((95, 100)));
        for none in [
            "bytes=100-",
            "bytes=9-8",
            "lines=1-2",
            "bytes=1-2,3-4",
            "bytes=-0",
        ] {
            assert_eq!(range(none, 100), None, "{none}");
        }
    }
}
