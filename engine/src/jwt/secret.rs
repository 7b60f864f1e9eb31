//! `HASURA_GRAPHQL_JWT_SECRET`: Hasura's own format, or a bare HS256 key.

use super::Algorithm;
use crate::ids::Millis;
use serde::Deserialize;
use serde_json::{Value, json};

const NAMESPACE: &str = "https://hasura.io/jwt/claims";

/// RFC 7518 §3.2: a key of the size of the hash output or larger.
const HS256_KEY_BYTES_MIN: usize = 32;

/// What verifies tokens, as configured.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Where its keys are.
    pub keys: Keys,
    pub(super) audience: Vec<String>,
    pub(super) issuer: Option<String>,
    pub(super) namespace: String,
}

/// The keys of a [`Secret`].
#[derive(Clone, PartialEq, Eq)]
pub enum Keys {
    /// A shared key.
    Hs256(Vec<u8>),
    /// A public key or certificate as PEM, of RS256 or ES256. The host reads it.
    Public(Algorithm, String),
    /// Keys at a URL; the algorithm where one is configured, else each key's own.
    At(String, Option<Algorithm>),
}

/// A token to mint.
pub struct Grant {
    /// Whose.
    pub user: String,
    /// Of which application; `None`: the primary one.
    pub account: Option<String>,
    /// How many seconds it lives.
    pub ttl_s: u64,
}

#[derive(Deserialize)]
struct Format {
    #[serde(rename = "type")]
    algorithm: Option<String>,
    key: Option<String>,
    jwk_url: Option<String>,
    audience: Option<Audience>,
    issuer: Option<String>,
    claims_namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Secret {
    /// Reads the variable.
    ///
    /// # Errors
    /// What is allowed; nothing of the value.
    pub fn parse(text: &str) -> Result<Secret, String> {
        if !text.trim_start().starts_with('{') {
            return Ok(Secret::hs256(hs256(text)?));
        }
        let format: Format = serde_json::from_str(text).map_err(|error| {
            format!("JSON as Hasura takes it (line {}, column {})", error.line(), error.column())
        })?;
        let algorithm = format.algorithm.as_deref().map(algorithm).transpose()?;
        let keys = match (format.key, format.jwk_url, algorithm) {
            (None, Some(_), Some(Algorithm::Hs256)) => return Err("a jwk_url for RS256 or ES256 only".into()),
            (None, Some(url), algorithm) => Keys::At(web_url(url)?, algorithm),
            (Some(key), None, Some(Algorithm::Hs256)) => Keys::Hs256(hs256(&key)?),
            (Some(key), None, Some(algorithm)) => Keys::Public(algorithm, public(key, algorithm)?),
            (Some(_), None, None) => return Err("JSON with the key's \"type\": HS256, RS256 or ES256".into()),
            (None, None, _) | (Some(_), Some(_), _) => {
                return Err("JSON with either \"key\" or \"jwk_url\"".into());
            }
        };
        Ok(Secret {
            keys,
            audience: match format.audience {
                None => Vec::new(),
                Some(Audience::One(one)) => vec![one],
                Some(Audience::Many(many)) => many,
            },
            issuer: format.issuer,
            namespace: format.claims_namespace.unwrap_or_else(|| NAMESPACE.to_owned()),
        })
    }

    /// A shared key, and nothing asked of its tokens beside their time.
    pub fn hs256(key: Vec<u8>) -> Secret {
        let namespace = NAMESPACE.to_owned();
        Secret { keys: Keys::Hs256(key), audience: Vec::new(), issuer: None, namespace }
    }

    /// The claims of a token that this secret's verifier accepts.
    pub fn claims(&self, grant: &Grant, now: Millis) -> Value {
        let mut hasura = json!({
            "x-hasura-user-id": grant.user,
            "x-hasura-default-role": "user",
            "x-hasura-allowed-roles": ["user"],
        });
        let mut claims = json!({ "sub": grant.user, "iat": now / 1000, "exp": now / 1000 + grant.ttl_s });
        let put = |object: &mut Value, name: &str, value: Option<Value>| {
            if let (Some(members), Some(value)) = (object.as_object_mut(), value) {
                members.insert(name.to_owned(), value);
            }
        };
        put(&mut hasura, "x-hasura-source-account-id", grant.account.as_deref().map(Value::from));
        put(&mut claims, &self.namespace, Some(hasura));
        put(&mut claims, "aud", self.audience.first().map(|audience| json!(audience)));
        put(&mut claims, "iss", self.issuer.as_deref().map(Value::from));
        claims
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::of(name).ok_or_else(|| "the types HS256, RS256 and ES256".into())
}

fn hs256(key: &str) -> Result<Vec<u8>, String> {
    match key.len() {
        HS256_KEY_BYTES_MIN.. => Ok(key.as_bytes().to_vec()),
        bytes => Err(format!("an HS256 key of at least {HS256_KEY_BYTES_MIN} bytes (this one has {bytes})")),
    }
}

fn public(pem: String, algorithm: Algorithm) -> Result<String, String> {
    let allowed = format!("for {} the public key or certificate as PEM", algorithm.as_str());
    if pem.contains("PRIVATE KEY") {
        return Err(format!("{allowed}, not the private one"));
    }
    if pem.contains("-----BEGIN ") { Ok(pem) } else { Err(allowed) }
}

fn web_url(url: String) -> Result<String, String> {
    match url.starts_with("https://") || url.starts_with("http://") {
        true => Ok(url),
        false => Err("a jwk_url that begins with https:// or http://".into()),
    }
}
