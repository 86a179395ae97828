//! What WHIP and WHEP have in common: the 201, fragments for a session, and what an empty resource shows.

use std::{sync::Arc, time::SystemTime};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lockgate_ports::{
    Peer,
    signaller::{IceTag, Patched},
};
use lockgate_session::{Error, Joined};

use crate::{App, Problem};

/// The 201: the answer, where the session is, its ICE entity tag, and what the client may use.
pub(crate) fn created(app: &App, url: &str, joined: Joined, links: &[String]) -> Response {
    let mut response = (StatusCode::CREATED, joined.answer).into_response();
    let headers = response.headers_mut();
    set(headers, header::CONTENT_TYPE, SDP);
    set(headers, header::CACHE_CONTROL, "no-store");
    set(headers, header::LOCATION, url);
    set(headers, header::ETAG, &quoted_tag(&joined.ice_tag));
    let now = SystemTime::now();
    let servers = app.ice_servers.iter().map(|server| server.link(now));
    for link in servers.chain(links.iter().cloned()) {
        if let Ok(link) = HeaderValue::try_from(link) {
            headers.append(header::LINK, link);
        }
    }
    response
}

/// A PATCH of a session (RFC 9725 §4.3): 204 for candidates, 200 with our half for an ICE restart.
pub(crate) fn patch(
    peer: &Arc<dyn Peer>,
    headers: &HeaderMap,
    fragment: &str,
) -> Result<Response, Problem> {
    let patched = peer
        .patch(fragment, &if_match(headers)?)
        .map_err(Error::from)?;
    Ok(match patched {
        // RFC 9725 §4.3.2: no body and no ETag.
        Patched::Trickled => StatusCode::NO_CONTENT.into_response(),
        Patched::Restarted { fragment, ice_tag } => {
            let mut response = fragment.into_response();
            let headers = response.headers_mut();
            set(headers, header::CONTENT_TYPE, SDP_FRAGMENT);
            set(headers, header::CACHE_CONTROL, "no-store");
            set(headers, header::ETAG, &quoted_tag(&ice_tag));
            response
        }
    })
}

/// RFC 9725 §4.3.1: a PATCH names the ICE session it is meant for, else it is 428.
fn if_match(headers: &HeaderMap) -> Result<IceTag, Problem> {
    let mut tags = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        let text = value.to_str().unwrap_or("").trim();
        // The draft's own example has the asterisk in quotes.
        if text == "*" || text == "\"*\"" {
            return Ok(IceTag::Any);
        }
        // A weak tag never matches (RFC 9110 §13.1.1), and one without quotes is none.
        let strong = text
            .split(',')
            .filter_map(|one| one.trim().strip_prefix('"')?.strip_suffix('"'));
        tags.extend(strong.map(str::to_owned));
    }
    if tags.is_empty() && !headers.contains_key(header::IF_MATCH) {
        let detail =
            "send the ETag of the session as If-Match; for an ICE restart, send If-Match: *";
        return Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "/problems/if-match-wanted",
            "If-Match is needed",
            detail,
        ));
    }
    Ok(IceTag::OneOf(tags))
}

fn quoted_tag(tag: &str) -> String {
    format!("\"{tag}\"")
}

fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    // What we make of checked names and random letters can always be a header's value.
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}

/// The media type of offers and answers.
pub(crate) const SDP: &str = "application/sdp";
/// The media type of fragments (RFC 8840 §9).
pub(crate) const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Option<IceTag> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::IF_MATCH, HeaderValue::from_str(value).unwrap());
        }
        if_match(&headers).ok()
    }

    #[test]
    fn only_strong_entity_tags_count() {
        let tags = |tags: &[&str]| {
            Some(IceTag::OneOf(
                tags.iter().map(|tag| (*tag).to_owned()).collect(),
            ))
        };
        assert_eq!(read(&[]), None);
        assert_eq!(read(&["*"]), Some(IceTag::Any));
        assert_eq!(read(&["\"*\""]), Some(IceTag::Any));
        assert_eq!(read(&["\"a\", \"b\""]), tags(&["a", "b"]));
        assert_eq!(read(&["\"a\"", "\"b\""]), tags(&["a", "b"]));
        for none in ["W/\"a\"", "a", "", "\"a"] {
            assert_eq!(read(&[none]), tags(&[]), "{none}");
        }
    }
}
