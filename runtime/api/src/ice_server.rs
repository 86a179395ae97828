//! STUN and TURN servers, as peers are told of them.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, Mac as _};
use sha1::Sha1;

/// A STUN or TURN server for peers (RFC 9725 §4.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:…`, `stuns:…`, `turn:…` or `turns:…`.
    pub url: String,
    /// What a TURN server wants of its users.
    pub account: Option<Account>,
}

/// Who peers are to a TURN server.
#[derive(Clone, PartialEq, Eq)]
pub enum Account {
    /// All the same user, for ever.
    Fixed {
        /// User name.
        username: String,
        /// Password.
        credential: String,
    },
    /// Each for a while, by a secret that the TURN server has too (draft-uberti-behave-turn-rest-00 §2.2; coturn:
    /// `use-auth-secret`).
    Timed {
        /// What stands in the user name after its end, for the TURN server's log.
        user: String,
        /// The shared secret.
        secret: String,
        /// How long a name is good for; a session may outlast it, for only new allocations ask.
        ttl: Duration,
    },
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fixed { .. } => "Fixed",
            Self::Timed { .. } => "Timed",
        })
    }
}

impl Account {
    /// User name and password for somebody who asks now.
    fn at(&self, now: SystemTime) -> (String, String) {
        match self {
            Self::Fixed {
                username,
                credential,
            } => (username.clone(), credential.clone()),
            Self::Timed { user, secret, ttl } => {
                let since = now.duration_since(SystemTime::UNIX_EPOCH);
                let end = since.unwrap_or_default().saturating_add(*ttl);
                let username = format!("{}:{user}", end.as_secs());
                let credential = mac(secret.as_bytes(), username.as_bytes());
                (username, credential)
            }
        }
    }
}

fn mac(secret: &[u8], text: &[u8]) -> String {
    // HMAC takes keys of any length, so that there is no other way.
    Hmac::<Sha1>::new_from_slice(secret).map_or_else(
        |_| String::new(),
        |mac| STANDARD.encode(mac.chain_update(text).finalize().into_bytes()),
    )
}

/// As `RTCConfiguration.iceServers` of browsers has them.
pub(crate) fn objects(servers: &[IceServer], now: SystemTime) -> serde_json::Value {
    servers.iter().map(|server| server.object(now)).collect()
}

impl IceServer {
    fn object(&self, now: SystemTime) -> serde_json::Value {
        match &self.account {
            None => serde_json::json!({ "urls": self.url }),
            Some(account) => {
                let (username, credential) = account.at(now);
                serde_json::json!({ "urls": self.url, "username": username, "credential": credential })
            }
        }
    }

    /// As a `Link` header has it (RFC 9725 §4.6).
    pub(crate) fn link(&self, now: SystemTime) -> String {
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut link = format!("<{}>; rel=\"ice-server\"", self.url);
        if let Some(account) = &self.account {
            let (username, credential) = account.at(now);
            link.push_str(&format!(
                "; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
                quoted(&username),
                quoted(&credential)
            ));
        }
        link
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timed_name_ends_and_its_password_is_the_mac_of_it() {
        let server = IceServer {
            url: "turn:turn.example.org".to_owned(),
            account: Some(Account::Timed {
                user: "lockgate".to_owned(),
                secret: "north".to_owned(),
                ttl: Duration::from_secs(3600),
            }),
        };
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        // printf 1700003600:lockgate | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(
            server.link(now),
            "<turn:turn.example.org>; rel=\"ice-server\"; username=\"1700003600:lockgate\"; \
             credential=\"54utfVanxq0KcxehuUVUcTMUN98=\"; credential-type=\"password\""
        );
        assert!(!format!("{server:?}").contains("north"));
    }
}
