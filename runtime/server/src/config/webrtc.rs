//! `[webrtc]`: where peers meet the server, and what they are told.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::{ToSchema, openapi::schema::Schema};

use super::{Secret, schema::texts};

/// WebRTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webrtc {
    /// Addresses and UDP port of all media.
    #[schema(schema_with = udp_listen)]
    pub udp_listen: Listen,
    /// Addresses and TCP port for peers whose network lets no UDP through; those of `udp_listen` if absent, none if
    /// empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = tcp_listen)]
    pub tcp_listen: Option<Listen>,
    /// Addresses that peers reach this server at; empty means what `stun_server` says and those of its interfaces.
    #[schema(value_type = Vec<String>)]
    pub public_addresses: Vec<std::net::IpAddr>,
    /// A STUN server, `host:port`, that is asked for the public address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stun_server: Option<String>,
    /// Tell peers private addresses beside public ones.
    pub private_addresses: bool,
    /// STUN and TURN servers handed to peers.
    pub ice_servers: Vec<IceServer>,
    /// Most WebRTC viewers of one broadcast.
    pub viewers_max: usize,
    /// Most WebRTC peers at a time, publishers and viewers together.
    pub peers_max: usize,
    /// How long a peer may take to connect, in s, 1 to 60.
    pub connect_s: u64,
    /// How long a peer may be silent before its session ends, in s, 1 to 30.
    pub silence_s: u64,
    /// Most that viewers are told to delay pictures on a link that needs it, in ms, 0 to 10000; 0 never tells them.
    pub playout_delay_max_ms: u64,
}

impl Default for Webrtc {
    fn default() -> Self {
        Self {
            udp_listen: Listen::Each(vec![
                (Ipv4Addr::UNSPECIFIED, PORT).into(),
                (Ipv6Addr::UNSPECIFIED, PORT).into(),
            ]),
            tcp_listen: None,
            public_addresses: Vec::new(),
            stun_server: None,
            private_addresses: false,
            ice_servers: Vec::new(),
            viewers_max: 2000,
            peers_max: 10_000,
            connect_s: 15,
            silence_s: 15,
            playout_delay_max_ms: 500,
        }
    }
}

/// One address with its port, or a list of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "an address with its port, such as \"0.0.0.0:8189\", or a list of them"
)]
pub enum Listen {
    /// One.
    One(SocketAddr),
    /// Any number.
    Each(Vec<SocketAddr>),
}

fn udp_listen() -> Schema {
    texts("Addresses and UDP port of all media.")
}

fn tcp_listen() -> Schema {
    texts(
        "Addresses and TCP port for peers whose network lets no UDP through; those of `udp_listen` if absent, none if empty.",
    )
}

impl Listen {
    /// The addresses.
    pub fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::One(address) => std::slice::from_ref(address),
            Self::Each(addresses) => addresses,
        }
    }
}

/// A STUN or TURN server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IceServer {
    /// `stun:…`, `turn:…` or `turns:…`.
    pub url: String,
    /// TURN user name; with a `secret`, what stands in it after its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub credential: Option<Secret>,
    /// The secret shared with the TURN server, from which each peer gets a name and password of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub secret: Option<Secret>,
    /// How long such a name is good for, in s, 60 to 604800; a day if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_s: Option<u64>,
}

impl Webrtc {
    /// The first thing that is wrong, as `webrtc.key: what and what to do`.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.udp_listen.addresses().is_empty() {
            return Err("webrtc.udp_listen: there is no address; give at least one".to_owned());
        }
        if let Some(server) = &self.stun_server {
            let parts = server.rsplit_once(':');
            let is_good = parts.is_some_and(|(host, port)| {
                let odd = |letter: char| !letter.is_ascii_graphic() || "/<>\"".contains(letter);
                // An IPv6 address stands in brackets, so that its last colon is not taken for the port's.
                let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
                !host.is_empty()
                    && !host.contains(odd)
                    && !bare_v6
                    && port.parse::<u16>().is_ok_and(|port| port > 0)
            });
            if !is_good {
                return Err(format!(
                    "webrtc.stun_server: {server:?} is not HOST:PORT, as in \"stun.example.org:3478\""
                ));
            }
        }
        self.ice_servers.iter().try_for_each(check_ice_server)
    }
}

/// RFC 7064 and RFC 7065: which URLs there are, and that only TURN has users.
fn check_ice_server(server: &IceServer) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("webrtc.ice_servers: {:?}: {what}", server.url));
    let Some((scheme, rest)) = server.url.split_once(':') else {
        return wrong("it has no scheme; write stun:HOST, turn:HOST or turns:HOST");
    };
    let is_turn = match scheme {
        "stun" | "stuns" => false,
        "turn" | "turns" => true,
        _ => return wrong("its scheme is none of stun, stuns, turn and turns"),
    };
    let odd = |letter: char| !letter.is_ascii_graphic() || "<>\"".contains(letter);
    if rest.is_empty() || rest.starts_with('/') || rest.contains(odd) {
        return wrong("after the scheme comes a host, as in turn:turn.example.org:3478");
    }
    let named = server.username.is_some() || server.credential.is_some() || server.secret.is_some();
    match (&server.username, &server.credential, &server.secret) {
        _ if named && !is_turn => wrong("only TURN servers have users"),
        _ if server.ttl_s.is_some() && server.secret.is_none() => {
            wrong("ttl_s is for names made from a secret; give one, or leave ttl_s out")
        }
        (_, Some(_), Some(_)) => wrong("it has a credential and a secret; give one of both"),
        (_, _, Some(secret)) if secret.reveal().is_empty() => wrong("its secret is empty"),
        (Some(_), None, None) => wrong("it has a username, but neither credential nor secret"),
        (None, Some(_), None) => wrong("it has a credential, but no username"),
        (None, None, None) if is_turn => {
            wrong("TURN needs a username with a credential, or a secret")
        }
        _ => match server.ttl_s {
            Some(ttl_s) if !(60..=604_800).contains(&ttl_s) => {
                wrong("its ttl_s is not within 60 to 604800")
            }
            _ => Ok(()),
        },
    }
}

const PORT: u16 = 8189;
