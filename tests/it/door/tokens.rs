//! Good tokens of every kind, and bad ones of every kind that we could think of.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use hyper::{Method, header};
use rcgen::KeyPair;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use super::{mint, token};
use crate::support::Server;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const BIG: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The keys that the server is told of, and their private halves in its folder.
const KEYS: [(&str, &str, &str); 5] = [
    ("rsa", "RS256", "rsa"),
    ("pss", "PS384", "rsa"),
    ("ec", "ES256", "ec"),
    ("ec3", "ES384", "ec3"),
    ("ed", "EdDSA", "ed"),
];

async fn server() -> Server {
    let mut config = format!(
        "[auth]\nsecret = \"{SECRET}\"\nanonymous = []\nissuer = [\"us\", \"them\"]\naudience = [\"lockgate\"]\n\
         [[auth.keys]]\nkid = \"big\"\nalgorithm = \"HS512\"\nsecret = \"{BIG}\"\n"
    );
    for (kid, algorithm, file) in KEYS {
        config += &format!(
            "[[auth.keys]]\nkid = \"{kid}\"\nalgorithm = \"{algorithm}\"\nfile = \"{file}.pub\"\n"
        );
    }
    let made = [
        (
            "rsa",
            KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
        ),
        ("ec", KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)),
        ("ec3", KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)),
        ("ed", KeyPair::generate_for(&rcgen::PKCS_ED25519)),
        (
            "other",
            KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        ),
    ];
    let mut files = Vec::new();
    for (name, key) in &made {
        let key = key.as_ref().expect("a key is made");
        files.push((format!("{name}.pub"), key.public_key_pem()));
        files.push((format!("{name}.pem"), key.serialize_pem()));
    }
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(name, text)| (name.as_str(), text.as_str()))
        .collect();
    Server::start_with(&config, &[], &files).await
}

/// What a good token says.
fn claims() -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("it is after 1970").as_secs();
    json!({"iss": "us", "aud": "lockgate", "scope": "admin", "iat": now, "nbf": now - 10, "exp": now + 600})
}

/// Changes one claim; `null` takes it away.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let map = claims.as_object_mut().expect("claims are an object");
    if value.is_null() {
        map.remove(name);
    } else {
        map.insert(name.to_owned(), value);
    }
    claims
}

fn part(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Signs whatever texts with HMAC-SHA-256.
pub(crate) fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let mac = Hmac::<Sha256>::new_from_slice(secret).expect("any length");
    let signature = mac.chain_update(&text).finalize().into_bytes();
    format!("{text}.{}", part(signature))
}

fn ours(claims: &Value) -> String {
    signed(
        r#"{"alg":"HS256","typ":"JWT"}"#,
        &claims.to_string(),
        SECRET.as_bytes(),
    )
}

fn headed(header: &str) -> String {
    signed(header, &claims().to_string(), SECRET.as_bytes())
}

