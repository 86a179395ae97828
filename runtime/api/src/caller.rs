//! Who is asking: where from, how, and with what to show for it.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use axum::{
    extract::{FromRequestParts, Query},
    http::{HeaderMap, Uri, header, request::Parts},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lockgate_session::Visitor;
use serde::Serialize;

use crate::Problem;

/// Who is asking. Whoever takes in media by another protocol than HTTP makes one itself and puts it to
/// [`Door::decide`](crate::Door::decide).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The address of whoever asks, not of a proxy before us; `None` only where there is none.
    pub peer: Option<IpAddr>,
    /// The access token as it came, unchecked.
    pub token: Option<String>,
    /// User name and password as they came, unchecked.
    pub login: Option<Login>,
    /// By which protocol.
    pub protocol: Protocol,
    /// What the program calls itself; tells players behind one address apart.
    pub agent: String,
}

/// User name and password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// Who they say they are.
    pub user: String,
    /// What they show for it.
    pub password: String,
}

/// How somebody asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Protocol {
    /// The API, a page, or the metrics.
    #[default]
    Api,
    /// WHIP or WHEP.
    Webrtc,
    /// HLS or DASH: many requests are one session.
    Hls,
    /// RTMP.
    Rtmp,
    /// SRT.
    Srt,
    /// Socket.IO.
    Room,
}

/// The address at the other end of a connection, or the one that a trusted proxy named in front of it (PROXY protocol);
/// put into each request by our accept loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// The address of the caller, with what trusted proxies say taken into account.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Client(pub(crate) IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let credentials = Credentials::of(&parts.headers)?;
        let (token, login) = match credentials {
            Credentials::Token(token) => (Some(token), None),
            Credentials::Login(login) => (None, Some(login)),
            Credentials::None => (decoded_token(&parts.uri), None),
        };
        let client = parts.extensions.get::<Client>().map(|client| client.0);
        let peer = || parts.extensions.get::<Peer>().map(|peer| peer.0.ip());
        let agent = parts.headers.get(header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or("");
        Ok(Self {
            // An IPv4 caller of an IPv6 socket is an IPv4 caller.
            peer: client.or_else(peer).map(|address| address.to_canonical()),
            token,
            login,
            protocol: Protocol::of(parts.uri.path()),
            agent: agent.chars().take(AGENT_LEN_MAX).collect(),
        })
    }
}

impl Caller {
    /// What is written down of it. `subject` is who it was found to be.
    pub(crate) fn visitor(&self, subject: Option<String>) -> Visitor {
        Visitor {
            subject: subject.or_else(|| self.login.as_ref().map(|login| login.user.clone())),
            address: self.peer.map(|peer| peer.to_string()),
            agent: Some(self.agent.clone()),
            title: None,
        }
    }
}

impl Protocol {
    fn of(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("hls" | "dash") => Self::Hls,
            Some("whip" | "whep") => Self::Webrtc,
            Some("socket.io") => Self::Room,
            _ => Self::Api,
        }
    }

    /// Its name, as hooks are told it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Webrtc => "webrtc",
            Self::Hls => "hls",
            Self::Rtmp => "rtmp",
            Self::Srt => "srt",
            Self::Room => "room",
        }
    }
}

/// What the `Authorization` header has.
enum Credentials {
    None,
    Token(String),
    Login(Login),
}

impl Credentials {
    /// `Bearer` (RFC 6750 §2.1) or `Basic` (RFC 7617); any other scheme is refused.
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let Some(value) = values.next() else {
            return Ok(Self::None);
        };
        // Two of them would be one for us and another for whoever stands before us.
        if values.next().is_some() {
            return Err(Problem::token_refused());
        }
        let text = value.to_str().map_err(|_| Problem::token_refused())?;
        let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
            Ok(Self::Token(rest.to_owned()))
        } else if scheme.eq_ignore_ascii_case("basic") {
            let login = basic(rest).ok_or_else(Problem::token_refused)?;
            Ok(Self::Login(login))
        } else {
            Err(Problem::token_wanted())
        }
    }
}

fn basic(text: &str) -> Option<Login> {
    let text = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    (!user.is_empty()).then(|| Login {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// The token of `?token=` (RFC 6750 §2.3), for players that cannot send headers.
pub(crate) fn query_token(uri: &Uri) -> Option<&str> {
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
        .filter(|token| !token.is_empty())
}

/// The same as it is meant.
fn decoded_token(uri: &Uri) -> Option<String> {
    let raw = query_token(uri)?;
    if !raw.contains(['%', '+']) {
        return Some(raw.to_owned());
    }
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).ok()?;
    let token = pairs.into_iter().find(|(name, _)| name == "token");
    token.map(|(_, token)| token)
}

/// What of a request's query goes on into the URIs of a playlist or manifest, so that whoever may read it may read what it
/// names: `token=…` as it came. Whoever writes it escapes it for where it stands.
pub(crate) fn carried(uri: &Uri) -> Option<String> {
    query_token(uri).map(|token| format!("token={token}"))
}

impl fmt::Debug for Caller {
    /// Without what must not come into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("peer", &self.peer)
            .field("protocol", &self.protocol)
            .field("token", &self.token.is_some())
            .field("login", &self.login)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// As much of a program's name as is kept.
const AGENT_LEN_MAX: usize = 200;
