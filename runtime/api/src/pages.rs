//! The pages, embedded in the binary.

use std::sync::LazyLock;

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lockgate_web::Asset;

use crate::Problem;
use crate::extract::Params;
use crate::openapi::NotFound;

/// The start page.
#[utoipa::path(
    get, path = "/", tag = "pages", security(()),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
pub(crate) async fn index(headers: HeaderMap) -> Response {
    page("index", &headers)
}

/// The player.
#[utoipa::path(
    get, path = "/watch/{stream}", tag = "pages", security(()),
    params(("stream" = String, Path, description = "The broadcast.", example = "demo")),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
pub(crate) async fn watch(headers: HeaderMap) -> Response {
    page("watch", &headers)
}

/// Publishing from a browser.
#[utoipa::path(
    get, path = "/studio", tag = "pages", security(()),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
pub(crate) async fn studio(headers: HeaderMap) -> Response {
    page("studio", &headers)
}

/// What the server does, for whoever has the scope `admin`.
#[utoipa::path(
    get, path = "/dashboard", tag = "pages", security(()),
    responses(
        (status = 200, description = "The page, which asks for a token.", body = String, content_type = "text/html"),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
pub(crate) async fn dashboard(headers: HeaderMap) -> Response {
    page("dashboard", &headers)
}

/// Meeting others.
#[utoipa::path(
    get, path = "/rooms/{room}", tag = "pages", security(()),
    params(("room" = String, Path, description = "The room.", example = "demo")),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
pub(crate) async fn room(headers: HeaderMap) -> Response {
    page("room", &headers)
}

/// This document for people.
#[utoipa::path(
    get, path = "/api/docs", tag = "operations", security(()),
    responses(
        (status = 200, description = "The page.", body = String, content_type = "text/html"),
        (status = 304, description = "It is what `If-None-Match` names."),
    ),
)]
pub(crate) async fn docs(headers: HeaderMap) -> Response {
    page("docs", &headers)
}

fn page(name: &'static str, headers: &HeaderMap) -> Response {
    match lockgate_web::page(name) {
        Some(asset) => respond(asset, headers),
        None => Problem::no_route(name).into_response(),
    }
}

/// Scripts, styles and pictures of the pages.
#[utoipa::path(
    get, path = "/assets/{path}", tag = "pages", security(()),
    params(("path" = String, Path, description = "The file.")),
    responses(
        (status = 200, description = "The file.", content((String = "text/javascript"), (String = "text/css"), (String = "image/svg+xml"))),
        (status = 304, description = "It is what `If-None-Match` names."),
        (status = 404, response = NotFound),
    ),
)]
pub(crate) async fn asset(Params(path): Params<String>, request: Request) -> Response {
    match lockgate_web::asset(&format!("assets/{path}")) {
        Some(asset) => respond(asset, request.headers()),
        None => Problem::no_route(request.uri().path()).into_response(),
    }
}

fn respond(asset: Asset, request: &HeaderMap) -> Response {
    let takes_gzip = request
        .get(header::ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|list| {
            list.split(',')
                .any(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
        });
    let gzip_etag = asset.gzip_etag();
    let (bytes, etag, gzip) = match asset.gzip {
        Some(packed) if takes_gzip => (packed, gzip_etag, true),
        _ => (asset.bytes, asset.etag, false),
    };
    let cache = if asset.immutable {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    let policy = if asset.immutable {
        CSP.to_owned()
    } else {
        CSP_OF_PAGES.clone()
    };
    let known = request
        .get(header::IF_NONE_MATCH)
        .is_some_and(|value| value.as_bytes() == etag.as_bytes());
    let headers = [
        (header::CONTENT_TYPE, asset.content_type.to_owned()),
        (header::CACHE_CONTROL, cache.to_owned()),
        (header::ETAG, etag),
        (header::VARY, "Accept-Encoding".to_owned()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer".to_owned()),
    ];
    if known {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let mut response = (headers, bytes.into_owned()).into_response();
    if gzip {
        response
            .headers_mut()
            .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Components of the pages bring styles of their own, which are known by their hashes.
static CSP_OF_PAGES: LazyLock<String> =
    LazyLock::new(|| format!("{CSP}; style-src 'self' {}", lockgate_web::style_sources()));

/// Everything from us, nothing inline; hls.js feeds the picture by blob URLs, begins captions as an empty `data:` file, and works
/// in a blob worker.
const CSP: &str = "default-src 'self'; img-src 'self' data:; media-src 'self' blob: data:; worker-src 'self' blob:; \
                   connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
