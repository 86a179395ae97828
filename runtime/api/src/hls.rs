//! HLS and DASH: playlists, manifest, segments and parts from memory.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::{
    extract::State,
    http::{HeaderMap, Method, Uri, header},
    response::{IntoResponse, Response},
};
use lockgate_media::TrackId;
use lockgate_session::{Awaited, ManifestAsk, Reload, Skip};

use crate::extract::Params;
use crate::openapi::{NoRange, NotFound, Unavailable};
use crate::{
    App, Caller, Problem,
    caller::carried,
    extract::{self, Name},
    serve::Wishes,
};
use lockgate_media::BroadcastName;

/// The multivariant playlist.
#[utoipa::path(
    get, path = "/hls/{stream}/playlist.m3u8", tag = "hls", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("dvr" = Option<String>, Query, description = "1 for the long window, 0 for the short one."), ("token" = Option<String>, Query, description = "The access token, where no header can be sent.")),
    responses(
        (status = 200, description = "The playlist.", body = String, content_type = "application/vnd.apple.mpegurl"),
        (status = 304, description = "It is what `If-None-Match` names."),
        (status = 404, response = NotFound),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn multivariant(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let seat = app.door.seat(&caller, &name).await?;
    let dvr = param(&uri, "dvr").filter(|value| matches!(*value, "0" | "1"));
    let query = [carried(&uri), dvr.map(|dvr| format!("dvr={dvr}"))];
    let query = query.into_iter().flatten().collect::<Vec<_>>().join("&");
    let text = app
        .streams
        .hls(&name)?
        .multivariant((!query.is_empty()).then_some(query.as_str()))
        .await?;
    let wishes = Wishes {
        method: &method,
        headers: &headers,
    };
    let answer = wishes.text(&text, M3U8, "no-cache");
    Ok(seat.served(&app.streams, None, answer))
}

/// A media playlist (`playlist.m3u8`), a segment, a part or an init section.
#[utoipa::path(
    get, path = "/hls/{stream}/{rung}/{file}", tag = "hls", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("rung" = String, Path, description = "The rendition.", example = "720p60"), ("file" = String, Path, description = "The file.", example = "playlist.m3u8"), ("_HLS_msn" = Option<u64>, Query, description = "Wait until this segment is in the playlist."), ("_HLS_part" = Option<u64>, Query, description = "Wait until this part of it is."), ("_HLS_skip" = Option<String>, Query, description = "YES or v2: only what is new."), ("dvr" = Option<String>, Query, description = "1 for the long window, 0 for the short one."), ("token" = Option<String>, Query, description = "The access token, where no header can be sent.")),
    responses(
        (status = 200, description = "The playlist, or the file.", content((String = "application/vnd.apple.mpegurl"), (Vec<u8> = "video/mp4"), (Vec<u8> = "video/mp2t"))),
        (status = 206, description = "The range that was asked for."),
        (status = 304, description = "It is what `If-None-Match` names."),
        (status = 404, response = NotFound),
        (status = 416, response = NoRange),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn file(
    State(app): State<App>,
    Name(name): Name,
    Params((_, rung, file)): Params<(String, String, String)>,
    caller: Caller,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let seat = app.door.seat(&caller, &name).await?;
    let hls = app.streams.hls(&name)?;
    let rung = extract::track(&rung, &name)?;
    let wishes = Wishes {
        method: &method,
        headers: &headers,
    };
    if file == "playlist.m3u8" {
        let playlist = hls
            .playlist(&rung, reload(&uri)?, carried(&uri).as_deref())
            .await?;
        // A URL that names what it waits for is asked for once by each player: a cache in front answers all others
        // (rfc8216bis, Appendix B.1).
        let cache = playlist.lasts_s.map_or_else(
            || "no-cache".to_owned(),
            |lasts_s| format!("public, max-age={lasts_s}"),
        );
        let answer = wishes.text(&playlist.text, M3U8, &cache);
        return Ok(seat.served(&app.streams, None, answer));
    }
    let media = hls.file(&rung, &file).await?;
    let answer = wishes.media(media);
    let picture = (rung != TrackId::aac()).then_some(&rung);
    Ok(seat.served(&app.streams, picture, answer))
}

/// The DASH manifest.
#[utoipa::path(
    get, path = "/dash/{stream}/manifest.mpd", tag = "hls", security(("token" = ["play"])),
    params(("stream" = BroadcastName, Path, description = "The broadcast.", example = "demo"), ("token" = Option<String>, Query, description = "The access token, where no header can be sent.")),
    responses(
        (status = 200, description = "The manifest.", body = String, content_type = "application/dash+xml"),
        (status = 304, description = "It is what `If-None-Match` names."),
        (status = 404, response = NotFound),
        (status = 503, response = Unavailable),
    ),
)]
pub(crate) async fn manifest(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
    method: Method,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let seat = app.door.seat(&caller, &name).await?;
    let (now, query) = (now(), carried(&uri));
    let ask = ManifestAsk {
        now_unix_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
        base: &format!("../../hls/{name}"),
        query: query.as_deref(),
        clock: "../time",
    };
    let text = app.streams.hls(&name)?.manifest(ask).await?;
    let wishes = Wishes {
        method: &method,
        headers: &headers,
    };
    let answer = wishes.text(&text, "application/dash+xml", "no-cache");
    Ok(seat.served(&app.streams, None, answer))
}

/// The server's clock, for players of the manifest.
#[utoipa::path(
    get, path = "/dash/time", tag = "hls", security(()),
    responses(
        (status = 200, description = "The time.", body = String, content_type = "text/plain"),
    ),
)]
pub(crate) async fn time() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    let now_ms = i64::try_from(now().as_millis()).unwrap_or(i64::MAX);
    (headers, lockgate_session::date_time(now_ms)).into_response()
}

/// The Delivery Directives of a playlist's URL (rfc8216bis §6.2.5), and which window it asks for.
fn reload(uri: &Uri) -> Result<Reload, Problem> {
    let number = |name: &'static str| {
        let parse = |value: &str| {
            let number = value.parse::<u64>();
            number
                .map_err(|_| Problem::bad_directive(format!("{name} is a whole number from 0 on")))
        };
        param(uri, name).map(parse).transpose()
    };
    let awaited = match (number("_HLS_msn")?, number("_HLS_part")?) {
        (Some(number), part) => Some(Awaited { number, part }),
        (None, None) => None,
        (None, Some(_)) => {
            let detail = "_HLS_part says nothing without _HLS_msn";
            return Err(Problem::bad_directive(detail));
        }
    };
    Ok(Reload {
        awaited,
        skip: match param(uri, "_HLS_skip") {
            Some("YES") => Some(Skip::Yes),
            Some("v2") => Some(Skip::V2),
            _ => None,
        },
        dvr: match param(uri, "dvr") {
            Some("1") => Some(true),
            Some("0") => Some(false),
            _ => None,
        },
    })
}

fn param<'a>(uri: &'a Uri, name: &str) -> Option<&'a str> {
    let mut pairs = uri.query()?.split('&');
    pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

fn now() -> std::time::Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

const M3U8: &str = "application/vnd.apple.mpegurl";
