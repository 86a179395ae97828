//! People in rooms, over real sockets: signalling by Socket.IO, media by light WebRTC peers.
//!
//! What a browser and the reference client of Socket.IO must see is in `tests/browser`.

mod media;
mod roles;
mod seats;

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use lockgate_load::room::{Config, Peers};
use lockgate_tests_peer::Person;
use serde_json::{Value, json};

use crate::{door::signed, support::Server};

const SECRET: &str = "a secret that only the tests of rooms know";
/// How loud somebody speaks, and somebody who listens, in dB below full scale.
const LOUD: u8 = 20;
const QUIET: u8 = 90;
const WITHIN: Duration = Duration::from_secs(30);

/// A server with a secret of ours, and whatever else of a configuration.
async fn server(config: &str) -> Server {
    Server::start(&format!("[auth]\nsecret = \"{SECRET}\"\n{config}"), &[]).await
}

/// A token for somebody, with these scopes and further claims.
fn token(subject: &str, scope: &str, more: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_secs();
    let mut claims = json!({ "sub": subject, "scope": scope, "exp": now + 600 });
    let (Value::Object(claims_in), Value::Object(more)) = (&mut claims, more) else {
        panic!("claims are an object");
    };
    claims_in.extend(more);
    let claims = claims.to_string();
    signed(r#"{"alg":"HS256"}"#, &claims, SECRET.as_bytes())
}

/// Somebody who may speak in all rooms.
fn speaker(subject: &str) -> String {
    token(subject, "join:*", json!({}))
}

/// Somebody who may be host of all rooms.
fn host(subject: &str) -> String {
    token(subject, "join:* publish:*", json!({}))
}

/// The media of some people; it ends for all of them when it is dropped.
fn peers() -> Arc<Peers> {
    let config = Config {
        video_bps: 150_000,
        ..Config::default()
    };
    let peers = Peers::new(&config, Ipv4Addr::LOCALHOST.into());
    Arc::new(peers.expect("threads and a certificate"))
}

async fn join(server: &Server, room: &str, name: &str, token: &str, peers: &Arc<Peers>) -> Person {
    let joined = Person::join(&server.url(""), Some(token), room, name, peers).await;
    joined.unwrap_or_else(|error| panic!("{name} does not get into {room}: {error:#}"))
}

/// Why somebody is not let into a room: the status and the reason.
async fn refused(server: &Server, room: &str, token: Option<&str>) -> (u64, String) {
    let joined = Person::join(&server.url(""), token, room, "Nobody", &peers()).await;
    let Err(error) = joined else {
        panic!("they are let into {room}")
    };
    let refused: lockgate_tests_peer::Refused = error.downcast().expect("the server says why");
    (refused.status, refused.detail)
}
