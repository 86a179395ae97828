//! The door: who is asking, and may they.

use axum::http::{HeaderMap, Uri, header};

use crate::{
    Problem,
    scope::{Action, Scopes},
    token,
};

/// Knows the secret and what everybody may do without a token.
#[derive(Clone)]
pub struct Door {
    secret: Vec<u8>,
    anonymous: Scopes,
}

impl Door {
    /// A door with its secret and the scopes granted without a token.
    pub fn new(secret: Vec<u8>, anonymous: Scopes) -> Self {
        Self { secret, anonymous }
    }

    /// Lets a request through or says why not: 401 without a good token where one is needed, 403 with one that does
    /// not allow the action. A bad token is refused even where none is needed, so that a mistake shows at once.
    pub fn admit(&self, headers: &HeaderMap, uri: &Uri, action: Action<'_>) -> Result<(), Problem> {
        match self.scopes(headers, uri)? {
            Some(scopes) if scopes.allow(action) => Ok(()),
            _ if self.anonymous.allow(action) => Ok(()),
            Some(_) => Err(Problem::scope_wanted(action)),
            None => Err(Problem::token_wanted()),
        }
    }

    /// What the request's token allows, if it has one.
    fn scopes(&self, headers: &HeaderMap, uri: &Uri) -> Result<Option<Scopes>, Problem> {
        let Some(token) = bearer(headers)?.or_else(|| query_token(uri)) else {
            return Ok(None);
        };
        let claims = token::verify(&self.secret, token).map_err(|error| {
            tracing::debug!(%error, "a token was refused");
            Problem::token_refused()
        })?;
        Scopes::parse(&claims.scope)
            .map(Some)
            .map_err(|_| Problem::token_refused())
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

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door")
            .field("anonymous", &self.anonymous)
            .finish_non_exhaustive()
    }
}
