//! `HASURA_GRAPHQL_JWT_SECRET`: Hasura's own format, or a bare HS256 key.

use super::{Key, LEEWAY_S};
use anyhow::{Context, bail};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, encode};
use serde::Deserialize;
use serde_json::json;
use std::time::{Duration, SystemTime};

const NAMESPACE: &str = "https://hasura.io/jwt/claims";

/// RFC 7518 §3.2: a key of the size of the hash output or larger.
const HS256_KEY_BYTES_MIN: usize = 32;

/// What verifies tokens, as configured.
#[derive(Clone)]
pub struct Secret {
    material: Material,
    audience: Vec<String>,
    issuer: Option<String>,
    namespace: String,
}

#[derive(Clone)]
enum Material {
    Hs256(Vec<u8>),
    Public(Algorithm, DecodingKey),
    /// Keys at a URL; the algorithm where one is configured, else each key's own.
    Jwks(String, Option<Algorithm>),
}

/// A token to mint.
pub struct Grant {
    /// Whose.
    pub user: String,
    /// Of which application; `None`: the primary one.
    pub account: Option<String>,
    /// How long it lives.
    pub ttl: Duration,
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
    /// Reads the variable. The error says what is allowed and holds nothing of the value.
    pub fn parse(text: &str) -> Result<Secret, String> {
        if !text.trim_start().starts_with('{') {
            return Ok(Secret::of(Material::Hs256(hs256(text)?)));
        }
        let format: Format = serde_json::from_str(text).map_err(|error| {
            format!("JSON as Hasura takes it (line {}, column {})", error.line(), error.column())
        })?;
        let algorithm = format.algorithm.as_deref().map(algorithm).transpose()?;
        let material = match (format.key, format.jwk_url, algorithm) {
            (None, Some(_), Some(Algorithm::HS256)) => return Err("a jwk_url for RS256 or ES256 only".into()),
            (None, Some(url), algorithm) => Material::Jwks(web_url(url)?, algorithm),
            (Some(key), None, Some(Algorithm::HS256)) => Material::Hs256(hs256(&key)?),
            (Some(key), None, Some(algorithm)) => Material::Public(algorithm, public_key(&key, algorithm)?),
            (Some(_), None, None) => return Err("JSON with the key's \"type\": HS256, RS256 or ES256".into()),
            (None, None, _) | (Some(_), Some(_), _) => {
                return Err("JSON with either \"key\" or \"jwk_url\"".into());
            }
        };
        Ok(Secret {
            audience: match format.audience {
                None => Vec::new(),
                Some(Audience::One(one)) => vec![one],
                Some(Audience::Many(many)) => many,
            },
            issuer: format.issuer,
            namespace: format.claims_namespace.unwrap_or_else(|| NAMESPACE.to_owned()),
            ..Secret::of(material)
        })
    }

    /// A secret that nobody else knows.
    pub fn random() -> anyhow::Result<Secret> {
        let mut key = vec![0; HS256_KEY_BYTES_MIN];
        getrandom::fill(&mut key).context("no randomness")?;
        Ok(Secret::of(Material::Hs256(key)))
    }

    fn of(material: Material) -> Secret {
        Secret { material, audience: Vec::new(), issuer: None, namespace: NAMESPACE.to_owned() }
    }

    /// A token that this secret's verifier accepts. Only HS256 keys can sign: of the others it is the public half.
    pub fn mint(&self, grant: &Grant) -> anyhow::Result<String> {
        let Material::Hs256(key) = &self.material else {
            bail!(
                "RS256 and ES256 tokens need the private key, which only who issues tokens has: sign in there"
            );
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).context("the clock")?.as_secs();
        let mut hasura = json!({
            "x-hasura-user-id": grant.user,
            "x-hasura-default-role": "user",
            "x-hasura-allowed-roles": ["user"],
        });
        if let Some(account) = &grant.account {
            hasura["x-hasura-source-account-id"] = json!(account);
        }
        let mut claims = json!({ "sub": grant.user, "iat": now, "exp": now + grant.ttl.as_secs() });
        claims[&self.namespace] = hasura;
        if let Some(audience) = self.audience.first() {
            claims["aud"] = json!(audience);
        }
        if let Some(issuer) = &self.issuer {
            claims["iss"] = json!(issuer);
        }
        encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(key)).context("the token")
    }

    /// Where the keys are, if they are not here.
    pub(super) fn jwk_url(&self) -> Option<&str> {
        match &self.material {
            Material::Jwks(url, _) => Some(url),
            Material::Hs256(_) | Material::Public(..) => None,
        }
    }

    /// The claim that holds Hasura's claims.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The configured key; of a key set one that fits nothing.
    pub(super) fn key(&self) -> Key {
        let (algorithm, decoding) = match &self.material {
            Material::Hs256(key) => (Algorithm::HS256, DecodingKey::from_secret(key)),
            Material::Public(algorithm, key) => (*algorithm, key.clone()),
            Material::Jwks(..) => (Algorithm::RS256, DecodingKey::from_secret(&[])),
        };
        Key { id: None, decoding, validation: self.validation(algorithm) }
    }

    /// A key of the key set, if it is one for signatures of an algorithm that is allowed.
    pub(super) fn key_of(&self, jwk: &Jwk) -> Option<Key> {
        let Material::Jwks(_, allowed) = &self.material else { return None };
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(curve) if curve.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            // Symmetric keys have no business at a URL, other curves are not of the protocol.
            _ => return None,
        };
        let named = jwk.common.key_algorithm.map(|named| named.to_string());
        let is_named = named.is_none_or(|named| named == format!("{algorithm:?}"));
        let is_allowed = allowed.is_none_or(|allowed| allowed == algorithm);
        let decoding = DecodingKey::from_jwk(jwk).ok()?;
        (is_named && is_allowed).then(|| Key {
            id: jwk.common.key_id.clone(),
            decoding,
            validation: self.validation(algorithm),
        })
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        let mut required = vec!["exp"];
        validation.leeway = LEEWAY_S;
        validation.validate_nbf = true;
        validation.validate_aud = !self.audience.is_empty();
        if validation.validate_aud {
            validation.set_audience(&self.audience);
            required.push("aud");
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        validation
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    match name {
        "HS256" => Ok(Algorithm::HS256),
        "RS256" => Ok(Algorithm::RS256),
        "ES256" => Ok(Algorithm::ES256),
        _ => Err("the types HS256, RS256 and ES256".into()),
    }
}

fn hs256(key: &str) -> Result<Vec<u8>, String> {
    match key.len() {
        HS256_KEY_BYTES_MIN.. => Ok(key.as_bytes().to_vec()),
        bytes => Err(format!("an HS256 key of at least {HS256_KEY_BYTES_MIN} bytes (this one has {bytes})")),
    }
}

fn public_key(pem: &str, algorithm: Algorithm) -> Result<DecodingKey, String> {
    let allowed = || format!("for {algorithm:?} the public key or certificate as PEM");
    if pem.contains("PRIVATE KEY") {
        return Err(format!("{}, not the private one", allowed()));
    }
    let key = match algorithm {
        Algorithm::ES256 => DecodingKey::from_ec_pem(pem.as_bytes()),
        _ => DecodingKey::from_rsa_pem(pem.as_bytes()),
    };
    key.map_err(|_| allowed())
}

fn web_url(url: String) -> Result<String, String> {
    match url.starts_with("https://") || url.starts_with("http://") {
        true => Ok(url),
        false => Err("a jwk_url that begins with https:// or http://".into()),
    }
}
