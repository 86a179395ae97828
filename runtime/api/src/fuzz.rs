//! Fuzz targets for what stands in the heads of requests, in tokens and in offers.

use std::net::IpAddr;

use axum::http::{HeaderMap, HeaderValue, Uri};
use lockgate_tests_fuzz::run;

use crate::{
    caller::{carried, query_token},
    limits::{Network, Proxies},
    scope::Scopes,
    socket::Directions,
};

/// Whatever a client writes before what a proxy wrote, it is not believed.
#[test]
fn forwarded() {
    let trusted: Vec<Network> = vec!["10.0.0.0/8".parse().unwrap()];
    let proxies = Proxies::new(trusted);
    let [proxy, client]: [IpAddr; 2] = ["10.0.0.1", "198.51.100.7"].map(|ip| ip.parse().unwrap());
    run("forwarded", 3000, |data| {
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(data) {
            headers.append("x-forwarded-for", value);
        }
        assert_eq!(proxies.client(client, &headers), client);
        let _ = proxies.client(proxy, &headers);
        headers.append("x-forwarded-for", HeaderValue::from_static("198.51.100.7"));
        assert_eq!(proxies.client(proxy, &headers), client);
    });
}

/// Scopes that are read mean what they are written as, and what cannot be read allows nothing.
#[test]
fn scopes() {
    run("scopes", 3000, |data| {
        let text = String::from_utf8_lossy(data);
        if let Ok(scopes) = Scopes::parse(&text) {
            let again = Scopes::parse(&scopes.to_string()).unwrap();
            assert_eq!(again.to_string(), scopes.to_string());
            assert_eq!(Scopes::known(&text).to_string(), scopes.to_string());
        }
    });
}

/// A token is carried on as it came, and nothing beside it.
#[test]
fn queries_with_tokens() {
    run("token_query", 3000, |data| {
        let Ok(uri) = Uri::try_from(data) else { return };
        let token = query_token(&uri);
        assert_eq!(carried(&uri), token.map(|token| format!("token={token}")));
        assert!(token.is_none_or(|token| !token.is_empty() && !token.contains('&')));
    });
}

/// Which way an offer goes is known, or there is no way.
#[test]
fn directions() {
    run("sdp_offer", 2000, |data| {
        let offer = String::from_utf8_lossy(data);
        let all = Directions::of(&offer);
        let has_media = offer.lines().any(|line| line.trim().starts_with("m="));
        assert!(has_media || !(all.sends || all.receives || all.has_channel));
    });
}
