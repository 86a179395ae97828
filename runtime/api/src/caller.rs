//! Who is asking: where from, and with which token.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, Uri, header, request::Parts},
};

use crate::Problem;

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The address of whoever opened the connection; `None` only where there is none.
    pub peer: Option<IpAddr>,
    /// The access token as it came, unchecked.
    pub token: Option<String>,
}

/// The address at the other end of a connection, put into each of its requests by our accept loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let token = match bearer(&parts.headers)? {
            Some(token) => Some(token),
            None => query_token(&parts.uri),
        };
        Ok(Self {
            // An IPv4 caller of an IPv6 socket is an IPv4 caller.
            peer: parts
                .extensions
                .get::<Peer>()
                .map(|peer| peer.0.ip().to_canonical()),
            token: token.map(str::to_owned),
        })
    }
}

/// The token of an `Authorization: Bearer` header (RFC 6750 §2.1); any other scheme is refused.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = headers.get(header::AUTHORIZATION) else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| Problem::token_refused())?;
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Problem::token_wanted()),
    }
}

/// The token of `?token=` (RFC 6750 §2.3), for players that cannot send headers.
pub(crate) fn query_token(uri: &Uri) -> Option<&str> {
    uri.query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("token="))
        .filter(|token| !token.is_empty())
}
