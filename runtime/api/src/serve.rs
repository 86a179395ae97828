//! What is served from memory: conditional requests (RFC 9110 §13), ranges (§14) and compression (§12.5.3). Bodies are
//! shared, never copied, so that a slow reader costs what its socket holds.

use std::{io::Write as _, ops::Range};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use flate2::{Compression, write::GzEncoder};
use lockgate_session::{Growing, MediaBody, MediaFile, Text};

use crate::Problem;

/// What a request says about how it wants to be answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wishes<'a> {
    pub(crate) method: &'a Method,
    pub(crate) headers: &'a HeaderMap,
}

impl Wishes<'_> {
    /// A segment, part or init section. A name is never used for other bytes, so whoever has it may keep it.
    pub(crate) fn media(self, file: MediaFile) -> Response {
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        set(headers, header::CONTENT_TYPE, file.content_type);
        set(
            headers,
            header::CACHE_CONTROL,
            "public, max-age=3600, immutable",
        );
        let bytes = match file.body {
            MediaBody::Whole(bytes) => bytes,
            // Without a length: one that is cut short is seen to be.
            MediaBody::Growing(growing) => {
                let next = async |mut growing: Growing| {
                    let next = growing.next().await?;
                    Some((next, growing))
                };
                *response.body_mut() =
                    Body::from_stream(futures_util::stream::unfold(growing, next));
                return response;
            }
        };
        let tag = format!("\"{}\"", file.etag.unwrap_or_default());
        let length = bytes.len();
        set(headers, header::ETAG, &tag);
        set(headers, header::ACCEPT_RANGES, "bytes");
        if self.has(&tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        match self.range(length, &tag) {
            Asked::Whole => *response.body_mut() = Body::from(bytes),
            Asked::Part(range) => {
                let (from, to) = (range.start, range.end.saturating_sub(1));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                let place = format!("bytes {from}-{to}/{length}");
                set(response.headers_mut(), header::CONTENT_RANGE, &place);
                *response.body_mut() = Body::from(bytes.slice(range));
            }
            Asked::Nothing => {
                let mut problem =
                    axum::response::IntoResponse::into_response(Problem::no_range(length));
                let place = format!("bytes */{length}");
                set(problem.headers_mut(), header::CONTENT_RANGE, &place);
                return problem;
            }
        }
        response
    }

    /// A playlist or manifest. The compressed form is another representation and has a tag of its own.
    pub(crate) fn text(self, text: &Text, content_type: &str, cache_control: &str) -> Response {
        let packed = self
            .takes_gzip()
            .then(|| text.packed(gzip))
            .flatten()
            .filter(|packed| packed.len() < text.bytes.len());
        let tag = match &packed {
            Some(_) => format!("\"{}-gzip\"", text.etag),
            None => format!("\"{}\"", text.etag),
        };
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        set(headers, header::CONTENT_TYPE, content_type);
        set(headers, header::CACHE_CONTROL, cache_control);
        set(headers, header::VARY, "accept-encoding");
        set(headers, header::ETAG, &tag);
        if self.has(&tag) {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            return response;
        }
        if packed.is_some() {
            set(headers, header::CONTENT_ENCODING, "gzip");
        }
        *response.body_mut() = Body::from(packed.unwrap_or_else(|| text.bytes.clone()));
        response
    }

    /// Whether the client has this already.
    fn has(self, tag: &str) -> bool {
        let weak = |given: &str| {
            let given = given.trim();
            given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag
        };
        self.all(header::IF_NONE_MATCH)
            .any(|value| value.split(',').any(weak))
    }

    fn takes_gzip(self) -> bool {
        let names_it = |coding: &str| {
            let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            name.trim().eq_ignore_ascii_case("gzip")
                && weight.parse::<f32>().is_ok_and(|weight| weight > 0.0)
        };
        self.all(header::ACCEPT_ENCODING)
            .any(|value| value.split(',').any(names_it))
    }

    fn range(self, length: usize, tag: &str) -> Asked {
        let if_range = self.all(header::IF_RANGE).next();
        let mut ranges = self.all(header::RANGE);
        match (ranges.next(), ranges.next()) {
            // A date is no tag of ours, and so never the same.
            _ if self.method != Method::GET || if_range.is_some_and(|given| given != tag) => {
                Asked::Whole
            }
            (Some(range), None) => asked(range, length),
            _ => Asked::Whole,
        }
    }

    fn all(&self, name: header::HeaderName) -> impl Iterator<Item = &str> {
        let values = self.headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Whole,
    Part(Range<usize>),
    /// No byte of it is there.
    Nothing,
}

/// One range of bytes; several, and what is malformed, are the whole (RFC 9110 §14.2).
fn asked(range: &str, length: usize) -> Asked {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(usize::MAX))
    };
    let Some((from, to)) = range
        .strip_prefix("bytes=")
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Asked::Whole;
    };
    let range = match (number(from), number(to)) {
        (Some(from), Some(to)) if from <= to => from..to.saturating_add(1).min(length),
        (Some(from), None) if to.is_empty() => from..length,
        (None, Some(last)) if from.is_empty() => length.saturating_sub(last)..length,
        _ => return Asked::Whole,
    };
    if range.start < range.end {
        Asked::Part(range)
    } else {
        Asked::Nothing
    }
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::fast());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}

/// Sets a header to what is always valid there: numbers, tags and names of ours.
fn set(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_has_them() {
        for (range, wanted) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=2-", Asked::Part(2..10)),
            ("bytes=-3", Asked::Part(7..10)),
            ("bytes=-30", Asked::Part(0..10)),
            ("bytes=8-99999999999999999999999", Asked::Part(8..10)),
            ("bytes=10-", Asked::Nothing),
            ("bytes=10-12", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-2", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("lines=0-1", Asked::Whole),
        ] {
            assert_eq!(asked(range, 10), wanted, "{range}");
        }
    }

    #[test]
    fn wishes_are_read_from_all_their_headers() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("br, gzip;q=0"),
        );
        headers.append(
            header::IF_NONE_MATCH,
            HeaderValue::from_static("\"a\", W/\"b\""),
        );
        let wishes = Wishes {
            method: &Method::GET,
            headers: &headers,
        };
        assert!(!wishes.takes_gzip() && wishes.has("\"b\"") && !wishes.has("\"c\""));
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("deflate, GZIP"),
        );
        let wishes = Wishes {
            method: &Method::GET,
            headers: &headers,
        };
        assert!(wishes.takes_gzip());
    }
}
