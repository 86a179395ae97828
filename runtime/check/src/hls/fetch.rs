//! Fetches with their times; whole bodies, bounded in size.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, Uri, header::AUTHORIZATION};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

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
    client: Client<HttpConnector, Empty<Bytes>>,
    token: Option<String>,
}

impl Fetch {
    pub(super) fn new(token: Option<String>) -> Self {
        Self {
            client: Client::builder(TokioExecutor::new()).build_http(),
            token,
        }
    }

    pub(super) async fn get(&self, url: &Uri) -> Result<Got, String> {
        let mut request = Request::get(url.clone());
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Empty::new())
            .map_err(|error| error.to_string())?;
        let asked = Instant::now();
        let exchange = async {
            let response = self.client.request(request).await;
            let (head, mut body) = response.map_err(|error| error.to_string())?.into_parts();
            let mut bytes = BytesMut::new();
            let mut first = None;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| error.to_string())?;
                if let Ok(data) = frame.into_data() {
                    first.get_or_insert_with(Instant::now);
                    bytes.extend_from_slice(&data);
                }
                if bytes.len() > BODY_MAX {
                    return Err(format!("more than {BODY_MAX} bytes"));
                }
            }
            Ok(Got {
                status: head.status.as_u16(),
                bytes: bytes.freeze(),
                transfer: first.map_or(Duration::ZERO, |first| first.elapsed()),
                took: asked.elapsed(),
            })
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(got) => got.map_err(|why| format!("GET {url}: {why}")),
            Err(_) => Err(format!("GET {url}: no answer within {ANSWER_WITHIN:?}")),
        }
    }
}

/// A reference against the URL it stands in (RFC 3986 §5.2).
pub(super) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    if reference.contains("://") {
        return reference.parse().ok();
    }
    let authority = base.authority()?;
    let (path, query) = reference.split_once('?').unwrap_or((reference, ""));
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        let (folder, _) = base.path().rsplit_once('/')?;
        format!("{folder}/{path}")
    };
    let mut steps: Vec<&str> = Vec::new();
    for step in whole.split('/').skip(1) {
        match step {
            "." => {}
            ".." => drop(steps.pop()),
            step => steps.push(step),
        }
    }
    let mark = if query.is_empty() { "" } else { "?" };
    format!("http://{authority}/{}{mark}{query}", steps.join("/"))
        .parse()
        .ok()
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
