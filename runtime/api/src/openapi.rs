//! The OpenAPI document (3.1): made of what stands at each handler, and of what holds for many.

use axum::{
    http::{HeaderMap, Method, header},
    response::{IntoResponse as _, Response},
};
use utoipa::{
    Modify, OpenApi, PartialSchema, ToResponse, ToSchema,
    openapi::{
        Content, Header, Ref, RefOr,
        path::Operation,
        response::Response as Answer,
        schema::{AdditionalProperties, Object, ObjectBuilder, Schema, Type},
        security::{Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::{Problem, limits, pages};

/// The document: every route, who may use it, what it takes and gives.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lockgate",
        description = "Live streaming: WHIP and WHEP (WebRTC), HLS and DASH, and the API around them. Errors are problem details (RFC 9457) everywhere. \
            HEAD works wherever GET does, and OPTIONS everywhere (CORS).",
    ),
    paths(
        pages::index, pages::watch, pages::studio, pages::room, pages::dashboard, pages::asset,
        crate::whip::publish, crate::whip::discover, crate::whip::show, crate::whip::patch, crate::whip::end,
        crate::whep::subscribe, crate::whep::discover, crate::whep::show, crate::whep::patch, crate::whep::end,
        crate::whep::layer, crate::whep::events, crate::reports::report_of_viewer,
        crate::whep_events::open, crate::whep_events::read, crate::whep_events::close,
        crate::hls::multivariant, crate::hls::file, crate::hls::manifest, crate::hls::time,
        crate::streams::list, crate::streams::one, crate::streams::stop, crate::streams::sessions,
        crate::streams::kick_of, crate::streams::kick,
        crate::sessions::list, crate::sessions::one, crate::sessions::export, crate::sessions::import,
        crate::rooms::list, crate::rooms::one, crate::rooms::end, crate::rooms::participants,
        crate::rooms::remove, crate::rooms::change,
        crate::reports::metrics, crate::reports::report,
        crate::verify::verify, crate::verify::verify_too,
        crate::revocations::list, crate::revocations::add, crate::revocations::remove,
        crate::recordings::list, crate::recordings::get,
        crate::policies::list, crate::policies::swap, crate::policies::rollback,
        crate::policies::shadow, crate::policies::end_shadow, crate::decisions::get,
        crate::configuration::show, crate::configuration::reload,
        crate::metrics::scrape, crate::health::livez, crate::health::readyz, crate::log::get, crate::log::put, serve, pages::docs,
    ),
    components(
        responses(
            BadRequest, TokenWanted, ScopeWanted, NotFound, TooSlow, Conflict, PreconditionFailed, TooLarge,
            MediaType, NoRange, Unusable, PreconditionRequired, TooMany, Unavailable, NotRecorded,
        ),
    ),
    tags(
        (name = "whip", description = "Publishing over WebRTC (RFC 9725)."),
        (name = "whep", description = "Watching over WebRTC (draft-ietf-wish-whep-03)."),
        (name = "hls", description = "Watching over HLS (RFC 8216, rfc8216bis) and DASH."),
        (name = "streams", description = "What is live."),
        (name = "rooms", description = "Rooms, which clients join over Socket.IO."),
        (name = "sessions", description = "Who published and who watched, now and before."),
        (name = "policies", description = "What decides."),
        (name = "revocations", description = "Tokens that are no longer good."),
        (name = "recordings", description = "What was recorded."),
        (name = "configuration", description = "What is configured."),
        (name = "operations", description = "For probes, collectors, and readers of this."),
        (name = "pages", description = "For people."),
    ),
    modifiers(&Common),
)]
struct Document;

/// This document.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "operations", security(()),
    responses((status = 200, description = "OpenAPI 3.1.", body = Object, content_type = "application/json")),
)]
pub(crate) async fn serve(headers: HeaderMap) -> Response {
    static TEXT: std::sync::LazyLock<(String, String)> = std::sync::LazyLock::new(|| {
        let text = document().to_json().unwrap_or_default();
        let tag = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), &text);
        (text, format!("\"{tag:016x}\""))
    });
    let (text, tag) = &*TEXT;
    let known = headers.get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == tag.as_bytes()) {
        let headers = [(header::ETAG, tag.clone())];
        return (axum::http::StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "application/json".to_owned()),
        (header::CACHE_CONTROL, "no-cache".to_owned()),
        (header::ETAG, tag.clone()),
    ];
    (headers, text.as_str()).into_response()
}

impl PartialSchema for Problem {
    fn schema() -> RefOr<Schema> {
        let text = |what: &str| {
            ObjectBuilder::new()
                .schema_type(Type::String)
                .description(Some(what))
        };
        let status = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(400))
            .maximum(Some(599))
            .description(Some("The status of the response."));
        ObjectBuilder::new()
            .property(
                "type",
                text("What kind of problem: a stable URI reference."),
            )
            .property("title", text("The kind in a few words."))
            .property("status", status)
            .property(
                "detail",
                text("This case in a sentence: what, where, and what to do."),
            )
            .required("type")
            .required("title")
            .required("status")
            .required("detail")
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .description(Some("Problem details (RFC 9457)."))
            .into()
    }
}

