//! Users of the configuration, with passwords as Argon2 hashes.

use std::{collections::HashMap, num::NonZero, sync::Arc};

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use tokio::sync::Semaphore;

use crate::{caller::Login, scope::Scopes, token::Claims};

use super::Refusal;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The name.
    pub name: String,
    /// The Argon2 hash of the password, in the PHC string format.
    pub hash: String,
    /// What it allows.
    pub scopes: Scopes,
}

/// A text that is no Argon2 hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the password of {0} is no Argon2 hash; `lockgate token hash` makes one")]
pub struct BadHash(String);

/// All users.
#[derive(Debug)]
pub struct Users {
    users: HashMap<String, User>,
    /// Hashing takes tens of MB and a core each time: never more at once than there are cores.
    turns: Arc<Semaphore>,
    /// What the password of nobody is held against, so that a name cannot be told from its absence by the time it takes.
    nobody: String,
}

impl Users {
    /// These users. Their hashes are read, so that a mistake shows at the start.
    pub fn new(users: Vec<User>) -> Result<Self, BadHash> {
        for user in &users {
            let hash = PasswordHash::new(&user.hash).map_err(|_| BadHash(user.name.clone()))?;
            if !hash.algorithm.as_str().starts_with("argon2") || hash.hash.is_none() {
                return Err(BadHash(user.name.clone()));
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let nobody = if users.is_empty() {
            String::new()
        } else {
            hash_password("nobody").unwrap_or_default()
        };
        Ok(Self {
            users: users
                .into_iter()
                .map(|user| (user.name.clone(), user))
                .collect(),
            turns: Arc::new(Semaphore::new(cores)),
            nobody,
        })
    }

    /// Checks a password. `None` where there are no users at all: then it is for somebody else to judge.
    pub(super) async fn check(&self, login: &Login) -> Result<Option<Claims>, Refusal> {
        if self.users.is_empty() {
            return Ok(None);
        }
        if login.password.len() > PASSWORD_LEN_MAX {
            return Err(Refusal::BadCredentials);
        }
        let user = self.users.get(&login.user);
        let hash = user.map_or(&self.nobody, |user| &user.hash).clone();
        let password = login.password.clone();
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let good = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            PasswordHash::new(&hash).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.as_bytes(), &hash)
                    .is_ok()
            })
        })
        .await
        .unwrap_or(false);
        match user.filter(|_| good) {
            Some(user) => Ok(Some(user.claims())),
            None => Err(Refusal::BadCredentials),
        }
    }
}

impl User {
    /// As a token would say it.
    fn claims(&self) -> Claims {
        let scope = self.scopes.to_string();
        let all = [
            ("sub".to_owned(), self.name.clone().into()),
            ("scope".to_owned(), scope.clone().into()),
        ];
        Claims {
            sub: Some(self.name.clone()),
            scope,
            exp: u64::MAX,
            all: all.into_iter().collect(),
            ..Claims::default()
        }
    }
}

/// The Argon2 hash of a password, for the configuration. `None` only if the password is longer than anybody's.
pub fn hash_password(password: &str) -> Option<String> {
    if password.len() > PASSWORD_LEN_MAX {
        return None;
    }
    let salt: [u8; 16] = rand::random();
    let salt = SaltString::from_b64(&STANDARD_NO_PAD.encode(salt)).ok()?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt);
    hash.ok().map(|hash| hash.to_string())
}

/// Longest password that is looked at, in bytes.
const PASSWORD_LEN_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_checked_and_a_hash_is_read_at_the_start() {
        let user = |hash: &str| User {
            name: "ann".to_owned(),
            hash: hash.to_owned(),
            scopes: Scopes::known("publish:ann"),
        };
        assert!(Users::new(vec![user("plain text")]).is_err());
        assert!(Users::new(vec![user("$2b$12$abcdefghijklmnopqrstuu")]).is_err());
        let users = Users::new(vec![user(&hash_password("north").unwrap())]).unwrap();
        let login = |user: &str, password: &str| Login {
            user: user.to_owned(),
            password: password.to_owned(),
        };
        let claims = users.check(&login("ann", "north")).await.unwrap().unwrap();
        assert_eq!(
            (claims.sub.as_deref(), claims.scope.as_str()),
            (Some("ann"), "publish:ann")
        );
        for bad in [
            login("ann", "south"),
            login("ann", ""),
            login("bob", "nobody"),
            login("ann", &"x".repeat(2000)),
        ] {
            assert_eq!(
                users.check(&bad).await,
                Err(Refusal::BadCredentials),
                "{bad:?}"
            );
        }
        let none = Users::new(Vec::new()).unwrap();
        assert_eq!(none.check(&login("ann", "north")).await, Ok(None));
    }
}
