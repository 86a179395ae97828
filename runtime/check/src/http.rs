//! Whole responses, as rules look at them.

use std::time::Duration;

use bytes::Bytes;
use hyper::{HeaderMap, Request, StatusCode, header::AsHeaderName};
use lockgate_fetch::http;

use crate::probe::Error;

/// A whole response.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    /// A header's text; empty if there is none.
    pub(crate) fn header(&self, name: impl AsHeaderName) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// All values of a header.
    pub(crate) fn all(&self, name: impl AsHeaderName) -> Vec<&str> {
        let values = self.headers.get_all(name).into_iter();
        values.filter_map(|value| value.to_str().ok()).collect()
    }

    /// The media type without parameters, in small letters.
    pub(crate) fn media_type(&self) -> String {
        let value = self.header(hyper::header::CONTENT_TYPE);
        let essence = value.split(';').next().unwrap_or_default();
        essence.trim().to_ascii_lowercase()
    }
}

/// Sends a request.
pub(crate) async fn send(client: &http::Http, request: Request<Bytes>) -> Result<Answer, Error> {
    let what = format!("{} {}", request.method(), request.uri());
    let sent = client.send(request, ANSWER_WITHIN, BODY_MAX).await;
    let answer = sent.map_err(|error| Error::Http(format!("{what}: {error}")))?;
    Ok(Answer {
        status: answer.status,
        body: answer.text(),
        headers: answer.headers,
    })
}

/// OBS gives a server 8 s for the whole exchange; what takes longer fails there too.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// More than any answer or problem has.
const BODY_MAX: usize = 256 << 10;
