//! A small HTTP client: whole responses, bounded in size and time, and no redirects followed.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Request, StatusCode, header::AsHeaderName};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

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

/// The client.
pub(crate) struct Http(Client<HttpConnector, Full<Bytes>>);

impl Http {
    pub(crate) fn new() -> Self {
        Self(Client::builder(TokioExecutor::new()).build_http())
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Answer, Error> {
        let what = format!("{} {}", request.method(), request.uri());
        let failed = |why: String| Error::Http(format!("{what}: {why}"));
        let exchange = async {
            let response = self.0.request(request).await.map_err(|error| {
                let source = std::error::Error::source(&error).map(ToString::to_string);
                source.unwrap_or_else(|| error.to_string())
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, BODY_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        match tokio::time::timeout(ANSWER_WITHIN, exchange).await {
            Ok(answer) => answer.map_err(failed),
            Err(_) => Err(failed(format!("no answer within {ANSWER_WITHIN:?}"))),
        }
    }
}

/// OBS gives a server 8 s for the whole exchange; what takes longer fails there too.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// More than any answer or problem has.
const BODY_MAX: usize = 256 << 10;
