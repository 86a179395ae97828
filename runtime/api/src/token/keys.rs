//! Keys, each with the one algorithm it is for.

use std::{collections::BTreeMap, time::Duration};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, EncodingKey, Header, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde_json::{Map, Value};

use super::{Claims, TokenError, header::Named};

/// What every token has to keep, whoever signed it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// One of them must be the issuer; empty asks for none.
    pub issuers: Vec<String>,
    /// One of them must be among the audience. Empty: a token that names an audience is for somebody else (RFC 7519
    /// §4.1.3).
    pub audiences: Vec<String>,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// A key that tokens are checked with.
#[derive(Clone)]
pub struct Key {
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    validation: Validation,
}

/// Why a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct KeyError(String);

/// Some keys.
#[derive(Debug, Clone, Default)]
pub struct KeySet(Vec<Key>);

/// What signs new tokens.
pub struct Signer {
    header: Header,
    key: EncodingKey,
}

impl Key {
    /// A shared secret, for an algorithm of HMAC.
    pub fn secret(
        kid: Option<String>,
        algorithm: Algorithm,
        secret: &[u8],
        rules: &Rules,
    ) -> Result<Self, KeyError> {
        check_secret(algorithm, secret)?;
        Ok(Self::new(
            kid,
            algorithm,
            DecodingKey::from_secret(secret),
            rules,
        ))
    }

    /// A public key in PEM, or as one JSON Web Key.
    pub fn file(
        kid: Option<String>,
        algorithm: Algorithm,
        text: &str,
        rules: &Rules,
    ) -> Result<Self, KeyError> {
        let key = public_key(algorithm, text)?;
        Ok(Self::new(kid, algorithm, key, rules))
    }

    /// A key of a set (RFC 7517 §5). `None`: it is for something else than signing tokens, or of a kind that we do not
    /// use; a set never brings a shared secret.
    fn of_set(jwk: &Jwk, rules: &Rules) -> Option<Self> {
        let common = &jwk.common;
        if !matches!(common.public_key_use, None | Some(PublicKeyUse::Signature)) {
            return None;
        }
        if let Some(operations) = &common.key_operations
            && !operations.contains(&KeyOperations::Verify)
        {
            return None;
        }
        let (usual, family) = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => (Algorithm::RS256, AlgorithmFamily::Rsa),
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => (Algorithm::ES256, AlgorithmFamily::Ec),
                EllipticCurve::P384 => (Algorithm::ES384, AlgorithmFamily::Ec),
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                (Algorithm::EdDSA, AlgorithmFamily::Ed)
            }
            _ => return None,
        };
        // A key that names no algorithm is for the usual one of its kind: a token does not get to choose.
        let algorithm = match common.key_algorithm {
            Some(named) => Algorithm::try_from(named).ok()?,
            None => usual,
        };
        if !family.algorithms().contains(&algorithm)
            || (family == AlgorithmFamily::Ec && algorithm != usual)
        {
            return None;
        }
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some(Self::new(common.key_id.clone(), algorithm, key, rules))
    }

    fn new(kid: Option<String>, algorithm: Algorithm, key: DecodingKey, rules: &Rules) -> Self {
        let mut validation = Validation::new(algorithm);
        validation.leeway = rules.leeway.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if !rules.issuers.is_empty() {
            validation.set_issuer(&rules.issuers);
            required.push("iss");
        }
        if !rules.audiences.is_empty() {
            validation.set_audience(&rules.audiences);
            required.push("aud");
        }
        validation.set_required_spec_claims(&required);
        Self {
            kid,
            algorithm,
            key,
            validation,
        }
    }

    fn check(&self, token: &str) -> Result<Claims, TokenError> {
        let data =
            jsonwebtoken::decode::<BTreeMap<String, Value>>(token, &self.key, &self.validation)
                .map_err(|error| TokenError::Invalid(error.to_string()))?;
        // Values take a few times what they take in the token.
        Claims::read(data.claims, 256 + 4 * token.len())
    }
}