impl ToSchema for Problem {}

/// Answers that many routes have.
macro_rules! problems {
    ($($name:ident: $words:literal,)*) => {$(
        pub(crate) struct $name;

        impl<'r> ToResponse<'r> for $name {
            fn response() -> (&'r str, RefOr<Answer>) {
                (stringify!($name), problem($words).into())
            }
        }
    )*};
}

problems! {
    BadRequest: "Something in the request cannot be used: a name, the query or the body.",
    TokenWanted: "No token, or one that is not good.",
    ScopeWanted: "The token or the server does not allow this.",
    NotFound: "There is no such thing.",
    TooSlow: "The body came too slowly.",
    Conflict: "It does not fit what there is.",
    PreconditionFailed: "It is meant for another ICE session.",
    TooLarge: "The body is too large.",
    MediaType: "The body is of another media type.",
    NoRange: "No byte of the range is there.",
    Unusable: "The body can be read, but not used.",
    PreconditionRequired: "`If-Match` is wanted.",
    TooMany: "That was one request too many.",
    Unavailable: "Not now; `Retry-After` says when to come again.",
    NotRecorded: "It could not be recorded.",
}

fn problem(words: &str) -> Answer {
    let mut answer = Answer::new(words);
    answer.content.insert(
        "application/problem+json".to_owned(),
        Content::new(Some(Ref::from_schema_name("Problem"))).into(),
    );
    answer
}

/// What follows from what a route is.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut document.components {
            let mut token = Http::new(HttpAuthScheme::Bearer);
            token.bearer_format = Some("JWT".to_owned());
            token.description = Some(
                "An access token (RFC 6750), in the header or as `?token=`; or a user of the configuration (HTTP Basic). The scopes are \
                 `publish`, `play` and `join`, each for names or all, and `admin`, which is all of them. What `auth.anonymous` grants needs none; \
                 by default that is `play:*`."
                    .to_owned(),
            );
            components.add_security_scheme("token", SecurityScheme::Http(token));
            if let Some(RefOr::T(answer)) = components.responses.get_mut("TokenWanted") {
                with_header(answer, "WWW-Authenticate", "RFC 6750 §3.", Type::String);
            }
            if let Some(RefOr::T(answer)) = components.responses.get_mut("TooMany") {
                with_header(answer, "Retry-After", "In s.", Type::Integer);
                with_header(answer, "RateLimit", LIMITS, Type::String);
                with_header(answer, "RateLimit-Policy", LIMITS, Type::String);
            }
            if let Some(RefOr::T(answer)) = components.responses.get_mut("Unavailable") {
                with_header(answer, "Retry-After", "In s.", Type::Integer);
            }
        }
        for (path, item) in &mut document.paths.paths {
            for (method, operation) in [
                (Method::GET, &mut item.get),
                (Method::POST, &mut item.post),
                (Method::PUT, &mut item.put),
                (Method::PATCH, &mut item.patch),
                (Method::DELETE, &mut item.delete),
            ] {
                if let Some(operation) = operation {
                    complete(operation, &method, path);
                }
            }
        }
    }
}

fn complete(operation: &mut Operation, method: &Method, path: &str) {
    let words: Vec<&str> = path
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let name = format!("{}_{}", method.as_str().to_lowercase(), words.join("_"));
    operation.operation_id = Some(name);
    if is_secured(operation) {
        point(operation, "401", "TokenWanted");
        point(operation, "403", "ScopeWanted");
    }
    if path.contains("{stream}") && operation.parameters.is_some() {
        point(operation, "400", "BadRequest");
    }
    if operation.request_body.is_some() {
        point(operation, "400", "BadRequest");
        point(operation, "408", "TooSlow");
        point(operation, "413", "TooLarge");
    }
    if limits::is_limited(method, path) {
        point(operation, "429", "TooMany");
    }
}

fn is_secured(operation: &Operation) -> bool {
    let needs = |one: &utoipa::openapi::security::SecurityRequirement| {
        serde_json::to_value(one)
            .is_ok_and(|one| one.as_object().is_some_and(|one| !one.is_empty()))
    };
    operation
        .security
        .as_ref()
        .is_some_and(|all| all.iter().any(needs))
}

/// Adds an answer that many have, where the route says nothing of its own.
fn point(operation: &mut Operation, status: &str, name: &str) {
    let to = RefOr::Ref(Ref::from_response_name(name));
    operation
        .responses
        .responses
        .entry(status.to_owned())
        .or_insert(to);
}

fn with_header(answer: &mut Answer, name: &str, words: &str, kind: Type) {
    let mut header = Header::new(Object::with_type(kind));
    header.description = Some(words.to_owned());
    answer.headers.insert(name.to_owned(), RefOr::T(header));
}

const LIMITS: &str = "draft-ietf-httpapi-ratelimit-headers-10.";

#[cfg(test)]
mod tests;
