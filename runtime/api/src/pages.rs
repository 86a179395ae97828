//! The pages, embedded in the binary.

use axum::{
    extract::{Path, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use lockgate_web::Asset;

use crate::Problem;

/// A page by its name.
pub(crate) async fn page(name: &'static str, headers: HeaderMap) -> Response {
    match lockgate_web::page(name) {
        Some(asset) => respond(asset, &headers),
        None => Problem::no_route(name).into_response(),
    }
}

/// `GET /assets/{path}`: scripts, styles and pictures of the pages.
pub(crate) async fn asset(Path(path): Path<String>, request: Request) -> Response {
    match lockgate_web::asset(&format!("assets/{path}")) {
        Some(asset) => respond(asset, request.headers()),
        None => Problem::no_route(request.uri().path()).into_response(),
    }
}

fn respond(asset: Asset, request: &HeaderMap) -> Response {
    let etag = format!("\"{}\"", asset.etag.trim_matches('"'));
    let cache = if asset.immutable {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let known = request
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let headers = [
        (header::CONTENT_TYPE, asset.content_type.to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
        (header::ETAG, etag),
        (header::CONTENT_SECURITY_POLICY, CSP.to_owned()),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    (headers, asset.bytes.into_owned()).into_response()
}

/// Everything from us, nothing inline; hls.js feeds the picture by blob URLs and works in a blob worker.
const CSP: &str = "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; worker-src 'self' blob:; \
                   connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