impl KeySet {
    /// These keys.
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// The keys of a JSON Web Key Set that can be used; the others are passed over. `None` if it is no such set.
    pub fn of_json(text: &str, rules: &Rules) -> Option<Self> {
        let set: Value = serde_json::from_str(text).ok()?;
        let keys = set.get("keys")?.as_array()?;
        let keys = keys
            .iter()
            .take(KEYS_MAX)
            .filter_map(|key| serde_json::from_value::<Jwk>(key.clone()).ok())
            .filter_map(|key| Key::of_set(&key, rules));
        Some(Self(keys.collect()))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a key has this id.
    pub(super) fn has(&self, kid: &str) -> bool {
        self.0.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    /// Checks a token with the keys its header allows: that with its id, or, without an id, those of its algorithm. `None`
    /// where there is no such key.
    pub(super) fn check(&self, named: &Named, token: &str) -> Option<Result<Claims, TokenError>> {
        let fits = |key: &&Key| match &named.kid {
            Some(kid) => key.kid.as_ref() == Some(kid),
            None => key.algorithm == named.algorithm,
        };
        let mut last = None;
        for key in self.0.iter().filter(fits) {
            if key.algorithm != named.algorithm {
                let what = "the key is for another algorithm".to_owned();
                last.get_or_insert(Err(TokenError::Invalid(what)));
                continue;
            }
            let checked = key.check(token);
            if checked.is_ok() {
                return Some(checked);
            }
            last = Some(checked);
        }
        last
    }
}

impl Signer {
    /// Signs with a shared secret.
    pub fn secret(
        kid: Option<String>,
        algorithm: Algorithm,
        secret: &[u8],
    ) -> Result<Self, KeyError> {
        check_secret(algorithm, secret)?;
        Ok(Self::new(kid, algorithm, EncodingKey::from_secret(secret)))
    }

    /// Signs with a private key in PEM (PKCS #8; RSA also PKCS #1).
    pub fn file(kid: Option<String>, algorithm: Algorithm, text: &str) -> Result<Self, KeyError> {
        let pem = text.as_bytes();
        let key = match algorithm.family() {
            AlgorithmFamily::Rsa => EncodingKey::from_rsa_pem(pem),
            AlgorithmFamily::Ec => EncodingKey::from_ec_pem(pem),
            AlgorithmFamily::Ed => EncodingKey::from_ed_pem(pem),
            AlgorithmFamily::Hmac => return Err(KeyError(NO_FILE.to_owned())),
        };
        let key = key.map_err(|error| {
            KeyError(format!(
                "it is no private key in PEM for {algorithm:?}: {error}"
            ))
        })?;
        Ok(Self::new(kid, algorithm, key))
    }

    fn new(kid: Option<String>, algorithm: Algorithm, key: EncodingKey) -> Self {
        let mut header = Header::new(algorithm);
        header.kid = kid;
        Self { header, key }
    }

    pub(super) fn sign(&self, claims: &Map<String, Value>) -> Result<String, TokenError> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
            .map_err(|error| TokenError::Sign(error.to_string()))
    }
}

/// Reads a public key in PEM or a JSON Web Key for an algorithm with two keys.
pub fn public_key(algorithm: Algorithm, text: &str) -> Result<DecodingKey, KeyError> {
    let wrong = |error: &dyn std::fmt::Display| {
        KeyError(format!(
            "it is no public key in PEM or JWK for {algorithm:?}: {error}"
        ))
    };
    if text.trim_start().starts_with('{') {
        let jwk: Jwk = serde_json::from_str(text).map_err(|error| wrong(&error))?;
        let key = DecodingKey::from_jwk(&jwk).map_err(|error| wrong(&error))?;
        return if key.family() == algorithm.family() && algorithm.family() != AlgorithmFamily::Hmac
        {
            Ok(key)
        } else {
            Err(wrong(&"it is of another kind"))
        };
    }
    if text.contains("PRIVATE KEY") {
        return Err(wrong(
            &"it is a private key; give the public one (openssl pkey -pubout)",
        ));
    }
    let pem = text.as_bytes();
    let key = match algorithm.family() {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(pem),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(pem),
        AlgorithmFamily::Ed => DecodingKey::from_ed_pem(pem),
        AlgorithmFamily::Hmac => return Err(KeyError(NO_FILE.to_owned())),
    };
    key.map_err(|error| wrong(&error))
}

/// RFC 7518 §3.2: a key has at least as many bits as the hash. A public key is no secret (RFC 8725 §2.1).
fn check_secret(algorithm: Algorithm, secret: &[u8]) -> Result<(), KeyError> {
    let least = match algorithm {
        Algorithm::HS256 => 32,
        Algorithm::HS384 => 48,
        Algorithm::HS512 => 64,
        other => {
            return Err(KeyError(format!(
                "{other:?} has a public key, not a secret; name its file"
            )));
        }
    };
    if secret.len() < least {
        return Err(KeyError(format!(
            "{algorithm:?} needs a secret of at least {least} bytes; `openssl rand -base64 {least}` makes one"
        )));
    }
    if secret.starts_with(b"-----BEGIN") {
        return Err(KeyError("a key in PEM is no secret".to_owned()));
    }
    Ok(())
}

const NO_FILE: &str = "HS256, HS384 and HS512 have a secret, not a file";
/// Most keys that are taken of a set.
const KEYS_MAX: usize = 64;

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}
