//! HLS: playlists and segments from memory.

use axum::{
    extract::{Path, State},
    http::{HeaderName, Uri, header},
    response::{IntoResponse, Response},
};

use crate::{
    App, Caller, Problem,
    caller::carried,
    extract::{self, Name},
    scope::Action,
};

/// `GET /hls/{stream}/playlist.m3u8`: the multivariant playlist.
pub(crate) async fn multivariant(
    State(app): State<App>,
    Name(name): Name,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    let text = app
        .streams
        .hls(&name)?
        .multivariant(carried(&uri).as_deref())
        .await?;
    Ok(playlist(text))
}

/// `GET /hls/{stream}/{rung}/{file}`: a media playlist, a segment or an init section.
pub(crate) async fn file(
    State(app): State<App>,
    Name(name): Name,
    Path((_, rung, file)): Path<(String, String, String)>,
    caller: Caller,
    uri: Uri,
) -> Result<Response, Problem> {
    app.door.admit(&caller, Action::Play(&name)).await?;
    let hls = app.streams.hls(&name)?;
    let rung = extract::track(&rung, &name)?;
    if file == "playlist.m3u8" {
        return Ok(playlist(
            hls.playlist(&rung, carried(&uri).as_deref()).await?,
        ));
    }
    let media = hls.file(&rung, &file)?;
    // A name is never used for other bytes, so whoever has it may keep it.
    let headers = [
        (header::CONTENT_TYPE, media.content_type),
        (header::CACHE_CONTROL, "public, max-age=3600, immutable"),
    ];
    Ok((headers, media.bytes).into_response())
}

fn playlist(text: String) -> Response {
    let headers: [(HeaderName, &str); 2] = [
        (header::CONTENT_TYPE, "application/vnd.apple.mpegurl"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
