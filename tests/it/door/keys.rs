//! Keys that an issuer publishes and changes.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::Method;
use rcgen::KeyPair;
use serde_json::{Value, json};

use super::{mint, service::Service};
use crate::support::{Server, until};

fn jwk(kid: &str, key: &KeyPair) -> Value {
    let point = key.public_key_raw();
    let [x, y] = [&point[1..33], &point[33..65]].map(|half| URL_SAFE_NO_PAD.encode(half));
    json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": kid, "x": x, "y": y})
}

#[tokio::test]
async fn an_issuer_changes_its_keys_and_goes_down_and_nobody_is_kept_out() {
    let keys = ["one", "two", "three"].map(|kid| {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key is made");
        (kid, key)
    });
    let set = |count: usize| {
        let keys: Vec<Value> = keys
            .iter()
            .take(count)
            .map(|(kid, key)| jwk(kid, key))
            .collect();
        json!({ "keys": keys }).to_string()
    };
    let (first, second) = (set(1), set(2));
    let mut issuer = Service::start(move |_| (200, first.clone())).await;
    let config = format!(
        "[auth]\nanonymous = []\njwks_url = \"{}/jwks\"\njwks_cooldown_s = 1\njwks_refresh_s = 3600\n",
        issuer.origin
    );
    let files: Vec<(String, String)> = keys
        .iter()
        .map(|(kid, key)| (format!("{kid}.pem"), key.serialize_pem()))
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    let server = Server::start_with(&config, &[], &files).await;
    let token = |kid: &str| {
        let key = format!("{kid}.pem");
        mint(
            &server,
            &[
                "--scope", "admin", "--key", &key, "--alg", "ES256", "--kid", kid,
            ],
        )
    };
    let tokens = ["one", "two", "three"].map(token);
    let status = async |token: &str| {
        let answer = server
            .send_as(token, Method::GET, "/api/revocations", "")
            .await;
        answer.status.as_u16()
    };
    until("the first key", Duration::from_secs(10), || async {
        (status(&tokens[0]).await == 200).then_some(())
    })
    .await;
    issuer.answers(move |_| (200, second.clone()));
    until("the second key", Duration::from_secs(10), || async {
        (status(&tokens[1]).await == 200).then_some(())
    })
    .await;
    assert_eq!(status(&tokens[0]).await, 200);

    // Whoever makes up ids reaches the issuer no more than once a cooldown.
    let before = issuer.asked().len();
    let begun = std::time::Instant::now();
    for _ in 0..200 {
        assert_eq!(status(&tokens[2]).await, 401);
    }
    let most = 1 + usize::try_from(begun.elapsed().as_secs()).expect("a short test");
    let asked = issuer.asked().len() - before;
    assert!(asked <= most, "{asked} fetches in {:?}", begun.elapsed());

    // A broken answer, and then none at all: what was known stays good.
    issuer.answers(|_| (200, "<html>maintenance</html>".to_owned()));
    let before = issuer.asked().len();
    until("another fetch", Duration::from_secs(10), || async {
        assert_eq!(status(&tokens[2]).await, 401);
        (issuer.asked().len() > before).then_some(())
    })
    .await;
    issuer.stop().await;
    for _ in 0..3 {
        assert_eq!(status(&tokens[0]).await, 200);
        assert_eq!(status(&tokens[1]).await, 200);
        assert_eq!(status(&tokens[2]).await, 401);
    }
}
