//! Fetches with their times; whole bodies, bounded in size.

use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::{Request, Uri, header::AUTHORIZATION};
use lockgate_fetch::http::{self, Http};

/// What came, and when.
#[derive(Debug, Clone)]
pub(super) struct Got {
    pub(super) status: u16,
    pub(super) bytes: Bytes,
    /// From the first byte of the body to the last.
    pub(super) transfer: Duration,
    /// From asking to the last byte.
    pub(super) took: Duration,
}

impl Got {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

/// The client.
pub(super) struct Fetch {
    http: Http,
    token: Option<String>,
}

impl Fetch {
    pub(super) fn new(http: Http, token: Option<String>) -> Self {
        Self { http, token }
    }

    pub(super) async fn get(&self, url: &Uri) -> Result<Got, String> {
        let mut request = Request::get(url.clone());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Bytes::new())
            .map_err(|error| error.to_string())?;
        let asked = Instant::now();
        match self.http.send(request, ANSWER_WITHIN, BODY_MAX).await {
            Ok(answer) => Ok(Got {
                status: answer.status.as_u16(),
                bytes: answer.body,
                transfer: answer.transfer,
                took: asked.elapsed(),
            }),
            Err(error) => Err(format!("GET {url}: {error}")),
        }
    }
}

/// A reference against the URL it stands in.
pub(super) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    http::resolve(&base.to_string(), reference)?.parse().ok()
}

/// A URL with more in its query.
pub(super) fn with(url: &Uri, more: &str) -> Option<Uri> {
    let mark = if url.query().is_some() { '&' } else { '?' };
    format!("{url}{mark}{more}").parse().ok()
}

/// Blocked reloads may take three target durations of ten seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(45);
const BODY_MAX: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved() {
        let base: Uri = "http://h:1/hls/a/b/list.m3u8?x=1".parse().unwrap();
        for (reference, wanted) in [
            ("seg.m4s", "http://h:1/hls/a/b/seg.m4s"),
            ("../c/list.m3u8?t=a/b", "http://h:1/hls/a/c/list.m3u8?t=a/b"),
            ("/top.m4s", "http://h:1/top.m4s"),
            ("http://other/x", "http://other/x"),
        ] {
            assert_eq!(resolve(&base, reference).unwrap().to_string(), wanted);
        }
        assert_eq!(with(&base, "y=2").unwrap().query(), Some("x=1&y=2"));
    }
}
