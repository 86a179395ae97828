//! Which server, and the requests that are made of it.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION},
};
use lockgate_fetch::{
    FetchError,
    http::{Answer, Http, Trust, resolve},
};

use crate::Signal;

/// Why a load cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL is none; nothing was tried.
    #[error("{0:?} is not a URL; write http://HOST[:PORT]/PATH or https://…")]
    Url(String),
    /// A number is out of its bounds; nothing was tried.
    #[error("{0}")]
    Usage(String),
    /// Nothing answers there.
    #[error("{url} does not answer: {why}")]
    Unreachable {
        /// Which URL.
        url: String,
        /// What happened.
        why: String,
    },
    /// It answers, and says no.
    #[error("{url} answers {status}{detail}; {advice}")]
    Refused {
        /// Which URL.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What it says about it, after a colon; or nothing.
        detail: String,
        /// What to do.
        advice: &'static str,
    },
    /// It answers, and not as WHIP, WHEP or HLS do.
    #[error("{url}: the answer cannot be used: {why}")]
    Answer {
        /// Which URL.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The machine has no more of something.
    #[error("{0}")]
    Machine(String),
}

impl Error {
    /// Whether the command was used wrongly, rather than something found.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::Url(_) | Self::Usage(_))
    }
}

/// An endpoint, or many: `{n}` in the URL is the number of the client.
#[derive(Debug, Clone)]
pub struct Target {
    url: String,
    token: Option<String>,
    http: Http,
    local: Option<IpAddr>,
}

impl Target {
    /// By its URL, with the bearer token it wants, if any. `insecure` takes any certificate.
    pub fn new(url: &str, token: Option<String>, insecure: bool) -> Result<Self, Error> {
        let malformed = || Error::Url(url.to_owned());
        let uri: Uri = url.replace("{n}", "0").parse().map_err(|_| malformed())?;
        let trust = match (uri.scheme_str(), uri.host()) {
            (Some("http"), Some(_)) => Trust::NoTls,
            (Some("https"), Some(_)) if insecure => Trust::Anyone,
            (Some("https"), Some(_)) => Trust::System,
            _ => return Err(malformed()),
        };
        let http = Http::new(trust, IDLE_MAX);
        Ok(Self {
            url: url.to_owned(),
            token,
            http: http.map_err(|error| Error::Machine(error.to_string()))?,
            local: facing(&uri),
        })
    }

    /// The URL as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Whether each client has a URL of its own.
    pub fn is_numbered(&self) -> bool {
        self.url.contains("{n}")
    }

    pub(crate) fn url_of(&self, number: usize) -> String {
        self.url.replace("{n}", &number.to_string())
    }

    /// A request with the token; what the server says no to is an error.
    pub(crate) async fn call(
        &self,
        method: Method,
        url: &str,
        headers: &[(hyper::header::HeaderName, &str)],
        body: Bytes,
        len_max: usize,
    ) -> Result<Answer, Error> {
        let mut request = Request::builder().method(method).uri(url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        let unreachable = |why: String| Error::Unreachable {
            url: url.to_owned(),
            why,
        };
        let request = request.body(body);
        let request = request.map_err(|error| unreachable(error.to_string()))?;
        let answer = self.http.send(request, ANSWER_WITHIN, len_max).await;
        let answer = answer.map_err(|error| match error {
            FetchError::Silent(why) => unreachable(why),
            other => unreachable(other.to_string()),
        })?;
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(self.refused(url, &answer))
    }

    fn refused(&self, url: &str, answer: &Answer) -> Error {
        let advice = match answer.status {
            StatusCode::UNAUTHORIZED if self.token.is_none() => "give --token",
            StatusCode::UNAUTHORIZED => "the token is not accepted; give another --token",
            StatusCode::FORBIDDEN => "the token does not allow this",
            StatusCode::NOT_FOUND => "there is nothing at this path",
            StatusCode::METHOD_NOT_ALLOWED => "this is not such an endpoint",
            StatusCode::CONFLICT => "nothing is live there, or somebody else publishes",
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                "the server takes no more; use fewer --clients or a slower --ramp"
            }
            status if status.is_redirection() => "redirects are not followed; give the URL itself",
            _ => "see the server's log",
        };
        let body = answer.text();
        // RFC 9457, or a line of text.
        let problem: Option<serde_json::Value> = serde_json::from_str(&body).ok();
        let detail = problem
            .as_ref()
            .and_then(|problem| problem["detail"].as_str());
        let detail = detail.unwrap_or_else(|| body.lines().next().unwrap_or_default());
        let detail: String = detail.trim().chars().take(DETAIL_MAX).collect();
        Error::Refused {
            url: url.to_owned(),
            status: answer.status.as_u16(),
            detail: if detail.is_empty() {
                detail
            } else {
                format!(" ({detail})")
            },
            advice,
        }
    }
}

#[async_trait::async_trait]
impl Signal for Target {
    async fn offer(&self, number: usize, sdp: String) -> Result<(String, String), Error> {
        let url = self.url_of(number);
        let headers = [
            (CONTENT_TYPE, "application/sdp"),
            (ACCEPT, "application/sdp"),
        ];
        let answer = self
            .call(Method::POST, &url, &headers, sdp.into(), SDP_MAX)
            .await?;
        if answer.status != StatusCode::CREATED && answer.header(LOCATION).is_empty() {
            let why = format!(
                "an offer is answered {}, not 201 with a Location (RFC 9725 §4.2)",
                answer.status.as_u16()
            );
            return Err(Error::Answer { url, why });
        }
        let session = resolve(&url, answer.header(LOCATION)).unwrap_or_default();
        Ok((answer.text(), session))
    }

    async fn end(&self, session: &str) -> Result<(), Error> {
        if session.is_empty() {
            return Ok(());
        }
        let ended = self.call(Method::DELETE, session, &[], Bytes::new(), SDP_MAX);
        ended.await.map(drop)
    }

    fn local(&self) -> Option<IpAddr> {
        self.local
    }
}

/// Which of our addresses faces a host, found without sending anything.
fn facing(uri: &Uri) -> Option<IpAddr> {
    use std::net::ToSocketAddrs as _;
    let host = uri.host()?.trim_matches(['[', ']']);
    let mut addresses = (host, 9).to_socket_addrs().ok()?;
    let there: SocketAddr = addresses.next()?;
    let any: IpAddr = match there {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(there).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// A server that many join at once may take its time.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// More than any answer or problem has.
const SDP_MAX: usize = 256 << 10;
const DETAIL_MAX: usize = 300;
/// As many as are kept open between requests.
const IDLE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_url_is_said_before_anything_is_tried() {
        for url in ["nothing", "/whep/live", "ftp://host/whep", "http:///whep"] {
            let error = Target::new(url, None, false).unwrap_err();
            assert!(error.is_usage(), "{url}: {error}");
        }
        let target = Target::new("http://127.0.0.1:1/whip/load{n}", None, false).unwrap();
        assert!(target.is_numbered());
        assert_eq!(target.url_of(7), "http://127.0.0.1:1/whip/load7");
        assert_eq!(target.local(), Some(IpAddr::from([127, 0, 0, 1])));
    }
}
