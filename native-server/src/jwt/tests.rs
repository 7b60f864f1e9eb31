use super::*;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use nself_sync_engine::ids::User;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const KEY: &str = "0123456789abcdef0123456789abcdef";

// Made for these tests with openssl; they sign nothing else.
const RSA: &str = include_str!("testdata/rsa.pem");
const RSA_PUBLIC: &str = include_str!("testdata/rsa.pub");
const RSA_CERTIFICATE: &str = include_str!("testdata/rsa.crt");
const EC: &str = include_str!("testdata/ec.pem");
const EC_PUBLIC: &str = include_str!("testdata/ec.pub");

fn verifier(secret: &Value) -> Verifier {
    Verifier::new(&parse(&secret.to_string()).unwrap()).unwrap()
}

fn hs256() -> Verifier {
    verifier(&json!({ "type": "HS256", "key": KEY }))
}

fn claims() -> Value {
    json!({ "sub": "ann", "exp": get_current_timestamp() + 60 })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn sign(algorithm: Algorithm, claims: &Value) -> String {
    let key = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap(),
        Algorithm::ES256 => EncodingKey::from_ec_pem(EC.as_bytes()).unwrap(),
        _ => EncodingKey::from_secret(KEY.as_bytes()),
    };
    encode(&Header::new(algorithm), claims, &key).unwrap()
}

async fn denial(verifier: &Verifier, token: &str) -> &'static str {
    match verifier.verify(token).await {
        Err(Denied::Token(reason)) => reason,
        other => panic!("not denied: {other:?}"),
    }
}

#[tokio::test]
async fn it_is_told_when_a_token_ends() {
    let until =
        async |exp: Value| hs256().verify(&sign(Algorithm::HS256, &with("exp", exp))).await.unwrap().until;
    let left = |until: Millis| (until - now()) / 1000;
    let now = get_current_timestamp();
    assert!((63..=65).contains(&left(until(json!(now + 60)).await)), "with the leeway");
    assert!(left(until(json!(u64::MAX / 2)).await) > 300 * 86_400);
}

async fn id(claims: &Value) -> String {
    hs256().verify(&sign(Algorithm::HS256, claims)).await.unwrap().user.id
}

#[tokio::test]
async fn each_algorithm_verifies_its_own_tokens_and_no_others() {
    let keys = [
        (Algorithm::HS256, json!({ "type": "HS256", "key": KEY })),
        (Algorithm::RS256, json!({ "type": "RS256", "key": RSA_PUBLIC })),
        (Algorithm::RS256, json!({ "type": "RS256", "key": RSA_CERTIFICATE })),
        (Algorithm::ES256, json!({ "type": "ES256", "key": EC_PUBLIC })),
    ];
    for (own, secret) in keys {
        let verifier = verifier(&secret);
        for algorithm in [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256] {
            let token = sign(algorithm, &claims());
            if algorithm == own {
                assert_eq!(
                    verifier.verify(&token).await.unwrap().user,
                    User { account: "primary".into(), id: "ann".into() }
                );
            } else {
                assert_eq!(denial(&verifier, &token).await, "the token is of another algorithm");
            }
        }
    }
}

#[tokio::test]
async fn a_token_signed_with_the_public_key_as_if_it_were_a_secret_is_refused() {
    let key = EncodingKey::from_secret(RSA_PUBLIC.as_bytes());
    let forged = encode(&Header::new(Algorithm::HS256), &claims(), &key).unwrap();
    let verifier = verifier(&json!({ "type": "RS256", "key": RSA_PUBLIC }));
    assert_eq!(denial(&verifier, &forged).await, "the token is of another algorithm");
}

#[tokio::test]
async fn alg_none_is_refused() {
    // {"alg":"none","typ":"JWT"}
    let token = sign(Algorithm::HS256, &claims());
    let payload = token.split('.').nth(1).unwrap();
    for signature in ["", token.split('.').nth(2).unwrap()] {
        let unsigned = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{payload}.{signature}");
        assert_eq!(denial(&hs256(), &unsigned).await, "the token is of another algorithm");
    }
}

#[tokio::test]
async fn a_changed_payload_is_refused() {
    let (ann, bob) = (sign(Algorithm::HS256, &claims()), sign(Algorithm::HS256, &with("sub", json!("bob"))));
    let parts = |token: &str| token.split('.').map(str::to_owned).collect::<Vec<_>>();
    let forged = [parts(&ann)[0].clone(), parts(&bob)[1].clone(), parts(&ann)[2].clone()].join(".");
    assert_eq!(denial(&hs256(), &forged).await, "the token's signature is not valid");
}

#[tokio::test]
async fn time_is_checked_with_a_little_leeway() {
    let now = get_current_timestamp();
    let hs256 = hs256();
    for (claim, value, reason) in [
        ("exp", json!(now - 10), "the token has expired"),
        ("exp", json!(null), "the token lacks a required claim"),
        ("exp", json!("never"), "the token lacks a required claim"),
        ("nbf", json!(now + 60), "the token is not valid yet"),
        ("nbf", json!("soon"), "the token is malformed"),
    ] {
        assert_eq!(denial(&hs256, &sign(Algorithm::HS256, &with(claim, value))).await, reason);
    }
    for (claim, value) in [("exp", now - 2), ("nbf", now + 2), ("nbf", now - 60)] {
        assert_eq!(id(&with(claim, json!(value))).await, "ann");
    }
}

