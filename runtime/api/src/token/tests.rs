use std::time::{SystemTime, UNIX_EPOCH};

use super::*;

const SECRET: &[u8] = b"a secret of at least thirty-two bytes";

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[tokio::test]
async fn a_token_reads_back_and_a_foreign_or_old_one_does_not() {
    let rules = Rules::default();
    let key = Key::secret(None, Algorithm::HS256, SECRET, &rules).unwrap();
    let verifier = Verifier::new(KeySet::new(vec![key]), None);
    let signer = Signer::secret(None, Algorithm::HS256, SECRET).unwrap();
    let wish = Wish {
        subject: Some("ann".to_owned()),
        scopes: Scopes::parse("publish:demo admin").unwrap(),
        ttl: Duration::from_secs(60),
        ..Wish::default()
    };
    let token = mint(&signer, &wish, now()).unwrap();
    let claims = verifier.verify(&token).await.unwrap();
    assert_eq!(claims.scope, "publish:demo admin");
    assert_eq!(claims.sub.as_deref(), Some("ann"));
    assert_eq!(claims.jti.as_ref().map(String::len), Some(32));
    let old = mint(&signer, &wish, now() - 120).unwrap();
    assert!(verifier.verify(&old).await.is_err());
    let other = Signer::secret(None, Algorithm::HS256, &[b'x'; 32]).unwrap();
    let foreign = mint(&other, &wish, now()).unwrap();
    assert!(verifier.verify(&foreign).await.is_err());
    assert!(verifier.verify("").await.is_err());
}

#[test]
fn a_secret_is_long_enough_and_no_public_key() {
    for (algorithm, secret) in [
        (Algorithm::HS256, &b"short"[..]),
        (Algorithm::HS512, &[b'x'; 48]),
        (Algorithm::RS256, &[b'x'; 64]),
        (
            Algorithm::HS256,
            b"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n",
        ),
    ] {
        assert!(Signer::secret(None, algorithm, secret).is_err());
        assert!(Key::secret(None, algorithm, secret, &Rules::default()).is_err());
    }
}

#[test]
fn a_set_of_keys_brings_neither_secrets_nor_keys_for_something_else() {
    let point = r#""x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
    let text = format!(
        r#"{{"keys":[
            {{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0","alg":"HS256"}},
            {{"kty":"EC","crv":"P-256",{point},"use":"enc"}},
            {{"kty":"EC","crv":"P-256",{point},"key_ops":["encrypt"]}},
            {{"kty":"EC","crv":"P-256",{point},"alg":"HS256"}},
            {{"kty":"EC","crv":"P-256",{point},"alg":"ES384"}},
            {{"kty":"XX"}}, 7,
            {{"kty":"EC","crv":"P-256",{point},"kid":"good"}}
        ]}}"#
    );
    let keys = KeySet::of_json(&text, &Rules::default()).unwrap();
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(keys.has("good"));
    assert!(KeySet::of_json("{}", &Rules::default()).is_none());
    assert!(KeySet::of_json("[]", &Rules::default()).is_none());
}
