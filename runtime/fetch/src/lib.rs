//! Fetching URLs that someone else named: only from origins the operator listed, without redirects, within a time and a
//! length. The only crate that is an HTTP client. Start reading at [`Fetcher::get`]; [`http`] is for the command line,
//! where whoever asks has typed the URL.
#![forbid(unsafe_code)]

pub mod http;

use std::{str::FromStr, time::Duration};

use reqwest::{Client, Url, redirect};
use serde::{Deserialize, Serialize};

/// A scheme, host and port that may be asked (RFC 6454 §4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Origin(Url);

/// Fetches from listed origins.
#[derive(Debug, Clone)]
pub struct Fetcher {
    client: Client,
    origins: Vec<Origin>,
}

/// What was fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// HTTP status.
    pub status: u16,
    /// The beginning of the body, at most 64 KiB; what is not UTF-8 is replaced.
    pub body: String,
}

/// Why nothing was fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The text is not a URL with a host.
    #[error("{0:?} is not an http or https URL")]
    Url(String),
    /// The text is more than an origin.
    #[error(
        "{0:?} is no origin; write a scheme, a host and perhaps a port, as in https://id.example"
    )]
    NoOrigin(String),
    /// Nobody listed its origin.
    #[error("{0} is not among the origins that may be asked")]
    Origin(String),
    /// There is no client: the system's certificates cannot be read.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(String),
    /// Nothing answered, or not in time.
    #[error("{0}")]
    Silent(String),
}

/// A URL as people may see it: without user name and password, and without its query, where keys stand.
pub fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => {
            let host = url.host_str().unwrap_or_default();
            let port = url.port().map(|port| format!(":{port}"));
            let query = url.query().map_or("", |_| "?…");
            let (scheme, path) = (url.scheme(), url.path());
            format!("{scheme}://{host}{}{path}{query}", port.unwrap_or_default())
        }
        Err(error) => format!("({error})"),
    }
}

impl Fetcher {
    /// A fetcher for these origins and no others.
    pub fn new(origins: Vec<Origin>) -> Result<Self, FetchError> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(WITHIN)
            .connect_timeout(WITHIN)
            .user_agent(concat!("lockgate/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| FetchError::Client(chain(&error)))?;
        Ok(Self { client, origins })
    }

    /// A fetcher for one URL that the operator wrote, and what else is at its origin.
    pub fn of_url(url: &str) -> Result<Self, FetchError> {
        Self::new(vec![Origin(parse(url)?)])
    }

    /// Gets a URL of a listed origin. A redirect is an answer like any other and is not followed: where it leads to was
    /// not listed.
    pub async fn get(&self, url: &str) -> Result<Fetched, FetchError> {
        self.send(self.client.get(self.listed(url)?)).await
    }

    /// Posts JSON to a URL of a listed origin, which has to answer within `within`. Nothing else is different.
    pub async fn post(
        &self,
        url: &str,
        json: Vec<u8>,
        within: Duration,
    ) -> Result<Fetched, FetchError> {
        let request = self.client.post(self.listed(url)?);
        let request = request.header("Content-Type", "application/json");
        self.send(request.timeout(within).body(json)).await
    }

    fn listed(&self, url: &str) -> Result<Url, FetchError> {
        let url = parse(url)?;
        if !self
            .origins
            .iter()
            .any(|origin| origin.0.origin() == url.origin())
        {
            return Err(FetchError::Origin(url.origin().ascii_serialization()));
        }
        Ok(url)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Fetched, FetchError> {
        let silent = |error: reqwest::Error| FetchError::Silent(chain(&error.without_url()));
        let mut response = request.send().await.map_err(silent)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while body.len() < BODY_LEN_MAX {
            let Some(chunk) = response.chunk().await.map_err(silent)? else {
                break;
            };
            let room = BODY_LEN_MAX - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(Fetched { status, body })
    }
}

impl FromStr for Origin {
    type Err = FetchError;

    /// Reads `https://host` or `https://host:port`; a path says nothing and is refused.
    fn from_str(text: &str) -> Result<Self, FetchError> {
        let url = parse(text).map_err(|_| FetchError::NoOrigin(text.to_owned()))?;
        let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        if is_bare && url.username().is_empty() && url.password().is_none() {
            Ok(Self(url))
        } else {
            Err(FetchError::NoOrigin(text.to_owned()))
        }
    }
}

impl TryFrom<String> for Origin {
    type Error = FetchError;

    fn try_from(text: String) -> Result<Self, FetchError> {
        text.parse()
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.origin().ascii_serialization())
    }
}

fn parse(text: &str) -> Result<Url, FetchError> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| FetchError::Url(shown(text).chars().take(200).collect()))
}

/// An error and what is behind it: the outer one alone says nothing.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut inner = error.source();
    while let Some(error) = inner {
        text = format!("{text}: {error}");
        inner = error.source();
    }
    text
}

/// Someone waits at the door meanwhile.
const WITHIN: Duration = Duration::from_secs(3);
/// As much of a body as a policy is shown.
const BODY_LEN_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::{
        io::{Read as _, Write as _},
        net::TcpListener,
    };

    use super::*;

    /// The origin of a server that gives one answer and is gone.
    fn answering(answer: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            drop(listener);
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).unwrap() > 0);
            // Who has read enough may be gone before the end.
            drop(stream.write_all(answer.as_bytes()));
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn only_listed_origins_are_asked_and_redirects_are_answers() {
        let moved =
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 2\r\n\r\nno";
        let url = answering(moved.to_owned());
        let fetcher = Fetcher::new(vec![url.parse().unwrap()]).unwrap();
        let fetched = fetcher.get(&format!("{url}/who?name=demo")).await.unwrap();
        assert_eq!((fetched.status, fetched.body.as_str()), (302, "no"));
        for other in [
            "http://127.0.0.1:1/",
            "https://127.0.0.1/",
            "file:///etc/passwd",
            "nothing",
        ] {
            let error = fetcher.get(other).await.unwrap_err();
            assert!(
                matches!(error, FetchError::Origin(_) | FetchError::Url(_)),
                "{other}: {error}"
            );
        }
        // The one connection is over: nobody listens there any more.
        let silent = fetcher.get(&url).await.unwrap_err();
        assert!(matches!(silent, FetchError::Silent(_)), "{silent}");
    }

    #[tokio::test]
    async fn a_body_is_cut_where_a_policy_stops_reading() {
        let long = "x".repeat(BODY_LEN_MAX + 1);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", long.len());
        let url = answering(head + &long);
        let fetcher = Fetcher::new(vec![url.parse().unwrap()]).unwrap();
        assert_eq!(fetcher.get(&url).await.unwrap().body.len(), BODY_LEN_MAX);
    }

    #[test]
    fn an_origin_has_no_path_and_no_password() {
        assert_eq!(
            "https://id.example".parse::<Origin>().unwrap().to_string(),
            "https://id.example"
        );
        for bad in [
            "https://id.example/path",
            "https://me:secret@id.example",
            "ftp://id.example",
            "id.example",
        ] {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