#[tokio::test]
async fn audience_and_issuer_count_where_they_are_configured() {
    let both =
        verifier(&json!({ "type": "HS256", "key": KEY, "audience": ["sync", "all"], "issuer": "auth" }));
    let token = |aud: Value, iss: Value| {
        let mut claims = claims();
        (claims["aud"], claims["iss"]) = (aud, iss);
        sign(Algorithm::HS256, &claims)
    };
    assert!(both.verify(&token(json!("all"), json!("auth"))).await.is_ok());
    assert!(both.verify(&token(json!(["x", "sync"]), json!("auth"))).await.is_ok());
    assert_eq!(denial(&both, &token(json!("x"), json!("auth"))).await, "the token is for another audience");
    assert_eq!(denial(&both, &token(json!("all"), json!("x"))).await, "the token is of another issuer");
    assert_eq!(denial(&both, &token(json!(null), json!("auth"))).await, "the token lacks a required claim");
    assert_eq!(denial(&both, &token(json!("all"), json!(null))).await, "the token lacks a required claim");
    assert!(hs256().verify(&token(json!("any"), json!("any"))).await.is_ok());
}

#[tokio::test]
async fn the_user_is_hasuras_claim_or_else_the_subject() {
    let namespace = "https://hasura.io/jwt/claims";
    assert_eq!(id(&claims()).await, "ann");
    assert_eq!(id(&with(namespace, json!({ "x-hasura-user-id": "u1" }))).await, "u1");
    assert_eq!(id(&with(namespace, json!(r#"{"x-hasura-user-id": "u2"}"#))).await, "u2");
    assert_eq!(id(&with(namespace, json!({ "x-hasura-default-role": "user" }))).await, "ann");
    let own = verifier(&json!({ "type": "HS256", "key": KEY, "claims_namespace": "mine" }));
    let token = sign(Algorithm::HS256, &with("mine", json!({ "x-hasura-user-id": "u3" })));
    assert_eq!(own.verify(&token).await.unwrap().user.id, "u3");
    let claims = with(namespace, json!({ "x-hasura-user-id": "u1", "x-hasura-source-account-id": "app2" }));
    let user = hs256().verify(&sign(Algorithm::HS256, &claims)).await.unwrap().user;
    assert_eq!(user, User { account: "app2".into(), id: "u1".into() });
}

#[tokio::test]
async fn what_can_be_no_id_is_refused() {
    let hs256 = hs256();
    let long = "é".repeat(129);
    for bad in [json!(""), json!("a\u{0}b"), json!("a\nb"), json!(long)] {
        let token = sign(Algorithm::HS256, &with("sub", bad));
        assert_eq!(denial(&hs256, &token).await, "the token's user id is not valid");
    }
    assert_eq!(
        denial(&hs256, &sign(Algorithm::HS256, &with("sub", json!(null)))).await,
        "the token's user id is not valid"
    );
    assert_eq!(id(&with("sub", json!("é".repeat(128)))).await.len(), 256);
    let claims = with("https://hasura.io/jwt/claims", json!({ "x-hasura-user-id": null }));
    assert_eq!(denial(&hs256, &sign(Algorithm::HS256, &claims)).await, "the token's user id is not valid");
    let claims = with("https://hasura.io/jwt/claims", json!("no JSON"));
    assert_eq!(denial(&hs256, &sign(Algorithm::HS256, &claims)).await, "the token's claims are malformed");
}

#[tokio::test]
async fn garbage_is_malformed_and_nothing_more() {
    let hs256 = hs256();
    for token in ["", ".", "..", "a.b.c", "a.b", "\u{0}", &"a.".repeat(5000)] {
        assert_eq!(denial(&hs256, token).await, "the token is malformed", "{token}");
    }
    assert_eq!(denial(&hs256, &"a".repeat((16 << 10) + 1)).await, "the token is too long");
}

#[tokio::test]
async fn minted_tokens_work_and_only_hs256_mints() {
    let grant = Grant { user: "dev".into(), account: Some("app2".into()), ttl_s: 60 };
    let text = json!({ "type": "HS256", "key": KEY, "audience": "sync", "issuer": "auth", "claims_namespace": "mine" });
    for secret in [random().unwrap(), parse(KEY).unwrap(), parse(&text.to_string()).unwrap()] {
        let user =
            Verifier::new(&secret).unwrap().verify(&mint(&secret, &grant).unwrap()).await.unwrap().user;
        assert_eq!(user, User { account: "app2".into(), id: "dev".into() });
    }
    let public = parse(&json!({ "type": "RS256", "key": RSA_PUBLIC }).to_string()).unwrap();
    assert!(mint(&public, &grant).unwrap_err().to_string().contains("private key"));
}

#[test]
fn a_secret_that_verifies_nothing_safely_is_refused() {
    for (secret, why) in [
        (json!({ "type": "HS256", "key": &KEY[1..] }), "at least 32 bytes (this one has 31)"),
        (json!({ "type": "HS512", "key": KEY }), "HS256, RS256 and ES256"),
        (json!({ "type": "none", "key": KEY }), "HS256, RS256 and ES256"),
        (json!({ "key": KEY }), "type"),
        (json!({ "type": "HS256" }), "either"),
        (json!({ "type": "HS256", "jwk_url": "https://auth/keys" }), "RS256 or ES256 only"),
        (json!({ "type": "RS256", "key": RSA_PUBLIC, "jwk_url": "https://auth/keys" }), "either"),
        (json!({ "jwk_url": "file:///etc/passwd" }), "https://"),
        (json!({ "type": "RS256", "key": RSA }), "not the private one"),
        (json!({ "type": "RS256", "key": EC_PUBLIC }), "for RS256 the public key"),
        (json!({ "type": "ES256", "key": RSA_PUBLIC }), "for ES256 the public key"),
        (json!({ "type": "RS256", "key": KEY }), "for RS256 the public key"),
        (json!({ "type": 1 }), "JSON as Hasura takes it"),
    ] {
        let problem = parse(&secret.to_string()).err().expect("refused");
        assert!(problem.contains(why) && !problem.contains(&KEY[1..]), "{secret}: {problem}");
    }
    assert!(parse(&KEY[1..]).is_err());
}

/// A key set at a local address that counts how often it is asked, with `answer(n)` for the n-th.
async fn key_set(answer: impl Fn(usize) -> (u16, String) + Send + 'static) -> (Verifier, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (status, body) = answer(count.fetch_add(1, Ordering::SeqCst));
            // One read is the whole of so small a request.
            let _ = client.read(&mut [0; 4096]).await;
            let head =
                format!("HTTP/1.1 {status} x\r\nLocation: http://127.0.0.1:1/\r\nConnection: close\r\n");
            let reply = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
            client.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    (verifier(&json!({ "jwk_url": url })), asked)
}

fn jwk(algorithm: Algorithm, kid: Option<&str>) -> Value {
    let key = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap(),
        Algorithm::ES256 => EncodingKey::from_ec_pem(EC.as_bytes()).unwrap(),
        _ => EncodingKey::from_secret(KEY.as_bytes()),
    };
    let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
    jwk.common.key_id = kid.map(str::to_owned);
    serde_json::to_value(jwk).unwrap()
}

fn sign_as(kid: &str, algorithm: Algorithm) -> String {
    let key = match algorithm {
        Algorithm::RS256 => EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap(),
        _ => EncodingKey::from_ec_pem(EC.as_bytes()).unwrap(),
    };
    encode(&Header { kid: Some(kid.into()), ..Header::new(algorithm) }, &claims(), &key).unwrap()
}

#[tokio::test]
async fn keys_at_a_url_verify_and_are_fetched_once() {
    let keys =
        json!({ "keys": [jwk(Algorithm::RS256, Some("r")), jwk(Algorithm::ES256, Some("e"))] }).to_string();
    let (verifier, asked) = key_set(move |_| (200, keys.clone())).await;
    for _ in 0..3 {
        assert_eq!(verifier.verify(&sign_as("r", Algorithm::RS256)).await.unwrap().user.id, "ann");
        assert_eq!(verifier.verify(&sign_as("e", Algorithm::ES256)).await.unwrap().user.id, "ann");
        assert_eq!(
            verifier.verify(&sign(Algorithm::ES256, &claims())).await.unwrap().user.id,
            "ann",
            "a token without kid"
        );
    }
    let wrong_kid = sign_as("e", Algorithm::RS256);
    assert_eq!(denial(&verifier, &wrong_kid).await, "no key of the key set fits the token");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn made_up_key_ids_do_not_hammer_the_key_set() {
    let keys = json!({ "keys": [jwk(Algorithm::RS256, Some("r"))] }).to_string();
    let (verifier, asked) = key_set(move |_| (200, keys.clone())).await;
    for n in 0..20 {
        let token = sign_as(&format!("made-up-{n}"), Algorithm::RS256);
        assert_eq!(denial(&verifier, &token).await, "no key of the key set fits the token");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_symmetric_key_in_a_key_set_is_no_key() {
    let keys = json!({ "keys": [jwk(Algorithm::HS256, None), jwk(Algorithm::RS256, None)] }).to_string();
    let (verifier, _) = key_set(move |_| (200, keys.clone())).await;
    let denied = denial(&verifier, &sign(Algorithm::HS256, &claims())).await;
    assert_eq!(denied, "no key of the key set fits the token");
}

#[tokio::test]
async fn a_key_set_that_is_away_redirects_or_is_none_denies_nobody_for_good() {
    for answer in [(500, ""), (302, ""), (200, "<html>"), (200, r#"{"keys": []}"#)] {
        let (verifier, asked) = key_set(move |_| (answer.0, answer.1.to_owned())).await;
        for _ in 0..3 {
            let away = verifier.verify(&sign(Algorithm::RS256, &claims())).await;
            assert!(matches!(away, Err(Denied::KeysAway(_))), "{away:?}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "not asked again at once");
    }
}