#[tokio::test]
async fn tokens_of_every_algorithm_are_taken_and_explained() {
    let server = server().await;
    let path = "/api/streams/x/verify";
    let mut good = vec![
        ("our own".to_owned(), server.token.clone()),
        ("by hand".to_owned(), ours(&claims())),
        ("without a typ".to_owned(), headed(r#"{"alg":"HS256"}"#)),
        (
            "at+jwt".to_owned(),
            headed(r#"{"alg":"HS256","typ":"application/AT+JWT"}"#),
        ),
        (
            "of them, for many".to_owned(),
            ours(&with("aud", json!(["x", "lockgate"]))),
        ),
        (
            "a time with a fraction".to_owned(),
            ours(&with("exp", json!(4e9 + 0.5))),
        ),
    ];
    for (kid, algorithm, file) in KEYS {
        let key = format!("{file}.pem");
        let arguments = [
            "--key", &key, "--alg", algorithm, "--kid", kid, "--iss", "them",
        ];
        let all = [
            &["--scope", "publish:x", "--sub", "ann", "--ttl", "5m"],
            &arguments[..],
        ]
        .concat();
        good.push((algorithm.to_owned(), mint(&server, &all)));
    }
    for (what, token) in &good {
        let answer = server.send_as(token, Method::POST, path, "").await;
        assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    }
    let (_, last) = good.last().expect("some");
    let told = token(&server, "inspect", &[last]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    for words in [
        "good for ",
        "scope: publish:x",
        "sub: \"ann\"",
        "iss: \"them\"",
    ] {
        assert!(told.contains(words), "{words} is not in {told}");
    }
    let refused = token(&server, "inspect", &[&ours(&with("aud", json!("x")))]);
    assert_eq!(refused.status.code(), Some(1));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("InvalidAudience"), "{why}");
    assert!(
        !server.log().contains(last.as_str()),
        "a token is in the log"
    );
}

#[tokio::test]
async fn a_bad_token_is_refused_and_nobody_learns_why() {
    let server = server().await;
    let rsa = std::fs::read(server.folder().join("rsa.pub")).expect("a key");
    let other = mint(
        &server,
        &[
            "--scope",
            "admin",
            "--key",
            "other.pem",
            "--alg",
            "ES256",
            "--kid",
            "ec",
        ],
    );
    let ec = mint(
        &server,
        &[
            "--scope", "admin", "--key", "ec.pem", "--alg", "ES256", "--kid", "ec",
        ],
    );
    let kidless = mint(
        &server,
        &["--scope", "admin", "--key", "other.pem", "--alg", "ES256"],
    );
    let ec_as_rsa = mint(
        &server,
        &[
            "--scope", "admin", "--key", "ec.pem", "--alg", "ES256", "--kid", "rsa",
        ],
    );
    let early = mint(&server, &["--scope", "admin", "--not-before", "10m"]);
    let good = ours(&claims());
    let [head, body, signature] = parts(&good);
    let [_, ec_body, ec_signature] = parts(&ec);
    let plain = claims().to_string();
    let now = claims()["iat"].as_u64().expect("a time");
    let none = |alg: &str| format!("{}.{body}.", part(format!(r#"{{"alg":"{alg}"}}"#)));
    let big = {
        let text = format!("{}.{body}", part(r#"{"alg":"HS512"}"#));
        let mac = Hmac::<Sha512>::new_from_slice(SECRET.as_bytes()).expect("any length");
        format!(
            "{text}.{}",
            part(mac.chain_update(&text).finalize().into_bytes())
        )
    };
    let hs = |kid: &str, key: &[u8]| {
        signed(
            &json!({"alg": "HS256", "kid": kid}).to_string(),
            &plain,
            key,
        )
    };
    let bad = [
        ("nothing at all", "x".to_owned()),
        ("two parts", format!("{head}.{body}")),
        ("four parts", format!("{good}.x")),
        ("five parts, as encrypted ones have", format!("{good}.x.y")),
        ("empty parts", "..".to_owned()),
        ("no signature", format!("{head}.{body}.")),
        ("no claims", format!("{head}..{signature}")),
        ("alg none", none("none")),
        ("alg None", none("None")),
        ("alg nOnE with a signature", headed(r#"{"alg":"nOnE"}"#)),
        ("alg empty", headed(r#"{"alg":""}"#)),
        ("alg absent", headed(r#"{"typ":"JWT"}"#)),
        ("alg of another type", headed(r#"{"alg":["HS256"]}"#)),
        ("alg twice", headed(r#"{"alg":"HS256","alg":"none"}"#)),
        ("alg unknown", headed(r#"{"alg":"HS1024"}"#)),
        ("the right secret with another algorithm", big),
        ("the public key as a secret", hs("rsa", &rsa)),
        (
            "the public key as a secret, without a kid",
            signed(r#"{"alg":"HS256"}"#, &plain, &rsa),
        ),
        ("an empty secret", signed(r#"{"alg":"HS256"}"#, &plain, b"")),
        (
            "another secret",
            signed(
                r#"{"alg":"HS256"}"#,
                &plain,
                b"another secret that is long enough",
            ),
        ),
        ("another key under a known id", other),
        ("another key without an id", kidless),
        ("a known key under the id of another", ec_as_rsa),
        (
            "a public key's signature under HS256",
            format!("{head}.{ec_body}.{ec_signature}"),
        ),
        (
            "an unknown id with the right secret",
            hs("unknown", SECRET.as_bytes()),
        ),
        ("an id that is a path", hs("../../../../dev/null", b"")),
        (
            "an id that is SQL",
            hs("x' UNION SELECT 'secret", b"secret"),
        ),
        ("an id that is a command", hs("key|/bin/true", b"")),
        ("a giant id", hs(&"k".repeat(300), SECRET.as_bytes())),
        (
            "a key brought along",
            headed(r#"{"alg":"ES256","jwk":{"kty":"EC"}}"#),
        ),
        (
            "a key's URL brought along",
            headed(r#"{"alg":"RS256","jku":"http://127.0.0.1:1/"}"#),
        ),
        (
            "a certificate's URL brought along",
            headed(r#"{"alg":"RS256","x5u":"http://127.0.0.1:1/"}"#),
        ),
        (
            "a critical parameter",
            headed(r#"{"alg":"HS256","crit":["exp"],"exp":1}"#),
        ),
        (
            "an unencoded payload",
            headed(r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#),
        ),
        (
            "another typ",
            headed(r#"{"alg":"HS256","typ":"id_token+jwt"}"#),
        ),
        (
            "a logout token",
            headed(r#"{"alg":"HS256","typ":"logout+jwt"}"#),
        ),
        ("a header that is no JSON", headed("HS256")),
        ("a header that is an array", headed(r#"["HS256"]"#)),
        (
            "claims that are no JSON",
            signed(r#"{"alg":"HS256"}"#, "admin", SECRET.as_bytes()),
        ),
        (
            "claims that are an array",
            signed(r#"{"alg":"HS256"}"#, "[]", SECRET.as_bytes()),
        ),
        ("claims of nothing", ours(&json!({}))),
        (
            "claims nested without end",
            signed(r#"{"alg":"HS256"}"#, &"[".repeat(2000), SECRET.as_bytes()),
        ),
        ("expired", ours(&with("exp", json!(now - 60)))),
        ("expired in 1970", ours(&with("exp", json!(0)))),
        ("without an end", ours(&with("exp", Value::Null))),
        (
            "an end that is a text",
            ours(&with("exp", json!("4000000000"))),
        ),
        (
            "an end before the beginning of time",
            ours(&with("exp", json!(-1))),
        ),
        ("not yet", ours(&with("nbf", json!(now + 600)))),
        ("not yet, by the command line", early),
        ("a beginning that is a text", ours(&with("nbf", json!("0")))),
        ("another issuer", ours(&with("iss", json!("somebody")))),
        ("no issuer", ours(&with("iss", Value::Null))),
        (
            "an issuer that begins like ours",
            ours(&with("iss", json!("us2"))),
        ),
        ("another audience", ours(&with("aud", json!("another")))),
        ("other audiences", ours(&with("aud", json!(["a", "b"])))),
        ("no audience", ours(&with("aud", Value::Null))),
        ("an audience of nobody", ours(&with("aud", json!([])))),
        ("a subject that is no text", ours(&with("sub", json!(1)))),
        (
            "a giant id of its own",
            ours(&with("jti", json!("j".repeat(300)))),
        ),
        (
            "a scope that is no text",
            ours(&with("scope", json!(["admin"]))),
        ),
        (
            "one letter changed",
            good.replacen(&signature[..4], "AAAA", 1),
        ),
        (
            "claims changed",
            format!(
                "{head}.{}.{signature}",
                part(plain.replace("admin", "admin2"))
            ),
        ),
        ("padding", format!("{head}.{body}.{signature}=")),
        (
            "the other base64",
            format!("{head}.{body}.{}+/", &signature[..signature.len() - 2]),
        ),
        ("bits after the end", format!("{head}.{body}.{signature}A")),
        ("spaces within", format!("{head}. {body}.{signature}")),
        (
            "giant",
            format!("{head}.{}.{signature}", "A".repeat(20_000)),
        ),
        ("half a token", good[..good.len() / 2].to_owned()),
        ("a zero byte", format!("{head}.{body}.{signature}%00")),
    ];
    assert!(bad.len() >= 40);
    let mut words = None;
    for (what, token) in &bad {
        for (method, path) in [
            (Method::GET, "/api/streams/x/sessions"),
            (Method::POST, "/api/stream/x/verify"),
        ] {
            let answer = server.send_as(token, method, path, "").await;
            let detail = answer.problem(401);
            let told = (detail, answer.header(header::WWW_AUTHENTICATE).to_owned());
            assert!(
                told.1.contains("error=\"invalid_token\""),
                "{what}: {}",
                told.1
            );
            // All the same, whatever is wrong.
            assert_eq!(words.get_or_insert_with(|| told.clone()), &told, "{what}");
        }
        if token.len() < 5000 && token.bytes().all(|byte| byte.is_ascii_graphic()) {
            let answer = server
                .get(&format!("/hls/x/playlist.m3u8?token={token}"))
                .await;
            answer.problem(401);
        }
    }
    // The same server takes the good one.
    let answer = server
        .send_as(&good, Method::GET, "/api/revocations", "")
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let log = server.log();
    assert!(!log.contains(signature), "a token is in the log");
}

#[tokio::test]
async fn verify_says_whether_a_token_is_good_for_a_stream() {
    let server = Server::start("", &[]).await;
    let token = server.mint("publish:ann-*");
    for path in ["/api/streams/ann-1/verify", "/api/stream/ann-1/verify"] {
        let answer = server.send_as(&token, Method::POST, path, "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            answer.json(),
            json!({"authorized": true, "actions": ["publish"]})
        );
    }
    let verify = async |path: &str| {
        let answer = server.send_as(&token, Method::POST, path, "").await;
        (answer.status.as_u16(), answer.json()["authorized"].clone())
    };
    assert_eq!(
        verify("/api/streams/ann-1/verify?action=publish").await,
        (200, true.into())
    );
    // Everybody may watch, but not by this token.
    assert_eq!(
        verify("/api/streams/ann-1/verify?action=play").await,
        (401, false.into())
    );
    assert_eq!(verify("/api/streams/bob/verify").await, (401, false.into()));
    assert_eq!(
        verify("/api/streams/ann-1/verify?action=dance").await.0,
        400
    );
    let request = server.request(Method::POST, "/api/stream/ann-1/verify");
    let none = server
        .send(request.body(Default::default()).expect("a request"))
        .await;
    none.problem(401);
    assert_eq!(none.json()["authorized"], false);
    assert_eq!(
        none.header(header::WWW_AUTHENTICATE),
        "Bearer realm=\"lockgate\""
    );
}

fn parts(token: &str) -> [&str; 3] {
    let mut parts = token.split('.');
    std::array::from_fn(|_| parts.next().expect("three parts"))
}
