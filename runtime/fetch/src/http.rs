//! Whole responses of a server that whoever sits at the command line named, bounded in size and time; no redirect is
//! followed.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hyper::{
    HeaderMap, Request, StatusCode, Uri,
    header::{AsHeaderName, CONTENT_TYPE},
};
use reqwest::{Client, redirect};

use crate::{FetchError, chain};

/// The client; clones share their connections.
#[derive(Debug, Clone)]
pub struct Http(Client);

/// A whole response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// From the first byte of the body to the last.
    pub transfer: Duration,
}

/// Whose word a server's certificate needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// There is none: `http` alone will be asked.
    NoTls,
    /// The system's authorities.
    System,
    /// Nobody's: a test server that signs for itself.
    Anyone,
}

impl Http {
    /// A client that may have so many idle connections to a server.
    pub fn new(trust: Trust, idle_max: usize) -> Result<Self, FetchError> {
        let builder = Client::builder()
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(idle_max)
            .connect_timeout(CONNECT_WITHIN)
            .http1_only() // one server, and connections of our own number
            .no_proxy()
            .tcp_nodelay(true)
            .user_agent(concat!("lockgate/", env!("CARGO_PKG_VERSION")));
        let builder = match trust {
            Trust::NoTls => builder.tls_certs_only([]),
            Trust::System => builder,
            Trust::Anyone => builder.tls_danger_accept_invalid_certs(true),
        };
        let client = builder.build();
        Ok(Self(
            client.map_err(|error| FetchError::Client(chain(&error)))?,
        ))
    }

    /// Sends a request and reads the whole answer; `within` is for both, `len_max` for the body's bytes.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        within: Duration,
        len_max: usize,
    ) -> Result<Answer, FetchError> {
        let silent = |error: reqwest::Error| FetchError::Silent(chain(&error.without_url()));
        let exchange = async {
            let request = reqwest::Request::try_from(request).map_err(silent)?;
            let mut response = self.0.execute(request).await.map_err(silent)?;
            let (status, headers) = (response.status(), std::mem::take(response.headers_mut()));
            let mut body = Vec::new();
            let mut first = None;
            while let Some(chunk) = response.chunk().await.map_err(silent)? {
                first.get_or_insert_with(Instant::now);
                if body.len() + chunk.len() > len_max {
                    let text = format!("the body is longer than {len_max} bytes");
                    return Err(FetchError::Silent(text));
                }
                // A vector takes all.
                body.write_all(&chunk).ok();
            }
            Ok(Answer {
                status,
                headers,
                body: body.into(),
                transfer: first.map_or(Duration::ZERO, |first| first.elapsed()),
            })
        };
        match tokio::time::timeout(within, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(FetchError::Silent(format!("no answer within {within:?}"))),
        }
    }
}

impl Answer {
    /// A header's text; empty if there is none.
    pub fn header(&self, name: impl AsHeaderName) -> &str {
        let value = self.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }

    /// The media type without parameters, in small letters.
    pub fn media_type(&self) -> String {
        let essence = self.header(CONTENT_TYPE).split(';').next();
        essence.unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// The body as text; what is not UTF-8 is replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A reference in a response as a whole URL (RFC 3986 §5.2.2, as far as servers go).
pub fn resolve(base: &str, reference: &str) -> Option<String> {
    if reference.is_empty() {
        return None;
    }
    if reference.contains("://") {
        return Some(reference.to_owned());
    }
    let uri: Uri = base.parse().ok()?;
    let (scheme, authority) = (uri.scheme_str()?, uri.authority()?);
    if let Some(rest) = reference.strip_prefix("//") {
        return Some(format!("{scheme}://{rest}"));
    }
    if reference.starts_with('/') {
        return Some(format!("{scheme}://{authority}{reference}"));
    }
    let (folder, _) = uri.path().rsplit_once('/')?;
    let mut folders: Vec<&str> = folder.split('/').collect();
    let mut rest = reference.strip_prefix("./").unwrap_or(reference);
    while let Some(up) = rest.strip_prefix("../") {
        if folders.len() > 1 {
            folders.pop();
        }
        rest = up;
    }
    Some(format!(
        "{scheme}://{authority}{}/{rest}",
        folders.join("/")
    ))
}

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_resolved_as_servers_write_them() {
        let base = "http://host:8889/live/one/whep?x=1";
        for (reference, whole) in [
            ("/s/1", "http://host:8889/s/1"),
            ("s/1", "http://host:8889/live/one/s/1"),
            ("../s/1", "http://host:8889/live/s/1"),
            ("https://other/s", "https://other/s"),
            ("//other/s", "http://other/s"),
        ] {
            assert_eq!(resolve(base, reference).as_deref(), Some(whole));
        }
        assert_eq!(resolve(base, ""), None);
    }
}
