//! `[auth]`.

use std::{
    collections::{BTreeSet, HashSet},
    path::PathBuf,
};

use lockgate_api::{Scope, door::Step, token::Algorithm};
use lockgate_fetch::Origin;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{
    ToSchema,
    openapi::schema::{ObjectBuilder, Schema, Type},
};

use super::{Location, Secret, schema::texts};

/// Who may do what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// The steps that decide about somebody, in order.
    pub chain: Vec<Step>,
    /// What our own tokens are signed with, at least 32 bytes; without it a random one is made and kept in the store.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
    /// Scopes granted without a token.
    #[schema(value_type = Vec<String>)]
    pub anonymous: Vec<Scope>,
    /// Issuers whose tokens are good; empty asks for none.
    #[serde(deserialize_with = "one_or_many")]
    #[schema(schema_with = issuers)]
    pub issuer: Vec<String>,
    /// Whom tokens have to be for; empty takes those that are for nobody in particular.
    #[serde(deserialize_with = "one_or_many")]
    #[schema(schema_with = audiences)]
    pub audience: Vec<String>,
    /// How far clocks may differ, in s.
    pub leeway_s: u64,
    /// Where an issuer publishes its keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_url: Option<Location>,
    /// How long published keys are good until they are fetched again, in s.
    pub jwks_refresh_s: u64,
    /// How long a token with an unknown key id does not have them fetched again, in s.
    pub jwks_cooldown_s: u64,
    /// How long a verdict about a session holds, in s.
    pub recheck_s: u64,
    /// How long somebody whose session was ended by an administrator stays out, in s.
    pub kick_s: u64,
    /// Origins whose URLs the `auth` policy may have asked, such as `https://id.example`.
    #[schema(value_type = Vec<String>)]
    pub ask: Vec<Origin>,
    /// Keys of others that sign tokens.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<AuthKey>,
    /// Users with passwords.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<AuthUser>,
    /// The operator's own service.
    pub http: AuthHttp,
}

/// A key that signs tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthKey {
    /// Its id, as `kid` of a token's header names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// The one algorithm that it is for.
    #[schema(schema_with = algorithms)]
    pub algorithm: Algorithm,
    /// The public key, in PEM or as a JSON Web Key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub file: Option<PathBuf>,
    /// The shared secret, for HS256, HS384 and HS512.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
}

/// A user with a password.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthUser {
    /// The name.
    pub name: String,
    /// The Argon2 hash of the password.
    #[schema(value_type = String)]
    pub password: Secret,
    /// What the user may do.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub scopes: Vec<Scope>,
}

/// The operator's own service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AuthHttp {
    /// Where it is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub url: Option<Location>,
    /// How long it may take, in ms.
    pub deadline_ms: u64,
}

/// A text, or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a text or a list of texts")]
    enum Texts {
        One(String),
        Many(Vec<String>),
    }
    Ok(match Texts::deserialize(deserializer)? {
        Texts::One(text) => vec![text],
        Texts::Many(texts) => texts,
    })
}

fn issuers() -> Schema {
    texts("Issuers whose tokens are good; empty asks for none.")
}

fn audiences() -> Schema {
    texts("Whom tokens have to be for; empty takes those that are for nobody in particular.")
}

fn algorithms() -> Schema {
    let all = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("The one algorithm that it is for."))
        .enum_values(Some(all))
        .build()
        .into()
}

impl Auth {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut steps = BTreeSet::new();
        if let Some(step) = self.chain.iter().find(|step| !steps.insert(**step)) {
            return Err(format!("auth.chain: {step:?} is there twice"));
        }
        if let Some(secret) = &self.secret
            && secret.reveal().len() < 32
        {
            // RFC 7518 §3.2: a key for HS256 has at least 256 bits.
            return Err("auth.secret: it has fewer than 32 bytes; `openssl rand -base64 32` makes a good one".to_owned());
        }
        let mut ids = HashSet::new();
        for key in &self.keys {
            let name = key.kid.as_deref().unwrap_or("without a kid");
            if key.file.is_some() == key.secret.is_some() {
                return Err(format!(
                    "auth.keys: the key {name} needs either a file or a secret"
                ));
            }
            if key.kid.is_some() && !ids.insert(&key.kid) {
                return Err(format!("auth.keys: two keys have the kid {name}"));
            }
        }
        let mut names = HashSet::new();
        for user in &self.users {
            if user.name.is_empty() || user.name.contains(':') {
                return Err("auth.users: a name is not empty and has no colon".to_owned());
            }
            if !names.insert(&user.name) {
                return Err(format!("auth.users: two users are named {}", user.name));
            }
        }
        Ok(())
    }
}

impl Default for Auth {
    fn default() -> Self {
        let play = "play:*".parse();
        Self {
            chain: vec![Step::Internal, Step::Jwt, Step::Http, Step::Policy],
            secret: None,
            anonymous: play.into_iter().collect(),
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway_s: 5,
            jwks_url: None,
            jwks_refresh_s: 900,
            jwks_cooldown_s: 30,
            recheck_s: 60,
            kick_s: 60,
            ask: Vec::new(),
            keys: Vec::new(),
            users: Vec::new(),
            http: AuthHttp::default(),
        }
    }
}

impl Default for AuthHttp {
    fn default() -> Self {
        Self {
            url: None,
            deadline_ms: 3000,
        }
    }
}
