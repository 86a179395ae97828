//! The header of a token (RFC 7515 §4): it names a key and an algorithm, and is believed in neither.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::Value;

use super::{TOKEN_LEN_MAX, TokenError};

/// What of a header matters. `jku`, `jwk`, `x5u` and `x5c` would bring a key along and are passed over (RFC 8725 §3.10).
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<Value>,
}

/// A header that may be looked at further.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
}

/// Reads the header of a token in the compact form, three parts in base64url without padding.
pub(super) fn read(token: &str) -> Result<Named, TokenError> {
    let wrong = |what: &str| TokenError::Invalid(what.to_owned());
    if token.len() > TOKEN_LEN_MAX {
        return Err(TokenError::Invalid(format!(
            "it is longer than {TOKEN_LEN_MAX} bytes"
        )));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(wrong("it has not three parts"));
    };
    if claims.is_empty() || signature.is_empty() {
        return Err(wrong("a part of it is empty"));
    }
    let json = URL_SAFE_NO_PAD
        .decode(header)
        .map_err(|_| wrong("its header is not base64url"))?;
    let header: Header =
        serde_json::from_slice(&json).map_err(|_| wrong("its header cannot be read"))?;
    // RFC 7515 §4.1.11: what it says must be understood is understood by nobody here.
    if header.crit.is_some() {
        return Err(wrong("its header has critical parameters"));
    }
    // RFC 8725 §3.11: other kinds of JWT, such as ID tokens or logout tokens of a kind of their own, are no access tokens.
    if let Some(typ) = &header.typ {
        let typ = typ.to_ascii_lowercase();
        if !TYPES.contains(&typ.strip_prefix("application/").unwrap_or(&typ)) {
            return Err(wrong("its typ is none of an access token"));
        }
    }
    if header
        .kid
        .as_ref()
        .is_some_and(|kid| kid.len() > KID_LEN_MAX)
    {
        return Err(wrong("its kid is too long"));
    }
    let algorithm = header
        .alg
        .parse()
        .map_err(|_| wrong("its algorithm is none that we know"))?;
    Ok(Named {
        algorithm,
        kid: header.kid,
    })
}

/// RFC 7519 §5.1 and RFC 9068 §2.1.
const TYPES: [&str; 2] = ["jwt", "at+jwt"];
const KID_LEN_MAX: usize = 256;
