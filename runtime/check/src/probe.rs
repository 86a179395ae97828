//! What rules look through: requests to one URL, and the sessions they made.

use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hyper::{
    Method, Request, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, LOCATION},
};
use lockgate_fetch::http::{Http, Trust, resolve};

use crate::{
    Kind,
    http::{Answer, send},
    offer::Offer,
};

/// What is checked.
#[derive(Debug, Clone)]
pub struct Target {
    uri: Uri,
    token: Option<String>,
    http: Http,
}

/// Why a URL cannot be checked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It is no URL.
    #[error("{0:?} is not a URL; write http://HOST[:PORT]/PATH or https://…")]
    Malformed(String),
    /// There is no client for it.
    #[error("{0}")]
    Client(String),
}

impl Target {
    /// A target by its URL, with the bearer token it wants, if any.
    pub fn new(url: &str, token: Option<String>) -> Result<Self, UrlError> {
        let malformed = || UrlError::Malformed(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| malformed())?;
        let trust = match (uri.scheme_str(), uri.host()) {
            (Some("https"), Some(_)) => Trust::System,
            (Some("http"), Some(_)) => Trust::NoTls,
            _ => return Err(malformed()),
        };
        let http = Http::new(trust, IDLE_MAX);
        let http = http.map_err(|error| UrlError::Client(error.to_string()))?;
        Ok(Self { uri, token, http })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn http(&self) -> Http {
        self.http.clone()
    }

    pub(crate) fn token(&self) -> Option<String> {
        self.token.clone()
    }

    pub(crate) fn url(&self) -> String {
        self.uri.to_string()
    }
}

/// Why a rule could not be looked at to its end.
#[derive(Debug)]
pub(crate) enum Error {
    /// No session could be made; another rule says what is wrong.
    NoSession(String),
    /// The exchange itself failed.
    Http(String),
}

/// A session that was made.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) url: Uri,
    pub(crate) etag: String,
    pub(crate) answer: Answer,
    pub(crate) ufrag: String,
    pub(crate) password: String,
}

pub(crate) struct Probe {
    pub(crate) kind: Kind,
    pub(crate) target: Target,
    made: Mutex<Vec<Uri>>,
}

impl Probe {
    pub(crate) fn new(kind: Kind, target: Target) -> Self {
        Self {
            kind,
            target,
            made: Mutex::default(),
        }
    }

    pub(crate) fn offer(&self) -> Offer {
        Offer::new(self.kind)
    }

    /// A request to the endpoint, with the token.
    pub(crate) async fn endpoint(&self, method: Method) -> Result<Answer, Error> {
        self.call(method, &self.target.uri, &[], "").await
    }

    /// Any request, with the token.
    pub(crate) async fn call(
        &self,
        method: Method,
        url: &Uri,
        headers: &[(HeaderName, &str)],
        body: &str,
    ) -> Result<Answer, Error> {
        let mut request = Request::builder().method(method).uri(url.clone());
        // A preflight has no token (RFC 9725 §4.7.1), and neither has what asks for none.
        if let Some(token) = &self.target.token
            && !headers.iter().any(|(name, _)| *name == AUTHORIZATION)
        {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(name, *value);
        }
        let body = Bytes::copy_from_slice(body.as_bytes());
        let request = request
            .body(body)
            .map_err(|error| Error::Http(error.to_string()))?;
        send(&self.target.http, request).await
    }

    /// Posts a body to the endpoint. A session that comes of it is remembered.
    pub(crate) async fn post(&self, media_type: &str, body: &str) -> Result<Answer, Error> {
        let headers = [(CONTENT_TYPE, media_type), (ACCEPT, "application/sdp")];
        let answer = self
            .call(Method::POST, &self.target.uri, &headers, body)
            .await?;
        if let Some(url) = self.location(&answer)
            && (answer.status.is_success() || answer.status == StatusCode::NOT_ACCEPTABLE)
        {
            self.made().push(url);
        }
        Ok(answer)
    }

    /// Makes a session.
    pub(crate) async fn session(&self) -> Result<Session, Error> {
        let offer = self.offer();
        let answer = self.post("application/sdp", &offer.text()).await?;
        if answer.status != StatusCode::CREATED {
            let why = format!("a good offer was answered with {}", answer.status.as_u16());
            return Err(Error::NoSession(why));
        }
        let url = self
            .location(&answer)
            .ok_or_else(|| Error::NoSession("the 201 has no Location".to_owned()))?;
        Ok(Session {
            url,
            etag: answer.header(ETAG).to_owned(),
            answer,
            ufrag: offer.ufrag,
            password: offer.password,
        })
    }

    /// A fragment for a session.
    pub(crate) async fn patch(
        &self,
        session: &Session,
        if_match: &str,
        fragment: &str,
    ) -> Result<Answer, Error> {
        let headers = [(CONTENT_TYPE, SDP_FRAGMENT), (IF_MATCH, if_match)];
        self.call(Method::PATCH, &session.url, &headers, fragment)
            .await
    }

    pub(crate) async fn delete(&self, url: &Uri) -> Result<Answer, Error> {
        self.made().retain(|made| made != url);
        self.call(Method::DELETE, url, &[], "").await
    }

    /// Deletes what was made and is left. Whoever does not let us has said so by another rule.
    pub(crate) async fn clean_up(&self) {
        let made = std::mem::take(&mut *self.made());
        for url in made {
            drop(self.call(Method::DELETE, &url, &[], "").await);
        }
    }

    /// The Location of an answer as a whole URL (RFC 3986 §5.2.2, as far as servers go).
    fn location(&self, answer: &Answer) -> Option<Uri> {
        self.resolve(answer.header(LOCATION))
    }

    pub(crate) fn resolve(&self, reference: &str) -> Option<Uri> {
        resolve(&self.target.uri.to_string(), reference)?
            .parse()
            .ok()
    }

    fn made(&self) -> MutexGuard<'_, Vec<Uri>> {
        // A list that is only pushed to and taken from.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_token(&self) -> bool {
        self.target.token.is_some()
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.target.uri
    }
}

/// One rule after the other asks.
const IDLE_MAX: usize = 4;
pub(crate) const SDP_FRAGMENT: &str = "application/trickle-ice-sdpfrag";
